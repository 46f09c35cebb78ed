//! The calls that wait before each pool, in the order in which they came.
//!
//! They are all in this process, so they are kept in memory. A call takes its place, and leaves it,
//! in acts of the writer only: what it abandoned cannot come after its leave.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::lease::WaiterId;
use crate::domain::pool::Pool;

/// The queues of all pools.
#[derive(Debug, Default)]
pub(super) struct Queues(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// A pool before which nobody waits has no entry.
    pools: HashMap<Pool, Vec<WaiterId>>,
    /// Who shall ask again once what is under way is on disk.
    called: Vec<WaiterId>,
}

impl Queues {
    /// Takes a place behind all others; a call that has one keeps it.
    pub(super) fn join(&self, pool: &Pool, waiter: WaiterId) {
        let mut waiting = self.lock();
        let queue = waiting.pools.entry(pool.clone()).or_default();
        if !queue.contains(&waiter) {
            queue.push(waiter);
        }
    }

    pub(super) fn leave(&self, pool: &Pool, waiter: WaiterId) {
        let mut waiting = self.lock();
        if let Some(queue) = waiting.pools.get_mut(pool) {
            queue.retain(|other| *other != waiter);
            if queue.is_empty() {
                waiting.pools.remove(pool);
            }
        }
    }

    /// How many wait before that call; all, for one that has no place.
    pub(super) fn before(&self, pool: &Pool, waiter: Option<WaiterId>) -> u64 {
        let waiting = self.lock();
        let queue = waiting.pools.get(pool).map_or(&[][..], Vec::as_slice);
        let place = queue.iter().position(|other| Some(*other) == waiter);
        place.unwrap_or(queue.len()) as u64
    }

    /// How many wait.
    pub(super) fn waiting(&self, pool: &Pool) -> u64 {
        self.before(pool, None)
    }

    /// Lets the first `count` calls ask again, by [`Self::called`].
    pub(super) fn call(&self, pool: &Pool, count: u64) {
        let waiting = &mut *self.lock();
        if let Some(queue) = waiting.pools.get(pool) {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            waiting.called.extend(queue.iter().take(count));
        }
    }

    /// Who was called since this was asked last.
    pub(super) fn called(&self) -> Vec<WaiterId> {
        std::mem::take(&mut self.lock().called)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::name::{Namespace, PoolName};

    fn waiter(digit: char) -> WaiterId {
        WaiterId::parse(&digit.to_string().repeat(22)).unwrap()
    }

    #[test]
    fn who_came_first_stays_first_until_it_leaves() {
        let pool = Pool {
            namespace: Namespace::fallback(),
            name: PoolName::parse("gpu").unwrap(),
        };
        let queues = Queues::default();
        for digit in ['b', 'a', 'b', 'c'] {
            queues.join(&pool, waiter(digit));
        }
        let before = |digit| queues.before(&pool, Some(waiter(digit)));
        assert_eq!(['b', 'a', 'c', 'x'].map(before), [0, 1, 2, 3]);
        queues.call(&pool, 2);
        assert_eq!(queues.called(), [waiter('b'), waiter('a')]);
        assert_eq!(queues.called(), []);
        queues.leave(&pool, waiter('b'));
        queues.leave(&pool, waiter('b'));
        assert_eq!((before('a'), queues.waiting(&pool)), (0, 2));
        ['a', 'c'].map(|digit| queues.leave(&pool, waiter(digit)));
        assert!(queues.lock().pools.is_empty());
    }
}
