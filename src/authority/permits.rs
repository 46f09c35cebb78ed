//! Permits at work: this process takes uses of busy tokens from their limits ahead, in batches, and
//! admits by those without asking anybody.
//!
//! The rules of batches are `domain::permits`. A batch is used only where the token is answered from
//! memory under a lease, as it was when the batch was taken: so a change that was answered ends its
//! use everywhere, as it ends every answer from memory. It is used up, carried back with the next
//! question for one, or given back by [`Permits::keep`].

mod meter;
mod returning;
mod slot;
mod wishing;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quick_cache::sync::Cache;
use tokio::sync::{Notify, Semaphore, watch};

use crate::clock::SteadyClock;
use crate::domain::coherence::Invalidation;
use crate::domain::coherence::registry::News;
use crate::domain::permits::{Ahead, BatchId, HELD_PART, QUOTA_PART, Wish};
use crate::domain::spending::{Left, Scope};
use crate::domain::time::{Steady, Timestamp};
use crate::domain::token::{Token, TokenId};
use crate::entropy;
use crate::metrics::Metrics;
use crate::store::{LimitStore, Take};

use slot::{Batch, Slots, Wished};
use wishing::{Waiting, Wishing};

/// Most tokens whose use is followed. Of more, those that are used least go one use at a time; what
/// they hold is given back all the same.
const TOKENS_MAX: usize = 16_384;
/// Most batches that wait for their end; with so many none is asked for.
const LIVE_MAX: usize = 16_384;

/// The batches of this process.
pub(super) struct Permits {
    store: Arc<dyn LimitStore>,
    slots: Cache<TokenId, Arc<Slots>>,
    /// Those that were granted and may not have ended, in the order of their grants.
    live: Mutex<VecDeque<Live>>,
    granted: Notify,
    /// Counts how often all were dropped.
    drops: AtomicU64,
    is_closed: AtomicBool,
    /// Takes that bring batches, or carry them back.
    under_way: watch::Sender<usize>,
    turns: Semaphore,
    clock: Arc<dyn SteadyClock>,
    metrics: Arc<Metrics>,
}

/// A batch that was granted, and where it is.
#[derive(Clone)]
struct Live {
    until: Steady,
    slots: Arc<Slots>,
    scope: Scope,
    id: BatchId,
}

/// What is to be done about a use.
pub(super) enum Asked {
    /// Nothing: it was taken from a batch. This is left.
    Spent(Left),
    /// Another asks for a batch: it may be waited for.
    Wait(Waiting),
    /// It is taken alone.
    Alone,
    /// It is taken with a batch.
    Ahead(Box<Wishing>),
}

