//! Bells: how a call that waits for a lease learns, in this process, that it should ask again.
//!
//! A ring only makes things sooner; whoever hears none asks again after a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::lease::WaiterId;

/// The bells of all calls that wait in this process.
#[derive(Clone, Debug, Default)]
pub struct Bells(Arc<Mutex<HashMap<WaiterId, Arc<Notify>>>>);

impl Bells {
    /// Hangs a bell for a call that is about to wait. It is taken down with what is answered.
    pub fn hang(&self, waiter: WaiterId) -> Bell {
        let notify = Arc::new(Notify::new());
        self.lock().insert(waiter, notify.clone());
        Bell {
            waiter,
            notify,
            bells: self.clone(),
        }
    }

    /// Rings for one call; nothing where it does not wait in this process.
    pub fn ring(&self, waiter: WaiterId) {
        if let Some(notify) = self.lock().get(&waiter) {
            notify.notify_one();
        }
    }

    /// Rings for every call, where it may have been missed for whom.
    pub fn ring_all(&self) {
        self.lock().values().for_each(|notify| notify.notify_one());
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WaiterId, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bell of one call.
#[derive(Debug)]
pub struct Bell {
    waiter: WaiterId,
    notify: Arc<Notify>,
    bells: Bells,
}

impl Bell {
    /// Waits until it rings; at once if it has since the last time.
    pub async fn rung(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.bells.lock().remove(&self.waiter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(digit: char) -> WaiterId {
        WaiterId::parse(&digit.to_string().repeat(22)).unwrap()
    }

    #[tokio::test]
    async fn a_bell_that_rang_before_it_was_listened_to_is_heard() {
        let bells = Bells::default();
        let (bell, other) = (bells.hang(waiter('a')), bells.hang(waiter('b')));
        bells.ring(waiter('a'));
        bells.ring(waiter('c'));
        bell.rung().await;
        bells.ring_all();
        bell.rung().await;
        other.rung().await;
    }

    #[test]
    fn a_bell_is_taken_down_with_its_call() {
        let bells = Bells::default();
        drop(bells.hang(waiter('a')));
        assert!(bells.is_empty());
    }
}
