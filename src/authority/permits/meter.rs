//! How much of a token was asked for here in the last moments.

use std::time::Duration;

use crate::domain::time::Steady;

/// What a batch is to last for, and so for how long it is looked back.
pub(super) const SPAN: Duration = Duration::from_millis(40);

/// Counts uses in spans of equal length, of which the present one and the one before it are kept.
#[derive(Debug)]
pub(super) struct Meter {
    /// When the present span began.
    begun: Steady,
    present: u64,
    before: u64,
}

impl Meter {
    pub(super) fn begin(at: Steady) -> Self {
        Self {
            begun: at,
            present: 0,
            before: 0,
        }
    }

    pub(super) fn count(&mut self, at: Steady, uses: u64) {
        self.turn(at);
        self.present = self.present.saturating_add(uses);
    }

    /// Uses in the last [`SPAN`], rounded down; those of the span before count as if they had been
    /// spread evenly over it.
    pub(super) fn lately(&mut self, at: Steady) -> u64 {
        self.turn(at);
        let into = at.saturating_since(self.begun);
        let still = u128::from(self.before) * SPAN.saturating_sub(into).as_micros();
        let still = u64::try_from(still / SPAN.as_micros()).unwrap_or(u64::MAX);
        self.present.saturating_add(still)
    }

    fn turn(&mut self, at: Steady) {
        let since = at.saturating_since(self.begun);
        if since < SPAN {
            return;
        }
        if since < 2 * SPAN {
            self.before = self.present;
            self.begun = self.begun.saturating_add(SPAN);
        } else {
            self.before = 0;
            self.begun = at;
        }
        self.present = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after_millis(millis: u64) -> Steady {
        Steady::from_micros(millis * 1000)
    }

    /// What is told after so many uses, one each so many milliseconds.
    fn told(uses: u64, every: u64) -> u64 {
        let mut meter = Meter::begin(after_millis(0));
        for number in 0..uses {
            meter.count(after_millis(number * every), 1);
        }
        meter.lately(after_millis((uses - 1) * every))
    }

    #[test]
    fn a_use_now_and_then_is_never_two() {
        for every in [41, 70, 100, 5000] {
            assert_eq!(told(40, every), 1, "one each {every} ms");
        }
    }

    #[test]
    fn what_is_told_is_what_came_in_the_last_forty_milliseconds() {
        assert_eq!(told(1000, 0), 1000, "all at once");
        for every in [1, 2, 5, 10] {
            let told = told(1000, every);
            let came = 40 / every;
            assert!(
                told.abs_diff(came) <= 1 + came / 25,
                "one each {every} ms: {told}"
            );
        }
    }

    #[test]
    fn what_came_long_ago_counts_no_more() {
        let mut meter = Meter::begin(after_millis(0));
        meter.count(after_millis(10), 100);
        assert_eq!(meter.lately(after_millis(39)), 100);
        assert_eq!(meter.lately(after_millis(60)), 50);
        assert_eq!(meter.lately(after_millis(80)), 0);
        assert_eq!(meter.lately(after_millis(10_000)), 0);
    }

    proptest! {
        #[test]
        fn no_more_is_told_than_came_in_two_spans(
            steps in prop::collection::vec((0u64..40_000, 0u64..1000), 1..60),
        ) {
            let mut meter = Meter::begin(Steady::default());
            let (mut at, mut came) = (Steady::default(), Vec::new());
            for (pause, uses) in steps {
                at = at.saturating_add(Duration::from_micros(pause));
                meter.count(at, uses);
                came.push((at, uses));
                let recent = came.iter().filter(|(then, _)| at.saturating_since(*then) < 2 * SPAN);
                prop_assert!(meter.lately(at) <= recent.map(|(_, uses)| uses).sum());
            }
        }
    }
}
