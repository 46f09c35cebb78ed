//! A store that measures another: how long each operation took, and why it failed; what no passing of
//! time mends is told in the log.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::domain::caller::Reach;
use crate::domain::coherence::registry::{Absent, Announced, Attendance, Renewal, Renewed};
use crate::domain::coherence::{Invalidation, ReplicaId};
use crate::domain::event::EventCursor;
use crate::domain::lease::WaiterId;
use crate::domain::name::Namespace;
use crate::domain::page::{Cursor, Filter, PageSize};
use crate::domain::pool::Pool;
use crate::domain::spending::Spending;
use crate::domain::time::Timestamp;
use crate::domain::token::{Draft, Token, TokenId};
use crate::domain::usage::{Book, Hour, Subject, Summary};
use crate::metrics::{Failure, Metrics, Operation};

use super::bells::Bells;
use super::events::{EventStore, Events, Told as ToldEvents};
use super::leases::{Acquired, Asking, Beat, KeptAlive, LeaseTarget, Pools, Released};
use super::registry::Heard;
use super::usage::{Flush, InForce, UsageStore};
use super::{
    Census, Change, Creation, Deletion, Durability, Found, LeaseStore, LimitStore, NamespaceStore,
    Page, RegistryStore, Rule, Store, StoreError, StoreId, StoreStatus, Sweeping, Swept, Take,
    Taken, TokenStore,
};

/// How long after such a failure was told others are passed over in silence.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// A store, measured.
pub struct Measured {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    told: Told,
}

/// When a failure that an operator must mend was told last.
#[derive(Default)]
struct Told(Mutex<Option<Instant>>);

impl Told {
    /// Health and metrics may miss what meets only some calls: a right that the store's user lacks
    /// for one command, or one record that is damaged.
    fn tell(&self, operation: Operation, error: &StoreError) {
        if !matches!(error, StoreError::Unacceptable(_) | StoreError::Corrupt(_)) {
            return;
        }
        if self.is_due(Instant::now()) {
            tracing::warn!(?operation, why = %error, "a call met a store that an operator must mend");
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|at| now.saturating_duration_since(at) < TELL_EVERY) {
            return false;
        }
        *told = Some(now);
        true
    }
}

impl Measured {
    pub fn new(store: Arc<dyn Store>, metrics: Arc<Metrics>) -> Self {
        Self {
            store,
            metrics,
            told: Told::default(),
        }
    }

    async fn timed<T>(
        &self,
        operation: Operation,
        act: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut timing = Timing {
            metrics: &self.metrics,
            operation,
            begun: Instant::now(),
            failure: Some(Failure::Abandoned),
        };
        let result = act.await;
        if let Err(error) = &result {
            timing.failure = Some(failure(error));
            self.told.tell(operation, error);
        } else {
            timing.failure = None;
        }
        result
    }
}

/// An operation on its way; counted when it ends, or nobody waits for it any longer.
struct Timing<'a> {
    metrics: &'a Metrics,
    operation: Operation,
    begun: Instant,
    failure: Option<Failure>,
}

impl Drop for Timing<'_> {
    fn drop(&mut self) {
        let store = &self.metrics.store;
        store.took(self.operation, self.begun.elapsed(), self.failure);
    }
}

fn failure(error: &StoreError) -> Failure {
    match error {
        StoreError::Unreachable(_) => Failure::Unreachable,
        StoreError::Slow(_) => Failure::Slow,
        StoreError::Unacceptable(_) => Failure::Unacceptable,
        StoreError::ReadOnly(_) => Failure::ReadOnly,
        StoreError::Corrupt(_) => Failure::Corrupt,
        StoreError::Contended(_) => Failure::Contended,
        StoreError::Unreplicated { .. } => Failure::Unreplicated,
        StoreError::Closed => Failure::Closed,
    }
}

#[async_trait]
impl TokenStore for Measured {
    async fn find(&self, id: TokenId) -> Result<Found, StoreError> {
        self.timed(Operation::Find, self.store.find(id)).await
    }

    async fn find_again(&self, known: &Arc<Token>) -> Result<Found, StoreError> {
        self.timed(Operation::Find, self.store.find_again(known))
            .await
    }

    async fn unchanged(&self, asked: &[(TokenId, u64)]) -> Result<Vec<bool>, StoreError> {
        self.timed(Operation::Unchanged, self.store.unchanged(asked))
            .await
    }

    async fn create(&self, draft: Draft) -> Result<Creation, StoreError> {
        self.timed(Operation::Create, self.store.create(draft))
            .await
    }

    async fn change(&self, id: TokenId, rule: Rule) -> Result<Change, StoreError> {
        self.timed(Operation::Change, self.store.change(id, rule))
            .await
    }

    async fn delete(&self, id: TokenId, rule: Rule) -> Result<Deletion, StoreError> {
        self.timed(Operation::Delete, self.store.delete(id, rule))
            .await
    }

    async fn list(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<Page, StoreError> {
        self.timed(Operation::List, self.store.list(filter, after, size))
            .await
    }
}

#[async_trait]
impl LimitStore for Measured {
    async fn take(&self, take: &Take) -> Result<Taken, StoreError> {
        self.timed(Operation::Take, self.store.take(take)).await
    }

    async fn spending(&self, tokens: &[Arc<Token>]) -> Result<Vec<Spending>, StoreError> {
        self.timed(Operation::Spending, self.store.spending(tokens))
            .await
    }
}

#[async_trait]
impl LeaseStore for Measured {
    async fn acquire(&self, asking: &Asking) -> Result<Acquired, StoreError> {
        self.timed(Operation::Acquire, self.store.acquire(asking))
            .await
    }

