//! What is counted of answers from memory, and of changes that wait for others to learn of them.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{SECONDS, Tally};

/// The cache, and what keeps it true.
#[derive(Debug)]
pub struct CacheTimes {
    /// Looks that found a record to answer from.
    pub hits: Tally,
    /// Looks that found none.
    pub misses: Counter,
    /// Questions that no lease allowed to answer from memory.
    pub unheld: Counter,
    /// Answers marked as degraded.
    pub degraded: Counter,
    /// Reads whose token changed while they were on their way.
    pub poisoned: Counter,
    /// The number of the last entry of the log that was applied.
    position: Gauge,
    /// How many answer from memory, as of the last renewal.
    replicas: Gauge,
    waits: Histogram,
}

impl Default for CacheTimes {
    fn default() -> Self {
        Self {
            hits: Tally::default(),
            misses: Counter::default(),
            unheld: Counter::default(),
            degraded: Counter::default(),
            poisoned: Counter::default(),
            position: Gauge::default(),
            replicas: Gauge::default(),
            waits: Histogram::new(SECONDS),
        }
    }
}

impl CacheTimes {
    /// Notes how far a renewal came, and how many answer from memory.
    pub fn renewed(&self, position: u64, replicas: u64) {
        self.position
            .set(i64::try_from(position).unwrap_or(i64::MAX));
        self.replicas
            .set(i64::try_from(replicas).unwrap_or(i64::MAX));
    }

    /// Notes how long a change took to be known everywhere, once it was written.
    pub fn waited(&self, span: Duration) {
        self.waits.observe(span.as_secs_f64());
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Looks into memory that found a record to answer from";
        registry.register("cache_hits", help, self.hits.clone());
        let help = "Looks into memory that found none";
        registry.register("cache_misses", help, self.misses.clone());
        let help = "Questions that no lease allowed to answer from memory";
        registry.register("cache_unheld", help, self.unheld.clone());
        let help = "Answers that were marked as degraded";
        registry.register("cache_degraded", help, self.degraded.clone());
        let help = "Reads whose token changed while they were on their way";
        registry.register("cache_poisoned", help, self.poisoned.clone());
        let help = "Number of the last change of others that was applied here";
        registry.register("cache_log_position", help, self.position.clone());
        let help = "Servers that answer from memory, as of the last renewal";
        registry.register("cache_replicas", help, self.replicas.clone());
        registry.register_with_unit(
            "cache_barrier_duration",
            "Time that a change took, once written, until every server knew of it",
            Unit::Seconds,
            self.waits.clone(),
        );
    }
}
