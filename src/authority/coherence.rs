//! Coherence at work: this process renews its cache lease, and makes each change known everywhere
//! before it is answered.
//!
//! The rules are `domain::coherence`; here are the tasks, the clocks and the store.

mod announcing;
mod attending;
mod renewing;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{AwakeClock, BootClock, SteadyClock};
use crate::domain::coherence::barrier::{Barrier, Next};
use crate::domain::coherence::registry::{Absent, Announced};
use crate::domain::coherence::replica::Replica;
use crate::domain::coherence::{
    Epoch, Invalidation, RECORD_AGE_MAX, RECORD_AGE_MAX_ALONE, ReplicaId,
};
use crate::domain::time::Steady;
use crate::domain::token::TokenId;
use crate::entropy::{self, EntropyError};
use crate::metrics::{Metrics, Remembered};
use crate::store::{Store, StoreError};

use super::cache::{Cache, CacheBounds};
use super::permits::Permits;
use announcing::Announcer;
use attending::{Attending, LATE, LOOKS_AT_ONCE, SOON};

/// Time between two attempts to announce a change that is written already.
const ANNOUNCE_AGAIN: Duration = Duration::from_millis(50);

/// The cache of this process, and what keeps it true.
pub struct Coherence {
    pub(super) cache: Arc<Cache>,
    /// Used under the same lease, and dropped with what is remembered.
    pub(super) permits: Arc<Permits>,
    store: Arc<dyn Store>,
    own: ReplicaId,
    replica: Mutex<Replica>,
    /// The epoch that was seen last, and when first, by `awake`.
    sight: Mutex<Option<(Epoch, Steady)>>,
    announcer: Announcer,
    attending: Attending,
    /// What changes wait by.
    awake: AwakeClock,
    metrics: Arc<Metrics>,
}

impl Coherence {
    pub(super) fn new(
        store: Arc<dyn Store>,
        bounds: CacheBounds,
        metrics: Arc<Metrics>,
    ) -> Result<Self, EntropyError> {
        let own = entropy::replica_id()?;
        Ok(Self::of(own, store, bounds, metrics))
    }

    /// The same, anew, within other bounds.
    pub(super) fn within(&self, bounds: CacheBounds) -> Self {
        Self::of(self.own, self.store.clone(), bounds, self.metrics.clone())
    }

    /// The same, anew, counting in `metrics`.
    pub(super) fn counting(&self, metrics: Arc<Metrics>) -> Self {
        Self::of(self.own, self.store.clone(), self.cache.bounds(), metrics)
    }

    fn of(
        own: ReplicaId,
        store: Arc<dyn Store>,
        bounds: CacheBounds,
        metrics: Arc<Metrics>,
    ) -> Self {
        let clock = Arc::new(BootClock);
        let permits = Permits::new(store.clone(), clock.clone(), metrics.clone());
        let age_max = match store.is_shared() {
            true => RECORD_AGE_MAX,
            false => RECORD_AGE_MAX_ALONE,
        };
        let cache = Cache::new(store.clone(), bounds, age_max, clock, metrics.clone());
        Self {
            cache: Arc::new(cache),
            permits: Arc::new(permits),
            announcer: Announcer::default(),
            attending: Attending::default(),
            store,
            own,
            replica: Mutex::new(Replica::new(own)),
            sight: Mutex::default(),
            awake: AwakeClock::begin(),
            metrics,
        }
    }

    /// What the registry knows this process by.
    pub(super) fn replica_id(&self) -> ReplicaId {
        self.own
    }

    /// What is remembered, and for how long it may be answered from.
    pub fn remembered(&self) -> Remembered {
        Remembered {
            permits: self.permits.outstanding(),
            ..self.cache.remembered()
        }
    }

    /// For how long nothing could be answered from memory by a lease, since one last could; `None`
    /// where none ever could.
    pub fn lapsed(&self) -> Option<Duration> {
        self.cache.lapse().map(|lapse| lapse.span)
    }

    /// The barrier: to be passed when a change was written, and by every repeat of one, before it is
    /// answered. After it no replica answers as before the change.
    ///
    /// An error means that others may do so for as long as [`RECORD_AGE_MAX`].
    pub(super) async fn changed(self: &Arc<Self>, change: Invalidation) -> Result<(), StoreError> {
        let begun = self.awake.now();
        self.invalidate(change);
        let announced = self.announced(change).await?;
        let seen = self.see(announced.epoch);
        let now = self.awake.now();
        let mut barrier = Barrier::begin(announced, self.own, seen, now);
        let absent = self.pass(&mut barrier).await;
        if let Some(absent) = absent {
            tracing::warn!(
                servers = absent.members.len(),
                "a change waited for servers that did not say a word"
            );
            // Nobody waits for it: their leases have run out, whether it succeeds or not.
            let coherence = self.clone();
            tokio::spawn(async move { coherence.strike(&absent).await });
        }
        let span = self.awake.now().saturating_since(begun);
        self.metrics.cache.waited(span);
        Ok(())
    }

    async fn strike(&self, absent: &Absent) {
        if let Err(error) = self.store.strike(absent).await {
            tracing::debug!(%error, "they are not struck off yet");
        }
    }

    /// Waits until nobody is waited for any more; answers whom it was in vain for.
    async fn pass(&self, barrier: &mut Barrier) -> Option<Absent> {
        let (mut looks, mut pause) = (0, SOON);
        loop {
            let now = self.awake.now();
            let left = match barrier.next(now) {
                Next::Done(absent) => return absent,
                Next::Wait(until) => until.saturating_since(now),
            };
            if barrier.awaits_somebody() {
                if let Some(attendance) = self.attending.look(&*self.store, left).await {
                    barrier.attended(&attendance);
                }
                looks += 1;
                if looks >= LOOKS_AT_ONCE && barrier.awaits_somebody() {
                    tokio::time::sleep(pause.min(left)).await;
                    pause = (pause * 2).min(LATE);
                }
            } else {
                // For the epoch to settle.
                tokio::time::sleep(left).await;
            }
        }
    }

    /// Forgets a token here, where it is not known whether it was changed.
    pub(super) fn doubt(&self, token: TokenId) {
        self.invalidate(Invalidation {
            token,
            revision: u64::MAX,
        });
    }

    fn invalidate(&self, change: Invalidation) {
        self.cache.invalidate(change);
        self.permits.invalidate(change);
    }

    /// Announces a change that is written: it is not given up at the first failure.
    async fn announced(self: &Arc<Self>, change: Invalidation) -> Result<Announced, StoreError> {
        let begun = self.awake.now();
        loop {
            match self.announcer.announce(&self.store, change).await {
                Ok(announced) => return Ok(announced),
                Err(error @ StoreError::Closed) => return Err(error),
                Err(error) => {
                    let tried = self.awake.now().saturating_since(begun);
                    if tried >= RECORD_AGE_MAX {
                        return Err(error);
                    }
                    tokio::time::sleep(ANNOUNCE_AGAIN).await;
                }
            }
        }
    }

    /// When an epoch that is seen now was seen first.
    fn see(&self, epoch: Epoch) -> Steady {
        let now = self.awake.now();
        let mut sight = self.sight.lock().unwrap_or_else(PoisonError::into_inner);
        match *sight {
            Some((known, since)) if known == epoch => since,
            _ => {
                *sight = Some((epoch, now));
                now
            }
        }
    }

    fn replica(&self) -> std::sync::MutexGuard<'_, Replica> {
        self.replica.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
