//! What is spent of rate limits: in memory, and written down every second.
//!
//! After an unclean stop the last second's uses are forgotten. Quotas are not kept here: each use of
//! one is on disk before it is answered. Batches are kept in memory only; what is written down is as if
//! they had ended unreturned, so that whoever opens the file next owes nobody a use.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::error::Fault;
use crate::domain::spending::Spending;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenId;
use crate::store::spending::{decode_rates, encode_rates};

/// Parts of the table, so that uses of different tokens seldom wait for each other.
const PARTS: usize = 16;
/// How long an entry that is written down stays in memory after its last use.
const KEPT: Duration = Duration::from_secs(60);
/// Entries of a part from which on those are looked for that may go.
const CROWDED: usize = 1024;
/// Most entries that one transaction writes down.
const FLUSHED_AT_ONCE: usize = 4096;

/// The spending of all tokens, but for their quotas.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    parts: [Mutex<Part>; PARTS],
    /// The part that is written down first, another one each time: a crowded one must not take
    /// all the room for ever.
    first: AtomicUsize,
    /// Whose quotas were taken from for batches that were granted since the last commit.
    granted: Mutex<Vec<TokenId>>,
}

#[derive(Debug, Default)]
struct Part {
    /// Without quotas.
    spent: HashMap<TokenId, Spending>,
    /// Whose entries are not written down yet.
    dirty: HashSet<TokenId>,
}

impl Limiter {
    /// Locks what is kept of `id` until the answer is dropped.
    pub(super) fn lock(&self, id: TokenId) -> Spent<'_> {
        let part = self.part(id);
        Spent { id, part }
    }

    fn part(&self, id: TokenId) -> MutexGuard<'_, Part> {
        let mix = |sum: usize, byte: u8| sum.wrapping_mul(31).wrapping_add(byte.into());
        let number = id.as_str().bytes().fold(0, mix);
        locked(&self.parts[number % PARTS])
    }

    /// Writes down what was spent since the last time, at most [`FLUSHED_AT_ONCE`] entries, within
    /// the caller's transaction; to be [confirmed](Self::confirm) once that is on disk.
    pub(super) fn write_down(&self, connection: &Connection) -> Result<Written, Fault> {
        let mut written = Vec::new();
        let first = self.first.fetch_add(1, Ordering::Relaxed);
        for number in 0..PARTS {
            let part = locked(&self.parts[first.wrapping_add(number) % PARTS]);
            let known = |id: &TokenId| Some((*id, part.spent.get(id)?.clone()));
            let room = FLUSHED_AT_ONCE - written.len();
            written.extend(part.dirty.iter().filter_map(known).take(room));
        }
        for (id, spent) in &written {
            let Some(rates) = &spent.rates else {
                continue;
            };
            let rates = rates.with_ended(&spent.batches);
            // A token may have been deleted meanwhile; what it spent is not to outlive it.
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO rate_spending (id, spent) \
                     SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM tokens WHERE id = ?1)",
                )?
                .execute((id.as_str(), encode_rates(&rates)))?;
        }
        Ok(Written(written))
    }

    /// Notes that `written` is on disk, and lets go of what was not used lately.
    pub(super) fn confirm(&self, written: &Written, now: Timestamp) {
        for (id, spent) in &written.0 {
            let mut part = self.part(*id);
            if part.spent.get(id) == Some(spent) {
                part.dirty.remove(id);
            }
        }
        for part in &self.parts {
            let part = &mut *locked(part);
            if part.spent.len() >= CROWDED {
                let recent = |spent: &Spending| now.saturating_since(last_time(spent)) < KEPT;
                let dirty = &part.dirty;
                part.spent
                    .retain(|id, spent| dirty.contains(id) || recent(spent));
            }
        }
    }

    /// Notes that a batch was taken from the quota of `id`, which is not on disk yet.
    pub(super) fn note_grant(&self, id: TokenId) {
        locked(&self.granted).push(id);
    }

    /// Notes that all quotas are on disk as they were taken from.
    pub(super) fn confirm_grants(&self) {
        locked(&self.granted).clear();
    }

    /// Lets nothing come back to the quotas that were taken from since the last commit: that was
    /// undone.
    pub(super) fn doubt_grants(&self) {
        let doubtful = std::mem::take(&mut *locked(&self.granted));
        for id in doubtful {
            if let Some(spent) = self.part(id).spent.get_mut(&id) {
                let batches = spent.batches.list.iter_mut();
                batches.for_each(|batch| batch.of_quota = false);
            }
        }
    }

    /// Whether anything is to be written down.
    pub(super) fn is_dirty(&self) -> bool {
        let mut parts = self.parts.iter();
        parts.any(|part| !locked(part).dirty.is_empty())
    }
}

/// What one flush wrote.
#[derive(Debug, Default)]
pub(super) struct Written(Vec<(TokenId, Spending)>);

impl Written {
    /// Whether it was as much as is written at once, so that there may be more.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= FLUSHED_AT_ONCE
    }
}

