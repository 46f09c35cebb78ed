//! Budgets by key, in a bounded table: how often something may happen at once, and how often after that.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Parts of the table, each with a lock of its own.
const SHARDS: usize = 16;
/// Of a full part, one in so many makes room at once: so whoever comes next finds room, and the whole
/// part is looked at once in so many new keys only.
const ROOM: usize = 4;

/// A budget for each key. A key that is not in the table has a whole one.
///
/// Each is a virtual schedule (GCRA): the instant at which it is whole again. Where the table is full,
/// those go that are whole, and of the others those that are soonest; so no new key finds its budget
/// used up by others, and those that owe the most are remembered.
#[derive(Debug)]
pub(super) struct Budgets<K> {
    shards: Box<[Mutex<HashMap<K, Instant>>]>,
    /// Keyed by chance, so that nobody can crowd keys into one part.
    hasher: RandomState,
    shard_max: usize,
    burst: u32,
    refill: Duration,
}

impl<K: Hash + Eq> Budgets<K> {
    /// Of `burst` at once and one more each `refill`, for at most `keys_max` keys, a multiple of 16.
    pub(super) fn new(burst: u32, refill: Duration, keys_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            shard_max: keys_max / SHARDS,
            burst,
            refill,
        }
    }

    /// Takes one; where none is left, takes nothing and answers how long until one is.
    pub(super) fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        let mut shard = self.shard(&key);
        let whole = shard.get(&key).copied();
        self.wait(whole, now)?;
        self.note(&mut shard, key, self.later(whole, now), now);
        Ok(())
    }

    /// Takes nothing; where none is left, answers how long until one is.
    pub(super) fn look(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let whole = self.shard(key).get(key).copied();
        self.wait(whole, now)
    }

    /// Takes one, also where none is left. The debt is bounded by a whole budget, so that none lasts
    /// longer than a budget takes to be whole.
    pub(super) fn charge(&self, key: K, now: Instant) {
        let most = now + self.refill * self.burst * 2;
        let mut shard = self.shard(&key);
        let whole = shard.get(&key).copied();
        self.note(&mut shard, key, self.later(whole, now).min(most), now);
    }

    /// When the budget is whole again if one more is taken from it.
    fn later(&self, whole: Option<Instant>, now: Instant) -> Instant {
        whole.unwrap_or(now).max(now) + self.refill
    }

    fn wait(&self, whole: Option<Instant>, now: Instant) -> Result<(), Duration> {
        let ahead = self.later(whole, now) - now;
        match ahead.saturating_sub(self.refill * self.burst) {
            Duration::ZERO => Ok(()),
            wait => Err(wait),
        }
    }

    fn note(&self, shard: &mut HashMap<K, Instant>, key: K, whole: Instant, now: Instant) {
        if shard.len() >= self.shard_max && !shard.contains_key(&key) {
            make_room(shard, self.shard_max / ROOM, now);
        }
        shard.insert(key, whole);
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, HashMap<K, Instant>> {
        let hash = self.hasher.hash_one(key);
        let at = usize::try_from(hash % SHARDS as u64).unwrap_or_default();
        let shard = self.shards[at].lock();
        shard.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets budgets that are whole, and if these are fewer than `room`, those that are soonest.
fn make_room<K: Hash + Eq>(shard: &mut HashMap<K, Instant>, room: usize, now: Instant) {
    let room = room.clamp(1, shard.len());
    let mut ends: Vec<Instant> = shard.values().copied().collect();
    let (before, soonest, _) = ends.select_nth_unstable(room - 1);
    // Of those that end together, no more than it takes.
    let mut alike = 1 + before.iter().filter(|whole| *whole == soonest).count();
    let soonest = *soonest;
    shard.retain(|_, whole| {
        if *whole <= now {
            return false;
        }
        let goes = *whole < soonest || (*whole == soonest && alike > 0);
        alike -= usize::from(goes && *whole == soonest);
        !goes
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn budgets(keys_max: usize) -> Budgets<u32> {
        Budgets::new(3, SECOND, keys_max)
    }

    fn remembered(budgets: &Budgets<u32>) -> usize {
        let shards = budgets.shards.iter();
        shards.map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[test]
    fn a_key_that_took_its_burst_waits_and_another_does_not() {
        let budgets = budgets(64);
        let now = Instant::now();
        assert!((0..3).all(|_| budgets.take(1, now).is_ok()));
        assert_eq!(budgets.take(1, now), Err(SECOND));
        assert_eq!(budgets.take(1, now + SECOND / 4), Err(SECOND * 3 / 4));
        assert!(budgets.take(2, now).is_ok());
        assert!(budgets.take(1, now + SECOND).is_ok());
        assert!(budgets.take(1, now + SECOND).is_err());
        assert!((0..3).all(|_| budgets.take(1, now + 9 * SECOND).is_ok()));
    }

    #[test]
    fn a_look_takes_nothing() {
        let budgets = budgets(64);
        let now = Instant::now();
        assert!((0..9).all(|_| budgets.look(&1, now).is_ok()));
        assert_eq!(remembered(&budgets), 0);
        (0..3).for_each(|_| budgets.charge(1, now));
        assert_eq!(budgets.look(&1, now), Err(SECOND));
        assert!(budgets.look(&1, now + SECOND).is_ok());
    }

    #[test]
    fn a_debt_is_paid_off_and_never_more_than_a_whole_budget() {
        let budgets = budgets(64);
        let now = Instant::now();
        (0..5).for_each(|_| budgets.charge(1, now));
        assert_eq!(budgets.look(&1, now), Err(3 * SECOND), "two are owed");
        (0..1000).for_each(|_| budgets.charge(1, now));
        assert_eq!(budgets.look(&1, now), Err(4 * SECOND), "three, no more");
        assert!(budgets.look(&1, now + 4 * SECOND).is_ok());
    }

    #[test]
    fn a_full_table_is_bounded_and_refuses_nobody_new() {
        let budgets = budgets(64);
        let now = Instant::now();
        for key in 0..10_000 {
            assert!(budgets.look(&key, now).is_ok(), "{key}");
            assert!((0..3).all(|_| budgets.take(key, now).is_ok()), "{key}");
            assert!(remembered(&budgets) <= 64);
        }
        assert!(remembered(&budgets) >= 32, "it is used as far as it goes");
    }

    #[test]
    fn who_owes_the_most_is_remembered_in_a_crowd_of_strangers() {
        let budgets = budgets(64);
        let now = Instant::now();
        (0..6).for_each(|_| budgets.charge(1, now));
        for stranger in 2..10_000 {
            budgets.charge(stranger, now);
        }
        assert_eq!(budgets.look(&1, now), Err(4 * SECOND));
    }

    #[test]
    fn budgets_that_are_whole_make_room_before_those_that_are_not() {
        let now = Instant::now();
        let mut shard: HashMap<u32, Instant> = (0..8).map(|key| (key, now + SECOND)).collect();
        shard.extend((8..10).map(|key| (key, now)));
        make_room(&mut shard, 2, now);
        assert!(shard.len() == 8 && shard.values().all(|whole| *whole > now));
        shard.extend((8..12).map(|key| (key, now - SECOND)));
        make_room(&mut shard, 2, now);
        assert_eq!(shard.len(), 8, "all that are whole");
    }

    #[test]
    fn no_more_are_forgotten_than_make_room_though_all_are_alike() {
        let now = Instant::now();
        let mut shard: HashMap<u32, Instant> = (0..16).map(|key| (key, now + SECOND)).collect();
        shard.insert(16, now + SECOND / 2);
        make_room(&mut shard, 4, now);
        assert_eq!(shard.len(), 13);
        assert!(!shard.contains_key(&16), "it would have been whole first");
    }
}
