//! The links to Redis: long-lived connections that many calls share, each kept by a watchdog.
//!
//! deadpool-redis makes the connections; the hot path uses them outside of the pool, since a
//! checkout costs a round trip of its own.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use deadpool_redis::{Connection, Pool, PoolError};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, Value, cmd};
use tokio::sync::{Notify, watch};

use super::background::Background;
use super::error::{Effect, understand};
use super::identity::{Acceptance, Verified};
use super::keys::Keys;
use super::line::Line;
use super::replicas::Replicas;
use super::strikes::Strikes;
use super::together::{Together, exchange_alone};
use crate::store::StoreError;

/// All links of one store.
pub(super) struct Links {
    pool: Pool,
    slots: Vec<Slot>,
    next: AtomicUsize,
    keys: Keys,
    acceptance: Acceptance,
    /// How long making and checking a connection may wait for each answer.
    patience: Duration,
    round_trips: AtomicU64,
    verified: AtomicU64,
    /// Links whose first attempt has not ended; 0 as soon as one is up.
    unsettled: watch::Sender<usize>,
    closed: AtomicBool,
    replicas: Replicas,
    background: Background,
}

/// The place of one link.
struct Slot {
    state: ArcSwap<State>,
    /// Wakes the watchdog after the link was taken down.
    taken_down: Notify,
}

enum State {
    Up(Arc<Link>),
    Down(StoreError),
}

/// One verified connection.
pub(super) struct Link {
    /// `None` where it is not for all, but for one act at a time.
    slot: Option<usize>,
    connection: MultiplexedConnection,
    together: Together,
    strikes: Mutex<Strikes>,
    /// What the last verification learned of its Redis.
    verified: ArcSwap<Verified>,
}

