//! A flood from one client of a caller, and how long another client of the same caller waits meanwhile.
//!
//! The other one asks at a steady pace, so that what is seen is how long each answer takes, and not who
//! gets the most of the machine. The same number of right secrets shows what so many calls cost as such;
//! that they are wrong is to cost the other client no more than a fifth of its p99.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use token_authority::domain::secret::{Brand, Secret};
use token_authority::domain::token::TokenId;
use token_authority::entropy;
use token_authority::transport::grpc::pb::token_service_client::TokenServiceClient;
use token_authority::transport::grpc::pb::{ValidateRequest, Verdict};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::Fault;
use crate::asking::{self, Caller, Subject};
use crate::figures::{Figures, Used};
use crate::options::Options;
use crate::servers::{ROOT_TOKEN, Server};
use crate::table;

/// Calls of the flood in a second: so many callers, each at this pace.
const FLOODERS: usize = 200;
const FLOODER_EVERY: Duration = Duration::from_millis(10);
/// Questions of the other client in a second: so many callers, each at this pace.
const ASKERS: usize = 20;
const ASKER_EVERY: Duration = Duration::from_millis(20);
/// The place in the scheduler's queue of what may wait: nice(2).
const LAST: i32 = 19;
/// Wrong secrets that are presented in turn.
const WRONG_SECRETS: usize = 10_000;
/// Where the flood comes from; the other client's address is that of [`asking::question`].
const FLOODING: &str = "10.6.6.6";
/// How long callers may take to end when nobody asks any more.
const ENDING_MAX: Duration = Duration::from_secs(15);

/// What comes beside the questions that are measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    RightSecrets,
    /// What is seen to be no secret, so that no store is asked.
    Rubbish,
    WrongSecrets,
}

const ALL: [Beside; 4] = [
    Beside::Nothing,
    Beside::RightSecrets,
    Beside::Rubbish,
    Beside::WrongSecrets,
];
/// The place of what the others are compared with.
const RIGHT: usize = 1;

impl Beside {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "alone",
            Self::RightSecrets => "beside right secrets",
            Self::Rubbish => "beside rubbish",
            Self::WrongSecrets => "beside wrong secrets",
        }
    }
}

/// One store, and who asks.
struct Site {
    name: &'static str,
    server: Server,
    gateway: Caller,
    subjects: Arc<[Subject]>,
    wrong: Arc<[String]>,
}

/// What one window came to.
struct Outcome {
    asked: Figures,
    /// Calls of the flood in a second.
    flood: f64,
}

/// Measures each store in turn, round by round; answers the table.
pub(crate) async fn run(options: &Options) -> Result<String, Fault> {
    let sqlite = Server::on_sqlite(options.connections, &[]).await?;
    let redis = Server::on_redis(1, options.connections, &[]).await?;
    let mut sites = Vec::new();
    for (name, server) in [("SQLite", sqlite), ("Redis", redis)] {
        sites.push(Site::filled(name, server, options).await?);
    }
    let mut rounds: Vec<Vec<Outcome>> = Vec::new();
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        let mut outcomes = Vec::new();
        for site in &sites {
            for beside in ALL {
                let measured = site.measure(beside, options).await;
                let what = format!("{}, {}", site.name, beside.name());
                outcomes.push(measured.map_err(|fault| format!("{what}: {fault}"))?);
            }
        }
        rounds.push(outcomes);
    }
    Ok(told(&sites, &rounds))
}

impl Site {
    async fn filled(name: &'static str, server: Server, options: &Options) -> Result<Self, Fault> {
        let root = Caller::bearing(ROOT_TOKEN);
        let (over, callers) = (&server.connections, options.callers());
        let gateway = asking::create(over, &root, 1, 1, |_| asking::gateway_token()).await?;
        let subjects = asking::create(over, &root, callers, options.tokens, asking::shop_token);
        let subjects = subjects.await?;
        let wrong = (0..WRONG_SECRETS).map(|number| wrong_secret(&subjects, number));
        Ok(Self {
            wrong: wrong.collect::<Result<_, _>>()?,
            gateway: Caller::bearing(&gateway[0].secret),
            subjects: subjects.into(),
            name,
            server,
        })
    }

