//! One connection, as its calls, its neighbours and its overseer know it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::domain::peer_name::PeerName;
use crate::metrics::Ended;
use crate::tls::Shown;

use super::admission::Neighbours;
use super::calls::{Calls, Hold};

/// What a connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    Stay,
    /// To take no more calls, to finish those in hand, and to end its streams.
    Leave,
    /// To end now.
    Cut,
}

/// One connection; calls find it in their request's extensions.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Whoever holds the other end; a Unix socket has no address.
    pub(crate) address: Option<IpAddr>,
    /// All connections of that address.
    pub(crate) neighbours: Option<Arc<Neighbours>>,
    since: Instant,
    greeting: OnceLock<Greeting>,
    pub(super) calls: Arc<Calls>,
    order: watch::Sender<Order>,
    /// Why this side ends it; the first reason stays.
    reason: OnceLock<Ended>,
    /// Milliseconds after `since` at which a call was last seen, and at which it was told to leave.
    active: AtomicU64,
    left: OnceLock<Instant>,
    /// How many calls had begun at the last look.
    seen: AtomicU64,
}

/// What a peer showed of itself before its first call.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    /// Its certificate.
    pub(super) shown: Option<Shown>,
}

impl Connection {
    pub(super) fn new(address: Option<IpAddr>, neighbours: Option<Arc<Neighbours>>) -> Arc<Self> {
        Arc::new(Self {
            address: address.map(|address| address.to_canonical()),
            neighbours,
            since: Instant::now(),
            greeting: OnceLock::new(),
            calls: Arc::default(),
            order: watch::Sender::new(Order::Stay),
            reason: OnceLock::new(),
            active: AtomicU64::default(),
            left: OnceLock::new(),
            seen: AtomicU64::default(),
        })
    }

    /// The names in the peer's certificate, if it showed one that is still accepted.
    pub(crate) fn names(&self) -> Option<&[PeerName]> {
        self.shown()?.names()
    }

    fn shown(&self) -> Option<&Shown> {
        self.greeting.get()?.shown.as_ref()
    }

    /// The peer has proven that it speaks our language.
    pub(super) fn greeted(&self, greeting: Greeting) {
        let _ = self.greeting.set(greeting);
    }

    /// Whether it ever asked for anything.
    pub(super) fn has_called(&self) -> bool {
        self.calls.begun() > 0
    }

    /// Notes why this side ends the connection, or refuses to go on with it.
    pub(super) fn because(&self, why: Ended) {
        let _ = self.reason.set(why);
    }

    /// Why this side ended it; nothing where the peer did, or the server stops.
    pub(super) fn reason(&self) -> Option<Ended> {
        self.reason.get().copied()
    }

    /// Orders only ever become stronger.
    pub(super) fn order(&self, order: Order) {
        if order >= Order::Leave {
            self.left.get_or_init(Instant::now);
        }
        self.order.send_if_modified(|present| {
            let stronger = order > *present;
            *present = order.max(*present);
            stronger
        });
    }

    /// Orders what ends the connection, and notes why.
    pub(super) fn dismiss(&self, order: Order, why: Ended) {
        self.because(why);
        self.order(order);
    }

    /// Waits until the connection is told `order`, or something stronger.
    pub(super) async fn told(&self, order: Order) {
        let mut orders = self.order.subscribe();
        // The sender is part of what is borrowed here, so there is no error.
        let _ = orders.wait_for(|present| *present >= order).await;
    }

    /// Waits until the connection takes no more calls, which is when its streams end; answers
    /// whether it ends alone, while the server goes on.
    pub(crate) async fn leaving(self: Arc<Self>) -> bool {
        self.told(Order::Leave).await;
        self.reason().is_some()
    }

    #[cfg(test)]
    pub(super) fn is_cut(&self) -> bool {
        *self.order.borrow() == Order::Cut
    }

    pub(super) fn begin(&self) -> Hold {
        self.calls.begin()
    }

    /// Since when no call was in hand, as far as looks from time to time tell.
    pub(super) fn idle(&self, now: Instant) -> Duration {
        let age = now.saturating_duration_since(self.since);
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let begun = self.calls.begun();
        if self.calls.any() || self.seen.swap(begun, Ordering::Relaxed) != begun {
            self.active.store(age, Ordering::Relaxed);
        }
        Duration::from_millis(age.saturating_sub(self.active.load(Ordering::Relaxed)))
    }

    /// Until when it may stay that is allowed to become `age` old.
    pub(super) fn until(&self, age: Duration) -> Instant {
        let certified = self.shown().and_then(Shown::until);
        let old = self.since + age;
        certified.map_or(old, |end| end.min(old))
    }

    /// How long ago it was told to leave.
    pub(super) fn leaving_since(&self, now: Instant) -> Option<Duration> {
        let left = self.left.get()?;
        Some(now.saturating_duration_since(*left))
    }
}
