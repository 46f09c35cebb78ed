//! Telling the log that connections were turned away, seldom enough that a crowd cannot fill it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::Ended;

/// How often one reason is told at most.
pub(super) const EVERY: Duration = Duration::from_secs(60);

/// Connections that were turned away since that was told last, by reason.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    full: Mutex<Untold>,
    address_full: Mutex<Untold>,
}

#[derive(Debug, Default)]
struct Untold {
    count: u64,
    told: Option<Instant>,
}

impl Refusals {
    /// Notes how this side ended a connection, and tells it where it is time to.
    pub(super) fn note(&self, why: Ended, now: Instant) {
        match why {
            Ended::Full => tell_full(locked(&self.full).one_more(now)),
            Ended::AddressFull => tell_address_full(locked(&self.address_full).one_more(now)),
            _ => {}
        }
    }

    /// Tells what came since the last line, which nobody else would when no more come.
    pub(super) fn tell_rest(&self, now: Instant) {
        tell_full(locked(&self.full).due(now));
        tell_address_full(locked(&self.address_full).due(now));
    }
}

fn tell_full(count: Option<u64>) {
    if let Some(refused) = count {
        tracing::warn!(
            refused,
            "connections were refused: there are as many as limits.connections allows"
        );
    }
}

fn tell_address_full(count: Option<u64>) {
    if let Some(refused) = count {
        tracing::warn!(
            refused,
            "connections were refused: their address has as many as \
             limits.connections_per_address allows"
        );
    }
}

fn locked(untold: &Mutex<Untold>) -> MutexGuard<'_, Untold> {
    untold.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Untold {
    /// How many are to be told, if that is now.
    fn one_more(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        self.due(now)
    }

    fn due(&mut self, now: Instant) -> Option<u64> {
        let lately = |told: Instant| now.saturating_duration_since(told) < EVERY;
        if self.count == 0 || self.told.is_some_and(lately) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_others_together_once_a_minute() {
        let (mut untold, begun) = (Untold::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(untold.due(at(0)), None, "there is nothing to tell");
        assert_eq!(untold.one_more(at(0)), Some(1));
        assert!((1..60).all(|second| untold.one_more(at(second)).is_none()));
        assert_eq!(untold.due(at(60)), Some(59));
        assert_eq!(untold.due(at(120)), None, "nothing came since");
        assert_eq!(untold.one_more(at(121)), Some(1));
    }
}
