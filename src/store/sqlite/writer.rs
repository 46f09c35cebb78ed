//! The one thread that writes: it commits together whatever waits, then answers.
//!
//! A commit costs a flush of the disk. While one is under way others queue up, and the next commit
//! takes them all, so that many callers share a flush.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::checkpoint::{self, Folding};
use super::error::Fault;
use super::events::Log;
use super::job::{Job, job};
use super::limiter::{Limiter, Written};
use super::peppers::Peppers;
use super::place::{FileIdentity, Lock};
use super::queue::Queues;
use super::schema;
use super::seen::Seen;
use super::time::StoreTime;
use super::tokens::Acts;
use super::usage::Unfolded;
use crate::domain::retention::Retention;
use crate::domain::time::Timestamp;
use crate::store::bells::Bells;
use crate::store::{StoreError, StoreId};

/// Most acts that wait in the queue; further callers wait before it.
const QUEUE_MAX: usize = 1024;
/// Most acts in one transaction.
const BATCH_MAX: usize = 256;
/// How far the written high-water mark may stay behind the decisions made.
const MARK_LAG: Duration = Duration::from_secs(1);
/// How long what is spent of rate limits may be in memory only.
const SPENDING_LAG: Duration = Duration::from_millis(900);
/// Exit code after a failed flush: `EX_SOFTWARE`, which supervisors restart.
const EXIT_FLUSH_FAILED: i32 = 70;

/// The door to the writer's thread.
pub(super) struct Writer {
    queue: Sender<Message>,
    room: Arc<Semaphore>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Job(Queued),
    Stop,
}

/// An act, and its place in the queue until it is answered, where it needed one.
type Queued = (Box<dyn Job>, Option<OwnedSemaphorePermit>);

/// What the writer's thread owns. The lock is last: it is released after the connection closed.
pub(super) struct Desk {
    pub(super) connection: Connection,
    pub(super) id: StoreId,
    pub(super) time: Arc<StoreTime>,
    pub(super) retention: Retention,
    pub(super) file: Arc<FileIdentity>,
    /// The mark as it stands in the database.
    pub(super) kept: Timestamp,
    pub(super) limiter: Arc<Limiter>,
    pub(super) peppers: Arc<Peppers>,
    pub(super) seen: Arc<Seen>,
    pub(super) queues: Arc<Queues>,
    pub(super) log: Arc<Log>,
    pub(super) unfolded: Arc<Unfolded>,
    pub(super) bells: Bells,
    /// When the limiter was written down last; `None` to do so with the next transaction.
    pub(super) flushed: Option<Instant>,
    pub(super) folding: Folding,
    pub(super) lock: Lock,
}

