//! Giving batches back: in the background, when nobody uses them any more, and before the store is
//! closed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::permits::{Ahead, TERM};
use crate::domain::spending::Scope;
use crate::store::limits::TAKE_ATTEMPTS;
use crate::store::{Found, StoreError, Take, Taken};

use super::slot::Retired;
use super::{LIVE_MAX, Permits};

/// Most batches that are given back in the background at once.
pub(super) const AT_ONCE: usize = 64;
/// Longest wait, before the store is closed, for all to be given back.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// Shortest pause between two looks at what was left.
const PAUSE: Duration = Duration::from_millis(2);

/// A take that brings a batch, or carries one back, is counted for as long as this lives.
pub(super) struct UnderWay(watch::Sender<usize>);

impl UnderWay {
    fn begin(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Permits {
    /// A place for one more batch; `None` where there is none.
    pub(super) fn begin(&self) -> Option<UnderWay> {
        // First: whoever closes waits for all that came before it said so.
        let under_way = UnderWay::begin(&self.under_way);
        let open = !self.is_closed.load(Ordering::SeqCst) && self.live().len() < LIVE_MAX;
        open.then_some(under_way)
    }

    /// Gives batches back that were left, until it is aborted.
    pub(in crate::authority) async fn keep(self: Arc<Self>) {
        loop {
            let first = self.live().front().map(|live| live.until);
            let Some(until) = first else {
                self.granted.notified().await;
                continue;
            };
            let left = until.saturating_since(self.clock.now());
            tokio::time::sleep(left.max(PAUSE)).await;
            self.end_left();
        }
    }

    /// Gives back what was left by now.
    pub(super) fn end_left(self: &Arc<Self>) {
        let now = self.clock.now();
        let left: Vec<_> = {
            let mut live = self.live();
            let count = live.partition_point(|live| live.until <= now);
            live.drain(..count).collect()
        };
        left.iter().for_each(|live| self.end(live));
    }

    /// Takes no more ahead, and gives all back; answers when that is done, or was not for too long.
    /// Nobody may use what is held any more.
    pub(in crate::authority) async fn close(self: &Arc<Self>) {
        self.is_closed.store(true, Ordering::SeqCst);
        let closing = async {
            self.nothing_under_way().await;
            self.drop_all();
            self.nothing_under_way().await;
        };
        if tokio::time::timeout(CLOSE_MAX, closing).await.is_err() {
            tracing::warn!("not all that was taken ahead could be given back; it stays spent");
        }
    }

    pub(super) async fn nothing_under_way(&self) {
        // It cannot fail: the sender lives as long as `self`.
        let _ = self
            .under_way
            .subscribe()
            .wait_for(|count| *count == 0)
            .await;
    }

    /// Gives a batch back in the background. Where all of it was used, the store finds its end by
    /// itself, but for what it remembers because of a quota.
    pub(super) fn give_back(self: &Arc<Self>, retired: Retired) {
        let of_quota = retired.scope == Scope::All && retired.token.profile.quota.is_some();
        if retired.back.unused == 0 && !of_quota {
            return;
        }
        let (permits, under_way) = (self.clone(), UnderWay::begin(&self.under_way));
        tokio::spawn(async move {
            let _under_way = under_way;
            // It cannot fail: nobody closes it.
            let _turn = permits.turns.acquire().await;
            let done = permits.carry_back(&retired).await.unwrap_or_else(|why| {
                // Whether it was is not known, and it is not tried twice.
                tracing::debug!(%why, "what was taken ahead stays spent");
                false
            });
            permits.given_back(&retired, done);
        });
    }

    /// Counts a batch that was given back, or was not.
    pub(super) fn given_back(&self, retired: &Retired, done: bool) {
        // Its term began when it was granted, or later.
        let took = self.clock.now().saturating_since(retired.sent);
        let counts = &self.metrics.permits;
        counts.given_back(retired.back.unused, done && took < TERM);
    }

    /// Whether it was given back: to the token as it stands, if there still is one.
    async fn carry_back(&self, retired: &Retired) -> Result<bool, StoreError> {
        let mut take = Take {
            token: retired.token.clone(),
            until: None,
            cost: 0,
            scope: retired.scope,
            dry_run: false,
            ahead: Ahead {
                back: Some(retired.back),
                wish: None,
            },
        };
        for _ in 0..TAKE_ATTEMPTS {
            match self.store.take(&take).await? {
                Taken::Admitted(..) | Taken::Refused(..) => return Ok(true),
                Taken::Moved(Found { token, .. }) => match token {
                    Some(token) => take.token = token,
                    None => return Ok(false),
                },
            }
        }
        Ok(false)
    }
}
