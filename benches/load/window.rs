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
use crate::{Fault, machine};

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
    subjects: &Arc<[Subject]>,
    options: &Options,
) -> Result<Figures, Fault> {
    let phase = Arc::new(AtomicU8::new(WARM_UP));
    let mut callers = JoinSet::new();
    let connections = server.connections.iter().cycle();
    for (number, connection) in connections.take(options.callers()).enumerate() {
        let asking = Asking {
            connection: connection.clone(),
            caller: caller.clone(),
            subjects: subjects.clone(),
            // Callers begin spread over all tokens.
            first: number * subjects.len() / options.callers(),
            phase: phase.clone(),
        };
        callers.spawn(asking.until_over());
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
    subjects: Arc<[Subject]>,
    first: usize,
    phase: Arc<AtomicU8>,
}

impl Asking {
    /// Asks about one token after the other; answers how long each answer that came while it was
    /// measured took.
    async fn until_over(self) -> Result<Vec<Duration>, Fault> {
        let mut client = TokenServiceClient::new(self.connection);
        let mut latencies = Vec::new();
        for subject in self.subjects.iter().cycle().skip(self.first) {
            if self.phase.load(Ordering::Relaxed) == OVER {
                break;
            }
            let question = self.caller.request(asking::question(&subject.secret));
            let begun = Instant::now();
            let answer = client.validate(question).await?;
            let latency = begun.elapsed();
            asking::check(answer.get_ref(), subject)?;
            if self.phase.load(Ordering::Relaxed) == MEASURED {
                latencies.push(latency);
            }
        }
        Ok(latencies)
    }
}
