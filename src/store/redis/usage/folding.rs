//! Folding ledgers: what was appended is added up from time to time, and closed hours are taken out.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::time::Duration;

use redis::cmd;

use super::super::RedisStore;
use super::super::error::read;
use super::super::line::Line;
use super::super::scripts::{Call, FOLD_LEDGER};
use super::{BYTES_AT_ONCE, Ledgers};
use crate::domain::time::Timestamp;
use crate::domain::usage::{Add, Counts, Day, Hour, Keeping, Ledger, Mark, Subject};
use crate::store::StoreError;
use crate::store::usage::{decode_days, decode_ledger, encode_days, encode_hour, encode_ledger};

/// About how many bytes are appended before a short ledger is folded.
pub(super) const FOLD_EVERY: u64 = 4096;
/// Length from which on a ledger is folded with each gain.
const LENGTH_MAX: usize = 256 * 1024;
/// Ledgers that are folded after one flush, at most, and one for so many gains beside.
const FOLDS_MAX: usize = 64;
const GAINS_PER_FOLD: usize = 4;

/// A ledger that something was appended to.
pub(super) struct Grown<'a> {
    pub(super) subject: &'a Subject,
    /// By how many bytes it became longer.
    pub(super) by: usize,
    /// How long it is now.
    pub(super) to: usize,
}

impl Grown<'_> {
    pub(super) fn is_new(&self) -> bool {
        self.by == self.to
    }
}

/// What was read of a subject, as it stands.
struct Standing {
    ledger: Vec<u8>,
    days: Vec<u8>,
}

impl Ledgers {
    /// Whether a ledger is folded now. The chance is such that a ledger grows by [`FOLD_EVERY`] bytes
    /// between, or by half of its length if that is more: so folding costs no more than some times what
    /// adding does, without anything that says how long ago it was folded.
    pub(super) fn is_due(&self, grown: &Grown<'_>, mark: Mark) -> bool {
        let Grown { subject, by, to } = *grown;
        if self.is_unreadable(subject) {
            return false;
        }
        let draw = self.dice.hash_one((subject, mark.sequence, to));
        to > LENGTH_MAX || is_drawn(draw, by, to, self.fold_every)
    }
}

/// Whether one of all draws that are equally likely falls to a ledger of such a growth and length.
fn is_drawn(draw: u64, by: usize, to: usize, every: u64) -> bool {
    let every = u128::from(every).max(to as u128 / 2);
    u128::from(draw) * every < (by as u128) << 64
}

