//! The contract of events: a log of what happened to tokens, kept for those who watch.
//!
//! Whatever changes a token tells it, in the step of the change or, where that cannot be, after it: a
//! mark that is written before the change lets any server of the store tell it later, if the one that
//! changed the token dies. So an event is never lost with whoever caused it, and may be told twice.
//!
//! The log is bounded by age and by number ([`EventBounds`]); who comes back too late is told so.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::event::{Event, EventCursor};

use super::StoreError;

/// Most events of one answer.
pub const EVENTS_MAX: usize = 512;
/// How long a mark stands before other servers take whoever wrote it for dead, and tell what became
/// of the token.
pub const MARK_PATIENCE: Duration = Duration::from_secs(10);

/// The acts on the log of events.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// The events behind `after`, in the order of the log, at most [`EVENTS_MAX`].
    ///
    /// An event appears in the log within a second after the act that caused it was answered, and
    /// never before another that was read already: who goes on from [`Events::next`] misses none.
    async fn events(&self, after: EventCursor) -> Result<Events, StoreError>;

    /// Where the log ends: what happens from now on stands behind it, and as a rule nothing that this
    /// server answered before.
    async fn last_event(&self) -> Result<EventCursor, StoreError>;

    /// Takes one bounded step of telling what is due by time alone ([`crate::domain::event::Alarms`]),
    /// what is left of leases whose time is over, and what the dead have not told; drops what was
    /// kept long enough. Any number may do so at once.
    async fn tell(&self) -> Result<Told, StoreError>;
}

/// Answer of [`EventStore::events`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    pub events: Vec<(EventCursor, Event)>,
    /// Where to go on: the last event's cursor, or that of the question.
    pub next: EventCursor,
    /// Events behind `after` were dropped before they were asked for.
    pub missed: bool,
}

/// Answer of [`EventStore::tell`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub told: usize,
    /// There may be more to do at once.
    pub more: bool,
}

/// How much of the log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventBounds {
    pub age: Duration,
    pub number: u64,
}

impl Default for EventBounds {
    /// A week, and a hundred thousand: some 30 MB.
    fn default() -> Self {
        Self {
            age: Duration::from_secs(7 * 24 * 3600),
            number: 100_000,
        }
    }
}