impl Writer {
    /// Starts the thread. It ends by [`Self::stop`].
    pub(super) fn start(desk: Desk) -> std::io::Result<Self> {
        let (queue, jobs) = channel();
        let thread = Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || desk.work(&jobs))?;
        Ok(Self {
            queue,
            room: Arc::new(Semaphore::new(QUEUE_MAX)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Carries out `act` in a transaction and answers once that is on disk. Abandoned before it
    /// was queued, it is not done; abandoned later, it is done all the same.
    pub(super) async fn carry_out<T, F>(&self, act: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Acts<'_>) -> Result<T, Fault> + Send + 'static,
    {
        let room = Arc::clone(&self.room).acquire_owned().await;
        let room = room.map_err(|_| StoreError::Closed)?;
        let (job, answer) = job(act);
        self.queue
            .send(Message::Job((job, Some(room))))
            .map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// The same for a thread of the store's own: it has one act at a time, so it takes no place from
    /// callers; blocking.
    pub(super) fn carry_out_blocking<T, F>(&self, act: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Acts<'_>) -> Result<T, Fault> + Send + 'static,
    {
        let (job, answer) = job(act);
        self.queue
            .send(Message::Job((job, None)))
            .map_err(|_| StoreError::Closed)?;
        answer.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Ends the thread after what is queued, and waits for it; blocking.
    pub(super) fn stop(&self) {
        self.room.close();
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = thread.take() else {
            return;
        };
        // It may have ended by itself; then there is nobody to tell.
        let _ = self.queue.send(Message::Stop);
        if thread.join().is_err() {
            tracing::error!("the writer of the database had panicked");
        }
    }
}

impl Desk {
    fn work(mut self, jobs: &Receiver<Message>) {
        let mut paced = Instant::now();
        loop {
            // Acts that come meanwhile do not put it off.
            let rest = SPENDING_LAG.saturating_sub(paced.elapsed());
            match jobs.recv_timeout(rest) {
                Ok(Message::Job(first)) => {
                    let (batch, last) = gather(first, jobs);
                    self.serve(batch);
                    if last {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if !self.keep_pace() {
                        paced = Instant::now();
                    }
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.leave();
    }

    fn serve(&mut self, mut batch: Vec<Queued>) {
        let committed = self.transact(batch.iter_mut().map(|(job, _)| &mut **job));
        for (job, _room) in batch {
            job.answer(committed.clone());
        }
        // Whoever is called finds what it is called for.
        let called = self.queues.called();
        called
            .into_iter()
            .for_each(|waiter| self.bells.ring(waiter));
        // Nobody needs to wait for it: what was answered is safe in the log.
        if committed.is_ok() {
            self.fold();
        }
    }

    /// Writes the mark where reading alone has moved the time on, and what was spent; answers
    /// whether more is to be written than it took at once.
    fn keep_pace(&mut self) -> bool {
        if self.lag() < MARK_LAG && !self.limiter.is_dirty() {
            return false;
        }
        // Also where an act wrote just before: the next pace is too late for what was spent since.
        self.flushed = None;
        match self.transact(std::iter::empty()) {
            Ok(()) => {
                self.fold();
                self.flushed.is_none()
            }
            Err(error) => {
                tracing::warn!(%error, "the store's time could not be written down");
                false
            }
        }
    }

    fn fold(&mut self) {
        if let Err(error) = trusted(self.folding.after_commit(&self.connection)) {
            tracing::warn!(%error, "the log could not be folded into the database; it is kept");
        }
    }

    fn lag(&self) -> Duration {
        self.time.mark().saturating_since(self.kept)
    }

    /// Runs all jobs in one transaction: each is done or undone by itself, but what is done gets
    /// on disk together, or not at all.
    fn transact<'a>(
        &mut self,
        jobs: impl Iterator<Item = &'a mut (dyn Job + 'static)>,
    ) -> Result<(), StoreError> {
        self.file.confirm()?;
        self.execute("BEGIN IMMEDIATE")?;
        let (mark, written) = match self.perform(jobs) {
            Ok(performed) => performed,
            Err(fault) => return Err(self.undo(fault)),
        };
        match trusted(self.execute("COMMIT")) {
            Ok(()) => {
                self.kept = mark;
                self.limiter.confirm_grants();
                self.unfolded.settle();
                if let Some(written) = written {
                    self.limiter.confirm(&written, mark);
                    // What found no room is written with the next transaction.
                    self.flushed = (!written.is_full()).then(Instant::now);
                }
                Ok(())
            }
            Err(fault) => Err(self.undo(fault)),
        }
    }

    /// Runs the jobs, then writes what was spent and the mark, where that is due; answers the mark
    /// as it now stands, and what was written of the limiter.
    fn perform<'a>(
        &self,
        jobs: impl Iterator<Item = &'a mut (dyn Job + 'static)>,
    ) -> Result<(Timestamp, Option<Written>), Fault> {
        let acts = Acts {
            connection: &self.connection,
            id: &self.id,
            time: &self.time,
            retention: self.retention,
            peppers: &self.peppers,
            seen: &self.seen,
            queues: &self.queues,
            log: &self.log,
            unfolded: &self.unfolded,
        };
        let before = self.connection.total_changes();
        for job in jobs {
            self.execute("SAVEPOINT job")?;
            let staged = self.unfolded.staged();
            if let Err(error) = job.run(&acts) {
                self.unfolded.back_to(staged);
                // Some errors, a full disk among them, undo the transaction as a whole.
                if self.connection.is_autocommit() {
                    return Err(error.into());
                }
                self.execute("ROLLBACK TO job")?;
            }
            self.execute("RELEASE job")?;
        }
        let last = self.flushed;
        let due = last.is_none_or(|last| last.elapsed() >= SPENDING_LAG);
        let written = due.then(|| self.limiter.write_down(&self.connection));
        let written = written.transpose()?;
        if self.connection.total_changes() == before && self.lag() < MARK_LAG {
            return Ok((self.kept, written));
        }
        let mark = self.time.mark();
        schema::keep_mark(&self.connection, mark, &self.seen)?;
        Ok((mark, written))
    }

    fn undo(&self, fault: Fault) -> StoreError {
        let error = StoreError::from(fault);
        tracing::warn!(%error, "a transaction was rolled back");
        self.limiter.doubt_grants();
        self.unfolded.back_to(0);
        if !self.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK")
        {
            tracing::error!(%error, "the roll-back failed too");
        }
        error
    }

    fn execute(&self, sql: &str) -> Result<(), Fault> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    /// Writes the last mark and what was spent, folds the log into the database, and closes both.
    fn leave(mut self) {
        while self.limiter.is_dirty() {
            self.flushed = None;
            if let Err(error) = self.transact(std::iter::empty()) {
                tracing::warn!(%error, "what was spent of rate limits could not be written down");
                break;
            }
        }
        if self.lag() > Duration::ZERO {
            // As late as possible: no decision comes after.
            let last = self.execute("BEGIN IMMEDIATE").and_then(|()| {
                schema::keep_mark(&self.connection, self.time.mark(), &self.seen)?;
                trusted(self.execute("COMMIT"))
            });
            if let Err(fault) = last {
                self.undo(fault);
            }
        }
        let Self {
            connection, lock, ..
        } = self;
        if let Err(error) = trusted(checkpoint::fold_all(&connection)) {
            tracing::warn!(%error, "the log could not be folded into the database; it is kept");
        }
        if let Err((_, error)) = connection.close() {
            tracing::warn!(%error, "the database could not be closed");
        }
        drop(lock);
    }
}

/// What waits together with `first`, and whether it is the last there will be.
fn gather(first: Queued, jobs: &Receiver<Message>) -> (Vec<Queued>, bool) {
    let mut batch = vec![first];
    while batch.len() < BATCH_MAX {
        match jobs.try_recv() {
            Ok(Message::Job(next)) => batch.push(next),
            Ok(Message::Stop) => return (batch, true),
            Err(_) => break,
        }
    }
    (batch, false)
}

/// Passes on how a COMMIT or a checkpoint went, but ends the process after a flush that failed.
///
/// The kernel may have dropped the pages it could not write and believe them clean; a second flush
/// would then succeed over lost data. Only what is read from disk after a new start can be
/// believed. Whoever was not answered yet never is, so those outcomes are unknown.
fn trusted(outcome: Result<(), Fault>) -> Result<(), Fault> {
    if let Err(fault) = &outcome
        && fault.flush_failed()
    {
        tracing::error!(
            error = %fault,
            "a flush of the database failed; ending, to recover from disk"
        );
        std::process::exit(EXIT_FLUSH_FAILED)
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::absence::Absences;
    use crate::domain::event::Alarms;
    use crate::domain::spending::{RateSpending, Spending};
    use crate::domain::token::tests::at;
    use crate::entropy;
    use crate::store::events::EventBounds;
    use crate::store::sqlite::tests::Bench;

    #[test]
    fn what_is_spent_after_an_act_wrote_is_written_with_the_next_pace() {
        let bench = Bench::new();
        drop(bench.open());
        let mut connection = bench.raw();
        let meta = schema::migrate(&mut connection).unwrap();
        let mut desk = Desk {
            peppers: Arc::new(Peppers::settle(&mut connection, Vec::new()).unwrap()),
            connection,
            id: meta.id,
            seen: Arc::new(Seen::resume(Absences::default(), meta.mark)),
            queues: Arc::new(Queues::default()),
            log: Arc::new(Log::resume(
                Alarms::default(),
                EventBounds::default(),
                meta.mark,
            )),
            unfolded: Arc::new(Unfolded::default()),
            bells: Bells::default(),
            time: Arc::new(StoreTime::resume(bench.clock.clone(), meta.mark)),
            retention: Retention::default(),
            file: Arc::new(FileIdentity::of(&bench.path()).unwrap()),
            kept: meta.mark,
            limiter: Arc::new(Limiter::default()),
            flushed: Some(Instant::now()),
            folding: Folding::default(),
            lock: Lock::take(&bench.path()).unwrap(),
        };
        let rates = RateSpending {
            since: at(1),
            time: at(1),
            backlogs: Vec::new(),
        };
        let spending = Spending {
            rates: Some(rates),
            ..Spending::default()
        };
        let id = entropy::token_id().unwrap();
        desk.limiter.lock(id).write(spending);
        desk.keep_pace();
        assert!(!desk.limiter.is_dirty(), "it would wait for another pace");
    }
}
