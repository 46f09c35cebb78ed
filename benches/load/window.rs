//! One row for some seconds: what is driven over its connections, and what the processes use meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::creating::Creating;
use crate::driving::{self, Driven, Line, MEASURED, OVER, Script, WARM_UP};
use crate::figures::{Figures, Used};
use crate::leasing::Leasing;
use crate::revoking::{Revoking, Stock};
use crate::rows::Row;
use crate::servers::Server;
use crate::validating::{Asked, Validating};
use crate::{Fault, machine, streaming};

/// What callers do, again and again.
#[derive(Clone)]
pub(crate) enum Work {
    /// They ask about tokens.
    Validate(Asked),
    /// They ask on streams.
    Stream(Asked),
    /// They make tokens.
    Create,
    /// They revoke tokens that were made for it.
    Revoke(Stock),
    /// They take a lease and give it back.
    Lease,
}

impl Work {
    /// Drives one connection until the phase is over.
    fn drive(&self, line: &Line, in_flight: usize, phase: &AtomicU8) -> Result<Driven, Fault> {
        let mut script: Box<dyn Script> = match self {
            Self::Stream(asked) => return streaming::drive(line, asked, in_flight, phase),
            Self::Validate(asked) => Box::new(Validating::new(asked.clone(), in_flight)),
            Self::Create => Box::new(Creating::new()),
            Self::Revoke(stock) => Box::new(Revoking(stock.clone())),
            Self::Lease => Box::new(Leasing::new(in_flight)),
        };
        driving::drive(line, script.as_mut(), in_flight, phase)
    }
}

/// How long calls in flight may take to end when nobody asks any more.
const ENDING_MAX: Duration = Duration::from_secs(15);

/// What was read off at an instant.
struct Reading {
    time: Instant,
    server: Option<Duration>,
    redis: Option<Duration>,
    driver: Option<Duration>,
}

impl Reading {
    fn take(server: &Server) -> Self {
        let (own, redis) = server.cpu();
        Self {
            time: Instant::now(),
            server: own,
            redis,
            driver: machine::cpu_of(std::process::id()),
        }
    }
}

/// Warms up, measures, and waits for the last answers; less long where nothing is left to be asked. An
/// error of one call fails the whole.
pub(crate) async fn measure(
    row: &Row,
    warm_up: Duration,
    measured: Duration,
) -> Result<Figures, Fault> {
    let phase = Arc::new(AtomicU8::new(WARM_UP));
    let mut driven = Connections::begin(row, &phase);
    driven.for_at_most(warm_up).await?;
    let looks = row.server.looks()?;
    let begun = Reading::take(&row.server);
    phase.store(MEASURED, Ordering::Relaxed);
    driven.for_at_most(measured).await?;
    phase.store(OVER, Ordering::Relaxed);
    let ended = Reading::take(&row.server);
    let looks = row.server.looks()?.zip(looks);
    if !driven.for_at_most(ENDING_MAX).await? {
        return Err("calls are still in flight long after the end".into());
    }
    let used = |of: fn(&Reading) -> Option<Duration>| Some(of(&ended)?.saturating_sub(of(&begun)?));
    let used = Used {
        server: used(|reading| reading.server),
        redis: used(|reading| reading.redis),
        driver: used(|reading| reading.driver),
        looks: looks.map(|(after, before)| after - before),
    };
    let Driven { latencies, failed } = driven.ended;
    if failed > 0 {
        eprintln!(
            "        {failed} calls failed; so far: {}",
            row.server.failures()?
        );
    }
    let span = ended.time - begun.time;
    Ok(Figures {
        failed,
        ..Figures::of(latencies, span, used)?
    })
}

/// Does what a row does until nothing of it is left.
pub(crate) async fn exhaust(row: &Row, patience: Duration) -> Result<(), Fault> {
    let phase = Arc::new(AtomicU8::new(WARM_UP));
    let mut driven = Connections::begin(row, &phase);
    match driven.for_at_most(patience).await? {
        true => Ok(()),
        false => {
            phase.store(OVER, Ordering::Relaxed);
            Err(format!("{} did not come to its end in {patience:?}", row.name).into())
        }
    }
}

/// The connections of a row that are driven, each by a thread.
struct Connections {
    connections: JoinSet<Result<Driven, Fault>>,
    ended: Driven,
}

impl Connections {
    fn begin(row: &Row, phase: &Arc<AtomicU8>) -> Self {
        let mut connections = JoinSet::new();
        let addresses = row.server.addresses.iter().cycle();
        for to in addresses.take(row.load.connections) {
            let line = Line {
                to: *to,
                caller: row.caller.clone(),
            };
            let (work, phase, in_flight) = (row.work.clone(), phase.clone(), row.load.in_flight);
            connections.spawn_blocking(move || work.drive(&line, in_flight, &phase));
        }
        Self {
            connections,
            ended: Driven::default(),
        }
    }

    /// Waits so long at the most, and answers whether all have ended by then.
    async fn for_at_most(&mut self, span: Duration) -> Result<bool, Fault> {
        let gathering = async {
            while let Some(own) = self.connections.join_next().await {
                let mut own = own??;
                self.ended.latencies.append(&mut own.latencies);
                self.ended.failed += own.failed;
            }
            Ok::<_, Fault>(())
        };
        match timeout(span, gathering).await {
            Ok(ended) => ended.map(|()| true),
            Err(_) => Ok(false),
        }
    }
}
