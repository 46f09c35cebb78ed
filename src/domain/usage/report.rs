//! What is told of a subject's use over a window of time.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use super::{Add, Book, Client, Counts, Day, Endpoint, Hour, Keeping, Outcome, Recent, Rows, Use};
use crate::domain::flaw::Flaw;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenId;

/// From the beginning of an hour until now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from: Hour,
    pub now: Hour,
}

impl Window {
    pub const DEFAULT: Duration = Duration::from_secs(24 * 3600);
    /// Longest: no sum of a day is kept for longer, unless it is configured so.
    pub const MAX: Duration = Duration::from_secs(3660 * 24 * 3600);

    /// The window that begins with the hour that holds `now - span`.
    pub fn of(now: Timestamp, span: Duration) -> Result<Self, Flaw> {
        if span.is_zero() || span > Self::MAX {
            let most = Self::MAX.as_secs() / (24 * 3600);
            return Err(Flaw::new(format!(
                "must be longer than 0 and at most {most} days; got {span:?}"
            )));
        }
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let from = Timestamp::from_micros(now.micros().saturating_sub(micros));
        Ok(Self {
            from: Hour::of(from),
            now: Hour::of(now),
        })
    }

    /// The first hour whose details are kept and lie within it.
    pub fn first_hour(&self, keeping: &Keeping) -> Hour {
        self.from.max(keeping.first_hour(self.now))
    }

    /// The days whose sums stand for the hours that are not kept any more: whole ones, so that a window
    /// that reaches so far begins with a day.
    fn days(&self, keeping: &Keeping) -> Option<(Day, Day)> {
        let kept = keeping.first_hour(self.now);
        let first = self.from.day().max(keeping.first_day(self.now));
        (self.from < kept).then(|| (first.min(kept.day()), kept.day()))
    }
}

/// A subject's use over a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub totals: Counts,
    /// Every hour of the window whose details are kept, empty ones among them.
    pub hourly: Vec<(Hour, Counts)>,
    /// The busiest first, at last all others together, as `None`; so with the rest.
    pub endpoints: Vec<(Option<Endpoint>, Counts)>,
    pub clients: Vec<(Option<IpAddr>, Client)>,
    pub tokens: Vec<(TokenId, Counts)>,
    /// By version; 0 stands for secrets of leases.
    pub versions: Vec<(u32, u64)>,
    /// The newest first, with how they ended, where that was told.
    pub recent: Vec<(Recent, Option<Outcome>)>,
}

/// Rows of all hours together, before the busiest are told apart.
struct Merged<K, V> {
    rows: BTreeMap<K, V>,
    other: V,
}

impl<K: Ord + Hash + Clone, V: Add + Clone> Merged<K, V> {
    fn new() -> Self {
        Self {
            rows: BTreeMap::new(),
            other: V::default(),
        }
    }

    fn add<const MOST: usize>(&mut self, rows: Rows<K, V, MOST>)
    where
        K: PartialEq,
    {
        let (rows, other) = rows.into_parts();
        for (key, value) in rows {
            self.rows.entry(key).or_default().add(value);
        }
        self.other.add(other);
    }

    /// The busiest, by falling weight and then by key, and what all others are together.
    fn busiest(self, most: usize) -> (Vec<(K, V)>, V) {
        let mut rows: Vec<_> = self.rows.into_iter().collect();
        rows.sort_by_key(|(_, value)| std::cmp::Reverse(value.weight()));
        let mut other = self.other;
        for (_, value) in rows.drain(most.min(rows.len())..) {
            other.add(value);
        }
        (rows, other)
    }

    /// The same in one list, the others last where there are any.
    fn listed(self, most: usize) -> Vec<(Option<K>, V)> {
        let (rows, other) = self.busiest(most);
        let mut rows: Vec<_> = rows
            .into_iter()
            .map(|(key, value)| (Some(key), value))
            .collect();
        if other.weight() > 0 {
            rows.push((None, other));
        }
        rows
    }
}

impl Report {
    /// Rows of one kind that are told apart.
    pub const ROWS_MAX: usize = 64;

    /// What `book`, read from the window's first kept hour on, tells about `window`.
    pub fn of(book: &Book, window: Window, keeping: &Keeping) -> Self {
        let mut report = Self::default();
        let first = window.days(keeping).map_or(window.from, |(from, until)| {
            let sums = book.days.range(from..until);
            sums.for_each(|(_, sum)| report.totals.add(sum.clone()));
            // Whatever is still open of those days is in no sum yet.
            let open = book.ledger.open.range(from.begin()..until.begin());
            open.for_each(|(_, used)| report.totals.add(used.counts.clone()));
            until.begin()
        });
        let (mut endpoints, mut clients) = (Merged::new(), Merged::new());
        let (mut tokens, mut versions) = (Merged::new(), Merged::new());
        for number in first.number()..=window.now.number() {
            let hour = Hour::from_number(number);
            let Use {
                counts,
                versions: by_version,
                endpoints: by_endpoint,
                clients: by_client,
                tokens: by_token,
            } = book.hour(hour);
            report.totals.add(counts.clone());
            report.hourly.push((hour, counts));
            endpoints.add(by_endpoint);
            clients.add(by_client);
            if let Some(by_token) = by_token {
                tokens.add(*by_token);
            }
            versions.add(by_version);
        }
        report.endpoints = endpoints.listed(Self::ROWS_MAX);
        report.clients = clients.listed(Self::ROWS_MAX);
        report.tokens = tokens.busiest(Self::ROWS_MAX).0;
        let versions = versions.rows.into_iter();
        report.versions = versions
            .map(|(version, row)| (version, row.requests))
            .collect();
        report.recent = Self::recent(book);
        report
    }

    fn recent(book: &Book) -> Vec<(Recent, Option<Outcome>)> {
        let ended = |recent: &Recent| {
            let ended = book.ledger.ended.iter().rev();
            ended
                .filter(|ended| ended.validation_id == recent.validation_id())
                .map(|ended| ended.outcome)
                .next()
        };
        let newest = book.ledger.recent.iter().rev();
        newest
            .map(|recent| (recent.clone(), ended(recent)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
