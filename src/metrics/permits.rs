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
    lost: Counter,
}

impl PermitCounts {
    /// Counts a batch of so many uses.
    pub fn granted(&self, uses: u64) {
        self.batches.inc();
        self.granted.inc_by(uses);
    }

    /// Counts uses that were given back unmade, in time or not.
    pub fn given_back(&self, uses: u64, in_time: bool) {
        match in_time {
            true => self.returned.inc_by(uses),
            false => self.lost.inc_by(uses),
        };
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
        let help = "Uses that were taken ahead, and neither made nor surely given back in time";
        registry.register("permits_lost", help, self.lost.clone());
    }
}
