//! The registry of the one process that has the database open: it is kept in memory, as a rule.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::SqliteStore;
use crate::domain::coherence::registry::{
    Absent, Announced, Attendance, Registry, Renewal, Renewed,
};
use crate::domain::coherence::{Invalidation, Nudge, ReplicaId};
use crate::domain::time::Timestamp;
use crate::entropy::{self, EntropyError};
use crate::store::StoreError;
use crate::store::registry::{Heard, RegistryStore};

/// Nudges that may wait to be read.
const NUDGES_MAX: usize = 64;

/// The registry, and who wants to hear of it.
pub(super) struct HeldRegistry {
    registry: Mutex<Registry>,
    nudges: broadcast::Sender<Heard>,
}

impl HeldRegistry {
    /// A new one, settled: the lock on the database says that nobody else answers from it.
    pub(super) fn new() -> Result<Self, EntropyError> {
        Ok(Self {
            registry: Mutex::new(Registry::new(entropy::epoch()?, true)),
            nudges: broadcast::Sender::new(NUDGES_MAX),
        })
    }

    /// Announces, and sends a nudge before anybody else announces: so nudges come in the order of the
    /// log, and none seems to have been missed.
    fn announce(&self, changes: &[Invalidation]) -> Announced {
        let mut registry = self.lock();
        let announced = registry.announce(changes);
        // It fails where nobody listens.
        let _ = self.nudges.send(Heard::Nudge(Nudge {
            epoch: announced.epoch,
            last: announced.last,
            entries: changes.to_vec(),
        }));
        announced
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RegistryStore for SqliteStore {
    /// The file is held by a lock.
    fn is_shared(&self) -> bool {
        false
    }

    async fn renew(&self, renewal: &Renewal) -> Result<(Renewed, Timestamp), StoreError> {
        self.inner.confirm()?;
        let renewed = self.inner.registry.lock().renew(renewal);
        Ok((renewed, self.inner.time.now()))
    }

    async fn announce(&self, changes: &[Invalidation]) -> Result<Announced, StoreError> {
        Ok(self.inner.registry.announce(changes))
    }

    async fn attendance(&self) -> Result<Attendance, StoreError> {
        Ok(self.inner.registry.lock().attendance())
    }

    async fn strike(&self, absent: &Absent) -> Result<(), StoreError> {
        self.inner.registry.lock().strike(absent);
        Ok(())
    }

    async fn resign(&self, replica: ReplicaId) -> Result<(), StoreError> {
        self.inner.registry.lock().resign(replica);
        Ok(())
    }

    fn nudges(&self) -> broadcast::Receiver<Heard> {
        self.inner.registry.nudges.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nudges_of_many_who_announce_at_once_come_in_the_order_of_the_log() {
        const THREADS: usize = 4;
        for _ in 0..200 {
            let held = HeldRegistry::new().unwrap();
            let mut nudges = held.nudges.subscribe();
            std::thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        for _ in 0..NUDGES_MAX / THREADS {
                            let token = entropy::token_id().unwrap();
                            held.announce(&[Invalidation { token, revision: 1 }]);
                        }
                    });
                }
            });
            for last in 1..=NUDGES_MAX as u64 {
                match nudges.try_recv() {
                    Ok(Heard::Nudge(nudge)) => assert_eq!(nudge.last, last),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}
