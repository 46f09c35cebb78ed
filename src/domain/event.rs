//! Events: what happened to tokens, told to whoever watches.
//!
//! An event is told at least once, whatever dies meanwhile; in the order of a token's changes, unless
//! somebody died between a change and telling it. Who reads them knows a repetition by token, kind
//! and revision.

use std::fmt;
use std::time::Duration;

use super::alphabet;
use super::flaw::{Flaw, quoted};
use super::time::Timestamp;
use super::token::Token;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    Created,
    Updated,
    Rotated,
    Revoked,
    Deleted,
    /// Its end is near; once for each span of [`Alarms`].
    Expiring,
    /// Its end has come, by time alone.
    Expired,
    Leased,
    /// Its lease was ended by its holder, by force, or by the end of the token.
    Released,
    /// The time of its lease was over.
    LeaseExpired,
}

impl EventKind {
    pub const ALL: [Self; 10] = [
        Self::Created,
        Self::Updated,
        Self::Rotated,
        Self::Revoked,
        Self::Deleted,
        Self::Expiring,
        Self::Expired,
        Self::Leased,
        Self::Released,
        Self::LeaseExpired,
    ];
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    /// By the store's clock.
    pub time: Timestamp,
    /// As it was afterwards; one that was deleted, as it was before. It carries its tenure only where
    /// the event is about a lease.
    pub token: Token,
    /// A word for people: the reason of a revocation, the holder of a lease, how far an end is away.
    pub detail: String,
}

/// What a change made of a token is told as; nothing where nothing of it is to be seen.
pub fn of_change(before: Option<&Token>, after: Option<&Token>) -> Option<EventKind> {
    match (before, after) {
        (None, None) => None,
        (None, Some(_)) => Some(EventKind::Created),
        (Some(_), None) => Some(EventKind::Deleted),
        (Some(before), Some(after)) if before.revision == after.revision => None,
        (Some(before), Some(after)) if before.revoked.is_none() && after.revoked.is_some() => {
            Some(EventKind::Revoked)
        }
        (Some(before), Some(after))
            if before.secrets.current.version < after.secrets.current.version =>
        {
            Some(EventKind::Rotated)
        }
        (Some(_), Some(_)) => Some(EventKind::Updated),
    }
}

/// How long before the end of a token it is told that it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarms(Vec<Duration>);

impl Alarms {
    /// Most spans.
    pub const MAX: usize = 8;

    /// In any order; none of them twice.
    pub fn of(spans: &[Duration]) -> Result<Self, Flaw> {
        let mut sorted = spans.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        match () {
            () if sorted.len() > Self::MAX => Err(Flaw::new(format!(
                "must be at most {} spans; got {}",
                Self::MAX,
                sorted.len()
            ))),
            () if sorted.first().is_some_and(Duration::is_zero) => {
                Err(Flaw::new("must be spans longer than nothing".to_owned()))
            }
            () => Ok(Self(sorted)),
        }
    }

    /// From the shortest to the longest.
    pub fn spans(&self) -> &[Duration] {
        &self.0
    }

    /// What is to be told of a token by time alone, from `since` on and until `now`, oldest first;
    /// `Expiring` with the span that was left then.
    ///
    /// Nothing is told of a token that is revoked, nor of a span that is longer than its life.
    pub fn due(
        &self,
        token: &Token,
        since: Timestamp,
        now: Timestamp,
    ) -> Vec<(Timestamp, EventKind, Duration)> {
        let times = self.times(token);
        let within = |(time, ..): &(Timestamp, EventKind, Duration)| since <= *time && *time <= now;
        times.into_iter().filter(within).collect()
    }

    /// When something is to be told next, after `now`.
    pub fn next(&self, token: &Token, now: Timestamp) -> Option<Timestamp> {
        let times = self.times(token).into_iter().map(|(time, ..)| time);
        times.filter(|time| *time > now).min()
    }

    fn times(&self, token: &Token) -> Vec<(Timestamp, EventKind, Duration)> {
        let Some(end) = token.expire_time.filter(|_| token.revoked.is_none()) else {
            return Vec::new();
        };
        let before = |span: &Duration| {
            let micros = u64::try_from(span.as_micros()).ok()?;
            let time = Timestamp::from_micros(end.micros().checked_sub(micros)?);
            (time > token.create_time).then_some((time, EventKind::Expiring, *span))
        };
        let mut times: Vec<_> = self.0.iter().rev().filter_map(before).collect();
        times.push((end, EventKind::Expired, Duration::ZERO));
        times
    }
}

impl Default for Alarms {
    /// A week and a day.
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self(vec![DAY, DAY * 7])
    }
}

/// A span in its largest whole unit, as configurations write it: `7d`, `36h`, `90m`.
pub fn span_in_words(span: Duration) -> String {
    const UNITS: [(u128, &str); 4] = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
    ];
    let millis = span.as_millis();
    let whole = UNITS
        .iter()
        .find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit));
    match whole {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

/// A place in the log of events: behind the event that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventCursor {
    /// What a store orders its events by; milliseconds since 1970 where it has no better.
    pub major: u64,
    pub minor: u64,
}

impl EventCursor {
    const DIGITS: usize = 11;

    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let number = |text: &str| u64::try_from(alphabet::decode(text)?).ok();
        let parsed = text
            .split_at_checked(Self::DIGITS)
            .filter(|(_, minor)| minor.len() == Self::DIGITS)
            .and_then(|(major, minor)| {
                let (major, minor) = (number(major)?, number(minor)?);
                Some(Self { major, minor })
            });
        parsed.ok_or_else(|| {
            Flaw::new(format!(
                "must be a cursor that a Watch answered; got {}",
                quoted(text)
            ))
        })
    }
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for number in [self.major, self.minor] {
            f.write_str(&alphabet::encode(u128::from(number), Self::DIGITS))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