/// What is sent as one exchange.
pub(super) enum Request<'a> {
    One(&'a Cmd),
    Many(&'a Pipeline),
}

impl Link {
    fn strikes(&self) -> std::sync::MutexGuard<'_, Strikes> {
        self.strikes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error if nothing may be written under pepper `id`, because its check value is not.
    pub(super) fn keeps_pepper(&self, id: u32) -> Result<(), StoreError> {
        let verified = self.verified.load();
        let unkept = verified.unkept.as_ref();
        unkept.map_or(Ok(()), |unkept| unkept.refuse(id))
    }

    /// Whether its Redis kept the check values of all peppers in use.
    pub(super) fn keeps_all_peppers(&self) -> bool {
        self.verified.load().unkept.is_none()
    }

    /// Names the run of its Redis, if that does: another one follows each start.
    pub(super) fn run(&self) -> Option<String> {
        self.verified.load().run.clone()
    }
}

impl Links {
    pub(super) fn new(
        pool: Pool,
        count: usize,
        keys: Keys,
        acceptance: Acceptance,
        patience: Duration,
        replicas: Replicas,
        background: Background,
    ) -> Self {
        let slot = |_| Slot {
            state: ArcSwap::from_pointee(State::Down(StoreError::Unreachable(
                "not connected yet".to_owned(),
            ))),
            taken_down: Notify::new(),
        };
        Self {
            pool,
            slots: (0..count).map(slot).collect(),
            next: AtomicUsize::new(0),
            keys,
            acceptance,
            patience,
            round_trips: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            unsettled: watch::Sender::new(count),
            closed: AtomicBool::new(false),
            replicas,
            background,
        }
    }

    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn acceptance(&self) -> &Acceptance {
        &self.acceptance
    }

    pub(super) fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }

    /// How many connections were verified so far; what was learned from Redis by an earlier one
    /// may have been undone in between.
    pub(super) fn verified(&self) -> u64 {
        self.verified.load(Ordering::Acquire)
    }

    /// Why no link is up; `Ok` if one is.
    pub(super) fn usable(&self) -> Result<(), StoreError> {
        self.pick().map(drop)
    }

    /// Waits until a link is up, or the first attempt of each has failed, or all are closed.
    pub(super) async fn settled(&self) {
        let mut unsettled = self.unsettled.subscribe();
        // It cannot fail: the sender lives as long as `self`.
        let _ = unsettled.wait_for(|count| *count == 0).await;
    }

    /// Notes that the first attempt of a link failed, and was told.
    pub(super) fn first_attempt_failed(&self) {
        let less = |count: &mut usize| *count = count.saturating_sub(1);
        self.unsettled.send_modify(less);
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.unsettled.send_replace(0);
        for slot in 0..self.slots.len() {
            self.take_down(slot, StoreError::Closed);
        }
    }

    /// Holds the next link that is up for an act.
    pub(super) fn line(&self) -> Result<Line<'_>, StoreError> {
        Ok(Line::new(self, self.pick()?))
    }

    /// Whether acts that change something wait for replicas.
    pub(super) fn wait_for_replicas(&self) -> bool {
        self.replicas.are_wanted()
    }

    /// Holds a connection for an act that changes something: a link, or where replicas are waited for,
    /// one of its own, over which each exchange takes at most `limit`, and so does waiting for it.
    pub(super) async fn changing(&self, limit: Duration) -> Result<Line<'_>, StoreError> {
        if !self.replicas.are_wanted() {
            return self.line();
        }
        self.usable()?;
        let held = self.replicas.hold(self, limit).await?;
        Ok(Line::holding(self, held))
    }

    /// The command that reads the marker.
    pub(super) fn marker(&self) -> Cmd {
        self.acceptance.read_marker(&self.keys)
    }

    /// Judges a marker that was read over a link. A wrong one, or one that lost what it held when
    /// the link was verified, takes all links down until they are verified anew: they lead to the
    /// same Redis, as far as anybody knows.
    pub(super) fn check_marker(&self, link: &Link, marker: Value) -> Result<(), StoreError> {
        let checked = self.acceptance.check_marker(marker).and_then(|unkept| {
            let lost = unkept.into_iter().find(|id| link.keeps_pepper(*id).is_ok());
            lost.map_or(Ok(()), |id| {
                let why = format!("the check value of pepper {id} went away; it is written anew");
                Err(StoreError::Unreachable(why))
            })
        });
        if let Err(error) = &checked {
            self.take_all_down(error);
        }
        checked
    }

    /// Sends and waits, for an act; errors of single commands are still inside of the answer.
    pub(super) async fn exchange(
        &self,
        link: &Link,
        limit: Duration,
        request: Request<'_>,
    ) -> Result<Value, StoreError> {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        self.exchange_aside(link, limit, request).await
    }

    /// The same for what no act waits for.
    pub(super) async fn exchange_aside(
        &self,
        link: &Link,
        limit: Duration,
        request: Request<'_>,
    ) -> Result<Value, StoreError> {
        let began = Instant::now();
        let answer = match link.slot {
            Some(_) => {
                let together = &link.together;
                together.exchange(&link.connection, limit, request).await
            }
            None => exchange_alone(&link.connection, limit, request).await,
        };
        let (error, effect) = match answer {
            Ok(answer) => {
                link.strikes().clear();
                return Ok(answer);
            }
            Err(failure) => failure,
        };
        let dead = match effect {
            Effect::None => false,
            Effect::Strike => link.strikes().add(began, Instant::now()),
            Effect::Drop => true,
        };
        if dead {
            self.take_link_down(link, &error);
        }
        Err(error)
    }

    /// The next link that is up, in turn.
    fn pick(&self) -> Result<Arc<Link>, StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut reason = None;
        for turn in 0..self.slots.len() {
            let slot = &self.slots[first.wrapping_add(turn) % self.slots.len()];
            match slot.state.load().as_ref() {
                State::Up(link) => return Ok(link.clone()),
                State::Down(error) => reason = Some(error.clone()),
            }
        }
        Err(reason.unwrap_or(StoreError::Closed))
    }

    /// Makes and verifies a connection, which then is the link of `slot`.
    pub(super) async fn connect(&self, slot: usize) -> Result<Arc<Link>, StoreError> {
        let link = Arc::new(self.dial(Some(slot)).await?);
        self.slots[slot]
            .state
            .store(Arc::new(State::Up(link.clone())));
        self.unsettled.send_replace(0);
        Ok(link)
    }

    /// Makes and verifies a connection.
    pub(super) async fn dial(&self, slot: Option<usize>) -> Result<Link, StoreError> {
        self.background.within(self.dialled(slot)).await
    }

    async fn dialled(&self, slot: Option<usize>) -> Result<Link, StoreError> {
        let connecting = tokio::time::timeout(self.patience * 2, self.pool.get()).await;
        let mut connection = match connecting {
            Ok(Ok(connection)) => Connection::take(connection),
            Ok(Err(PoolError::Backend(error))) => Err(understand(&error, self.patience).0)?,
            Ok(Err(error)) => Err(StoreError::Unreachable(error.to_string()))?,
            Err(_) => Err(StoreError::Slow(self.patience * 2))?,
        };
        let verified = self
            .acceptance
            .verify(&mut connection, &self.keys, self.patience);
        let verified = verified.await?;
        self.verified.fetch_add(1, Ordering::AcqRel);
        Ok(Link {
            slot,
            connection,
            together: Together::default(),
            strikes: Mutex::default(),
            verified: ArcSwap::from_pointee(verified),
        })
    }

    /// Asks whether a link is alive; a dead one is taken down.
    pub(super) async fn ping(&self, link: &Link) {
        let ping = cmd("PING");
        // Errors took the link down already, where they should.
        let _ = self
            .exchange_aside(link, self.patience, Request::One(&ping))
            .await;
    }

    /// Verifies a link anew; one that fails is taken down, except for a single timeout.
    pub(super) async fn verify(&self, link: &Link) {
        let began = Instant::now();
        let mut connection = link.connection.clone();
        let verified = self
            .acceptance
            .verify(&mut connection, &self.keys, self.patience);
        match verified.await {
            Ok(verified) => link.verified.store(Arc::new(verified)),
            Err(error @ StoreError::Slow(_)) => {
                if link.strikes().add(began, Instant::now()) {
                    self.take_link_down(link, &error);
                }
            }
            Err(error) => self.take_link_down(link, &error),
        }
    }

    /// Waits until something was taken down in `link`'s place; it may have been another link.
    pub(super) async fn taken_down(&self, link: &Link) {
        match link.slot {
            Some(slot) => self.slots[slot].taken_down.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Why `link` is not the link of its slot any more; `None` while it is.
    pub(super) fn down_reason(&self, link: &Link) -> Option<StoreError> {
        match self.slots[link.slot?].state.load().as_ref() {
            State::Up(current) if std::ptr::eq(Arc::as_ptr(current), link) => None,
            State::Up(_) => Some(StoreError::Unreachable("it was replaced".to_owned())),
            State::Down(error) => Some(error.clone()),
        }
    }

    /// Turns errors inside of an answer into errors of the call.
    pub(super) fn accept(&self, limit: Duration, answer: Value) -> Result<Value, StoreError> {
        answer.extract_error().map_err(|error| {
            let (error, effect) = understand(&error, limit);
            if effect == Effect::Drop {
                self.take_all_down(&error);
            }
            error
        })
    }

    fn take_link_down(&self, link: &Link, error: &StoreError) {
        if let Some(slot) = link.slot.filter(|_| self.down_reason(link).is_none()) {
            self.take_down(slot, error.clone());
        }
    }

    pub(super) fn take_all_down(&self, error: &StoreError) {
        for slot in 0..self.slots.len() {
            self.take_down(slot, error.clone());
        }
    }

    /// Marks a slot as down, for the reason that calls then answer.
    pub(super) fn take_down(&self, slot: usize, error: StoreError) {
        let slot = &self.slots[slot];
        slot.state.store(Arc::new(State::Down(error)));
        slot.taken_down.notify_one();
        self.replicas.distrust();
    }
}
