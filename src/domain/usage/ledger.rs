//! What is kept of a subject's use: a ledger that grows by gains, closed hours beside it, and days.
//!
//! Servers add *gains*, each under its process's name and a number that only grows; whoever reads a
//! ledger passes over a gain that it has already seen. So a gain that is sent again because nobody
//! knows whether it arrived never counts twice.
//!
//! An hour is *open* while gains may still fall into it; then it is closed: its details are put beside
//! the ledger, where they are dropped after some weeks, and its sum goes into the row of its day.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Add, Counts, Day, Ended, Hour, Recent, Use, VERSIONS_MAX, last_of};
use crate::domain::time::Timestamp;

/// Days of which a ledger itself knows the requests of each hour.
pub const SHORT_DAYS: u32 = 8;
/// Processes whose last gains a ledger remembers, at most.
pub const MARKS_MAX: usize = 32;
/// How long an hour stays open after its end: ends of requests may be told late.
const LATE_HOURS: u32 = 1;

/// How long use is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// Details of hours.
    pub hours: Duration,
    /// Sums of days.
    pub days: Duration,
}

impl Keeping {
    /// The first hour whose details are kept at `now`: with it a day begins.
    pub fn first_hour(&self, now: Hour) -> Hour {
        now.before(whole(self.hours, 3600)).day().begin()
    }

    /// The first day whose sum is kept at `now`.
    pub fn first_day(&self, now: Hour) -> Day {
        now.day().before(whole(self.days, 24 * 3600))
    }

    /// The hour from which on the details of a day's hours are not kept any more.
    pub fn details_until(&self, day: Day) -> Hour {
        day.after(1).begin().after(whole(self.hours, 3600))
    }

    /// The hour from which on a day's sum is not kept any more.
    pub fn sum_until(&self, day: Day) -> Hour {
        day.after(1).after(whole(self.days, 24 * 3600)).begin()
    }
}

/// How many units of so many seconds cover a span.
fn whole(span: Duration, seconds: u64) -> u32 {
    u32::try_from(span.as_secs().div_ceil(seconds)).unwrap_or(u32::MAX)
}

impl Default for Keeping {
    /// 35 days of hours, 400 of days.
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            hours: DAY * 35,
            days: DAY * 400,
        }
    }
}

/// What one process counted of one subject, and adds at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gain {
    /// Mostly one: each hour once, in their order.
    pub hours: Vec<(Hour, Use)>,
    /// Of tokens only; the oldest first.
    pub recent: VecDeque<Recent>,
    /// Of tokens only; the oldest first.
    pub ended: VecDeque<Ended>,
}

impl Gain {
    pub fn add(&mut self, other: Self) {
        let Self {
            hours,
            recent,
            ended,
        } = other;
        for (hour, used) in hours {
            self.add_hour(hour, used);
        }
        self.recent.extend(recent);
        last_of(&mut self.recent, |recent| recent.at);
        self.ended.extend(ended);
        last_of(&mut self.ended, |ended| ended.at);
    }

    /// Adds what was counted within an hour.
    pub fn add_hour(&mut self, hour: Hour, used: Use) {
        match self.hours.binary_search_by_key(&hour, |(known, _)| *known) {
            Ok(at) => self.hours[at].1.add(used),
            Err(at) => self.hours.insert(at, (hour, used)),
        }
    }
}

/// The last gain of a process that a ledger knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub process: u64,
    pub sequence: u64,
}

/// What is kept of a subject, but for its closed hours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Of all times.
    pub total: Counts,
    /// When each version of the token's secret last passed; 0 stands for secrets of leases.
    pub last_used: BTreeMap<u32, Timestamp>,
    /// Judged requests of the hours of the last days, open ones among them.
    pub short: BTreeMap<Hour, u64>,
    pub open: BTreeMap<Hour, Use>,
    pub recent: VecDeque<Recent>,
    pub ended: VecDeque<Ended>,
    /// The one that added last comes last.
    pub marks: Vec<Mark>,
}

