//! Reports on several subjects, summed up to one.

use std::collections::BTreeMap;
use std::hash::Hash;

use super::{Add, Report};

impl Report {
    /// Adds what is told of another subject over the same window. The last requests stay apart: they are
    /// of one token, and what is summed up is of many.
    pub fn add(&mut self, other: Self) {
        let Self {
            totals,
            hourly,
            endpoints,
            clients,
            tokens,
            versions,
            recent: _,
        } = other;
        self.totals.add(totals);
        self.hourly = summed(std::mem::take(&mut self.hourly), hourly);
        self.endpoints = busiest(std::mem::take(&mut self.endpoints), endpoints);
        self.clients = busiest(std::mem::take(&mut self.clients), clients);
        self.tokens = summed(std::mem::take(&mut self.tokens), tokens);
        self.tokens
            .sort_by_key(|(_, row)| std::cmp::Reverse(row.weight()));
        self.tokens.truncate(Self::ROWS_MAX);
        self.versions = summed(std::mem::take(&mut self.versions), versions);
    }
}

/// The rows of both, in the order of their keys.
fn summed<K: Ord, V: Add>(own: Vec<(K, V)>, other: Vec<(K, V)>) -> Vec<(K, V)> {
    let mut rows: BTreeMap<K, V> = BTreeMap::new();
    for (key, value) in own.into_iter().chain(other) {
        rows.entry(key).or_default().add(value);
    }
    rows.into_iter().collect()
}

/// The busiest rows of both, and at last all others together.
fn busiest<K: Ord + Hash, V: Add>(
    own: Vec<(Option<K>, V)>,
    other: Vec<(Option<K>, V)>,
) -> Vec<(Option<K>, V)> {
    let (mut known, mut rest) = (Vec::new(), V::default());
    for (key, value) in summed(own, other) {
        match key {
            Some(key) => known.push((Some(key), value)),
            None => rest.add(value),
        }
    }
    known.sort_by_key(|(_, value)| std::cmp::Reverse(value.weight()));
    for (_, value) in known.drain(Report::ROWS_MAX.min(known.len())..) {
        rest.add(value);
    }
    if rest.weight() > 0 {
        known.push((None, rest));
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::usage::{Counts, Endpoint, Hour};
    use crate::domain::verdict::Verdict;

    fn counts(requests: u64) -> Counts {
        Counts::of_parts([(Verdict::Valid, requests)], requests, None)
    }

    fn endpoint(path: &str) -> Option<Endpoint> {
        Some(Endpoint::of("GET", path))
    }

    #[test]
    fn what_is_told_of_two_adds_up_row_by_row() {
        let hour = Hour::from_number;
        let mut one = Report {
            totals: counts(10),
            hourly: vec![(hour(1), counts(4)), (hour(2), counts(6))],
            endpoints: vec![(endpoint("/a"), counts(7)), (None, counts(3))],
            ..Report::default()
        };
        let other = Report {
            totals: counts(5),
            hourly: vec![(hour(1), counts(0)), (hour(2), counts(5))],
            endpoints: vec![(endpoint("/b"), counts(4)), (endpoint("/a"), counts(1))],
            ..Report::default()
        };
        one.add(other);
        assert_eq!(one.totals, counts(15));
        assert_eq!(one.hourly, [(hour(1), counts(4)), (hour(2), counts(11))]);
        let rows = [
            (endpoint("/a"), counts(8)),
            (endpoint("/b"), counts(4)),
            (None, counts(3)),
        ];
        assert_eq!(one.endpoints, rows);
    }

    #[test]
    fn no_more_rows_are_told_apart_than_of_one_and_none_is_lost() {
        let mut sum = Report::default();
        for subject in 0..3 {
            let rows = (1..=50).map(|n| (endpoint(&format!("/{subject}/{n}")), counts(n)));
            sum.add(Report {
                endpoints: rows.collect(),
                ..Report::default()
            });
        }
        assert_eq!(sum.endpoints.len(), Report::ROWS_MAX + 1);
        assert_eq!(sum.endpoints.last().unwrap().0, None);
        let all: u64 = sum.endpoints.iter().map(|(_, row)| row.requests()).sum();
        assert_eq!(all, 3 * (1..=50).sum::<u64>());
    }
}
