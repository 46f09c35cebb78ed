//! The gate that every call passes: how many are in hand, and whether new ones are taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::transport::connections::Neighbours;

/// Most health checks and pages in hand at once, and most of them from one address. They must not
/// wait for calls, and nobody needs many.
const ASIDES_MAX: usize = 1024;
const ASIDES_OF_ONE_MAX: usize = 64;

/// Counts calls in hand and refuses those beyond a limit, or all of them while draining.
pub struct Gate {
    limit: usize,
    limit_of_one: usize,
    count_of_one: fn(&Neighbours) -> &AtomicUsize,
    /// What sets the limits: keys in the configuration, mostly.
    keys: [&'static str; 2],
    in_hand: AtomicUsize,
    /// Those in hand and those that stand aside.
    inside: AtomicUsize,
    closed: AtomicBool,
    left: Notify,
}

/// Why a call does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    Draining,
    /// As much is in hand as a limit says, which is set by this key.
    Full {
        limit: usize,
        key: &'static str,
    },
}

/// A call in hand, with any change that it began; it leaves when this is dropped.
pub struct Pass {
    gate: Arc<Gate>,
    neighbours: Option<Arc<Neighbours>>,
}

impl Gate {
    /// For so many calls in all, and so many from one address.
    pub fn of_calls(limit: usize, limit_of_one: usize) -> Arc<Self> {
        let keys = ["limits.calls_in_flight", "limits.calls_per_address"];
        Self::new(limit, limit_of_one, keys, |neighbours| &neighbours.calls)
    }

    /// The same for streams that last as long as both sides want.
    pub fn of_streams(limit: usize, limit_of_one: usize) -> Arc<Self> {
        let keys = ["limits.streams", "limits.streams_per_address"];
        Self::new(limit, limit_of_one, keys, |neighbours| &neighbours.streams)
    }

    /// The same for what is answered even while draining and under load, which is little and soon
    /// over; so these limits are fixed.
    pub fn of_asides() -> Arc<Self> {
        let keys = ["the server", "the server for one address"];
        Self::new(ASIDES_MAX, ASIDES_OF_ONE_MAX, keys, |neighbours| {
            &neighbours.asides
        })
    }

    fn new(
        limit: usize,
        limit_of_one: usize,
        keys: [&'static str; 2],
        count_of_one: fn(&Neighbours) -> &AtomicUsize,
    ) -> Arc<Self> {
        Arc::new(Self {
            limit,
            limit_of_one,
            count_of_one,
            keys,
            in_hand: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            left: Notify::new(),
        })
    }

    /// Lets a call in; `neighbours` are the connections of the caller's address.
    pub(crate) fn enter(
        self: &Arc<Self>,
        neighbours: Option<&Arc<Neighbours>>,
    ) -> Result<Pass, Closed> {
        // Counted before the look at `closed`, so that whoever waits for the gate to be empty after
        // closing it sees every call that got in.
        self.inside.fetch_add(1, Ordering::SeqCst);
        let before = self.in_hand.fetch_add(1, Ordering::SeqCst);
        let of_one = neighbours.map(|one| (self.count_of_one)(one).fetch_add(1, Ordering::SeqCst));
        let pass = Pass {
            gate: self.clone(),
            neighbours: neighbours.cloned(),
        };
        if self.closed.load(Ordering::SeqCst) {
            return Err(Closed::Draining);
        }
        if before >= self.limit {
            let (limit, key) = (self.limit, self.keys[0]);
            return Err(Closed::Full { limit, key });
        }
        if of_one.is_some_and(|before| before >= self.limit_of_one) {
            let (limit, key) = (self.limit_of_one, self.keys[1]);
            return Err(Closed::Full { limit, key });
        }
        Ok(pass)
    }

    /// Takes no new calls from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// How many calls are in hand.
    pub fn in_hand(&self) -> usize {
        self.in_hand.load(Ordering::SeqCst)
    }

    fn leave(&self) {
        self.in_hand.fetch_sub(1, Ordering::SeqCst);
        if self.inside.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.left.notify_waiters();
        }
    }

    /// Waits until no call is in hand, and none stands aside, which has its place to give up.
    pub async fn emptied(&self) {
        loop {
            let left = self.left.notified();
            if self.inside.load(Ordering::SeqCst) == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Pass {
    /// Lets others in while the call waits for something that they may bring about. It stays one of
    /// those of its address, and comes back when it goes on, whoever is there.
    pub(crate) fn aside(&self) -> Aside<'_> {
        self.gate.in_hand.fetch_sub(1, Ordering::SeqCst);
        Aside(&self.gate)
    }
}

/// A call that stands aside.
pub(crate) struct Aside<'a>(&'a Gate);

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        self.0.in_hand.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Self { gate, neighbours } = self;
        if let Some(one) = neighbours {
            (gate.count_of_one)(one).fetch_sub(1, Ordering::SeqCst);
        }
        gate.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(limit: usize, key: &'static str) -> Closed {
        Closed::Full { limit, key }
    }

    #[tokio::test]
    async fn calls_beyond_the_limit_are_refused_until_one_leaves() {
        let gate = Gate::of_calls(2, 2);
        let (first, _second) = (gate.enter(None).unwrap(), gate.enter(None).unwrap());
        assert_eq!(
            gate.enter(None).err(),
            Some(full(2, "limits.calls_in_flight"))
        );
        drop(first);
        assert!(gate.enter(None).is_ok());
    }

    #[tokio::test]
    async fn a_gate_is_not_empty_while_a_call_stands_aside() {
        let gate = Gate::of_calls(1, 2);
        let waiting = gate.enter(None).unwrap();
        let aside = waiting.aside();
        assert_eq!(gate.in_hand(), 0);
        gate.close();
        let emptying = tokio::spawn({
            let gate = gate.clone();
            async move { gate.emptied().await }
        });
        tokio::task::yield_now().await;
        assert!(!emptying.is_finished());
        drop(aside);
        tokio::task::yield_now().await;
        assert!(!emptying.is_finished());
        drop(waiting);
        emptying.await.unwrap();
    }

    #[tokio::test]
    async fn a_call_that_stands_aside_makes_room_and_comes_back_to_a_full_gate() {
        let gate = Gate::of_calls(1, 2);
        let waiting = gate.enter(None).unwrap();
        let aside = waiting.aside();
        let other = gate.enter(None).unwrap();
        drop(aside);
        assert_eq!(gate.in_hand(), 2);
        drop(other);
        assert!(gate.enter(None).is_err());
        drop(waiting);
        gate.emptied().await;
    }

    #[test]
    fn one_address_leaves_room_for_others() {
        let gate = Gate::of_calls(4, 2);
        let [one, other] = [(); 2].map(|()| Some(Arc::<Neighbours>::default()));
        let (first, _second) = (gate.enter(one.as_ref()), gate.enter(one.as_ref()));
        assert_eq!(
            gate.enter(one.as_ref()).err(),
            Some(full(2, "limits.calls_per_address"))
        );
        assert!(gate.enter(other.as_ref()).is_ok());
        let streams = Gate::of_streams(4, 2);
        assert!(streams.enter(one.as_ref()).is_ok(), "counted apart");
        drop(first);
        assert!(gate.enter(one.as_ref()).is_ok());
    }

    #[tokio::test]
    async fn a_closed_gate_empties() {
        let gate = Gate::of_calls(2, 2);
        let pass = gate.enter(None).unwrap();
        gate.close();
        assert_eq!(gate.enter(None).err(), Some(Closed::Draining));
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.emptied().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(pass);
        waiting.await.unwrap();
    }
}
