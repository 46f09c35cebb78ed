//! The recorder: what is judged is written into a log in memory, and counted behind the caller's back.
//!
//! A Validate pays for copying a few bytes into the log of its own thread, which nobody else writes to.
//! It never waits for whoever counts, and where a log is full, what finds no room is only counted as
//! lost.

mod ends;
mod flushing;
mod gains;
mod log;
mod room;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use crate::domain::name::Namespace;
use crate::domain::token::TokenId;
use crate::domain::usage::{Add, Client, Counts, Ended, Hour, Judged, RECENT_MAX, TokenUse};
use crate::metrics::Metrics;

pub(super) use ends::End;
use ends::Ends;
pub use flushing::Flushing;
use log::{Log, Subject, Written};
use room::Room;

/// How often what was judged is counted: a log has room for what comes meanwhile at 130 000 requests a
/// second.
pub const COUNTED_EVERY: Duration = Duration::from_millis(250);
/// Logs, so that threads seldom share one.
const LOGS: usize = 16;
/// Requests that are counted before others get a turn.
const COUNTED_AT_ONCE: usize = 4096;

/// Takes down what is judged.
#[derive(Debug)]
pub struct Recorder {
    logs: [Mutex<Log>; LOGS],
    ends: Ends,
    counting: tokio::sync::Mutex<Counting>,
    metrics: Arc<Metrics>,
}

/// What is being counted. It stands here, and not with whoever counts, so that nothing is lost where
/// that is cut.
#[derive(Debug, Default)]
struct Counting {
    batch: Batch,
    /// What was taken of a log, and not counted to its end yet; and which log that is.
    taken: Option<(usize, Written)>,
}

/// What was counted of tokens, hour by hour.
pub type Tokens = HashMap<(TokenId, Hour), TokenUse, RandomState>;

/// What was counted since the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub tokens: Tokens,
    /// How the last requests of tokens ended, the oldest first.
    pub ended: HashMap<TokenId, VecDeque<Ended>>,
    /// Of secrets that are none of a token's, by the namespace of whoever asked about them.
    pub unknown: HashMap<(Namespace, Hour), Counts>,
    /// When the first of it was counted.
    begun: Option<Instant>,
    room: Room,
}

impl Recorder {
    #[doc(hidden)]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            logs: Default::default(),
            ends: Ends::default(),
            counting: tokio::sync::Mutex::default(),
            metrics,
        }
    }

    /// Takes down a judged request of a token.
    #[doc(hidden)]
    pub fn note(&self, id: TokenId, namespace: &str, judged: &Judged<'_>) {
        self.write(Subject::Token(id), namespace, judged);
    }

    /// Takes down that a caller at home in `namespace` asked about a secret of no token.
    pub(super) fn note_unknown(&self, namespace: &str, judged: &Judged<'_>) {
        self.write(Subject::Unknown, namespace, judged);
    }

    fn write(&self, subject: Subject, namespace: &str, judged: &Judged<'_>) {
        let log = &self.logs[own_number() % LOGS];
        if !locked(log).write(subject, namespace, judged) {
            self.metrics.usage.lost.inc();
        }
    }

    /// Takes down how a request ended, which was told; waits while there is no room.
    pub(super) async fn note_end(&self, end: End) {
        self.ends.put(end).await;
    }

    /// Counts what was taken down since the last time, and answers all that was counted.
    pub async fn count(&self) -> Batch {
        let batch = &mut self.counted().await.batch;
        // Mostly as many will come again; growing would move all of them several times.
        let next = Batch {
            tokens: Tokens::with_capacity_and_hasher(batch.tokens.len(), RandomState::default()),
            ..Batch::default()
        };
        std::mem::replace(batch, next)
    }

    /// The same, and leaves it here, for benches.
    #[doc(hidden)]
    pub async fn count_on(&self) {
        drop(self.counted().await);
    }

    /// The same, and leaves it here.
    async fn counted(&self) -> tokio::sync::MutexGuard<'_, Counting> {
        let mut counting = self.counting.lock().await;
        self.finish(&mut counting).await;
        for at in 0..LOGS {
            counting.taken = Some((at, locked(&self.logs[at]).take()));
            self.finish(&mut counting).await;
        }
        for end in self.ends.take() {
            if !counting.batch.note_end(end) {
                self.metrics.usage.lost.inc();
            }
        }
        counting
    }

    /// Counts the rest of what was taken of a log.
    async fn finish(&self, counting: &mut Counting) {
        let Counting { batch, taken } = counting;
        let mut home = Namespace::fallback();
        while let Some((_, written)) = taken
            && !written.is_read()
        {
            let (mut counted, mut lost) = (0, 0);
            for entry in written.some(COUNTED_AT_ONCE) {
                match batch.count(entry, &mut home) {
                    true => counted += 1,
                    false => lost += 1,
                }
            }
            self.metrics.usage.counted.inc_by(counted);
            self.metrics.usage.lost.inc_by(lost);
            if !written.is_read() {
                tokio::task::yield_now().await;
            }
        }
        if let Some((at, written)) = taken.take() {
            locked(&self.logs[at]).give_back(written);
        }
    }
}

