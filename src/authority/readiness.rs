//! Readiness: whether Validate can answer and changes can be kept, asked of the store all the time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::store::{Store, StoreError};

use super::Authority;
use super::coherence::Coherence;

/// What can be done right now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Validate can answer.
    pub validate: bool,
    /// Changes can be kept.
    pub manage: bool,
}

/// Time between two looks, and the longest that one may take.
const EVERY: Duration = Duration::from_millis(500);

/// What may be answered though the store cannot be read.
pub struct Reserve {
    coherence: Arc<Coherence>,
    /// For how long since the last lease; `None` where not at all.
    longest: Option<Duration>,
}

impl Reserve {
    /// Whether degraded answers are possible, in any namespace.
    fn is_left(&self) -> bool {
        let lapsed = self.coherence.lapsed();
        let both = lapsed.zip(self.longest);
        both.is_some_and(|(lapsed, longest)| lapsed <= longest)
    }
}

impl Authority {
    pub fn reserve(&self) -> Reserve {
        Reserve {
            coherence: self.coherence.clone(),
            longest: self.policies.longest_staleness(),
        }
    }
}

/// Looks after the store until `readiness` has no receivers left, and logs what changes. While the
/// store cannot be read, Validate can answer as long as there is a `reserve`.
pub async fn watch(store: Arc<dyn Store>, reserve: Reserve, readiness: watch::Sender<Readiness>) {
    store.settled().await;
    let mut last: Option<Probe> = None;
    while !readiness.is_closed() {
        // Each for itself: a store that is slow to write can still be read.
        let (read, write) = tokio::join!(in_time(store.probe_read()), in_time(store.probe_write()));
        let reserve = read.is_err() && reserve.is_left();
        let probe = Probe {
            read,
            write,
            reserve,
        };
        let now = Readiness {
            validate: probe.read.is_ok() || reserve,
            manage: probe.read.is_ok() && probe.write.is_ok(),
        };
        if last.as_ref() != Some(&probe) {
            report(&probe, store.as_ref());
            last = Some(probe);
        }
        readiness.send_if_modified(|before| std::mem::replace(before, now) != now);
        tokio::time::sleep(EVERY).await;
    }
}

/// What a look at the store found: for each use, why it is not possible.
#[derive(PartialEq, Eq)]
struct Probe {
    read: Result<(), StoreError>,
    write: Result<(), StoreError>,
    /// It cannot be read, and degraded answers are possible.
    reserve: bool,
}

async fn in_time(look: impl Future<Output = Result<(), StoreError>>) -> Result<(), StoreError> {
    let looked = tokio::time::timeout(EVERY, look).await;
    looked.unwrap_or(Err(StoreError::Slow(EVERY)))
}

fn report(probe: &Probe, store: &dyn Store) {
    match (&probe.read, &probe.write) {
        (Ok(()), Ok(())) => {
            let id = store.id().map(|id| id.to_string()).unwrap_or_default();
            let durability = store.durability().map_or("", |class| class.as_str());
            tracing::info!(store_id = id, durability, "serving");
        }
        (Ok(()), Err(why)) => tracing::warn!(%why, "validating only: changes cannot be kept"),
        (Err(why), _) if probe.reserve => {
            tracing::warn!(%why, "validating from memory only: such answers say that they are degraded");
        }
        (Err(why), _) => tracing::warn!(%why, "not serving"),
    }
}