/// What is spent of one token's limits but its quota, held.
pub(super) struct Spent<'a> {
    id: TokenId,
    part: MutexGuard<'a, Part>,
}

impl Spent<'_> {
    /// What is spent, without the quota; read from the database where it is not in memory.
    pub(super) fn read(&self, connection: &Connection) -> Result<Spending, Fault> {
        if let Some(spent) = self.part.spent.get(&self.id) {
            return Ok(spent.clone());
        }
        let text: Option<String> = connection
            .prepare_cached("SELECT spent FROM rate_spending WHERE id = ?1")?
            .query_row([self.id.as_str()], |row| row.get(0))
            .optional()?;
        let rates = text.map(|text| decode_rates(text.as_bytes())).transpose()?;
        Ok(Spending {
            rates,
            ..Spending::default()
        })
    }

    pub(super) fn write(&mut self, spending: Spending) {
        if spending.rates.is_none() && spending.batches.list.is_empty() {
            self.part.spent.remove(&self.id);
            self.part.dirty.remove(&self.id);
            return;
        }
        if spending.rates.is_some() {
            self.part.dirty.insert(self.id);
        }
        let spending = Spending {
            quota: None,
            ..spending
        };
        self.part.spent.insert(self.id, spending);
    }
}

/// When it was last taken from, or, where that is later, when the last batch ends.
fn last_time(spent: &Spending) -> Timestamp {
    let rates = spent.rates.as_ref().map(|rates| rates.time);
    let ends = spent.batches.list.iter().map(|batch| batch.end);
    rates.into_iter().chain(ends).max().unwrap_or_default()
}

fn locked<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::permits::{Batch, BatchId, Batches};
    use crate::domain::spending::RateSpending;
    use crate::domain::token::tests::at;
    use crate::entropy;

    /// A database that knows tokens by their ids only.
    fn database() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        let tables = "CREATE TABLE tokens (id TEXT PRIMARY KEY); \
             CREATE TABLE rate_spending (id TEXT PRIMARY KEY, spent TEXT)";
        connection.execute_batch(tables).unwrap();
        connection
    }

    fn used(limiter: &Limiter, id: TokenId, seconds: u64) {
        let spent = RateSpending {
            since: at(1),
            time: at(seconds),
            backlogs: Vec::new(),
        };
        limiter.lock(id).write(Spending {
            rates: Some(spent),
            ..Spending::default()
        });
    }

    fn granted_of_a_quota() -> Spending {
        let batch = Batch {
            id: BatchId(1),
            uses: 5,
            of_quota: true,
            end: at(2),
            settled: false,
        };
        Spending {
            batches: Batches {
                list: vec![batch],
                ..Batches::default()
            },
            ..Spending::default()
        }
    }

    #[test]
    fn a_batch_whose_quota_was_not_taken_after_all_gives_nothing_back() {
        let (limiter, database) = (Limiter::default(), database());
        let [done, undone] = [0; 2].map(|_| entropy::token_id().unwrap());
        let grant = |id| {
            limiter.lock(id).write(granted_of_a_quota());
            limiter.note_grant(id);
        };
        grant(done);
        limiter.confirm_grants();
        grant(undone);
        limiter.doubt_grants();
        let of_quota = |id| {
            let spent = limiter.lock(id).read(&database).unwrap();
            spent.batches.list[0].of_quota
        };
        assert!(of_quota(done));
        assert!(!of_quota(undone));
    }

    #[test]
    fn what_knows_batches_only_is_not_written_down() {
        let (limiter, database) = (Limiter::default(), database());
        let id = entropy::token_id().unwrap();
        limiter.lock(id).write(granted_of_a_quota());
        assert!(!limiter.is_dirty(), "a store could not be closed");
        limiter.lock(id).write(Spending::default());
        assert!(!limiter.is_dirty(), "a store could not be closed");
        let spent = limiter.lock(id).read(&database).unwrap();
        assert_eq!(spent, Spending::default());
    }

    #[test]
    fn what_finds_no_room_is_written_before_what_is_used_all_the_time() {
        let (limiter, database) = (Limiter::default(), database());
        let ids: Vec<TokenId> = (0..3 * FLUSHED_AT_ONCE)
            .map(|_| entropy::token_id().unwrap())
            .collect();
        let insert = "INSERT INTO tokens VALUES (?1)";
        for id in &ids {
            database.execute(insert, [id.as_str()]).unwrap();
            used(&limiter, *id, 1);
        }
        // The busy half is used again after each time that it is written down.
        let busy = &ids[..ids.len() / 2];
        for round in 2..2 + PARTS as u64 {
            let written = limiter.write_down(&database).unwrap();
            assert!(written.is_full());
            limiter.confirm(&written, at(round));
            for id in busy {
                used(&limiter, *id, round);
            }
        }
        let count = "SELECT count(*) FROM rate_spending";
        let count: i64 = database.query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!(count, ids.len() as i64, "each was written once at least");
        while limiter.is_dirty() {
            let written = limiter.write_down(&database).unwrap();
            limiter.confirm(&written, at(99));
        }
        assert!(!limiter.write_down(&database).unwrap().is_full());
    }
}
