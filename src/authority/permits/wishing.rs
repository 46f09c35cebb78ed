//! Asking for a batch: one take at a time for each token and scope, and others wait for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::spending::Left;
use crate::domain::time::Steady;
use crate::store::{StoreError, Take, Taken};

use super::returning::UnderWay;
use super::slot::{Batch, Retired, Slots, border};
use super::{Live, Permits};

/// For how long a batch is used, from before it was asked for. That is well before its end: what is
/// unused must be back by then, also where a busy machine takes its time.
const USED_FOR: Duration = Duration::from_millis(40);
/// When one that was left is given back.
const LEFT_AFTER: Duration = Duration::from_millis(45);
/// For how long none is asked for after none was granted.
const BARREN_FOR: Duration = Duration::from_millis(20);
/// Longest wait for a batch that another asked for: about a round trip.
pub(super) const WAIT_MAX: Duration = Duration::from_millis(20);

/// What another asks for.
pub(in crate::authority) struct Waiting(pub(super) watch::Receiver<()>);

impl Waiting {
    /// Waits until it came, or did not; not for long.
    pub(in crate::authority) async fn ended(mut self) {
        // Either way it is looked at again: the sender only ever goes away.
        let _ = tokio::time::timeout(WAIT_MAX, self.0.changed()).await;
    }
}

/// A take that asks for a batch. While it is there, nobody else asks for one of the same slot.
pub(in crate::authority) struct Wishing {
    pub(super) take: Take,
    pub(super) slots: Arc<Slots>,
    /// The batch before, which it carries back.
    pub(super) retired: Option<Retired>,
    /// Before it was sent.
    pub(super) sent: Steady,
    /// How often all had been dropped by then.
    pub(super) drops: u64,
    /// Tells those who wait, when it goes.
    pub(super) ends: Option<watch::Sender<()>>,
    pub(super) _under_way: UnderWay,
}

impl Drop for Wishing {
    fn drop(&mut self) {
        if let Some(ends) = self.ends.take() {
            self.slots.of(self.take.scope).lock().wished = None;
            drop(ends);
        }
    }
}

impl Permits {
    /// Carries out such a take. It is done whatever becomes of the call.
    pub(in crate::authority) async fn take(
        self: &Arc<Self>,
        wishing: Wishing,
    ) -> Result<Taken, StoreError> {
        let permits = self.clone();
        let taking = tokio::spawn(async move {
            let taken = permits.store.take(&wishing.take).await;
            permits.settle(wishing, taken)
        });
        let given_up = |_| Err(StoreError::Unreachable("the take was given up".to_owned()));
        taking.await.unwrap_or_else(given_up)
    }

    /// Keeps the batch that was granted, if there is one, and lets others know.
    fn settle(
        self: &Arc<Self>,
        mut wishing: Wishing,
        mut taken: Result<Taken, StoreError>,
    ) -> Result<Taken, StoreError> {
        let (mut batch, mut stray) = (None, None);
        match &mut taken {
            Ok(Taken::Admitted(left, granted)) => {
                batch = wishing.batch(left, *granted, self.clock.now());
                if let Some(batch) = &batch {
                    *left = batch.left(batch.told);
                    self.metrics.permits.granted(batch.granted);
                }
                self.carried(&wishing, true);
            }
            Ok(Taken::Refused(..)) => self.carried(&wishing, true),
            Ok(Taken::Moved(found)) => {
                // Nothing was given back with it.
                let token = found.token.clone();
                stray = wishing.retired.take().zip(token);
            }
            // Nobody knows what became of either. They are spent.
            Err(_) => self.carried(&wishing, false),
        }
        if let Some((retired, token)) = stray {
            self.give_back(Retired { token, ..retired });
        }
        if let Some(retired) = self.place(&mut wishing, batch) {
            self.give_back(retired);
        }
        taken
    }

    /// Counts the batch that was carried back with a take.
    fn carried(&self, wishing: &Wishing, done: bool) {
        if let Some(retired) = &wishing.retired {
            self.given_back(retired, done);
        }
    }

    /// Puts the batch where it is used; answers it where that may not be any more.
    fn place(&self, wishing: &mut Wishing, batch: Option<Batch>) -> Option<Retired> {
        let scope = wishing.take.scope;
        let mut state = wishing.slots.of(scope).lock();
        let void = state.wished.take().is_none_or(|wished| wished.void)
            || wishing.drops != self.drops.load(Ordering::SeqCst);
        // After it is settled who asks next, and with what.
        let ends = wishing.ends.take();
        let Some(batch) = batch else {
            state.barren_until = self.clock.now().saturating_add(BARREN_FOR);
            drop(state);
            drop(ends);
            return None;
        };
        let live = Live {
            until: wishing.sent.saturating_add(LEFT_AFTER),
            slots: wishing.slots.clone(),
            scope,
            id: batch.id,
        };
        state.batch = Some(batch);
        if void {
            return state.retire();
        }
        drop(state);
        self.live().push_back(live);
        self.granted.notify_one();
        drop(ends);
        None
    }
}

impl Wishing {
    /// The batch that was granted, if one was.
    fn batch(&self, left: &Left, granted: u64, told: Steady) -> Option<Batch> {
        let Take { token, scope, .. } = &self.take;
        let wish = self.take.ahead.wish.filter(|_| granted > 0)?;
        Some(Batch {
            id: wish.batch,
            token: token.clone(),
            scope: *scope,
            sent: self.sent,
            until: self.sent.saturating_add(USED_FOR),
            border: border(token, *scope, left.now),
            granted,
            used: 0,
            left: left.clone(),
            told,
        })
    }
}
