//! Peers that ask about requests and are not believed: told in the log, but not for each request.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often they are told of at most.
const EVERY: Duration = Duration::from_secs(10);

/// What is not told yet.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<Untold>);

#[derive(Debug, Default)]
struct Untold {
    last: Option<Instant>,
    requests: u64,
}

impl Strangers {
    /// Notes a request that was refused since its peer is none of the trusted ones.
    pub(super) fn note(&self, peer: Option<IpAddr>) {
        let Some(requests) = self.due(Instant::now()) else {
            return;
        };
        let peer = peer.map_or("a Unix socket".to_owned(), |peer| peer.to_string());
        tracing::warn!(
            peer,
            requests,
            "a peer that is not in forward_auth.trusted_peers asked about a request; it is refused"
        );
    }

    /// How many requests are to be told of now, this one and those before it; `None` for later.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut untold = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        untold.requests += 1;
        let recent = |last: Instant| now.saturating_duration_since(last) < EVERY;
        if untold.last.is_some_and(recent) {
            return None;
        }
        untold.last = Some(now);
        Some(std::mem::take(&mut untold.requests))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_requests_are_told_together() {
        let strangers = Strangers::default();
        let now = Instant::now();
        assert_eq!(strangers.due(now), Some(1));
        assert_eq!(strangers.due(now), None);
        assert_eq!(strangers.due(now + EVERY / 2), None);
        assert_eq!(strangers.due(now + EVERY), Some(3));
    }
}