impl Permits {
    pub(super) fn new(
        store: Arc<dyn LimitStore>,
        clock: Arc<dyn SteadyClock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            store,
            slots: Cache::new(TOKENS_MAX),
            live: Mutex::default(),
            granted: Notify::new(),
            drops: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
            under_way: watch::Sender::new(0),
            turns: Semaphore::new(returning::AT_ONCE),
            clock,
            metrics,
        }
    }

    /// Takes a use from a batch, if there is one that holds so many. Answers what is left then.
    ///
    /// The token was found in memory, under a lease that was in force at `at`, and judged to be valid
    /// at `now`, which the store's time has not passed.
    pub(super) fn spend(&self, take: &Take, now: Timestamp, at: Steady) -> Option<Left> {
        let slots = self.slots.get(&take.token.id)?;
        let left = slots.of(take.scope).lock().spend(take, now, at)?;
        self.metrics.permits.used.inc_by(take.cost);
        Some(left)
    }

    /// The same, or says how else it is taken. `first` says whether it is the first time that this use
    /// is asked about; only then it may have to wait.
    pub(super) fn ask(&self, take: &Take, now: Timestamp, at: Steady, first: bool) -> Asked {
        let most = most(&take.token, take.scope);
        if most < 2 {
            return Asked::Alone;
        }
        let fresh = || Ok::<_, Infallible>(Arc::new(Slots::begin(at)));
        let Ok(slots) = self.slots.get_or_insert_with(&take.token.id, fresh);
        let mut state = slots.of(take.scope).lock();
        if let Some(left) = state.spend(take, now, at) {
            drop(state);
            self.metrics.permits.used.inc_by(take.cost);
            return Asked::Spent(left);
        }
        if first {
            state.meter.count(at, take.cost);
        }
        if let Some(wished) = &state.wished {
            return match first {
                true => Asked::Wait(Waiting(wished.ends.clone())),
                false => Asked::Alone,
            };
        }
        let uses = state.meter.lately(at).min(most);
        if uses < 2 || at < state.barren_until {
            return Asked::Alone;
        }
        let Some((under_way, batch)) = self.begin().zip(draw()) else {
            return Asked::Alone;
        };
        let (ends, ended) = watch::channel(());
        let retired = state.retire();
        state.wished = Some(Wished {
            ends: ended,
            revision: take.token.revision,
            void: false,
        });
        drop(state);
        let ahead = Ahead {
            back: retired.as_ref().map(|retired| retired.back),
            wish: Some(Wish { batch, uses }),
        };
        Asked::Ahead(Box::new(Wishing {
            take: Take {
                ahead,
                ..take.clone()
            },
            slots,
            retired,
            sent: self.clock.now(),
            drops: self.drops.load(Ordering::SeqCst),
            ends: Some(ends),
            _under_way: under_way,
        }))
    }

    /// Drops what is held of a token that was changed, or may have been.
    pub(super) fn invalidate(self: &Arc<Self>, change: Invalidation) {
        let Some(slots) = self.slots.get(&change.token) else {
            return;
        };
        for slot in slots.both() {
            let retired = slot.lock().retire_before(change.revision);
            if let Some(retired) = retired {
                self.give_back(retired);
            }
        }
    }

    /// Applies what the registry tells.
    pub(super) fn apply(self: &Arc<Self>, news: &News) {
        match news {
            News::Entries(changes) => changes.iter().for_each(|change| self.invalidate(*change)),
            News::DropAll => self.drop_all(),
        }
    }

    /// Drops all that is held.
    pub(super) fn drop_all(self: &Arc<Self>) {
        self.drops.fetch_add(1, Ordering::SeqCst);
        let live = std::mem::take(&mut *self.live());
        live.iter().for_each(|live| self.end(live));
    }

    /// Uses that are held here and were not made.
    pub(super) fn outstanding(&self) -> u64 {
        let unused = |live: Live| {
            let state = live.slots.of(live.scope).lock();
            let batch = state.batch.as_ref().filter(|batch| batch.id == live.id);
            batch.map_or(0, Batch::unused)
        };
        // A copy: no slot is locked while these are.
        let live: Vec<Live> = self.live().iter().cloned().collect();
        live.into_iter().map(unused).sum()
    }

    fn end(self: &Arc<Self>, live: &Live) {
        let retired = live.slots.of(live.scope).lock().retire_if(live.id);
        if let Some(retired) = retired {
            self.give_back(retired);
        }
    }

    fn live(&self) -> MutexGuard<'_, VecDeque<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Most uses that may ever be granted in one batch of the token.
fn most(token: &Token, scope: Scope) -> u64 {
    let limits = token.profile.rate_limits.iter();
    let rates = limits.map(|limit| limit.burst() / HELD_PART / 2);
    let quota = token.profile.quota.filter(|_| scope == Scope::All);
    let quota = quota.map(|quota| quota.limit() / QUOTA_PART);
    rates.chain(quota).min().unwrap_or(0)
}

/// A name for a batch; `None` where the operating system gives no random bytes.
fn draw() -> Option<BatchId> {
    let [drawn] = entropy::draws::<1>().ok()?;
    Some(BatchId(drawn))
}

#[cfg(test)]
mod tests;
