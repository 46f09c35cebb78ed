//! The recorder: what is judged is written into a log in memory, and counted behind the caller's back.
//!
//! A Validate pays for copying a few bytes into the log of its own thread, which nobody else writes to.
//! It never waits for whoever counts, and where a log is full, what finds no room is only counted as
//! lost.

mod log;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::domain::name::Namespace;
use crate::domain::token::TokenId;
use crate::domain::usage::{Counts, Hour, Judged, TokenUse};
use crate::metrics::Metrics;

use log::{Log, Subject};

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
    metrics: Arc<Metrics>,
}

/// What was counted since the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub tokens: HashMap<(TokenId, Hour), TokenUse>,
    /// Of secrets that are none of a token's, by the namespace of whoever asked about them.
    pub unknown: HashMap<(Namespace, Hour), Counts>,
}

impl Recorder {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            logs: Default::default(),
            metrics,
        }
    }

    /// Takes down a judged request of a token.
    pub(super) fn note(&self, id: TokenId, namespace: &str, judged: &Judged<'_>) {
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

    /// Counts what was taken down since the last time.
    pub async fn count(&self) -> Batch {
        let mut batch = Batch::default();
        for log in &self.logs {
            let written = locked(log).take();
            let mut home = Namespace::fallback();
            for (number, entry) in written.entries().enumerate() {
                batch.count(entry, &mut home);
                if number % COUNTED_AT_ONCE == COUNTED_AT_ONCE - 1 {
                    tokio::task::yield_now().await;
                }
            }
            locked(log).give_back(written);
        }
        self.metrics.usage.counted.inc_by(batch.requests());
        batch
    }

    /// Counts again and again, until it is dropped.
    pub async fn keep(self: Arc<Self>) {
        let mut clock = tokio::time::interval(COUNTED_EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            self.count().await;
        }
    }
}

impl Batch {
    /// `home` is the namespace of the one before, which mostly is that of the next.
    fn count(
        &mut self,
        (subject, namespace, judged): (Subject, &str, Judged<'_>),
        home: &mut Namespace,
    ) {
        if home.as_str() != namespace {
            // It was one when it was written.
            *home = Namespace::parse(namespace).unwrap_or_else(|_| Namespace::fallback());
        }
        let hour = Hour::of(judged.at);
        match subject {
            Subject::Token(id) => {
                let own = self.tokens.entry((id, hour));
                own.or_insert_with(|| TokenUse::of(home.clone()))
                    .note(&judged);
            }
            Subject::Unknown => {
                let own = self.unknown.entry((home.clone(), hour)).or_default();
                own.note(judged.verdict, judged.cost);
            }
        }
    }

    /// Requests that were counted.
    pub fn requests(&self) -> u64 {
        let of_tokens = self.tokens.values().map(|own| own.counts.requests());
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
