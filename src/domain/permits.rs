//! Permits: uses that a replica takes from a token's limits ahead, in batches, and then admits without
//! asking anybody.
//!
//! A batch counts as spent in full from the moment it is granted, and does not drain meanwhile. When it
//! ends, after [`TERM`] or when it is given back, what was used of it counts as spent at that moment, and
//! drains from then on. So a use counts no earlier than it was made, and in any interval `w` no more
//! than `burst + w·requests/period` pass: those that were settled within it are at most what the
//! backlog holds at its end and what drained, and those of batches that live at its end are held beside
//! that backlog, within the same burst.

use std::time::Duration;

use super::time::Timestamp;

/// How long after it was granted a batch may be used, by the store's time.
pub const TERM: Duration = Duration::from_micros(TERM_MICROS);
const TERM_MICROS: u64 = 100_000;
/// How long after it was granted what is unused of a quota may still be given back.
pub const RETURN_MAX: Duration = Duration::from_secs(10);
/// All live batches of a token together hold at most one part in so many of each limit's burst. What
/// they hold and what waits to drain because of them is then at most 5 % of it, so that a client whose
/// calls conform to 95 % of a limit is never refused.
pub const HELD_PART: u64 = 40;
/// A batch holds at most one part in so many of a quota.
pub const QUOTA_PART: u64 = 100;
/// Most batches of a token that are remembered at once; with so many none is granted.
pub const BATCHES_MAX: usize = 32;

/// Which batch: drawn at random by whoever asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchId(pub u64);

/// What a use brings with it for those to come: nothing, unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// A batch that is given back first.
    pub back: Option<Back>,
    /// A batch that is asked for, if this use is admitted.
    pub wish: Option<Wish>,
}

/// A batch that whoever held it will not use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Back {
    pub batch: BatchId,
    /// How many of its uses were not made.
    pub unused: u64,
}

/// A batch as it is wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    pub batch: BatchId,
    /// Uses of cost 1. As many are granted or fewer, and none rather than one, or where less than twice
    /// as many would be left.
    pub uses: u64,
}

/// A batch as a store remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    pub id: BatchId,
    pub uses: u64,
    /// Whether its uses were taken from the quota, too.
    pub of_quota: bool,
    /// From then on it is over, and its uses count as made.
    pub end: Timestamp,
    /// Its uses stand in the backlogs already; it is only kept for what may come back of the quota.
    pub settled: bool,
}

impl Batch {
    /// When it was granted.
    pub fn grant_time(&self) -> Timestamp {
        Timestamp::from_micros(self.end.micros().saturating_sub(TERM_MICROS))
    }

    /// Whether its uses may still be made.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.end
    }
}

/// The batches of a token that a store remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batches {
    /// Of which grants they were taken: the token's `allowance.rates_since` and
    /// `allowance.quota_since` then.
    pub rates_since: Timestamp,
    pub quota_since: Timestamp,
    pub list: Vec<Batch>,
}
