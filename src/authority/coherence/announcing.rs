//! Announcing: changes that come while others are on their way go together.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::domain::coherence::registry::Announced;
use crate::domain::coherence::{ANNOUNCED_MAX, Invalidation};
use crate::store::{Store, StoreError};

type Told = Result<Announced, StoreError>;

/// The changes that wait to be announced.
#[derive(Clone, Default)]
pub(super) struct Announcer(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    waiting: Vec<(Invalidation, oneshot::Sender<Told>)>,
    /// Somebody is announcing, and will come back for what waits.
    busy: bool,
}

impl Announcer {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces a change, with others perhaps; the number that is answered is at least its own.
    pub(super) async fn announce(&self, store: &Arc<dyn Store>, change: Invalidation) -> Told {
        let (tell, told) = oneshot::channel();
        let begin = {
            let mut queue = self.lock();
            queue.waiting.push((change, tell));
            !mem::replace(&mut queue.busy, true)
        };
        if begin {
            // In a task of its own: others wait for it, whatever becomes of this call.
            tokio::spawn(self.clone().work(store.clone()));
        }
        told.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn work(self, store: Arc<dyn Store>) {
        let idle = Idle(&self);
        loop {
            let mut waiting = {
                let mut queue = self.lock();
                if queue.waiting.is_empty() {
                    queue.busy = false;
                    mem::forget(idle);
                    return;
                }
                mem::take(&mut queue.waiting)
            };
            while !waiting.is_empty() {
                let rest = waiting.split_off(waiting.len().min(ANNOUNCED_MAX));
                let (changes, tell): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
                let announced = store.announce(&changes).await;
                for tell in tell {
                    // It fails where nobody waits any more.
                    let _ = tell.send(announced.clone());
                }
                waiting = rest;
            }
        }
    }
}

/// Lets others begin anew where the work ended before its time.
struct Idle<'a>(&'a Announcer);

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.busy = false;
        // Whoever waits is told that it was not announced.
        queue.waiting.clear();
    }
}