    async fn measure(&self, beside: Beside, options: &Options) -> Result<Outcome, Fault> {
        let over = Arc::new(AtomicBool::new(false));
        let flooded = Arc::new(AtomicU64::new(0));
        // With threads of its own, so that the other client's clock does not wait for the flood's calls.
        let apart = match beside {
            Beside::Nothing => None,
            _ => Some(self.flood(beside, options, &over, &flooded)),
        };
        let mut askers = JoinSet::new();
        let connections = self.server.connections.iter().cycle();
        let timed = Arc::new(AtomicBool::new(false));
        for (number, connection) in connections.take(ASKERS).enumerate() {
            let subjects = self.subjects.clone();
            let (caller, connection) = (self.gateway.clone(), connection.clone());
            let (timed, over) = (timed.clone(), over.clone());
            askers.spawn(ask(caller, connection, subjects, number, timed, over));
        }
        tokio::time::sleep(options.warm_up()).await;
        let (begun, before) = (Instant::now(), flooded.load(Ordering::Relaxed));
        timed.store(true, Ordering::Relaxed);
        tokio::time::sleep(options.measured()).await;
        timed.store(false, Ordering::Relaxed);
        let (span, after) = (begun.elapsed(), flooded.load(Ordering::Relaxed));
        over.store(true, Ordering::Relaxed);
        let gathering = async {
            let mut latencies = Vec::new();
            while let Some(own) = askers.join_next().await {
                latencies.append(&mut own??);
            }
            if let Some(flood) = apart {
                tokio::task::spawn_blocking(move || flood.join())
                    .await?
                    .map_err(|_| "the flood panicked")??;
            }
            Ok::<_, Fault>(latencies)
        };
        let latencies = tokio::time::timeout(ENDING_MAX, gathering)
            .await
            .map_err(|_| "calls are still in flight long after the end")??;
        Ok(Outcome {
            asked: Figures::of(latencies, span, Used::default())?,
            flood: (after - before) as f64 / span.as_secs_f64(),
        })
    }

    /// Floods from a thread of its own until it is over.
    fn flood(
        &self,
        beside: Beside,
        options: &Options,
        over: &Arc<AtomicBool>,
        flooded: &Arc<AtomicU64>,
    ) -> std::thread::JoinHandle<Result<(), Fault>> {
        let connections = options.connections;
        let endpoint = self.server.endpoints[0].clone();
        let caller = self.gateway.clone();
        let secrets = match beside {
            Beside::RightSecrets => self.subjects.iter().map(|own| own.secret.clone()).collect(),
            _ => self.wrong.clone(),
        };
        let (over, flooded) = (over.clone(), flooded.clone());
        std::thread::spawn(move || {
            // Whoever floods does so from a machine of its own: here it has what the others leave.
            rustix::process::setpriority_process(None, LAST)?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut channels = Vec::new();
                for _ in 0..connections {
                    channels.push(endpoint.connect().await?);
                }
                let mut flooders = JoinSet::new();
                for (number, channel) in (0..FLOODERS).zip(channels.iter().cycle()) {
                    let flooder = Flooder {
                        beside,
                        client: TokenServiceClient::new(channel.clone()),
                        caller: caller.clone(),
                        secrets: secrets.clone(),
                        over: over.clone(),
                        flooded: flooded.clone(),
                    };
                    flooders.spawn(flooder.run(number));
                }
                while let Some(ended) = flooders.join_next().await {
                    ended??;
                }
                Ok(())
            })
        })
    }
}

/// A clock of one of `count` callers, whose times are spread evenly.
fn paced(every: Duration, number: usize, count: usize) -> Interval {
    let spread = every.mul_f64(number as f64 / count as f64);
    tokio::time::interval_at(tokio::time::Instant::now() + spread, every)
}

/// Asks about one token after the other, each at its time; answers how long each answer took.
async fn ask(
    caller: Caller,
    connection: Channel,
    subjects: Arc<[Subject]>,
    number: usize,
    timed: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
) -> Result<Vec<Duration>, Fault> {
    let mut client = TokenServiceClient::new(connection);
    let mut latencies = Vec::new();
    let mut clock = paced(ASKER_EVERY, number, ASKERS);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let first = number * subjects.len() / ASKERS;
    for subject in subjects.iter().cycle().skip(first) {
        clock.tick().await;
        if over.load(Ordering::Relaxed) {
            break;
        }
        let question = caller.request(asking::question(&subject.secret));
        let begun = Instant::now();
        // No refusal is for a client that others share a caller with.
        let answer = client.validate(question).await?;
        if timed.load(Ordering::Relaxed) {
            latencies.push(begun.elapsed());
        }
        asking::check(answer.get_ref(), subject)?;
    }
    Ok(latencies)
}

