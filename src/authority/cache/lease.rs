//! The cache lease as answers see it: until when they may come from memory, and what the store's time
//! is at the most.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::domain::coherence::bound::TimeBound;
use crate::domain::time::{Steady, Timestamp};

/// What a renewal brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    /// When it runs out; it may have been already.
    pub(super) until: Steady,
    /// The store's time, as the renewal told it.
    pub(super) bound: TimeBound,
    /// How many answered from memory then, this process among them.
    pub(super) members: u64,
}

/// The lease that is held, if any, or was last.
#[derive(Debug, Default)]
pub(super) struct Lease(ArcSwapOption<Grant>);

/// The lease was in force when this was made: so whatever change returned before then has been applied
/// here. Records may be read, and flights joined, by it, and not by one that was made after.
#[derive(Clone, Copy, Debug)]
pub(in crate::authority) struct Held {
    pub(in crate::authority) at: Steady,
    /// The store's time then, at the most.
    pub(in crate::authority) bound: Timestamp,
}

/// What is known of the time since the last lease.
#[derive(Clone, Copy, Debug)]
pub(in crate::authority) struct Lapse {
    /// For how long none has been held; zero while one is.
    pub(in crate::authority) span: Duration,
    /// The store's time, at the most.
    pub(in crate::authority) bound: Timestamp,
    /// How many answered from memory when the last one was granted.
    pub(in crate::authority) members: u64,
}

impl Lease {
    pub(super) fn grant(&self, grant: Grant) {
        self.0.store(Some(Arc::new(grant)));
    }

    pub(super) fn give_up(&self) {
        self.0.store(None);
    }

    pub(super) fn hold(&self, now: Steady) -> Option<Held> {
        let grant = self.0.load();
        let grant = grant.as_ref().filter(|grant| now < grant.until)?;
        Some(Held {
            at: now,
            bound: grant.bound.at_most(now),
        })
    }

    /// How long it still lasts.
    pub(super) fn left(&self, now: Steady) -> Duration {
        let grant = self.0.load();
        let grant = grant.as_ref();
        grant.map_or(Duration::ZERO, |grant| grant.until.saturating_since(now))
    }

    /// `None` where there never was one, or it was given up.
    pub(super) fn lapse(&self, now: Steady) -> Option<Lapse> {
        let grant = self.0.load();
        let grant = grant.as_ref()?;
        Some(Lapse {
            span: now.saturating_since(grant.until),
            bound: grant.bound.at_most(now),
            members: grant.members,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::token::tests::at;

    fn steady(seconds: u64) -> Steady {
        Steady::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_lease_is_held_until_its_end_and_bounds_the_time() {
        let lease = Lease::default();
        assert!(lease.hold(steady(0)).is_none());
        lease.grant(Grant {
            until: steady(11),
            bound: TimeBound {
                time: at(100),
                begun: steady(10),
            },
            members: 2,
        });
        assert_eq!(lease.hold(steady(10)).unwrap().bound, at(100));
        assert!(lease.hold(steady(11)).is_none());
        assert_eq!(lease.lapse(steady(10)).unwrap().span, Duration::ZERO);
        let lapse = lease.lapse(steady(14)).unwrap();
        assert_eq!(
            (lapse.span.as_secs(), lapse.bound, lapse.members),
            (3, at(104).saturating_add(Duration::from_millis(400)), 2)
        );
        lease.give_up();
        assert!(lease.lapse(steady(14)).is_none());
    }
}
