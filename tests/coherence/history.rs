//! What was asked and changed, and when: written down by those who asked and changed.
//!
//! All times are nanoseconds of this process's monotonic clock; every caller is in this process.

use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::Verdict;

/// Nanoseconds since the first look at the clock.
pub(crate) type Nanos = u64;

pub(crate) fn now() -> Nanos {
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(FIRST.elapsed().as_nanos()).expect("a short run")
}

/// How the secret of a subject loses what it was good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Revoked,
    /// The token loses the scope that is asked about.
    Narrowed,
    Disabled,
    /// The token has another secret from then on, and this one no grace.
    Rotated,
    Deleted,
    /// It is the secret of a lease, which is released.
    Released,
}

impl Way {
    pub(crate) const ALL: [Self; 6] = [
        Self::Revoked,
        Self::Narrowed,
        Self::Disabled,
        Self::Rotated,
        Self::Deleted,
        Self::Released,
    ];

    /// The verdict afterwards; before, it is `VALID`.
    pub(crate) fn verdict(self) -> Verdict {
        match self {
            Self::Revoked => Verdict::Revoked,
            Self::Narrowed => Verdict::ScopeDenied,
            Self::Disabled => Verdict::Disabled,
            Self::Rotated => Verdict::Superseded,
            Self::Deleted => Verdict::NotFound,
            Self::Released => Verdict::LeaseEnded,
        }
    }
}

/// When a subject came, and when it was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) way: Way,
    /// Its creation was answered.
    pub(crate) born: Nanos,
    /// Its change was sent for the first time.
    pub(crate) sent: Option<Nanos>,
    /// Its change was answered for the first time.
    pub(crate) done: Option<Nanos>,
}

/// One question about a subject, and its answer; none where the store could not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) subject: usize,
    pub(crate) replica: usize,
    pub(crate) began: Nanos,
    pub(crate) ended: Nanos,
    pub(crate) told: Option<Verdict>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// Of each subject, by its number.
    pub(crate) lives: Vec<Life>,
    pub(crate) looks: Vec<Look>,
}

impl History {
    /// Looks that got no answer.
    pub(crate) fn unanswered(&self) -> usize {
        let unanswered = self.looks.iter().filter(|look| look.told.is_none());
        unanswered.count()
    }

    /// How many changes of this kind were done.
    pub(crate) fn done(&self, way: Way) -> usize {
        let done = |life: &&Life| life.way == way && life.done.is_some();
        self.lives.iter().filter(done).count()
    }

    /// Looks at `replica` that began while a change was under way, or less than 100 ms after it was
    /// answered: those that a late effect would show in.
    pub(crate) fn close_looks(&self, replica: usize) -> usize {
        const CLOSE: Nanos = 100_000_000;
        let close = |look: &&Look| {
            let life = &self.lives[look.subject];
            let until = life.done.map_or(Nanos::MAX, |done| done + CLOSE);
            let told = look.replica == replica && look.told.is_some();
            told && life.sent.is_some_and(|sent| sent < look.ended) && look.began < until
        };
        self.looks.iter().filter(close).count()
    }
}

/// How long something took, over many times.
pub(crate) struct Spans(Vec<Duration>);

impl Spans {
    pub(crate) fn of(mut spans: Vec<Duration>) -> Self {
        assert!(!spans.is_empty(), "nothing was measured");
        spans.sort_unstable();
        Self(spans)
    }

    /// Of all changes of the history, from when each was first sent.
    pub(crate) fn of_changes(history: &History) -> Self {
        let span = |life: &Life| Some(Duration::from_nanos(life.done? - life.sent?));
        Self::of(history.lives.iter().filter_map(span).collect())
    }

    pub(crate) fn longest(&self) -> Duration {
        self.0[self.0.len() - 1]
    }

    /// What the given share of them did not exceed, in percent.
    fn at(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent).div_ceil(100).max(1) - 1]
    }
}

impl fmt::Display for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, most] = [self.at(50), self.at(99), self.longest()].map(|span| {
            let micros = span.as_micros();
            format!("{}.{}", micros / 1000, micros / 100 % 10)
        });
        let count = self.0.len();
        write!(f, "{count} in {p50} ms (p50), {p99} (p99), {most} (most)")
    }
}