/// What lists show of a token's use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub last_used: BTreeMap<u32, Timestamp>,
    pub requests_24h: u64,
    pub requests_7d: u64,
    pub requests_total: u64,
}

impl Summary {
    /// When the token last passed, with whichever secret.
    pub fn last_used_time(&self) -> Option<Timestamp> {
        self.last_used.values().max().copied()
    }
}

impl Ledger {
    /// Adds a gain, unless it was added before; answers whether it was not.
    ///
    /// A process's gains come in the order of their numbers: it sends none before the one before has
    /// arrived, or was given up for good.
    pub fn add(&mut self, mark: Mark, gain: Gain) -> bool {
        if self.knows(mark) {
            return false;
        }
        self.marks.retain(|known| known.process != mark.process);
        self.marks.push(mark);
        let beyond = self.marks.len().saturating_sub(MARKS_MAX);
        self.marks.drain(..beyond);

        let Gain {
            hours,
            recent,
            ended,
        } = gain;
        for (hour, used) in hours {
            self.total.add(used.counts.clone().without_times());
            *self.short.entry(hour).or_default() += used.counts.requests();
            let (versions, _) = used.versions.read();
            for (version, row) in versions {
                if let Some(at) = row.last_used {
                    let known = self.last_used.entry(*version).or_insert(at);
                    *known = at.max(*known);
                }
            }
            self.open.entry(hour).or_default().add(used);
        }
        // Forgotten secrets have the lowest versions; 0 stands for those of leases.
        while self.last_used.len() > VERSIONS_MAX {
            let oldest = self.last_used.keys().find(|version| **version > 0).copied();
            oldest.map(|version| self.last_used.remove(&version));
        }
        self.recent.extend(recent);
        last_of(&mut self.recent, |recent| recent.at);
        self.ended.extend(ended);
        last_of(&mut self.ended, |ended| ended.at);
        true
    }

    /// Whether the gain under this mark was added before.
    pub fn knows(&self, mark: Mark) -> bool {
        let mut marks = self.marks.iter();
        marks.any(|known| known.process == mark.process && known.sequence >= mark.sequence)
    }

    /// Takes out the hours that are over at `now`, to be put beside it, and drops what is too old. Of
    /// an hour whose details are not kept any more the day may still be.
    pub fn close(&mut self, now: Hour, keeping: &Keeping) -> BTreeMap<Hour, Use> {
        let open = self.open.split_off(&now.before(LATE_HOURS));
        let mut closed = std::mem::replace(&mut self.open, open);
        self.short = self.short.split_off(&now.before(SHORT_DAYS * 24));
        let first_hour = keeping.first_hour(now);
        closed.split_off(&first_hour.min(keeping.first_day(now).begin()))
    }

    /// What lists show of it at `now`.
    pub fn summary(&self, now: Hour) -> Summary {
        let since = |hours| {
            let hours = self.short.range(now.before(hours)..=now);
            hours.map(|(_, requests)| requests).sum()
        };
        Summary {
            last_used: self.last_used.clone(),
            requests_24h: since(24),
            requests_7d: since(7 * 24),
            requests_total: self.total.requests(),
        }
    }
}

/// All that is kept of a subject, as far as it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    pub ledger: Ledger,
    /// Closed hours; an hour may be open, too, where something was told late.
    pub closed: BTreeMap<Hour, Use>,
    /// Sums of the closed hours of each day, without times.
    pub days: BTreeMap<Day, Counts>,
}

impl Book {
    /// What was counted in `hour`.
    pub fn hour(&self, hour: Hour) -> Use {
        let parts = [self.closed.get(&hour), self.ledger.open.get(&hour)];
        let mut whole = Use::default();
        parts
            .into_iter()
            .flatten()
            .for_each(|part| whole.add(part.clone()));
        whole
    }
}