impl Batch {
    /// Counts a request; answers whether there was room. `home` is the namespace of the one before, which
    /// mostly is that of the next.
    fn count(
        &mut self,
        (subject, namespace, judged): (Subject, &str, Judged<'_>),
        home: &mut Namespace,
    ) -> bool {
        if home.as_str() != namespace {
            // It was one when it was written.
            *home = Namespace::parse(namespace).unwrap_or_else(|_| Namespace::fallback());
        }
        let hour = Hour::of(judged.at);
        match subject {
            Subject::Token(id) => {
                let Some(own) = self.of(id, home, hour, Room::most_of(&judged)) else {
                    return false;
                };
                own.note(&judged);
            }
            Subject::Unknown => {
                self.begun.get_or_insert_with(Instant::now);
                let own = self.unknown.entry((home.clone(), hour)).or_default();
                own.note(judged.verdict, judged.cost);
            }
        }
        true
    }

    /// Counts how a request ended; answers whether there was room.
    fn note_end(&mut self, end: End) -> bool {
        let hour = Hour::of(end.at);
        let most = Room::most_of_end(&end);
        let Some(own) = self.of(end.token, &end.namespace, hour, most) else {
            return false;
        };
        own.used.note_end(&end.method, &end.path, &end.outcome);
        let Some(validation_id) = end.validation_id else {
            // Nobody judged it, so nobody counted where it came from.
            if let Some(address) = end.client {
                let client = Client {
                    requests: 1,
                    first_seen: end.at,
                };
                own.used.clients.of(&address, || address).add(client);
            }
            return true;
        };
        let ended = self.ended.entry(end.token).or_default();
        if ended.len() == RECENT_MAX {
            ended.pop_front();
        }
        ended.push_back(Ended {
            at: end.at,
            validation_id,
            outcome: end.outcome,
        });
        true
    }

    /// Where requests of a token within an hour are counted; nowhere, where it may take `most` bytes more
    /// and there is no room for them.
    fn of(
        &mut self,
        id: TokenId,
        namespace: &Namespace,
        hour: Hour,
        most: usize,
    ) -> Option<&mut TokenUse> {
        let tokens = &mut self.tokens;
        if !self.room.take(most, || room::bytes_of(tokens, &self.ended)) {
            return None;
        }
        let full = tokens.len() >= room::TOKENS_MAX;
        match tokens.entry((id, hour)) {
            Entry::Occupied(own) => Some(own.into_mut()),
            Entry::Vacant(_) if full => None,
            Entry::Vacant(place) => {
                self.begun.get_or_insert_with(Instant::now);
                Some(place.insert(TokenUse::of(namespace.clone())))
            }
        }
    }

    /// Requests that were counted.
    pub fn requests(&self) -> u64 {
        let of_tokens = self.tokens.values().map(|own| own.used.counts.requests());
        let of_none = self.unknown.values().map(Counts::requests);
        of_tokens.chain(of_none).sum()
    }
}

/// The number of the thread that asks.
fn own_number() -> usize {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = LAST.fetch_add(1, Ordering::Relaxed);
    }
    OWN.with(|own| *own)
}

fn locked(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
