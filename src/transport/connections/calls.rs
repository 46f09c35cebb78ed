//! The calls of one connection: how many are in hand, for how long, and how many were given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A call that its client resets sooner was hardly meant.
const HASTY: Duration = Duration::from_millis(50);
/// So many hasty resets are forgiven. Beyond, if they are more than half of all calls lately, the
/// connection is to end: well at first, since a client whose calls all run out of time during an
/// outage does the same; at once after so many more.
const HASTY_FORGIVEN: u64 = 200;
const HASTY_BORNE: u64 = 1500;

/// Calls in hand are counted by when they began, in spans that pass every time
/// [`Calls::next_span`] is called: an unfinished call of the span before the last is overdue.
const SPANS: usize = 3;

/// What a connection's calls add up to.
#[derive(Debug, Default)]
pub(super) struct Calls {
    begun: AtomicU64,
    /// How many of those are long ago, and how many others were reset hastily.
    begun_before: AtomicU64,
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

/// How hastily a peer resets its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    Little,
    Much,
    Unbearable,
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
        self.forget_half();
        let next = self.span.fetch_add(1, Ordering::Relaxed) + 1;
        // Of the three, the one that comes after the next is the one before the span that ended.
        self.in_hand[(next + 1) % SPANS].load(Ordering::Relaxed) > 0
    }

    /// How many calls were reset as soon as they began, lately.
    pub(super) fn haste(&self) -> Haste {
        let hasty = self.hasty.load(Ordering::Relaxed);
        if hasty <= HASTY_FORGIVEN || hasty <= self.begun_lately() / 2 {
            Haste::Little
        } else if hasty <= HASTY_BORNE {
            Haste::Much
        } else {
            Haste::Unbearable
        }
    }

    fn begun_lately(&self) -> u64 {
        let before = self.begun_before.load(Ordering::Relaxed);
        self.begun().saturating_sub(before)
    }

    /// Makes the past count half, so that a long and busy life neither excuses nor condemns what is
    /// done now.
    fn forget_half(&self) {
        let half = self.begun_lately() / 2;
        self.begun_before.fetch_add(half, Ordering::Relaxed);
        let half = self.hasty.load(Ordering::Relaxed) / 2;
        self.hasty.fetch_sub(half, Ordering::Relaxed);
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
        assert_eq!(calls.haste(), Haste::Little);
        reset();
        assert_eq!(calls.haste(), Haste::Much);
        (0..=HASTY_FORGIVEN).for_each(|_| finish());
        assert_eq!(calls.haste(), Haste::Little, "half of all calls ended well");
        (0..2 * HASTY_BORNE).for_each(|_| reset());
        assert_eq!(calls.haste(), Haste::Unbearable);
    }

    #[test]
    fn what_was_long_ago_neither_excuses_haste_nor_condemns_it() {
        let calls = Arc::new(Calls::default());
        let many = 100 * HASTY_BORNE;
        (0..many).for_each(|_| calls.begin().end());
        (0..9).for_each(|_| assert!(!calls.next_span()));
        (0..=HASTY_BORNE).for_each(|_| drop(calls.begin()));
        assert_eq!(calls.haste(), Haste::Unbearable);
        (0..9).for_each(|_| assert!(!calls.next_span()));
        assert_eq!(calls.haste(), Haste::Little);
    }
}