/// One of the callers that make the flood.
struct Flooder {
    beside: Beside,
    client: TokenServiceClient<Channel>,
    caller: Caller,
    secrets: Arc<[String]>,
    over: Arc<AtomicBool>,
    flooded: Arc<AtomicU64>,
}

impl Flooder {
    async fn run(mut self, number: usize) -> Result<(), Fault> {
        let mut clock = paced(FLOODER_EVERY, number, FLOODERS);
        let secrets = self.secrets.clone();
        let begin = number * secrets.len() / FLOODERS;
        for secret in secrets.iter().cycle().skip(begin) {
            clock.tick().await;
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            self.present(secret).await?;
            self.flooded.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Presents a secret; an error unless it is refused as it is to be.
    async fn present(&mut self, secret: &str) -> Result<(), Fault> {
        let secret = match self.beside {
            // As long, and seen to be none.
            Beside::Rubbish => secret.replace('_', "-"),
            _ => secret.to_owned(),
        };
        let question = ValidateRequest {
            client_ip: FLOODING.to_owned(),
            ..asking::question(&secret)
        };
        let answer = self.client.validate(self.caller.request(question)).await;
        let verdict = answer.map(|answer| answer.into_inner().verdict());
        match (self.beside, verdict) {
            (Beside::RightSecrets, Ok(Verdict::Valid)) => Ok(()),
            (Beside::Rubbish, Ok(Verdict::Malformed)) => Ok(()),
            (Beside::WrongSecrets, Ok(Verdict::NotFound)) => Ok(()),
            (Beside::WrongSecrets, Err(status)) if is_shed(&status) => Ok(()),
            (_, other) => Err(format!("the flood was answered {other:?}").into()),
        }
    }
}

fn is_shed(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted && status.message().contains("failures_per_minute")
}

/// A well-formed secret of nobody: every other one with the id of a token that there is.
fn wrong_secret(subjects: &[Subject], number: usize) -> Result<String, Fault> {
    let id = match number % 2 {
        0 => TokenId::parse(&subjects[number % subjects.len()].token_id)
            .map_err(|flaw| flaw.to_string())?,
        _ => entropy::token_id()?,
    };
    let brand = Brand::parse("ta").map_err(|flaw| flaw.to_string())?;
    let secret = Secret::assemble(&brand, &id, &entropy::secret_digits()?);
    Ok(secret.expose().to_owned())
}

/// The table, and what a reader must know beside it.
fn told(sites: &[Site], rounds: &[Vec<Outcome>]) -> String {
    let titles = [
        "",
        "p50 µs",
        "p99 µs",
        "to right",
        "least to most",
        "flood/s",
    ];
    let mut lines = vec![titles.map(str::to_owned).to_vec()];
    for (place, site) in sites.iter().enumerate() {
        for (offset, beside) in ALL.into_iter().enumerate() {
            let (right, at) = (place * ALL.len() + RIGHT, place * ALL.len() + offset);
            let of = |value: &dyn Fn(&[Outcome]) -> f64| -> Vec<f64> {
                rounds.iter().map(|round| value(round)).collect()
            };
            let median = |value: &dyn Fn(&[Outcome]) -> f64| table::median(of(value));
            let ratio = |round: &[Outcome]| round[at].asked.p99 / round[right].asked.p99;
            let least = of(&ratio).into_iter().fold(f64::INFINITY, f64::min);
            let most = of(&ratio).into_iter().fold(0.0, f64::max);
            lines.push(vec![
                format!("{}, {}", site.name, beside.name()),
                format!("{:.0}", median(&|round| round[at].asked.p50)),
                format!("{:.0}", median(&|round| round[at].asked.p99)),
                format!("{:.2}", median(&ratio)),
                format!("{least:.2} to {most:.2}"),
                format!("{:.0}", median(&|round| round[at].flood)),
            ]);
        }
    }
    format!(
        "{}\nMedians over the rounds, of which there are {}. \"To right\" is the p99 in the same round as a\n\
         ratio to that beside as many right secrets. Flood and questions share the cores with the server.",
        table::aligned(&lines),
        rounds.len()
    )
}
