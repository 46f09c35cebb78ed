//! Values of which each thread uses one of a few, so that no call waits for another core's cache line.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many there are of each; threads beyond that share them, which is slower and as right.
pub const PLACES: usize = 32;

/// Some values, each in cache lines of its own: processors fetch them in pairs of 64 bytes.
#[derive(Debug)]
pub struct Sharded<T>([Place<T>; PLACES]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Place<T>(T);

impl<T: Default> Default for Sharded<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Place::default()))
    }
}

impl<T> Sharded<T> {
    /// The value of the thread that asks, and its number, which is less than [`PLACES`].
    pub fn own(&self) -> (usize, &T) {
        let place = place();
        (place, &self.0[place % PLACES].0)
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|Place(value)| value)
    }
}

fn place() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % PLACES;
    }
    PLACE.with(|place| *place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn nothing_is_lost_by_however_many_threads() {
        let counts = Sharded::<AtomicU64>::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * PLACES {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counts.own().1.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let sum: u64 = counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum();
        assert_eq!(sum, 2 * PLACES as u64 * 1000);
    }

    #[test]
    fn threads_use_different_places_and_stay_there() {
        let places = Sharded::<()>::default();
        let ask = || [places.own().0, places.own().0];
        let asked: Vec<[usize; 2]> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            asking
                .into_iter()
                .map(|asked| asked.join().unwrap())
                .collect()
        });
        assert!(asked.iter().all(|[first, again]| first == again));
        let different: HashSet<_> = asked.iter().collect();
        assert!(different.len() > 1, "{asked:?}");
    }
}
