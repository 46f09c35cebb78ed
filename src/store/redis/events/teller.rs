//! Telling in the background: what acts have done comes to the log a moment after they were answered,
//! together with what others did, so that no act waits for it.
//!
//! Nothing is lost with this memory: whatever is told here is marked, or in an outbox, until it is in the
//! log. So it may be dropped where there is too much of it, or Redis is away; then it comes later.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::log::{How, Item};
use crate::domain::pool::Pool;
use crate::store::StoreError;
use crate::store::events::MARK_PATIENCE;
use crate::store::redis::Access;
use crate::store::redis::watch::backoff;

/// How long what is done waits for more that is told together with it.
const GATHERED: Duration = Duration::from_millis(10);
/// How long an event waits for earlier changes of its token, whose server may have died.
const TURN_PATIENCE: Duration = Duration::from_millis(700);
/// After so long another server may have taken this one for dead, and have found nothing to tell, as the
/// change was not made yet.
const MAY_BE_SETTLED: Duration = Duration::from_secs(MARK_PATIENCE.as_secs() / 2);
/// Most changes that are remembered here.
const QUEUED_MAX: usize = 65_536;
/// Most pools whose outboxes are moved together.
const POOLS_MAX: usize = 64;

/// What is to be told, and the way to Redis.
pub(in crate::store::redis) struct Teller {
    access: Arc<Access>,
    queue: Mutex<Queue>,
    filled: Notify,
    /// Notified whenever the queue was worked on.
    worked: Notify,
}

#[derive(Default)]
struct Queue {
    changes: VecDeque<Change>,
    pools: BTreeSet<Pool>,
    /// Something was taken from it and is not told yet.
    busy: bool,
    /// The last attempt failed.
    failed: bool,
}

/// What was, or was not, made of a token that is marked.
#[derive(Clone)]
struct Change {
    mark: Vec<u8>,
    /// Empty where nothing came of it.
    event: Vec<u8>,
    /// When it was marked.
    since: Instant,
    /// When it was known to be done.
    known: Instant,
}

impl Teller {
    pub(in crate::store::redis) fn new(access: Arc<Access>) -> Arc<Self> {
        Arc::new(Self {
            access,
            queue: Mutex::default(),
            filled: Notify::new(),
            worked: Notify::new(),
        })
    }

    /// Tells of a change since `since`, and takes its mark away.
    pub(super) fn tell(&self, mark: Vec<u8>, event: Vec<u8>, since: Instant) {
        let mut queue = self.queue();
        if queue.changes.len() < QUEUED_MAX {
            let known = Instant::now();
            queue.changes.push_back(Change {
                mark,
                event,
                since,
                known,
            });
            drop(queue);
            self.filled.notify_one();
        }
    }

    /// Moves what is in the outbox of a pool, if one is given.
    pub(in crate::store::redis) fn poke(&self, pool: Option<Pool>) {
        if let Some(pool) = pool {
            self.queue().pools.insert(pool);
            self.filled.notify_one();
        }
    }

    /// Tells for ever what comes.
    pub(in crate::store::redis) async fn keep(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            self.filled.notified().await;
            tokio::time::sleep(GATHERED).await;
            let told = self.work().await;
            {
                let mut queue = self.queue();
                queue.busy = false;
                queue.failed = told.is_err();
                if !queue.changes.is_empty() || !queue.pools.is_empty() {
                    self.filled.notify_one();
                }
            }
            self.worked.notify_waiters();
            match told {
                Ok(()) => failures = 0,
                Err(error) => {
                    tracing::debug!(%error, "what was done is told later");
                    tokio::time::sleep(backoff(failures)).await;
                    failures += 1;
                }
            }
        }
    }

    /// Waits until all is told, as long as that succeeds.
    pub(in crate::store::redis) async fn finish(&self, limit: Duration) {
        self.worked_off(limit, usize::MAX).await;
    }

    /// Waits until that is told which was done before, as long as that succeeds.
    pub(in crate::store::redis) async fn catch_up(&self, limit: Duration) {
        // The first may have begun before.
        self.worked_off(limit, 2).await;
    }

    async fn worked_off(&self, limit: Duration, rounds: usize) {
        let finished = async {
            for _ in 0..rounds {
                let worked = self.worked.notified();
                let mut worked = std::pin::pin!(worked);
                worked.as_mut().enable();
                if self.is_over() {
                    return;
                }
                worked.await;
            }
        };
        // What is not told by then is marked.
        let _ = tokio::time::timeout(limit, finished).await;
    }

    fn is_over(&self) -> bool {
        let queue = self.queue();
        let empty = queue.changes.is_empty() && queue.pools.is_empty() && !queue.busy;
        empty || queue.failed || self.access.links.usable().is_err()
    }

    /// Tells what there is; what is not told remains.
    async fn work(&self) -> Result<(), StoreError> {
        let (changes, pools) = {
            let mut queue = self.queue();
            queue.busy = true;
            let changes = std::mem::take(&mut queue.changes);
            let count = queue.pools.len().min(POOLS_MAX);
            let pools: Vec<Pool> = queue.pools.iter().take(count).cloned().collect();
            pools.iter().for_each(|pool| {
                queue.pools.remove(pool);
            });
            (Vec::from(changes), pools)
        };
        let told = self.tell_changes(&changes).await;
        let (left, told) = match told {
            Ok(left) => (left, Ok(())),
            Err(error) => (changes, Err(error)),
        };
        let moved = match told {
            Ok(()) if !pools.is_empty() => self.move_outboxes(pools.clone()).await,
            told => told.map(|()| Vec::new()),
        };
        let mut queue = self.queue();
        for change in left.into_iter().rev() {
            queue.changes.push_front(change);
        }
        match moved {
            Ok(left) => {
                queue.pools.extend(left);
                Ok(())
            }
            Err(error) => {
                queue.pools.extend(pools);
                Err(error)
            }
        }
    }

    /// Answers which of them wait for their turn.
    async fn tell_changes(&self, changes: &[Change]) -> Result<Vec<Change>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let line = self.access.links.line()?.aside();
        let now = Instant::now();
        let item = |change: &Change| Item {
            mark: change.mark.clone(),
            how: how_after(
                now.saturating_duration_since(change.known),
                now.saturating_duration_since(change.since),
            ),
            event: change.event.clone(),
        };
        let items: Vec<Item> = changes.iter().map(item).collect();
        let done = self.access.append(&line, &items).await?;
        let waiting = changes.iter().zip(done).filter(|(_, done)| !done);
        Ok(waiting.map(|(change, _)| change.clone()).collect())
    }

    async fn move_outboxes(&self, pools: Vec<Pool>) -> Result<Vec<Pool>, StoreError> {
        let line = self.access.links.line()?.aside();
        let moved = self.access.move_outboxes(&line, pools).await?;
        Ok(moved.left)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How an event is added so long after it was known, and after it was marked.
fn how_after(known: Duration, marked: Duration) -> How {
    match known < TURN_PATIENCE {
        _ if marked >= MAY_BE_SETTLED => How::Surely,
        true => How::InTurn,
        false => How::Late,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_waits_for_earlier_ones_for_a_moment_only() {
        let millis = Duration::from_millis;
        assert_eq!(how_after(millis(0), millis(4_999)), How::InTurn);
        assert_eq!(how_after(millis(699), millis(699)), How::InTurn);
        assert_eq!(how_after(millis(700), millis(700)), How::Late);
        assert_eq!(how_after(millis(700), millis(4_999)), How::Late);
        assert_eq!(how_after(millis(0), millis(5_000)), How::Surely);
    }
}
