//! Waiting for a lease: first come, first served over all servers, woken and never polling busily.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::domain::caller::Caller;
use crate::domain::lease::{Lease, WaiterId};
use crate::domain::pool::Pool;
use crate::domain::tenure::Grant;
use crate::domain::time::Timestamp;
use crate::domain::token::Token;
use crate::entropy;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::store::bells::Bell;
use crate::store::leases::{ASK_AGAIN, Acquired, Asking};

use super::Authority;
use super::error::Error;
use super::leases::replay_refused;

/// A call that may be on hold, as whoever carries it sees it.
#[async_trait]
pub trait OnHold: Send {
    /// Holds the call until `over`, unless it is interrupted before.
    async fn hold(
        &mut self,
        over: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Result<(), Interruption>;

    /// Who calls, as that is judged by now.
    async fn caller_by_now(&mut self) -> Result<Arc<Caller>, Error>;

    /// Whether nobody wants the answer any more.
    fn has_gone(&mut self) -> bool;
}

/// Why a call is not held any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    CallerGone,
    /// The connection takes no more calls; alone, or with the server.
    Leaving {
        alone: bool,
    },
}

/// A lease that the store granted.
pub(super) struct Granted {
    pub(super) token: Box<Token>,
    pub(super) lease: Box<Lease>,
    pub(super) now: Timestamp,
    pub(super) replayed: bool,
    /// The call was on hold before.
    pub(super) waited: bool,
}

/// When to try again where no end of a lease is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Shortest pause before a call asks again though nothing rang.
const PAUSE_MIN: Duration = Duration::from_millis(1);

impl Authority {
    /// Asks for a lease until it is granted, `wait` is over, or the call is interrupted.
    pub(super) async fn granted(
        &self,
        pool: &Pool,
        grant: Grant,
        wait: Duration,
        on_hold: &mut dyn OnHold,
    ) -> Result<Granted, Error> {
        let mut asking = Asking {
            pool: pool.clone(),
            grant,
            waiter: None,
        };
        if wait.is_zero() {
            return match self.asked(&asking).await? {
                Ok(granted) => Ok(granted),
                Err(turn) => Err(exhausted(pool, turn)),
            };
        }
        let Some(mut place) = Place::take(self, pool)? else {
            let limit = self.waiting_max;
            let refused = |_| Error::TooManyWaiting { limit };
            return self.asked(&asking).await?.map_err(refused);
        };
        asking.waiter = Some(place.waiter);
        let end = Instant::now() + wait;
        let mut waited = false;
        loop {
            let turn = match self.asked(&asking).await {
                Ok(Ok(granted)) => {
                    place.left = true;
                    return Ok(Granted { waited, ..granted });
                }
                Ok(Err(turn)) => turn,
                Err(error) => {
                    place.leave().await;
                    return Err(error);
                }
            };
            let now = Instant::now();
            if now >= end {
                place.leave().await;
                return Err(exhausted(pool, turn));
            }
            let pause = turn.unwrap_or(ASK_AGAIN).clamp(PAUSE_MIN, ASK_AGAIN);
            let again = end.min(now + pause);
            waited = true;
            let held = {
                let over = async {
                    tokio::select! {
                        () = place.bell.rung() => {}
                        () = tokio::time::sleep_until(again) => {}
                    }
                };
                on_hold.hold(std::pin::pin!(over)).await
            };
            if let Err(interruption) = held {
                place.leave().await;
                return Err(match interruption {
                    Interruption::CallerGone => Error::CallerGone,
                    Interruption::Leaving { alone } => Error::Leaving { alone },
                });
            }
        }
    }

    /// Asks once; where no token is for this call, answers the time until one may be.
    async fn asked(&self, asking: &Asking) -> Result<Result<Granted, Option<Duration>>, Error> {
        match self.store.acquire(asking).await? {
            Acquired::Granted {
                token,
                lease,
                now,
                replayed,
            } => Ok(Ok(Granted {
                token,
                lease,
                now,
                replayed,
                waited: false,
            })),
            Acquired::Busy { now, turn } => Ok(Err(turn.map(|turn| turn.saturating_since(now)))),
            Acquired::Empty => Err(Error::PoolNotFound(asking.pool.clone())),
            Acquired::Refused(refusal) => Err(replay_refused(refusal, asking.pool.clone())),
        }
    }
}

fn exhausted(pool: &Pool, turn: Option<Duration>) -> Error {
    Error::PoolExhausted {
        pool: pool.clone(),
        retry_after: turn.unwrap_or(RETRY_AFTER).max(PAUSE_MIN),
    }
}

/// A place in the queue before a pool, given up on every way out.
struct Place {
    pool: Pool,
    waiter: WaiterId,
    bell: Bell,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    /// It is given up already, or was used.
    left: bool,
}

impl Place {
    /// `None` where as many wait here as may.
    fn take(authority: &Authority, pool: &Pool) -> Result<Option<Self>, Error> {
        let digits = entropy::digits(WaiterId::DIGITS)?;
        let waiter = WaiterId::parse(&digits).map_err(|flaw| Error::Internal(flaw.to_string()))?;
        let (store, metrics) = (authority.store.clone(), authority.metrics.clone());
        let before = metrics.leases_waiting.inc();
        if usize::try_from(before).unwrap_or_default() >= authority.waiting_max {
            metrics.leases_waiting.dec();
            return Ok(None);
        }
        Ok(Some(Self {
            pool: pool.clone(),
            waiter,
            bell: store.bells().hang(waiter),
            store,
            metrics,
            left: false,
        }))
    }

    /// Gives the place up. Where the store cannot be told, it goes by itself soon.
    async fn leave(&mut self) {
        self.left = true;
        if let Err(why) = self.store.leave(&self.pool, self.waiter).await {
            tracing::debug!(%why, "a place in a queue is left to itself");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.leases_waiting.dec();
        if !self.left {
            let (store, pool, waiter) = (self.store.clone(), self.pool.clone(), self.waiter);
            tokio::spawn(async move { store.leave(&pool, waiter).await });
        }
    }
}
