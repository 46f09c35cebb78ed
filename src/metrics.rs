//! What is counted and measured: one value that is handed to whoever counts, and its text.
//!
//! Every label is a word out of a closed list, the number of a thread, or the id of one of the few tokens
//! that stand out, so that nothing a caller sends makes a new series.

mod cache;
mod connections;
mod events;
mod exposition;
mod permits;
mod rpc;
mod store;
mod tally;
mod tokens;
mod usage;

use std::sync::OnceLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::domain::lease::LeaseEnd;
use crate::domain::time::Timestamp;
use crate::domain::verdict::Verdict;

pub use cache::CacheTimes;
pub use connections::{Connections, Ended, OfWorker, Open as OpenConnection};
pub use events::Watchers;
pub use exposition::{About, Exposition, Format, Now, Remembered};
pub use permits::PermitCounts;
pub use rpc::{Rpc, Rpcs};
pub use store::{Failure, Operation, StoreTimes};
pub use tally::{Durations, Tally};
pub use tokens::{Busyness, NamedTokens};
pub use usage::{LogEntry, Recorded};

/// Upper ends of a duration's buckets, in seconds: few, from 100 µs to 10 s.
const SECONDS: [f64; 12] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0,
];

/// Verdicts whose series are held; there are fewer.
const HELD_VERDICTS: usize = 24;

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    pub rpcs: Rpcs,
    pub store: StoreTimes,
    pub connections: Connections,
    pub cache: CacheTimes,
    pub usage: Recorded,
    pub tokens: NamedTokens,
    pub events: Watchers,
    pub permits: PermitCounts,
    verdicts: Family<VerdictLabels, Tally>,
    /// Those of [`Metrics::verdicts`] that were counted before, by the verdict's number.
    held_verdicts: [OnceLock<Tally>; HELD_VERDICTS],
    pub tokens_created: Counter,
    pub tokens_revoked: Counter,
    pub tokens_deleted: Counter,
    pub leases_granted: Counter,
    leases_ended: Family<EndLabels, Counter>,
    /// Acquires that found no token available, in all the time that they waited.
    pub leases_refused: Counter,
    /// Calls that wait for leases.
    pub leases_waiting: Gauge,
    /// Questions that could not be answered because a pepper is not configured.
    pub missing_pepper: Counter,
    /// Secrets that the store was not read for, since too many of the same client failed.
    pub failures_shed: Counter,
    /// When the server's certificate ends, in seconds since 1970; 0 without TLS.
    certificate_end: Gauge,
    /// Readings of the certificates' files that were of no use.
    pub certificate_reloads_failed: Counter,
    /// Audit lines that are not written yet.
    pub audit_pending: Gauge,
    /// Audit lines of refusals that found no room while nothing could be written.
    pub audit_lost: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    reason: &'static str,
}

impl Metrics {
    /// `methods` are the RPCs that are told apart.
    pub fn new(methods: impl IntoIterator<Item = &'static str>) -> Self {
        Self {
            rpcs: Rpcs::new(methods),
            store: StoreTimes::default(),
            connections: Connections::default(),
            cache: CacheTimes::default(),
            usage: Recorded::default(),
            tokens: NamedTokens::default(),
            events: Watchers::default(),
            permits: PermitCounts::default(),
            verdicts: Family::default(),
            held_verdicts: Default::default(),
            tokens_created: Counter::default(),
            tokens_revoked: Counter::default(),
            tokens_deleted: Counter::default(),
            leases_granted: Counter::default(),
            leases_ended: Family::default(),
            leases_refused: Counter::default(),
            leases_waiting: Gauge::default(),
            missing_pepper: Counter::default(),
            failures_shed: Counter::default(),
            certificate_end: Gauge::default(),
            certificate_reloads_failed: Counter::default(),
            audit_pending: Gauge::default(),
            audit_lost: Counter::default(),
        }
    }

    pub fn certificate_ends(&self, end: Timestamp) {
        let seconds = end.micros() / 1_000_000;
        self.certificate_end
            .set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// Counts a lease that a call ended.
    pub fn lease_ended(&self, end: LeaseEnd) {
        let reason = match end {
            LeaseEnd::Released => "released",
            LeaseEnd::Expired => "expired",
            LeaseEnd::Revoked => "revoked",
            LeaseEnd::Forced => "forced",
        };
        self.leases_ended.get_or_create(&EndLabels { reason }).inc();
    }

    pub fn judged(&self, verdict: Verdict) {
        let labels = VerdictLabels {
            verdict: word(verdict),
        };
        let find = || self.verdicts.get_or_create_owned(&labels);
        match self.held_verdicts.get(verdict as usize) {
            Some(held) => held.get_or_init(find).inc(),
            None => find().inc(),
        }
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Valid => "valid",
        Verdict::Malformed => "malformed",
        Verdict::NotFound => "not_found",
        Verdict::Revoked => "revoked",
        Verdict::Disabled => "disabled",
        Verdict::Expired => "expired",
        Verdict::Superseded => "superseded",
        Verdict::LeaseEnded => "lease_ended",
        Verdict::OwnerMismatch => "owner_mismatch",
        Verdict::ScopeDenied => "scope_denied",
        Verdict::EndpointDenied => "endpoint_denied",
        Verdict::AddressDenied => "address_denied",
        Verdict::RateLimited => "rate_limited",
        Verdict::QuotaExhausted => "quota_exhausted",
    }
}
