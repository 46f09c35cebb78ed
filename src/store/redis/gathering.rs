//! What the calls of a thread are about to ask, gathered until those had their turn who are ready to ask:
//! so under load many share one message, and a call alone waits for nobody.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sharded::Sharded;

/// What waits to be sent, by the thread that asks.
pub(super) struct Gathering<T>(Sharded<Waiting<T>>);

struct Waiting<T>(Arc<Mutex<Vec<T>>>);

/// The duty to send what waits, in a task of its own. Where it does not come to that, what waits is
/// dropped, so that whoever waits for it learns that.
pub(super) struct Turn<T> {
    waiting: Waiting<T>,
    taken: bool,
}

impl<T> Default for Gathering<T> {
    fn default() -> Self {
        Self(Sharded::default())
    }
}

impl<T> Gathering<T> {
    /// Adds to what waits; answers a turn where nobody has it yet.
    pub(super) fn join(&self, item: T) -> Option<Turn<T>> {
        let (_, Waiting(waiting)) = self.0.own();
        let mut items = lock(waiting);
        items.push(item);
        (items.len() == 1).then(|| Turn {
            waiting: Waiting(waiting.clone()),
            taken: false,
        })
    }
}

impl<T> Turn<T> {
    /// All that waits; whoever comes next has the next turn.
    pub(super) fn take(mut self) -> Vec<T> {
        self.taken = true;
        mem::take(&mut *lock(&self.waiting.0))
    }
}

impl<T> Drop for Turn<T> {
    fn drop(&mut self) {
        if !self.taken {
            lock(&self.waiting.0).clear();
        }
    }
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

fn lock<T>(waiting: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_has_the_turn_for_all_until_it_is_taken() {
        let gathering = Gathering::default();
        let turn = gathering.join(1).unwrap();
        assert!(gathering.join(2).is_none());
        assert_eq!(turn.take(), [1, 2]);
        let next = gathering.join(3).unwrap();
        assert_eq!(next.take(), [3]);
    }

    #[test]
    fn what_waits_for_a_turn_that_is_never_taken_is_dropped_and_nothing_else() {
        let gathering = Gathering::default();
        let waiting = Arc::new(());
        drop(gathering.join(waiting.clone()));
        assert_eq!(Arc::strong_count(&waiting), 1);
        assert!(gathering.join(waiting.clone()).is_some());
    }
}
