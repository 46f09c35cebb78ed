//! Requests by their verdicts, what they cost, and how they ended.

use super::Add;
use super::completed::{Completed, Outcome};
use super::few::Few;
use super::histogram::Histogram;
use crate::domain::verdict::Verdict;

/// How many requests had which verdict, what was spent by those that passed, and what was told of
/// their ends.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// In no order.
    verdicts: Few<(Verdict, u64)>,
    cost: u64,
    /// Apart, since most of what is judged is told no end of within the same second, or ever.
    completed: Option<Box<Completed>>,
}

impl Counts {
    /// Of verdicts in any order.
    pub fn of_parts(
        verdicts: impl IntoIterator<Item = (Verdict, u64)>,
        cost: u64,
        completed: Option<Completed>,
    ) -> Self {
        let mut counts = Self {
            verdicts: Few::default(),
            cost,
            completed: completed.map(Box::new),
        };
        for (verdict, count) in verdicts {
            counts.count(verdict, count);
        }
        counts
    }

    pub fn note(&mut self, verdict: Verdict, cost: u64) {
        if verdict == Verdict::Valid {
            self.cost = self.cost.saturating_add(cost);
        }
        self.count(verdict, 1);
    }

    /// Notes how a request ended; that it was judged is noted apart.
    pub fn note_end(&mut self, outcome: &Outcome) {
        self.completed.get_or_insert_default().note(outcome);
    }

    fn count(&mut self, verdict: Verdict, more: u64) {
        match self.verdicts.find_mut(|(known, _)| *known == verdict) {
            Some((_, count)) => *count = count.saturating_add(more),
            None => {
                self.verdicts.push((verdict, more));
            }
        }
    }

    /// Requests that were judged.
    pub fn requests(&self) -> u64 {
        self.verdicts.iter().map(|(_, count)| count).sum()
    }

    /// Requests of this verdict.
    pub fn of(&self, verdict: Verdict) -> u64 {
        let found = self.verdicts.iter().find(|(known, _)| *known == verdict);
        found.map_or(0, |(_, count)| *count)
    }

    /// In no order.
    pub fn verdicts(&self) -> impl Iterator<Item = &(Verdict, u64)> {
        self.verdicts.iter()
    }

    /// What the requests that passed took from the token's limits.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    pub fn completed(&self) -> Option<&Completed> {
        self.completed.as_deref()
    }

    /// Requests that succeeded: as was told of their ends, else those that passed.
    pub fn successful(&self) -> u64 {
        let valid = self.of(Verdict::Valid);
        let Some(ends) = &self.completed else {
            return valid;
        };
        let unjudged = ends.unjudged - ends.unjudged_failed.min(ends.unjudged);
        valid.saturating_sub(ends.failed) + ends.succeeded + unjudged
    }

    /// All the others, of those that were judged and those that nobody judged.
    pub fn failed(&self) -> u64 {
        let unjudged = self.completed.as_ref().map_or(0, |ends| ends.unjudged);
        (self.requests() + unjudged).saturating_sub(self.successful())
    }

    /// The same, but for how long requests took.
    pub fn without_times(mut self) -> Self {
        if let Some(completed) = &mut self.completed {
            completed.latency = Histogram::default();
        }
        self
    }
}

impl Add for Counts {
    fn add(&mut self, other: Self) {
        self.cost = self.cost.saturating_add(other.cost);
        for (verdict, count) in other.verdicts.into_iter() {
            self.count(verdict, count);
        }
        match (&mut self.completed, other.completed) {
            (Some(own), Some(other)) => own.add(*other),
            (own @ None, other) => *own = other,
            (Some(_), None) => {}
        }
    }

    fn weight(&self) -> u64 {
        let unjudged = self.completed.as_ref().map_or(0, |ends| ends.unjudged);
        self.requests() + unjudged
    }
}

/// Whatever the order of the verdicts.
impl PartialEq for Counts {
    fn eq(&self, other: &Self) -> bool {
        let same = |(verdict, count): &(Verdict, u64)| other.of(*verdict) == *count;
        self.cost == other.cost
            && self.completed == other.completed
            && self.requests() == other.requests()
            && self.verdicts.iter().all(same)
    }
}

impl Eq for Counts {}
