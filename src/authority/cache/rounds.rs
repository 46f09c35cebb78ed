//! Rounds: records that are in use are read again before they are too old, many at once, so that
//! whoever asks for them never waits for it.
//!
//! A record is renewed, or forgotten, itself: one that took its place meanwhile is not touched, and
//! renewing one that was dropped brings nothing back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use crate::domain::time::Steady;
use crate::store::{REREAD_MAX, StoreError};

use super::Cache;
use super::records::Record;

/// The part of their age, in percent, at which records are read again: what is left must do for a
/// store that is slow, and for all that came at the same time.
const DUE_AT: u32 = 80;
/// How often a record is read again that nobody asks for. Reading one among many costs a twentieth of
/// what reading it alone does, so a few are worth the one who comes back.
pub(super) const IDLE_MAX: u8 = 5;
/// Least time between two rounds, so that many records share one.
const PAUSE: Duration = Duration::from_millis(20);
/// The same after a failure: what is not renewed is read when it is asked for.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(250);

/// Records by about when they were read last: each at most once.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    queue: Mutex<Queue>,
    /// Told when there is something to wait for.
    begun: Notify,
}

/// By the number of the tick in which they were read.
type Queue = BTreeMap<u64, Vec<Weak<Record>>>;

/// How many bits of a time in microseconds are within one tick.
const TICK_BITS: u32 = 16;

fn tick(begun: Steady) -> u64 {
    begun.micros() >> TICK_BITS
}

impl Rounds {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up a record that is remembered from now on, unless it is taken up already.
    pub(super) fn take_up(&self, record: &Arc<Record>) {
        if let Some(begun) = record.begun().filter(|_| record.take_up()) {
            let mut queue = self.queue();
            if queue.is_empty() {
                self.begun.notify_one();
            }
            let round = queue.entry(tick(begun)).or_default();
            round.push(Arc::downgrade(record));
        }
    }

    /// Takes out records that were read at `latest`, or before, and are in use; some at a time. Those
    /// that are not are left to their age.
    fn due(&self, latest: Steady) -> Vec<Arc<Record>> {
        let latest = tick(latest);
        let mut due = Vec::new();
        let mut queue = self.queue();
        while due.len() < REREAD_MAX
            && let Some(mut first) = queue.first_entry()
            && *first.key() <= latest
        {
            let Some(record) = first.get_mut().pop() else {
                first.remove();
                continue;
            };
            // It may be gone.
            let Some(record) = record.upgrade() else {
                continue;
            };
            let begun = record.begun().map_or(0, tick);
            if begun > latest {
                // It was read meanwhile.
                queue
                    .entry(begun)
                    .or_default()
                    .push(Arc::downgrade(&record));
                continue;
            }
            record.leave_out();
            if record.idle() < IDLE_MAX {
                due.push(record);
            }
        }
        due
    }

    /// When the first was read, if there is one, or at most a tick before.
    fn first(&self) -> Option<Steady> {
        let queue = self.queue();
        let (tick, _) = queue.first_key_value()?;
        Some(Steady::from_micros(*tick << TICK_BITS))
    }
}

impl Cache {
    /// Reads again, ahead of their time, the records that are in use, until it is aborted.
    pub(in crate::authority) async fn keep_fresh(&self) {
        loop {
            let Some(first) = self.rounds.first() else {
                self.rounds.begun.notified().await;
                continue;
            };
            let due = first.saturating_add(self.age_max * DUE_AT / 100);
            let left = due.saturating_since(self.clock.now());
            tokio::time::sleep(left.max(PAUSE)).await;
            // A failure is that of the cache lease, too, and told there.
            if self.hold().is_none() || self.read_again().await.is_err() {
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }

    /// Reads again what is due.
    pub(super) async fn read_again(&self) -> Result<(), StoreError> {
        loop {
            // Before any is read, and after each was remembered: what drops one from now on drops it
            // with its renewal.
            let begun = self.clock.now();
            let age = begun.saturating_since(Steady::default());
            let Some(latest) = age.checked_sub(self.age_max * DUE_AT / 100) else {
                return Ok(());
            };
            let due = self.rounds.due(Steady::default().saturating_add(latest));
            if due.is_empty() {
                return Ok(());
            }
            let asked: Vec<_> = due.iter().map(|record| record.asked()).collect();
            match self.store.unchanged(&asked).await {
                Ok(unchanged) => self.settle(&due, &unchanged, begun),
                Err(error) => {
                    due.iter().for_each(|record| self.rounds.take_up(record));
                    return Err(error);
                }
            }
        }
    }

    fn settle(&self, due: &[Arc<Record>], unchanged: &[bool], begun: Steady) {
        for (record, unchanged) in due.iter().zip(unchanged) {
            if *unchanged {
                record.renew(begun);
                self.rounds.take_up(record);
            } else if let Some(records) = &self.records {
                records.forget_this(record);
            }
        }
    }
}
