//! What is counted of those who watch.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Watchers and what they hear.
#[derive(Debug, Default)]
pub struct Watchers {
    pub watching: Gauge,
    /// Events that were handed to watchers, each of them counted.
    pub told: Counter,
    /// Watchers that were cut because they took no event for too long.
    pub slow: Counter,
}

impl Watchers {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Streams of Watch that are open";
        registry.register("watchers", help, self.watching.clone());
        let help = "Events that were handed to watchers";
        registry.register("events_told", help, self.told.clone());
        let help = "Watchers that were cut as they took no event for too long";
        registry.register("watchers_cut", help, self.slow.clone());
    }
}
