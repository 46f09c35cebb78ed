//! One row for some seconds: callers who each wait for an answer before they ask again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::token_service_client::TokenServiceClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::asking::{self, Caller, Subject};
use crate::figures::Figures;
use crate::options::Options;
use crate::servers::Server;
use crate::{Fault, leasing, machine, revoking};

/// What callers do, again and again.
#[derive(Clone)]
pub(crate) enum Work {
    /// They ask about one token after the other.
    Validate(Arc<[Subject]>),
    /// They take a lease and give it back.
    Lease,
    /// They revoke tokens that they made for it.
    Revoke,
}

impl Work {
    /// How many do so at once, of those that the options allow.
    fn callers(&self, options: &Options) -> usize {
        match self {
            Self::Validate(_) => options.callers(),
            Self::Lease => options.callers().min(leasing::WORKERS_MAX),
            Self::Revoke => options.callers().min(revoking::CALLERS_MAX),
        }
    }
}

/// How long calls in flight may take to end when nobody asks any more.
const ENDING_MAX: Duration = Duration::from_secs(15);

const WARM_UP: u8 = 0;
const MEASURED: u8 = 1;
const OVER: u8 = 2;

/// What was read off at an instant.
struct Reading {
    time: Instant,
    server: Option<Duration>,
    redis: Option<Duration>,
    generator: Option<Duration>,
}

impl Reading {
    fn take(server: &Server) -> Self {
        let (authority, redis) = server.cpu();
        Self {
            time: Instant::now(),
            server: authority,
            redis,
            generator: machine::cpu_of(std::process::id()),
        }
    }
}

/// Warms up, measures, and waits for the last answers. An error of one call fails the whole.
pub(crate) async fn measure(
    server: &Server,
    caller: &Caller,
    work: &Work,
    options: &Options,
) -> Result<Figures, Fault> {
    let phase = Arc::new(AtomicU8::new(WARM_UP));
    let mut callers = JoinSet::new();
    let connections = server.connections.iter().cycle();
    let at_once = work.callers(options);
    for (number, connection) in connections.take(at_once).enumerate() {
        let asking = Asking {
            connection: connection.clone(),
            caller: caller.clone(),
            phase: phase.clone(),
        };
        match work {
            Work::Validate(subjects) => {
                // Callers begin spread over all tokens.
                let first = number * subjects.len() / at_once;
                callers.spawn(asking.validate(subjects.clone(), first));
            }
            Work::Lease => drop(callers.spawn(asking.lease())),
            Work::Revoke => drop(callers.spawn(asking.revoke())),
        }
    }
    tokio::time::sleep(options.warm_up()).await;
    let begun = Reading::take(server);
    phase.store(MEASURED, Ordering::Relaxed);
    tokio::time::sleep(options.measured()).await;
    phase.store(OVER, Ordering::Relaxed);
    let ended = Reading::take(server);
    let gathering = async {
        let mut latencies = Vec::new();
        while let Some(own) = callers.join_next().await {
            latencies.append(&mut own??);
        }
        Ok::<_, Fault>(latencies)
    };
    let latencies = tokio::time::timeout(ENDING_MAX, gathering)
        .await
        .map_err(|_| "calls are still in flight long after the end")??;
    let used = |of: fn(&Reading) -> Option<Duration>| Some(of(&ended)?.saturating_sub(of(&begun)?));
    Figures::of(
        latencies,
        ended.time - begun.time,
        used(|reading| reading.server),
        used(|reading| reading.redis),
        used(|reading| reading.generator),
    )
}

/// One caller with one call in flight.
struct Asking {
    connection: Channel,
    caller: Caller,
    phase: Arc<AtomicU8>,
}

impl Asking {
    fn is_over(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == OVER
    }

    /// Notes how long something took that began then, where it is measured.
    fn note(&self, latencies: &mut Vec<Duration>, begun: Instant) {
        if self.phase.load(Ordering::Relaxed) == MEASURED {
            latencies.push(begun.elapsed());
        }
    }

    /// Asks about one token after the other; answers how long each answer that came while it was
    /// measured took.
    async fn validate(
        self,
        subjects: Arc<[Subject]>,
        first: usize,
    ) -> Result<Vec<Duration>, Fault> {
        let mut client = TokenServiceClient::new(self.connection.clone());
        let mut latencies = Vec::new();
        for subject in subjects.iter().cycle().skip(first) {
            if self.is_over() {
                break;
            }
            let question = self.caller.request(asking::question(&subject.secret));
            let begun = Instant::now();
            let answer = client.validate(question).await?;
            self.note(&mut latencies, begun);
            asking::check(answer.get_ref(), subject)?;
        }
        Ok(latencies)
    }

    /// Takes a lease and gives it back, again and again; answers how long both took together.
    async fn lease(self) -> Result<Vec<Duration>, Fault> {
        let mut client = TokenServiceClient::new(self.connection.clone());
        let mut latencies = Vec::new();
        while !self.is_over() {
            let begun = Instant::now();
            leasing::acquire_and_release(&mut client, &self.caller).await?;
            self.note(&mut latencies, begun);
        }
        Ok(latencies)
    }

    /// Revokes one token after the other; answers how long each took, without the making of them.
    async fn revoke(self) -> Result<Vec<Duration>, Fault> {
        let mut client = TokenServiceClient::new(self.connection.clone());
        let (mut latencies, mut stock) = (Vec::new(), Vec::new());
        while !self.is_over() {
            let Some(subject) = stock.pop() else {
                stock = revoking::stock(&mut client, &self.caller).await?;
                continue;
            };
            let begun = Instant::now();
            revoking::revoke(&mut client, &self.caller, &subject.token_id).await?;
            self.note(&mut latencies, begun);
        }
        Ok(latencies)
    }
}
