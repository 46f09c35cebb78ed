//! The calls of one connection: how many are in hand, for how long, and how many were given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// So many hasty resets are forgiven. Beyond, if they are more than the calls that were answered
/// lately, the connection is to end: well at first, since a client whose calls all run out of time
/// during an outage does the same; at once after so many.
const HASTY_FORGIVEN: u64 = 200;
const HASTY_BORNE: u64 = 1500;

/// Calls in hand are counted by when they began, in spans that pass every time
/// [`Calls::next_span`] is called: an unfinished call of the span before the last is overdue.
const SPANS: usize = 3;

/// What a connection's calls add up to.
#[derive(Debug, Default)]
pub(super) struct Calls {
    begun: AtomicU64,
    /// Calls that were answered, calls whose message broke off, which are answered too, and calls
    /// that were reset as soon as they began: lately.
    answered: AtomicU64,
    broken: AtomicU64,
    hasty: AtomicU64,
    endless: AtomicUsize,
    span: AtomicUsize,
    in_hand: [AtomicUsize; SPANS],
}

/// A call in hand, until its answer has left or it is given up.
#[derive(Debug)]
pub(super) struct Hold {
    calls: Arc<Calls>,
    /// The one that it is counted in.
    span: AtomicUsize,
    endless: AtomicBool,
    ended: AtomicBool,
}

/// How hastily a peer resets its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    Little,
    Much,
    Unbearable,
}

impl Calls {
    pub(super) fn begin(self: &Arc<Self>) -> Hold {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let span = self.span.load(Ordering::Relaxed) % SPANS;
        self.in_hand[span].fetch_add(1, Ordering::Relaxed);
        Hold {
            calls: self.clone(),
            span: AtomicUsize::new(span),
            endless: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    /// How many began so far.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    pub(super) fn any(&self) -> bool {
        self.any_soon_over() || self.endless.load(Ordering::Relaxed) > 0
    }

    /// Whether a call is in hand that is none of the endless ones.
    pub(super) fn any_soon_over(&self) -> bool {
        let mut counts = self.in_hand.iter();
        counts.any(|count| count.load(Ordering::Relaxed) > 0)
    }

    /// Begins a new span; answers whether a call is overdue, which is one that began before the
    /// span that ends now.
    pub(super) fn next_span(&self) -> bool {
        self.forget_half();
        let next = self.span.fetch_add(1, Ordering::Relaxed) + 1;
        // Of the three, the one that comes after the next is the one before the span that ended.
        self.in_hand[(next + 1) % SPANS].load(Ordering::Relaxed) > 0
    }

    /// Counts calls that were reset as soon as they began; answers what that amounts to.
    pub(super) fn reset_hastily(&self, calls: usize) -> Haste {
        let calls = calls as u64;
        let hasty = self.hasty.fetch_add(calls, Ordering::Relaxed) + calls;
        if hasty <= HASTY_FORGIVEN || hasty <= self.answered() {
            Haste::Little
        } else if hasty <= HASTY_BORNE {
            Haste::Much
        } else {
            Haste::Unbearable
        }
    }

    /// Counts a call whose message broke off.
    pub(super) fn break_off(&self) {
        self.broken.fetch_add(1, Ordering::Relaxed);
    }

    fn answered(&self) -> u64 {
        let answered = self.answered.load(Ordering::Relaxed);
        answered.saturating_sub(self.broken.load(Ordering::Relaxed))
    }

    /// Makes the past count half, so that a long and busy life neither excuses nor condemns what is
    /// done now.
    fn forget_half(&self) {
        for count in [&self.answered, &self.broken, &self.hasty] {
            let half = count.load(Ordering::Relaxed).div_ceil(2);
            count.fetch_sub(half, Ordering::Relaxed);
        }
    }
}

impl Hold {
    /// Says that the answer is a stream that lasts as long as both sides want.
    pub(super) fn endless(&self) {
        if !self.endless.swap(true, Ordering::Relaxed) {
            self.calls.endless.fetch_add(1, Ordering::Relaxed);
            let span = self.span.load(Ordering::Relaxed);
            self.calls.in_hand[span].fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Says that from now on it is a call as any other, which has just begun.
    pub(super) fn soon_over(&self) {
        let span = self.calls.span.load(Ordering::Relaxed) % SPANS;
        self.span.store(span, Ordering::Relaxed);
        self.calls.in_hand[span].fetch_add(1, Ordering::Relaxed);
        if self.endless.swap(false, Ordering::Relaxed) {
            self.calls.endless.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn calls(&self) -> &Arc<Calls> {
        &self.calls
    }

    /// The answer is complete.
    pub(super) fn end(&self) {
        if !self.ended.swap(true, Ordering::Relaxed) {
            self.calls.answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let count = match *self.endless.get_mut() {
            true => &self.calls.endless,
            false => &self.calls.in_hand[*self.span.get_mut()],
        };
        count.fetch_sub(1, Ordering::Relaxed);
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
        let stream = calls.begin();
        stream.endless();
        assert!((0..9).all(|_| !calls.next_span()));
        assert!(calls.any());
        drop(stream);
        assert!(!calls.any());
    }

    #[test]
    fn a_call_that_waited_is_overdue_a_whole_span_after_its_wait() {
        let calls = Arc::new(Calls::default());
        let call = calls.begin();
        call.endless();
        assert!((0..9).all(|_| !calls.next_span()));
        call.soon_over();
        assert!(!calls.next_span());
        assert!(calls.next_span(), "the call outlived a span");
        call.endless();
        assert!(!calls.next_span());
        call.soon_over();
        drop(call);
        assert!(!calls.next_span() && !calls.any());
    }

    fn answer(calls: &Arc<Calls>, count: u64) {
        (0..count).for_each(|_| calls.begin().end());
    }

    fn borne(haste: u64) -> usize {
        usize::try_from(haste).unwrap()
    }

    #[test]
    fn resets_are_hasty_only_where_they_are_many_and_most_of_all() {
        let calls = Arc::new(Calls::default());
        assert_eq!(calls.reset_hastily(borne(HASTY_FORGIVEN)), Haste::Little);
        assert_eq!(calls.reset_hastily(1), Haste::Much);
        answer(&calls, 2 * HASTY_FORGIVEN);
        let haste = calls.reset_hastily(1);
        assert_eq!(haste, Haste::Little, "most calls were answered");
        let haste = calls.reset_hastily(borne(HASTY_BORNE));
        assert_eq!(haste, Haste::Unbearable);
    }

    #[test]
    fn an_answer_to_a_message_that_broke_off_excuses_nothing() {
        let calls = Arc::new(Calls::default());
        for _ in 0..2 * HASTY_BORNE {
            calls.break_off();
            calls.begin().end();
        }
        let haste = calls.reset_hastily(borne(2 * HASTY_BORNE));
        assert_eq!(haste, Haste::Unbearable);
    }

    #[test]
    fn what_was_long_ago_neither_excuses_haste_nor_condemns_it() {
        let calls = Arc::new(Calls::default());
        answer(&calls, 100 * HASTY_BORNE);
        (0..9).for_each(|_| assert!(!calls.next_span()));
        let haste = calls.reset_hastily(borne(HASTY_BORNE) + 1);
        assert_eq!(haste, Haste::Unbearable);
        (0..9).for_each(|_| assert!(!calls.next_span()));
        assert_eq!(calls.reset_hastily(1), Haste::Little);
    }
}
