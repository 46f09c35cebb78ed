//! Requests by their verdicts, and what they cost.

use super::Add;
use super::few::Few;
use crate::domain::verdict::Verdict;

/// How many requests had which verdict, and what was spent by those that passed.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// In no order.
    verdicts: Few<(Verdict, u64)>,
    cost: u64,
}

impl Counts {
    pub fn note(&mut self, verdict: Verdict, cost: u64) {
        if verdict == Verdict::Valid {
            self.cost = self.cost.saturating_add(cost);
        }
        self.count(verdict, 1);
    }

    fn count(&mut self, verdict: Verdict, more: u64) {
        match self.verdicts.find_mut(|(known, _)| *known == verdict) {
            Some((_, count)) => *count += more,
            None => {
                self.verdicts.push((verdict, more));
            }
        }
    }

    pub fn requests(&self) -> u64 {
        self.verdicts.iter().map(|(_, count)| count).sum()
    }

    /// Requests of this verdict.
    pub fn of(&self, verdict: Verdict) -> u64 {
        let found = self.verdicts.iter().find(|(known, _)| *known == verdict);
        found.map_or(0, |(_, count)| *count)
    }

    /// What the requests that passed took from the token's limits.
    pub fn cost(&self) -> u64 {
        self.cost
    }
}

impl Add for Counts {
    fn add(&mut self, other: Self) {
        self.cost = self.cost.saturating_add(other.cost);
        for (verdict, count) in other.verdicts.into_iter() {
            self.count(verdict, count);
        }
    }
}

/// Whatever the order of the verdicts.
impl PartialEq for Counts {
    fn eq(&self, other: &Self) -> bool {
        let same = |(verdict, count): &(Verdict, u64)| other.of(*verdict) == *count;
        self.cost == other.cost
            && self.requests() == other.requests()
            && self.verdicts.iter().all(same)
    }
}

impl Eq for Counts {}