impl RedisStore {
    /// Folds some ledgers, the longest first. Errors are told, and no more: the gains are added.
    pub(super) async fn fold(&self, line: &Line<'_>, mut due: Vec<Grown<'_>>, gains: usize) {
        due.sort_unstable_by_key(|grown| std::cmp::Reverse(grown.to));
        due.truncate(FOLDS_MAX + gains / GAINS_PER_FOLD);
        let mut due = due.as_slice();
        while let Some(first) = due.first() {
            let mut count = 1;
            let mut bytes = first.to;
            while let Some(next) = due.get(count)
                && bytes + next.to <= BYTES_AT_ONCE
            {
                bytes += next.to;
                count += 1;
            }
            let (some, rest) = due.split_at(count);
            due = rest;
            if let Err(error) = self.fold_some(line, some).await {
                tracing::debug!(%error, "ledgers stay as they are until more is added");
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn fold_some(&self, line: &Line<'_>, due: &[Grown<'_>]) -> Result<(), StoreError> {
        let limit = self.access.write_timeout;
        let keys = &self.access.keys;
        let commands = due.iter().map(|Grown { subject, .. }| {
            let mut both = cmd("MGET");
            both.arg(keys.ledger(subject)).arg(keys.days(subject));
            both
        });
        let mut commands: Vec<_> = commands.collect();
        commands.push(cmd("TIME"));
        let mut answers = line.raw_commands(limit, commands).await?;
        let now = self.time_of(line.accept(limit, answers.pop().unwrap_or_default())?)?;
        let mut calls = Vec::with_capacity(due.len());
        for (Grown { subject, .. }, answer) in due.iter().zip(answers) {
            let (ledger, days): (Option<Vec<u8>>, Option<Vec<u8>>) =
                read(line.accept(limit, answer)?)?;
            let Some(ledger) = ledger else {
                continue;
            };
            let days = days.unwrap_or_default();
            match self.folding(subject, &Standing { ledger, days }, now) {
                Ok(call) => calls.extend(call),
                Err(error) => self.ledgers.note_unreadable(subject, &error),
            }
        }
        line.scripts(limit, &calls).await.map(drop)
    }

    /// What puts the folded form of a ledger in its place; nothing where it is folded.
    fn folding(
        &self,
        subject: &Subject,
        standing: &Standing,
        now: Timestamp,
    ) -> Result<Option<Call>, StoreError> {
        let keeping = &self.access.keeping;
        let mut ledger: Ledger = decode_ledger(&standing.ledger)?;
        let mut days = decode_days(&standing.days)?;
        let closed = ledger.close(Hour::of(now), keeping);
        for (hour, used) in &closed {
            let day = days.entry(hour.day()).or_default();
            day.add(used.counts.clone().without_times());
        }
        let days = kept(days, keeping, Hour::of(now));
        let folded = encode_ledger(&ledger);
        if folded == standing.ledger {
            return Ok(None);
        }
        let keys = &self.access.keys;
        let call = FOLD_LEDGER
            .call([keys.ledger(subject), keys.days(subject)])
            .arg(standing.ledger.as_slice())
            .arg(folded)
            .arg(standing.days.as_slice())
            .arg(encode_days(&days));
        let mut hours = BTreeMap::<Day, Vec<u8>>::new();
        for (hour, used) in &closed {
            let own = hours.entry(hour.day()).or_default();
            own.extend(encode_hour(*hour, used));
        }
        let kept = hours.into_iter().filter_map(|(day, frames)| {
            let left = kept_for(day, keeping, now)?.as_millis().to_string();
            Some((keys.hours(subject, day), frames, left))
        });
        Ok(Some(kept.fold(call, |call, (key, frames, left)| {
            call.key(key).arg(frames).arg(left)
        })))
    }
}

/// The days that are kept: as long as hours at least, since they tell which of those there may be.
fn kept(mut days: BTreeMap<Day, Counts>, keeping: &Keeping, now: Hour) -> BTreeMap<Day, Counts> {
    let first = keeping.first_day(now).min(keeping.first_hour(now).day());
    days.split_off(&first)
}

/// How long from now on the hours of a day are kept: a day longer than anybody asks for them. `None` of
/// those that nobody asks for any more.
fn kept_for(day: Day, keeping: &Keeping, now: Timestamp) -> Option<Duration> {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let hours = Duration::from_secs(keeping.hours.as_secs().next_multiple_of(3600));
    let goes = day.begin().begin().saturating_add(hours);
    let left = goes.saturating_add(DAY * 2).saturating_since(now);
    (left >= Duration::from_millis(1)).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many draws fall to it.
    fn share(by: usize, to: usize) -> f64 {
        const DRAWS: u64 = 1 << 16;
        let drawn = (0..DRAWS).filter(|n| is_drawn(n << 48, by, to, FOLD_EVERY));
        drawn.count() as f64 / DRAWS as f64
    }

    #[test]
    fn a_ledger_is_folded_the_more_rarely_the_longer_it_is() {
        let near = |share: f64, expected: f64| (share - expected).abs() < 0.001;
        assert!(near(share(1024, 1024), 0.25), "{}", share(1024, 1024));
        assert!(near(share(1024, 8192), 0.25));
        assert!(near(share(1024, 16_384), 0.125));
        assert!(near(share(4096, 4096), 1.0));
        assert!(near(share(100_000, 100_000), 1.0));
    }

    #[test]
    fn a_very_long_ledger_and_none_that_cannot_be_read_is_folded_at_once() {
        let ledgers = Ledgers::default();
        let subject = Subject::Namespace(crate::domain::name::Namespace::fallback());
        let (process, sequence) = (1, 1);
        let grown = |to| Grown {
            subject: &subject,
            by: 1,
            to,
        };
        let due = |to| ledgers.is_due(&grown(to), Mark { process, sequence });
        assert!(due(LENGTH_MAX + 1));
        ledgers.note_unreadable(&subject, &StoreError::Corrupt("a test".to_owned()));
        assert!(!due(LENGTH_MAX + 1));
    }

    #[test]
    fn closed_hours_outlive_all_who_ask_for_them() {
        let keeping = Keeping {
            hours: Duration::from_secs(36 * 3600),
            ..Keeping::default()
        };
        let hour = Day::from_number(1000).begin();
        let left = kept_for(hour.day(), &keeping, hour.begin()).unwrap();
        let gone = hour.begin().saturating_add(left);
        let mut asked = hour;
        while keeping.first_hour(asked).day() <= hour.day() {
            assert!(asked.begin() < gone, "{asked:?}");
            asked = Hour::from_number(asked.number() + 1);
        }
        assert_eq!(kept_for(hour.day(), &keeping, gone), None);
    }
}
