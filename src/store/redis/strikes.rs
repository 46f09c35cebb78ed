//! When timeouts mean that a link is dead.

use std::time::Instant;

/// Timeouts in sequence after which a link is given up.
const STRIKES_MAX: u32 = 3;

/// Timeouts since the last answer that came in time.
#[derive(Default)]
pub(super) struct Strikes {
    count: u32,
    last: Option<Instant>,
}

impl Strikes {
    /// Counts a timeout of a call that began at `began`; calls that waited at the same time count
    /// as one. Answers whether it was one too many.
    pub(super) fn add(&mut self, began: Instant, now: Instant) -> bool {
        if self.last.is_none_or(|last| last <= began) {
            self.count += 1;
            self.last = Some(now);
        }
        self.count >= STRIKES_MAX
    }

    pub(super) fn clear(&mut self) {
        if self.count > 0 {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timeouts_that_were_waited_for_together_are_one_strike() {
        let mut strikes = Strikes::default();
        let start = Instant::now();
        let end = start + Duration::from_millis(100);
        for _ in 0..64 {
            assert!(!strikes.add(start, end));
        }
        assert_eq!(strikes.count, 1);
    }

    #[test]
    fn three_timeouts_in_sequence_are_too_many_unless_an_answer_came_between() {
        let mut strikes = Strikes::default();
        let at = |n: u64| Instant::now() + Duration::from_secs(n);
        assert!(!strikes.add(at(0), at(1)));
        assert!(!strikes.add(at(2), at(3)));
        strikes.clear();
        assert!(!strikes.add(at(4), at(5)));
        assert!(!strikes.add(at(6), at(7)));
        assert!(strikes.add(at(8), at(9)));
    }
}
