//! What is counted of the counting itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// The recorder of what is judged.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Judged requests that were counted.
    pub counted: Counter,
    /// Judged requests that found no room to be counted.
    pub lost: Counter,
}

impl Recorded {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Judged requests that were counted as usage";
        registry.register("usage_recorded", help, self.counted.clone());
        let help = "Judged requests that were not counted as usage, as there was no room";
        registry.register("usage_lost", help, self.lost.clone());
    }
}
