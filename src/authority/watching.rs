//! Watch: what happens to tokens, told to whoever may read them, behind a cursor.
//!
//! One tail for each server reads the end of the store's log while anybody watches, and hands what it
//! reads to all. A watcher that is behind, or too slow for that, reads pages by itself until it has
//! caught up: so it misses nothing, and nothing is kept for it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast};
use tokio::time::{Instant, timeout_at};

use crate::domain::caller::{Namespaces, Reach};
use crate::domain::event::{Event, EventCursor, EventKind};
use crate::domain::flaw::Violations;
use crate::domain::token::TokenId;
use crate::metrics::Metrics;
use crate::store::events::Events;
use crate::store::{Store, StoreError};

use super::Authority;
use super::access::Right;
use super::act;
use super::error::Error;
use super::seen::Seen;

/// How often the tail looks whether the log has grown.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Pages that a watcher may be behind before it reads them by itself.
const PAGES_KEPT: usize = 8;
/// How long a watcher hears nothing, though the log goes on, before it is told how far that is.
const PROGRESS_EVERY: Duration = Duration::from_secs(30);

/// What is asked of Watch.
#[derive(Clone, Debug)]
pub struct WatchQuery {
    pub namespaces: Namespaces,
    /// Empty: all.
    pub kinds: BTreeSet<EventKind>,
    pub token: Option<TokenId>,
    /// Empty: from now on.
    pub cursor: String,
}

/// What a watcher hears.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Behind which it may go on.
    pub cursor: EventCursor,
    /// `None` where nothing of interest happened up to there.
    pub event: Option<Occurrence>,
}

/// An event, with the token as it was then.
#[derive(Clone, Debug)]
pub struct Occurrence {
    pub kind: EventKind,
    pub seen: Seen,
    pub detail: String,
}

/// A stretch of the log, from behind one place to another.
#[derive(Debug)]
struct Stretch {
    from: EventCursor,
    next: EventCursor,
    events: Vec<(EventCursor, Event)>,
}

/// The tail of the log.
pub struct Watching {
    store: Arc<dyn Store>,
    tail: broadcast::Sender<Arc<Stretch>>,
    wanted: Notify,
}

