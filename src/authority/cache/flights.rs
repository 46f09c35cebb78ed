//! Flights: reads on their way, one of a token at a time, that others may wait for too.
//!
//! A flight is *poisoned* when what it may have read was changed: then nobody joins it any more, what
//! it brings is not remembered, and whoever had joined it reads again.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::domain::token::TokenId;
use crate::store::{Found, StoreError};

/// Parts of the table, so that few wait for each other.
const SHARDS: usize = 64;

/// What a flight brought.
pub(super) type Landing = Result<Found, StoreError>;

/// One read of a token, which may not have begun yet.
#[derive(Debug)]
pub(super) struct Flight {
    poisoned: AtomicBool,
    landed: watch::Sender<Option<Landing>>,
}

/// A flight that somebody waits for.
pub(super) struct Boarding {
    pub(super) flight: Arc<Flight>,
    /// Whoever gets it has to carry it out, and all that follow it.
    pub(super) pilot: bool,
    /// It began, or will begin, after whoever waits for it came.
    pub(super) own: bool,
}

/// The flights of a token: at most one is under way, and one waits for it to end.
struct Lane {
    under_way: Arc<Flight>,
    next: Option<Arc<Flight>>,
}

/// All flights.
pub(super) struct Flights {
    lanes: Box<[Mutex<HashMap<TokenId, Lane>>]>,
    hasher: RandomState,
}

impl Flight {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            poisoned: AtomicBool::new(false),
            landed: watch::Sender::new(None),
        })
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Waits until it has landed.
    pub(super) async fn landed(&self) -> Landing {
        let mut landed = self.landed.subscribe();
        let landing = landed.wait_for(Option::is_some).await;
        // It cannot fail: the sender lives as long as `self`.
        let landing = landing.ok().and_then(|landing| landing.clone());
        landing.unwrap_or(Err(StoreError::Closed))
    }
}

impl Default for Flights {
    fn default() -> Self {
        Self {
            lanes: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl Flights {
    fn shard(&self, id: TokenId) -> MutexGuard<'_, HashMap<TokenId, Lane>> {
        // The remainder fits a usize.
        let shard = (self.hasher.hash_one(id) % SHARDS as u64) as usize;
        let lanes = self.lanes[shard].lock();
        lanes.unwrap_or_else(PoisonError::into_inner)
    }

    /// A flight that whoever comes now, and `may_join` one that began before, waits for.
    pub(super) fn board(&self, id: TokenId, may_join: bool) -> Boarding {
        let mut lanes = self.shard(id);
        let Some(lane) = lanes.get_mut(&id) else {
            let flight = Flight::new();
            let lane = Lane {
                under_way: flight.clone(),
                next: None,
            };
            lanes.insert(id, lane);
            return Boarding {
                flight,
                pilot: true,
                own: true,
            };
        };
        let join = may_join && !lane.under_way.is_poisoned();
        let flight = match join {
            true => lane.under_way.clone(),
            false => lane.next.get_or_insert_with(Flight::new).clone(),
        };
        Boarding {
            flight,
            pilot: false,
            own: !join,
        }
    }

    /// Lands a flight: `remember` is called where it was not poisoned, and no change is applied
    /// meanwhile. Answers the flight that is to be carried out next.
    pub(super) fn land(
        &self,
        id: TokenId,
        flight: &Flight,
        landing: Landing,
        remember: impl FnOnce(&Found),
    ) -> Option<Arc<Flight>> {
        let next = {
            let mut lanes = self.shard(id);
            if let (Ok(found), false) = (&landing, flight.is_poisoned()) {
                remember(found);
            }
            let next = lanes.get_mut(&id).and_then(|lane| lane.next.take());
            match &next {
                Some(next) => {
                    let lane = Lane {
                        under_way: next.clone(),
                        next: None,
                    };
                    lanes.insert(id, lane);
                }
                None => drop(lanes.remove(&id)),
            }
            next
        };
        flight.landed.send_replace(Some(landing));
        next
    }

    /// Poisons what is under way of a token, and calls `forget`; nothing lands meanwhile.
    pub(super) fn poison(&self, id: TokenId, forget: impl FnOnce()) -> bool {
        let lanes = self.shard(id);
        let under_way = lanes.get(&id);
        if let Some(lane) = under_way {
            lane.under_way.poisoned.store(true, Ordering::Release);
        }
        forget();
        under_way.is_some()
    }

    /// Poisons all that is under way; answers how many were.
    pub(super) fn poison_all(&self) -> u64 {
        let mut poisoned = 0;
        for lanes in &self.lanes {
            let lanes = lanes.lock().unwrap_or_else(PoisonError::into_inner);
            for lane in lanes.values() {
                lane.under_way.poisoned.store(true, Ordering::Release);
                poisoned += 1;
            }
        }
        poisoned
    }
}
