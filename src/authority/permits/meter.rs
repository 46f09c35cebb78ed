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
    present: Count,
    before: Count,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    calls: u64,
    /// What they cost.
    uses: u64,
}

impl Meter {
    pub(super) fn begin(at: Steady) -> Self {
        Self {
            begun: at,
            present: Count::default(),
            before: Count::default(),
        }
    }

    /// Counts a call that costs so many uses.
    pub(super) fn count(&mut self, at: Steady, uses: u64) {
        self.turn(at);
        self.present.calls += 1;
        self.present.uses = self.present.uses.saturating_add(uses);
    }

    /// Uses in the last [`SPAN`], rounded down; 0 where less than two calls made them, however dear.
    /// Those of the span before count as if they had been spread evenly over it.
    pub(super) fn lately(&mut self, at: Steady) -> u64 {
        self.turn(at);
        let left = SPAN.saturating_sub(at.saturating_since(self.begun));
        let still = |before: u64| {
            let still = u128::from(before) * left.as_micros() / SPAN.as_micros();
            u64::try_from(still).unwrap_or(u64::MAX)
        };
        if self.present.calls + still(self.before.calls) < 2 {
            return 0;
        }
        self.present.uses.saturating_add(still(self.before.uses))
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
            self.before = Count::default();
            self.begun = at;
        }
        self.present = Count::default();
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
    fn a_use_now_and_then_is_worth_nothing() {
        for every in [41, 70, 100, 5000] {
            assert_eq!(told(40, every), 0, "one each {every} ms");
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
        for _ in 0..100 {
            meter.count(after_millis(10), 1);
        }
        assert_eq!(meter.lately(after_millis(39)), 100);
        assert_eq!(meter.lately(after_millis(60)), 50);
        assert_eq!(meter.lately(after_millis(80)), 0);
        assert_eq!(meter.lately(after_millis(10_000)), 0);
    }

    #[test]
    fn one_dear_call_is_no_more_than_one() {
        let mut meter = Meter::begin(after_millis(0));
        meter.count(after_millis(1), 1000);
        assert_eq!(meter.lately(after_millis(1)), 0);
        meter.count(after_millis(2), 1);
        assert_eq!(meter.lately(after_millis(2)), 1001);
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
