//! The bound of the store's time: how late it is there at the most, told by a process that asked a
//! while ago.

use crate::domain::time::{Steady, Timestamp};

/// What a renewal told of the store's time.
///
/// The store answered after the renewal was begun: so no more time has passed there since than here,
/// and a tenth, where the clock here shows ten seconds while eleven pass there. That holds for as long
/// as nobody sets the store's clock forward; once somebody does, only the end of the lease helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeBound {
    /// The store's time when it answered.
    pub time: Timestamp,
    /// Before the renewal was sent, by a clock that goes on while the machine sleeps.
    pub begun: Steady,
}

impl TimeBound {
    /// The store's time at the most. A deadline after it lies ahead; any other may be over.
    pub fn at_most(&self, now: Steady) -> Timestamp {
        let since = now.saturating_since(self.begun);
        self.time.saturating_add(since + since / 10)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_tenth_more_has_passed_than_this_clock_shows() {
        let told = TimeBound {
            time: Timestamp::from_micros(70_000_000),
            begun: Steady::from_micros(2_000_000),
        };
        let after = |span| told.at_most(told.begun.saturating_add(span)).micros();
        assert_eq!(after(Duration::ZERO), 70_000_000);
        assert_eq!(after(Duration::from_millis(1)), 70_001_100);
        assert_eq!(after(Duration::from_secs(1)), 71_100_000);
        assert_eq!(told.at_most(Steady::default()), told.time);
        assert_eq!(after(Duration::MAX), Timestamp::MAX.micros());
    }
}
