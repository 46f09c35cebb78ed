//! The calls of one connection: how many are in hand, for how long, and how many were given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A call that its client resets sooner was hardly meant.
const HASTY: Duration = Duration::from_millis(50);
/// So many hasty resets are forgiven; beyond, they may be at most half of all calls.
const HASTY_FORGIVEN: u64 = 200;

/// Calls in hand are counted by when they began, in spans that pass every time
/// [`Calls::next_span`] is called: an unfinished call of the span before the last is overdue.
const SPANS: usize = 3;

/// What a connection's calls add up to.
#[derive(Debug, Default)]
pub(super) struct Calls {
    begun: AtomicU64,
    hasty: AtomicU64,
    endless: AtomicUsize,
    span: AtomicUsize,
    in_hand: [AtomicUsize; SPANS],
}

/// A call in hand, until its answer has left or it is given up.
#[derive(Debug)]
pub(super) struct Hold {
    calls: Arc<Calls>,
    since: Instant,
    kind: Kind,
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Begun { span: usize },
    Endless,
}

impl Calls {
    pub(super) fn begin(self: &Arc<Self>) -> Hold {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let span = self.span.load(Ordering::Relaxed) % SPANS;
        self.count(Kind::Begun { span })
            .fetch_add(1, Ordering::Relaxed);
        Hold {
            calls: self.clone(),
            since: Instant::now(),
            kind: Kind::Begun { span },
            ended: false,
        }
    }

    fn count(&self, kind: Kind) -> &AtomicUsize {
        match kind {
            Kind::Begun { span } => &self.in_hand[span],
            Kind::Endless => &self.endless,
        }
    }

    /// How many began so far.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    pub(super) fn any(&self) -> bool {
        let counts = self.in_hand.iter().chain([&self.endless]);
        counts
            .map(|count| count.load(Ordering::Relaxed))
            .any(|n| n > 0)
    }

    /// Begins a new span; answers whether a call is overdue, which is one that began before the
    /// span that ends now.
    pub(super) fn next_span(&self) -> bool {
        let next = self.span.fetch_add(1, Ordering::Relaxed) + 1;
        // Of the three, the one that comes after the next is the one before the span that ended.
        self.in_hand[(next + 1) % SPANS].load(Ordering::Relaxed) > 0
    }

    /// Whether most calls are reset as soon as they begin.
    pub(super) fn are_hasty(&self) -> bool {
        let hasty = self.hasty.load(Ordering::Relaxed);
        hasty > HASTY_FORGIVEN && hasty > self.begun() / 2
    }
}

impl Hold {
    /// Says that the answer is a stream that lasts as long as both sides want.
    pub(super) fn endless(&mut self) {
        self.calls
            .count(Kind::Endless)
            .fetch_add(1, Ordering::Relaxed);
        self.calls.count(self.kind).fetch_sub(1, Ordering::Relaxed);
        self.kind = Kind::Endless;
    }

    /// The answer is complete.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.ended && self.since.elapsed() < HASTY {
            self.calls.hasty.fetch_add(1, Ordering::Relaxed);
        }
        self.calls.count(self.kind).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_overdue_when_a_whole_span_has_passed_since_its_own() {
        let calls = Arc::new(Calls::default());
        for _ in 0..7 {
            let call = calls.begin();
            assert!(!calls.next_span());
            let late = calls.begin();
            assert!(calls.next_span(), "the call outlived a span");
            drop(call);
            assert!(calls.next_span(), "and so did the later one");
            drop(late);
            assert!(!calls.next_span() && !calls.any());
        }
        assert_eq!(calls.begun(), 14);
    }

    #[test]
    fn an_endless_call_is_in_hand_but_never_overdue() {
        let calls = Arc::new(Calls::default());
        let mut stream = calls.begin();
        stream.endless();
        assert!((0..9).all(|_| !calls.next_span()));
        assert!(calls.any());
        drop(stream);
        assert!(!calls.any());
    }

    #[test]
    fn resets_are_hasty_only_where_they_are_many_and_most_of_all() {
        let calls = Arc::new(Calls::default());
        let reset = || drop(calls.begin());
        let finish = || calls.begin().end();
        (0..HASTY_FORGIVEN).for_each(|_| reset());
        assert!(!calls.are_hasty());
        reset();
        assert!(calls.are_hasty());
        (0..=HASTY_FORGIVEN).for_each(|_| finish());
        assert!(!calls.are_hasty(), "half of all calls ended well");
    }
}
