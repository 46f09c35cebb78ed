//! How long the store took, by operation, and what failed.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::SECONDS;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $($variant:ident = $word:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($variant,)* }

        impl $name {
            const WORDS: &[&str] = &[$($word,)*];

            fn word(self) -> &'static str {
                Self::WORDS[self as usize]
            }
        }
    };
}

words! {
    /// What a store was asked to do.
    Operation:
    Find = "find",
    Unchanged = "unchanged",
    Create = "create",
    Change = "change",
    Delete = "delete",
    List = "list",
    Acquire = "acquire",
    Leave = "leave",
    Release = "release",
    KeepAlive = "keep_alive",
    Pools = "pools",
    BeSeen = "be_seen",
    Renew = "renew",
    Announce = "announce",
    Attendance = "attendance",
    Strike = "strike",
    Resign = "resign",
    Take = "take",
    Spending = "spending",
    Census = "census",
    Events = "events",
    LastEvent = "last_event",
    Tell = "tell",
    AddUsage = "add_usage",
    Usage = "usage",
    Summaries = "summaries",
    Standing = "standing",
    Sweep = "sweep",
    Confirm = "confirm",
    ProbeRead = "probe_read",
    ProbeWrite = "probe_write",
}

words! {
    /// Why it could not; abandoned is what nobody waited for any longer.
    Failure:
    Unreachable = "unreachable",
    Slow = "slow",
    Unacceptable = "unacceptable",
    ReadOnly = "read_only",
    Corrupt = "corrupt",
    Contended = "contended",
    Unreplicated = "unreplicated",
    Closed = "closed",
    Abandoned = "abandoned",
}

/// Durations and failures of a store's operations; each duration's series is held.
#[derive(Debug)]
pub struct StoreTimes {
    held: Vec<OnceLock<Histogram>>,
    pub(super) durations: Family<Done, Histogram, fn() -> Histogram>,
    pub(super) failures: Family<Failed, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Done {
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Failed {
    operation: &'static str,
    kind: &'static str,
}

impl Default for StoreTimes {
    fn default() -> Self {
        Self {
            held: Operation::WORDS.iter().map(|_| OnceLock::new()).collect(),
            durations: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            failures: Family::default(),
        }
    }
}

impl StoreTimes {
    /// Counts an operation that has ended, well or not.
    pub fn took(&self, operation: Operation, span: Duration, failure: Option<Failure>) {
        let histogram = self.held[operation as usize].get_or_init(|| {
            let operation = operation.word();
            self.durations.get_or_create_owned(&Done { operation })
        });
        histogram.observe(span.as_secs_f64());
        if let Some(failure) = failure {
            let (operation, kind) = (operation.word(), failure.word());
            self.failures
                .get_or_create(&Failed { operation, kind })
                .inc();
        }
    }
}
