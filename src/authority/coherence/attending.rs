//! Attending: who waits for replicas looks together how far they have come.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::domain::coherence::registry::Attendance;
use crate::store::RegistryStore;

/// Looks that follow one another at once: as a rule replicas answer meanwhile, and in less time than the
/// shortest that can be slept.
pub(super) const LOOKS_AT_ONCE: u32 = 5;
/// Time between two looks after that: at first, and at the longest.
pub(super) const SOON: Duration = Duration::from_millis(1);
pub(super) const LATE: Duration = Duration::from_millis(16);

/// The last look, which many share.
#[derive(Default)]
pub(super) struct Attending(Mutex<Option<Look>>);

struct Look {
    /// Before it was asked for.
    begun: Instant,
    attendance: Arc<Attendance>,
}

impl Attending {
    /// Looks, or answers what another sees who begins to look after this was called; `None` where the
    /// store does not answer within `limit`.
    ///
    /// An earlier look would not do: it may lack a replica that came after it, and that was a member
    /// when the change was announced. Whoever is missing counts as one that has given up its lease.
    pub(super) async fn look(
        &self,
        store: &dyn RegistryStore,
        limit: Duration,
    ) -> Option<Arc<Attendance>> {
        let asked = Instant::now();
        let end = asked + limit;
        let mut last = tokio::time::timeout_at(end, self.0.lock()).await.ok()?;
        if let Some(look) = last.as_ref().filter(|look| asked <= look.begun) {
            return Some(look.attendance.clone());
        }
        let begun = Instant::now();
        let answer = tokio::time::timeout_at(end, store.attendance()).await;
        let attendance = Arc::new(answer.ok()?.ok()?);
        *last = Some(Look {
            begun,
            attendance: attendance.clone(),
        });
        Some(attendance)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use tokio::sync::{Semaphore, broadcast};
    use tokio::task::JoinSet;

    use super::*;
    use crate::domain::coherence::registry::{Absent, Announced, Members, Renewal, Renewed};
    use crate::domain::coherence::{Epoch, Invalidation, ReplicaId};
    use crate::domain::time::Timestamp;
    use crate::entropy;
    use crate::store::StoreError;
    use crate::store::registry::Heard;

    const LONG: Duration = Duration::from_secs(60);

    /// A registry that is looked at, and lets looks end one by one.
    struct Seen {
        epoch: Epoch,
        looks: AtomicUsize,
        let_end: Semaphore,
    }

    impl Seen {
        fn new(let_end: usize) -> Arc<Self> {
            Arc::new(Self {
                epoch: entropy::epoch().unwrap(),
                looks: AtomicUsize::new(0),
                let_end: Semaphore::new(let_end),
            })
        }

        fn looks(&self) -> usize {
            self.looks.load(Ordering::SeqCst)
        }
    }

    #[async_trait]
    impl RegistryStore for Seen {
        fn is_shared(&self) -> bool {
            true
        }

        async fn attendance(&self) -> Result<Attendance, StoreError> {
            self.looks.fetch_add(1, Ordering::SeqCst);
            self.let_end.acquire().await.unwrap().forget();
            let (epoch, members) = (self.epoch, Members::new());
            Ok(Attendance { epoch, members })
        }

        async fn renew(&self, _: &Renewal) -> Result<(Renewed, Timestamp), StoreError> {
            Err(StoreError::Closed)
        }

        async fn announce(&self, _: &[Invalidation]) -> Result<Announced, StoreError> {
            Err(StoreError::Closed)
        }

        async fn strike(&self, _: &Absent) -> Result<(), StoreError> {
            Err(StoreError::Closed)
        }

        async fn resign(&self, _: ReplicaId) -> Result<(), StoreError> {
            Err(StoreError::Closed)
        }

        fn nudges(&self) -> broadcast::Receiver<Heard> {
            broadcast::Sender::new(1).subscribe()
        }
    }

    #[tokio::test]
    async fn a_look_that_began_before_it_was_asked_for_is_not_shared() {
        let (registry, attending) = (Seen::new(100), Attending::default());
        for looks in 1..=100 {
            attending.look(&*registry, LONG).await.unwrap();
            assert_eq!(registry.looks(), looks);
        }
    }

    #[tokio::test]
    async fn all_who_ask_while_one_looks_share_the_next_look() {
        let (registry, attending) = (Seen::new(0), Arc::new(Attending::default()));
        let mut asking = JoinSet::new();
        for _ in 0..20 {
            let (registry, attending) = (registry.clone(), attending.clone());
            asking.spawn(async move { attending.look(&*registry, LONG).await.is_some() });
        }
        // All have asked when this comes to its turn again.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(registry.looks(), 1);
        registry.let_end.add_permits(2);
        assert!(asking.join_all().await.into_iter().all(|seen| seen));
        assert_eq!(registry.looks(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_they_may_for_a_look_their_own_or_another_s() {
        let (registry, attending) = (Seen::new(0), Attending::default());
        let limit = Duration::from_millis(3);
        let look = |limit| attending.look(&*registry, limit);
        let begun = Instant::now();
        assert!(look(limit).await.is_none());
        assert_eq!(begun.elapsed(), limit);
        tokio::select! {
            biased;
            _ = look(LONG) => panic!("it does not end"),
            seen = look(limit) => assert!(seen.is_none()),
        }
        assert_eq!(begun.elapsed(), 2 * limit);
    }
}