    async fn leave(&self, pool: &Pool, waiter: WaiterId) -> Result<(), StoreError> {
        self.timed(Operation::Leave, self.store.leave(pool, waiter))
            .await
    }

    async fn release(&self, target: LeaseTarget, reach: &Reach) -> Result<Released, StoreError> {
        self.timed(Operation::Release, self.store.release(target, reach))
            .await
    }

    async fn keep_alive(&self, beat: &Beat) -> Result<KeptAlive, StoreError> {
        self.timed(Operation::KeepAlive, self.store.keep_alive(beat))
            .await
    }

    async fn pools(
        &self,
        reach: &Reach,
        after: Option<&Pool>,
        size: PageSize,
    ) -> Result<Pools, StoreError> {
        self.timed(Operation::Pools, self.store.pools(reach, after, size))
            .await
    }

    async fn be_seen(&self) -> Result<(), StoreError> {
        self.timed(Operation::BeSeen, self.store.be_seen()).await
    }

    fn bells(&self) -> &Bells {
        self.store.bells()
    }
}

#[async_trait]
impl RegistryStore for Measured {
    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    async fn renew(&self, renewal: &Renewal) -> Result<(Renewed, Timestamp), StoreError> {
        self.timed(Operation::Renew, self.store.renew(renewal))
            .await
    }

    async fn announce(&self, changes: &[Invalidation]) -> Result<Announced, StoreError> {
        self.timed(Operation::Announce, self.store.announce(changes))
            .await
    }

    async fn attendance(&self) -> Result<Attendance, StoreError> {
        self.timed(Operation::Attendance, self.store.attendance())
            .await
    }

    async fn strike(&self, absent: &Absent) -> Result<(), StoreError> {
        self.timed(Operation::Strike, self.store.strike(absent))
            .await
    }

    async fn resign(&self, replica: ReplicaId) -> Result<(), StoreError> {
        self.timed(Operation::Resign, self.store.resign(replica))
            .await
    }

    fn nudges(&self) -> broadcast::Receiver<Heard> {
        self.store.nudges()
    }
}

#[async_trait]
impl NamespaceStore for Measured {
    async fn census(
        &self,
        reach: &Reach,
        after: Option<&Namespace>,
        size: PageSize,
    ) -> Result<Census, StoreError> {
        let census = self.store.census(reach, after, size);
        self.timed(Operation::Census, census).await
    }
}

#[async_trait]
impl EventStore for Measured {
    async fn events(&self, after: EventCursor) -> Result<Events, StoreError> {
        self.timed(Operation::Events, self.store.events(after))
            .await
    }

    async fn last_event(&self) -> Result<EventCursor, StoreError> {
        self.timed(Operation::LastEvent, self.store.last_event())
            .await
    }

    async fn tell(&self) -> Result<ToldEvents, StoreError> {
        self.timed(Operation::Tell, self.store.tell()).await
    }
}

#[async_trait]
impl UsageStore for Measured {
    async fn add_usage(&self, flush: &Flush) -> Result<(), StoreError> {
        self.timed(Operation::AddUsage, self.store.add_usage(flush))
            .await
    }

    async fn usage(&self, subject: &Subject, from: Hour) -> Result<Book, StoreError> {
        self.timed(Operation::Usage, self.store.usage(subject, from))
            .await
    }

    async fn summaries(&self, tokens: &[TokenId], now: Hour) -> Result<Vec<Summary>, StoreError> {
        self.timed(Operation::Summaries, self.store.summaries(tokens, now))
            .await
    }

    async fn standing(
        &self,
        namespace: Option<&Namespace>,
        until: Timestamp,
        most: usize,
    ) -> Result<InForce, StoreError> {
        let asked = self.store.standing(namespace, until, most);
        self.timed(Operation::Standing, asked).await
    }
}

#[async_trait]
impl Sweeping for Measured {
    async fn sweep(&self) -> Result<Swept, StoreError> {
        self.timed(Operation::Sweep, self.store.sweep()).await
    }
}

#[async_trait]
impl StoreStatus for Measured {
    async fn settled(&self) {
        self.store.settled().await;
    }

    async fn probe_read(&self) -> Result<(), StoreError> {
        self.timed(Operation::ProbeRead, self.store.probe_read())
            .await
    }

    async fn probe_write(&self) -> Result<(), StoreError> {
        self.timed(Operation::ProbeWrite, self.store.probe_write())
            .await
    }

    async fn confirm(&self) -> Result<(), StoreError> {
        self.timed(Operation::Confirm, self.store.confirm()).await
    }

    fn id(&self) -> Result<StoreId, StoreError> {
        self.store.id()
    }

    fn durability(&self) -> Option<Durability> {
        self.store.durability()
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_must_mend_is_told_once_a_minute() {
        let told = Told::default();
        let start = Instant::now();
        assert!(told.is_due(start));
        assert!(!told.is_due(start + TELL_EVERY / 2));
        assert!(told.is_due(start + TELL_EVERY));
        assert!(!told.is_due(start + TELL_EVERY));
    }

    #[test]
    fn what_passes_by_itself_takes_no_line_from_what_does_not() {
        let told = Told::default();
        let lost = StoreError::Unreachable("gone".to_owned());
        told.tell(Operation::Find, &lost);
        assert_eq!(*told.0.lock().unwrap(), None);
        let denied = StoreError::Unacceptable("no right".to_owned());
        told.tell(Operation::Find, &denied);
        assert_ne!(*told.0.lock().unwrap(), None);
    }
}
