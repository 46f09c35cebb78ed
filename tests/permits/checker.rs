//! The judge of limits: finds an interval in which more passed than may, whenever between question and
//! answer each use was made.

use std::fmt;
use std::time::Duration;

use crate::uses::{Nanos, Use};

/// An interval in which more passed than may.
#[derive(Debug, PartialEq)]
pub(crate) struct Excess {
    pub(crate) from: Nanos,
    pub(crate) to: Nanos,
    /// By how much, in units of cost.
    pub(crate) by: f64,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = Duration::from_nanos(self.to - self.from);
        write!(f, "{} too many within {span:?}", self.by)
    }
}

/// How much faster the store's clock may go than ours.
const DRIFT: f64 = 0.001;

/// The interval that has most too many uses of those that passed, if one has more than
/// `burst + span·rate`; `rate` is in units of cost each second.
///
/// A use was made within an interval for certain if it was asked for and answered within. Those that
/// reach out of it may have been made outside, and are not counted.
pub(crate) fn worst(uses: &[Use], burst: u64, rate: f64) -> Option<Excess> {
    let mut passed: Vec<&Use> = uses.iter().filter(|made| made.passed()).collect();
    passed.sort_by_key(|made| made.begun);
    let begun: Vec<Nanos> = passed.iter().map(|made| made.begun).collect();
    let per_nano = rate * (1.0 + DRIFT) / 1e9;
    // For each beginning of what was answered by then: what passed since, and what may not yet have
    // come back.
    let mut since = Tree::of(passed.len());
    let mut by_end: Vec<usize> = (0..passed.len()).collect();
    by_end.sort_by_key(|place| passed[*place].ended);
    let mut worst: Option<Excess> = None;
    for place in by_end {
        let made = passed[place];
        since.put(place, made.begun as f64 * per_nano);
        since.add_up_to(place, made.cost as f64);
        let (from, most) = since.most();
        let by = most - made.ended as f64 * per_nano - burst as f64;
        if by > 0.5 && worst.as_ref().is_none_or(|worst| by > worst.by) {
            worst = Some(Excess {
                from: begun[from],
                to: made.ended,
                by,
            });
        }
    }
    worst
}

/// Numbers of which all up to a place are added to at once, and the greatest is known.
struct Tree {
    leaves: usize,
    /// For each node: what is added to all below, the greatest below with that, and where it is.
    nodes: Vec<(f64, f64, usize)>,
}

impl Tree {
    fn of(places: usize) -> Self {
        let leaves = places.next_power_of_two();
        let nodes = (0..2 * leaves).map(|node| (0.0, f64::NEG_INFINITY, node % leaves));
        Self {
            leaves,
            nodes: nodes.collect(),
        }
    }

    /// Puts a number, to which all counts that was added there before.
    fn put(&mut self, place: usize, number: f64) {
        let mut node = self.leaves + place;
        self.nodes[node].1 = self.nodes[node].0 + number;
        while node > 1 {
            node /= 2;
            self.settle(node);
        }
    }

    fn settle(&mut self, node: usize) {
        let (one, other) = (self.nodes[2 * node], self.nodes[2 * node + 1]);
        let greater = if one.1 >= other.1 { one } else { other };
        let added = self.nodes[node].0;
        self.nodes[node] = (added, greater.1 + added, greater.2);
    }

    fn add(&mut self, node: usize, number: f64) {
        self.nodes[node].0 += number;
        self.nodes[node].1 += number;
    }

    fn add_up_to(&mut self, place: usize, number: f64) {
        let mut node = self.leaves + place;
        self.add(node, number);
        while node > 1 {
            if node % 2 == 1 {
                self.add(node - 1, number);
            }
            node /= 2;
            self.settle(node);
        }
    }

    fn most(&self) -> (usize, f64) {
        let (_, most, place) = self.nodes[1];
        (place, most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use token_authority::transport::grpc::pb::Verdict;

    use super::*;

    fn made(begun: Nanos, ended: Nanos, cost: u64) -> Use {
        Use {
            begun,
            ended,
            cost,
            verdict: Some(Verdict::Valid),
        }
    }

    /// The same by looking at each interval.
    fn plainly(uses: &[Use], burst: u64, rate: f64) -> f64 {
        let mut worst = 0.0f64;
        for (first, last) in uses
            .iter()
            .flat_map(|one| uses.iter().map(move |other| (one, other)))
        {
            let (from, to) = (first.begun, last.ended);
            let within = uses
                .iter()
                .filter(|made| from <= made.begun && made.ended <= to);
            let cost: u64 = within.map(|made| made.cost).sum();
            if to >= from && cost > 0 {
                let may = (to - from) as f64 * rate * (1.0 + DRIFT) / 1e9;
                worst = worst.max(cost as f64 - burst as f64 - may);
            }
        }
        worst
    }

    #[test]
    fn one_too_many_is_found_and_what_may_have_come_later_is_not_counted() {
        let second = 1_000_000_000;
        let ten: Vec<Use> = (0..10).map(|_| made(0, second / 100, 1)).collect();
        assert_eq!(worst(&ten, 10, 1.0), None);
        let mut eleven = ten.clone();
        eleven.push(made(0, second / 100, 1));
        assert!(worst(&eleven, 10, 1.0).is_some());
        let mut slow = ten.clone();
        slow.push(made(0, 2 * second, 1));
        assert_eq!(worst(&slow, 10, 1.0), None);
        slow.push(made(second, 2 * second, 2));
        assert!(worst(&slow, 10, 1.0).is_some());
    }

    proptest! {
        #[test]
        fn it_finds_what_looking_at_each_interval_finds(
            spans in prop::collection::vec((0u64..1000, 0u64..300, 1u64..20), 1..40),
            burst in 1u64..60,
            rate in 1u64..200,
        ) {
            let millis = 1_000_000;
            let uses = spans.iter().map(|(begun, took, cost)| {
                made(begun * millis, (begun + took) * millis, *cost)
            });
            let uses: Vec<Use> = uses.collect();
            let plain = plainly(&uses, burst, rate as f64);
            let found = worst(&uses, burst, rate as f64).map_or(0.0, |excess| excess.by);
            prop_assert!((plain - found).abs() < 0.51, "{plain} {found}");
        }
    }
}