impl Watching {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            tail: broadcast::Sender::new(PAGES_KEPT),
            wanted: Notify::new(),
        }
    }

    /// Reads the end of the log for all who watch, until it is dropped. A failure is told once for as
    /// long as it lasts, and ends nothing.
    pub async fn keep(self: Arc<Self>) {
        let mut trouble: Option<StoreError> = None;
        loop {
            if self.tail.receiver_count() == 0 {
                self.wanted.notified().await;
                continue;
            }
            let now = self.follow().await.err();
            match &now {
                Some(why) if trouble != now => {
                    tracing::warn!(%why, "events cannot be read for those who watch");
                }
                None if trouble.is_some() => tracing::info!("events are read again"),
                _ => {}
            }
            trouble = now;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Follows the log while anybody watches. Where it begins is said first: whoever is not there yet
    /// has to read on by itself.
    async fn follow(&self) -> Result<(), StoreError> {
        let mut place = self.store.last_event().await?;
        self.hand_out(place, Vec::new(), place);
        while self.tail.receiver_count() > 0 {
            let Events {
                events,
                next,
                missed,
            } = self.store.events(place).await?;
            if missed {
                // Each watcher finds out by itself what that means for it.
                return Ok(());
            }
            if next == place {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            self.hand_out(place, events, next);
            place = next;
        }
        Ok(())
    }

    fn hand_out(&self, from: EventCursor, events: Vec<(EventCursor, Event)>, next: EventCursor) {
        // An error means that the last watcher has just gone.
        let _ = self.tail.send(Arc::new(Stretch { from, next, events }));
    }
}

/// What a watcher wants to hear of.
#[derive(Debug)]
struct Interest {
    reach: Arc<Reach>,
    kinds: BTreeSet<EventKind>,
    token: Option<TokenId>,
}

impl Interest {
    fn covers(&self, event: &Event) -> bool {
        let Self {
            reach,
            kinds,
            token,
        } = self;
        reach.covers(&event.token.namespace)
            && (kinds.is_empty() || kinds.contains(&event.kind))
            && token.is_none_or(|id| id == event.token.id)
    }
}

/// One who watches.
pub struct Watcher {
    store: Arc<dyn Store>,
    interest: Interest,
    /// How far it has read; `waiting` stands before that.
    place: EventCursor,
    waiting: VecDeque<(EventCursor, Event)>,
    tail: broadcast::Receiver<Arc<Stretch>>,
    /// There may be pages to read before the tail is of use.
    behind: bool,
    /// The last place that it was told, and when.
    told: (EventCursor, Instant),
    counted: Counted,
}

/// Counts a watcher for as long as it watches.
struct Counted(Arc<Metrics>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.events.watching.dec();
    }
}

impl Authority {
    /// Reads the end of the log for watchers; [`Watching::keep`] has to run for them to hear anything.
    pub fn watching(&self) -> Arc<Watching> {
        self.watching.clone()
    }

    /// Begins to watch the asked namespaces, where the right covers them: behind the cursor that is
    /// given, or from now on.
    pub async fn watch(
        &self,
        right: &mut Right<act::Watch>,
        query: WatchQuery,
    ) -> Result<Watcher, Error> {
        let WatchQuery {
            namespaces,
            kinds,
            token,
            cursor,
        } = query;
        let reach = right.within(&namespaces)?;
        if let Some(id) = token {
            right.about(id);
        }
        // Before the log is looked at: what comes from now on is heard one way or the other.
        let tail = self.watching.tail.subscribe();
        self.watching.wanted.notify_one();
        let place = match cursor.as_str() {
            "" => self.store.last_event().await?,
            text => EventCursor::parse(text)
                .map_err(|flaw| Error::Invalid(Violations::one("cursor", flaw)))?,
        };
        let interest = Interest {
            reach,
            kinds,
            token,
        };
        let (store, metrics) = (self.store.clone(), self.metrics.clone());
        let mut watcher = Watcher::new(store, metrics, interest, place, tail);
        // A cursor that is of no use any more is said at once.
        watcher.read_on().await?;
        Ok(watcher)
    }
}

impl Watcher {
    fn new(
        store: Arc<dyn Store>,
        metrics: Arc<Metrics>,
        interest: Interest,
        place: EventCursor,
        tail: broadcast::Receiver<Arc<Stretch>>,
    ) -> Self {
        metrics.events.watching.inc();
        Self {
            store,
            interest,
            place,
            waiting: VecDeque::new(),
            tail,
            behind: true,
            told: (place, Instant::now()),
            counted: Counted(metrics),
        }
    }

    /// Behind which it has heard nothing yet.
    pub fn cursor(&self) -> EventCursor {
        self.told.0
    }

    /// What it hears next. To be asked no more after an error.
    pub async fn next(&mut self) -> Result<Watched, Error> {
        loop {
            if let Some((cursor, event)) = self.waiting.pop_front() {
                self.told = (cursor, Instant::now());
                self.counted.0.events.told.inc();
                let event = Some(Occurrence::of(event));
                return Ok(Watched { cursor, event });
            }
            if self.behind {
                self.read_on().await?;
                continue;
            }
            let quiet = self.told.1 + PROGRESS_EVERY;
            match timeout_at(quiet, self.tail.recv()).await {
                Ok(Ok(stretch)) => self.take(&stretch),
                Ok(Err(RecvError::Lagged(_))) => self.behind = true,
                // With it goes the authority.
                Ok(Err(RecvError::Closed)) => return Err(Error::Leaving { alone: false }),
                Err(_) if self.place == self.told.0 => self.told.1 = Instant::now(),
                Err(_) => {
                    self.told = (self.place, Instant::now());
                    let (cursor, event) = (self.place, None);
                    return Ok(Watched { cursor, event });
                }
            }
        }
    }

    /// Why it is cut after it took nothing behind `cursor` for so long.
    pub fn too_slow(&self, cursor: EventCursor, patience: Duration) -> Error {
        self.counted.0.events.slow.inc();
        Error::WatcherSlow { cursor, patience }
    }

    /// Reads the next page of the log.
    async fn read_on(&mut self) -> Result<(), Error> {
        let Events {
            events,
            next,
            missed,
        } = self.store.events(self.place).await?;
        if missed {
            return Err(Error::EventsDropped);
        }
        self.behind = next != self.place;
        self.place = next;
        let own = events.into_iter();
        let own = own.filter(|(_, event)| self.interest.covers(event));
        self.waiting.extend(own);
        Ok(())
    }

    /// Takes what the tail has read, as far as it is new here.
    fn take(&mut self, stretch: &Stretch) {
        if self.place < stretch.from {
            self.behind = true;
            return;
        }
        let new = stretch.events.iter();
        let new = new.filter(|(cursor, event)| self.place < *cursor && self.interest.covers(event));
        self.waiting.extend(new.cloned());
        self.place = self.place.max(stretch.next);
    }
}

impl Occurrence {
    /// What was spent of its limits then, nobody wrote down.
    fn of(event: Event) -> Self {
        let Event {
            kind,
            time,
            token,
            detail,
        } = event;
        Self {
            kind,
            seen: Seen::unspent(Arc::new(token), time),
            detail,
        }
    }
}

#[cfg(test)]
mod tests;
