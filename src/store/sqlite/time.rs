//! The store's time: the clock's, but never behind a time that a decision was made at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::domain::time::Timestamp;

/// A clock with a high-water mark: set back, it stands still, so that nothing expired revives.
pub(super) struct StoreTime {
    clock: Arc<dyn Clock>,
    mark: AtomicU64,
}

impl StoreTime {
    /// `mark` is the latest time that an earlier run is known to have decided at.
    pub(super) fn resume(clock: Arc<dyn Clock>, mark: Timestamp) -> Self {
        let behind = mark.saturating_since(clock.now());
        if behind >= Duration::from_secs(1) {
            tracing::warn!(
                behind_s = behind.as_secs(),
                "the clock is behind the store's last known time, which stands still until then"
            );
        }
        Self {
            clock,
            mark: AtomicU64::new(mark.micros()),
        }
    }

    /// The time to decide at; never less than any answered before.
    pub(super) fn now(&self) -> Timestamp {
        let read = self.clock.now().micros();
        let mark = self.mark.fetch_max(read, Ordering::AcqRel);
        Timestamp::from_micros(mark.max(read))
    }

    /// The latest time that [`Self::now`] answered.
    pub(super) fn mark(&self) -> Timestamp {
        Timestamp::from_micros(self.mark.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::token::tests::at;

    #[test]
    fn a_clock_set_back_makes_time_stand_still() {
        let clock = Arc::new(ManualClock::at(at(100)));
        let time = StoreTime::resume(clock.clone(), at(90));
        assert_eq!(time.now(), at(100));
        clock.set(at(50));
        assert_eq!((time.now(), time.mark()), (at(100), at(100)));
        clock.set(at(101));
        assert_eq!(time.now(), at(101));
    }
}
