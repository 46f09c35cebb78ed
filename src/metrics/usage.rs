//! What is counted of the counting itself.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::SECONDS;

/// The recorder of what is judged.
#[derive(Debug)]
pub struct Recorded {
    /// Judged requests that were counted.
    pub counted: Counter,
    /// Judged requests, and ends of requests, that were not counted, or whose counts were given up.
    pub lost: Counter,
    /// Tokens of which something waits to be added to the store.
    pending: Gauge,
    /// For how long the first of that has waited.
    oldest: Gauge<f64, AtomicU64>,
    flushes: Histogram,
    /// How long requests took, as was reported, and how they ended.
    reported: Histogram,
    outcomes: Family<Outcome, Counter>,
    /// What became of the entries of access logs.
    entries: Family<EntryLabels, Counter>,
}

/// What became of an entry of an access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEntry {
    /// It was counted as the end of a request.
    Counted,
    /// It tells of no end: the request goes on, or another entry tells.
    Partial,
    /// It names no judgement.
    Unnamed,
    /// There is no such token within the proxy's permission.
    Unknown,
    /// It could not be counted: by the caller's rate limit, a store that is away, or the deadline.
    Lost,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EntryLabels {
    outcome: &'static str,
}

impl Default for Recorded {
    fn default() -> Self {
        Self {
            counted: Counter::default(),
            lost: Counter::default(),
            pending: Gauge::default(),
            oldest: Gauge::default(),
            flushes: Histogram::new(SECONDS),
            reported: Histogram::new(SECONDS),
            outcomes: Family::default(),
            entries: Family::default(),
        }
    }
}

impl Recorded {
    /// Notes how long an attempt took to add counts to the store, well or not.
    pub fn flushed(&self, span: Duration) {
        self.flushes.observe(span.as_secs_f64());
    }

    /// Notes of how many tokens something waits, and for how long.
    pub fn waits(&self, tokens: usize, age: Duration) {
        self.pending.set(i64::try_from(tokens).unwrap_or(i64::MAX));
        self.oldest.set(age.as_secs_f64());
    }

    /// Counts how a request ended, and how long it took, as far as that was reported.
    pub fn reported(&self, succeeded: Option<bool>, latency: Option<Duration>) {
        let outcome = match succeeded {
            Some(true) => "succeeded",
            Some(false) => "failed",
            None => "unknown",
        };
        self.outcomes.get_or_create(&Outcome { outcome }).inc();
        if let Some(latency) = latency {
            self.reported.observe(latency.as_secs_f64());
        }
    }

    /// Counts what became of entries of access logs.
    pub fn logged(&self, became: LogEntry, entries: usize) {
        let outcome = match became {
            LogEntry::Counted => "counted",
            LogEntry::Partial => "partial",
            LogEntry::Unnamed => "unnamed",
            LogEntry::Unknown => "unknown",
            LogEntry::Lost => "lost",
        };
        if entries > 0 {
            let counter = self.entries.get_or_create(&EntryLabels { outcome });
            counter.inc_by(entries as u64);
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Judged requests that were counted as usage";
        registry.register("usage_recorded", help, self.counted.clone());
        let help = "Judged requests and reports that are missing in usage";
        registry.register("usage_lost", help, self.lost.clone());
        let help = "Tokens of which usage waits to be added to the store";
        registry.register("usage_pending_tokens", help, self.pending.clone());
        registry.register_with_unit(
            "usage_oldest",
            "For how long the oldest usage has waited to be added to the store",
            Unit::Seconds,
            self.oldest.clone(),
        );
        registry.register_with_unit(
            "usage_flush_duration",
            "Time that an attempt took to add usage to the store, well or not",
            Unit::Seconds,
            self.flushes.clone(),
        );
        registry.register_with_unit(
            "reported_duration",
            "Time that requests took, as was reported",
            Unit::Seconds,
            self.reported.clone(),
        );
        let help = "Requests whose end was reported";
        registry.register("reported", help, self.outcomes.clone());
        let help = "Entries of proxies' access logs, by what became of them";
        registry.register("access_log_entries", help, self.entries.clone());
    }
}
