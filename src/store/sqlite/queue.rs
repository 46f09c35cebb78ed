//! The calls that wait before each pool, in the order in which they came.
//!
//! They are all in this process, so they are kept in memory. A call takes its place, and leaves it,
//! in acts of the writer only: what it abandoned cannot come after its leave. One that has not asked
//! for a while, by the store's time, is taken to be gone.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::lease::WaiterId;
use crate::domain::pool::Pool;
use crate::domain::time::Timestamp;
use crate::store::leases::GONE_AFTER;

/// The queues of all pools.
#[derive(Debug, Default)]
pub(super) struct Queues(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// A pool before which nobody waits has no entry.
    pools: HashMap<Pool, Vec<Waiter>>,
    /// Who shall ask again once what is under way is on disk.
    called: Vec<WaiterId>,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    id: WaiterId,
    /// Until when it is taken to be there.
    until: Timestamp,
}

impl Queues {
    /// Notes that a call asks, which takes a place behind all others unless it has one.
    pub(super) fn join(&self, pool: &Pool, id: WaiterId, now: Timestamp) {
        let until = now.saturating_add(GONE_AFTER);
        let mut waiting = self.lock();
        let queue = waiting.pools.entry(pool.clone()).or_default();
        match queue.iter_mut().find(|one| one.id == id) {
            Some(one) => one.until = until,
            None => queue.push(Waiter { id, until }),
        }
    }

    pub(super) fn leave(&self, pool: &Pool, id: WaiterId) {
        self.lock().retain(pool, |one| one.id != id);
    }

    /// How many wait before that call; all, for one that has no place.
    pub(super) fn before(&self, pool: &Pool, id: Option<WaiterId>, now: Timestamp) -> u64 {
        let mut waiting = self.lock();
        let queue = waiting.retain(pool, |one| now < one.until);
        let place = queue.iter().position(|one| Some(one.id) == id);
        place.unwrap_or(queue.len()) as u64
    }

    /// How many wait.
    pub(super) fn waiting(&self, pool: &Pool, now: Timestamp) -> u64 {
        self.before(pool, None, now)
    }

    /// Lets the first `count` calls ask again, by [`Self::called`].
    pub(super) fn call(&self, pool: &Pool, count: u64, now: Timestamp) {
        let mut waiting = self.lock();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let queue = waiting.retain(pool, |one| now < one.until);
        let first: Vec<WaiterId> = queue.iter().take(count).map(|one| one.id).collect();
        waiting.called.extend(first);
    }

    /// Who was called since this was asked last.
    pub(super) fn called(&self) -> Vec<WaiterId> {
        std::mem::take(&mut self.lock().called)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Keeps those of a queue that are to be kept, and answers them.
    fn retain(&mut self, pool: &Pool, kept: impl Fn(&Waiter) -> bool) -> &[Waiter] {
        if let Some(queue) = self.pools.get_mut(pool) {
            queue.retain(kept);
            if queue.is_empty() {
                self.pools.remove(pool);
            }
        }
        self.pools.get(pool).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::name::{Namespace, PoolName};
    use crate::domain::token::tests::at;

    fn waiter(digit: char) -> WaiterId {
        WaiterId::parse(&digit.to_string().repeat(22)).unwrap()
    }

    fn pool() -> Pool {
        Pool {
            namespace: Namespace::fallback(),
            name: PoolName::parse("gpu").unwrap(),
        }
    }

    #[test]
    fn who_came_first_stays_first_until_it_leaves() {
        let (queues, pool, now) = (Queues::default(), pool(), at(1));
        for digit in ['b', 'a', 'b', 'c'] {
            queues.join(&pool, waiter(digit), now);
        }
        let before = |digit| queues.before(&pool, Some(waiter(digit)), now);
        assert_eq!(['b', 'a', 'c', 'x'].map(before), [0, 1, 2, 3]);
        queues.call(&pool, 2, now);
        assert_eq!(queues.called(), [waiter('b'), waiter('a')]);
        assert_eq!(queues.called(), []);
        queues.leave(&pool, waiter('b'));
        queues.leave(&pool, waiter('b'));
        assert_eq!((before('a'), queues.waiting(&pool, now)), (0, 2));
        for digit in ['a', 'c'] {
            queues.leave(&pool, waiter(digit));
        }
        assert!(queues.lock().pools.is_empty());
    }

    #[test]
    fn who_asks_no_more_stands_before_nobody() {
        let (queues, pool) = (Queues::default(), pool());
        queues.join(&pool, waiter('a'), at(1));
        queues.join(&pool, waiter('b'), at(3));
        let before = |seconds| queues.before(&pool, Some(waiter('b')), at(seconds));
        assert_eq!([before(3), before(4)], [1, 0]);
        queues.join(&pool, waiter('a'), at(4));
        assert_eq!(before(5), 0, "it came back behind");
        assert_eq!(queues.waiting(&pool, at(7)), 0);
        assert!(queues.lock().pools.is_empty());
    }
}
