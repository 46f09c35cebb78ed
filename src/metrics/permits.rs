//! What is counted of uses that are taken ahead.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Batches of uses, and what became of them.
#[derive(Debug, Default)]
pub struct PermitCounts {
    batches: Counter,
    granted: Counter,
    /// Uses that were admitted from batches.
    pub used: Counter,
    returned: Counter,
}

impl PermitCounts {
    /// Counts a batch of so many uses.
    pub fn granted(&self, uses: u64) {
        self.batches.inc();
        self.granted.inc_by(uses);
    }

    /// Counts uses that were given back unmade, if any were.
    pub fn returned(&self, uses: Option<u64>) {
        self.returned.inc_by(uses.unwrap_or_default());
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Batches of uses that were taken from limits ahead";
        registry.register("permit_batches", help, self.batches.clone());
        let help = "Uses that were taken from limits ahead";
        registry.register("permits_granted", help, self.granted.clone());
        let help = "Uses that were admitted from those without asking the store";
        registry.register("permits_used", help, self.used.clone());
        let help = "Uses that were taken ahead and given back";
        registry.register("permits_returned", help, self.returned.clone());
    }
}
