//! The thread that folds what was added into the ledgers, in steps for which nobody waits long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::fold::{Fold, due_subjects};
use super::unfolded::{Load, STEP, Step, Unfolded};
use crate::domain::usage::{Hour, Keeping};
use crate::store::StoreError;
use crate::store::sqlite::error::Fault;
use crate::store::sqlite::time::StoreTime;
use crate::store::sqlite::tokens::Acts;
use crate::store::sqlite::writer::Writer;

/// How long what was added is left in the journal: so long that most of a busy token's gains are
/// folded together, and shorter than the id of a deleted token is kept from coming again.
const EVERY: Duration = Duration::from_secs(5 * 60);
/// How long it waits after a step that failed.
const RETRY: Duration = Duration::from_secs(5);
/// Bytes in memory up to which everything is folded when the store is closed. More waits in the
/// journal for the next start: folding it would keep whoever stops the server waiting.
const CLOSING_BYTES: usize = 4 * 1024 * 1024;

/// The door to the thread.
pub(in crate::store::sqlite) struct Folder {
    orders: Sender<Order>,
    ending: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Order {
    /// There is much to fold.
    Fold,
    /// All that was added is to be folded before this is answered.
    FoldAll(oneshot::Sender<Result<(), StoreError>>),
    Stop,
}

/// What the thread owns.
pub(in crate::store::sqlite) struct Bench {
    pub(in crate::store::sqlite) connection: Connection,
    pub(in crate::store::sqlite) writer: Arc<Writer>,
    pub(in crate::store::sqlite) unfolded: Arc<Unfolded>,
    pub(in crate::store::sqlite) time: Arc<StoreTime>,
    pub(in crate::store::sqlite) keeping: Keeping,
}

/// Why folding went no further.
enum Halt {
    /// The store is being closed.
    Ending,
    Failed(StoreError),
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault.into())
    }
}

impl Folder {
    /// Starts the thread. It ends by [`Self::stop`].
    pub(in crate::store::sqlite) fn start(bench: Bench) -> std::io::Result<Self> {
        let (orders, orders_in) = channel();
        let ending = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ending);
        let thread = Builder::new()
            .name("sqlite-usage".to_owned())
            .spawn(move || bench.work(&orders_in, &told))?;
        Ok(Self {
            orders,
            ending,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Lets it fold soon.
    pub(super) fn call(&self) {
        // Once it has ended there is nothing to fold any more.
        let _ = self.orders.send(Order::Fold);
    }

    /// Folds all that was added before.
    pub(super) async fn fold_all(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let order = self.orders.send(Order::FoldAll(reply));
        order.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Ends the thread, which folds what is left if that is little; blocking.
    pub(in crate::store::sqlite) fn stop(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = thread.take() else {
            return;
        };
        self.ending.store(true, Ordering::Release);
        // It may have ended by itself; then there is nobody to tell.
        let _ = self.orders.send(Order::Stop);
        if thread.join().is_err() {
            tracing::error!("the thread that folds usage had panicked");
        }
    }
}

impl Bench {
    fn work(self, orders: &Receiver<Order>, ending: &AtomicBool) {
        // What an earlier run left in the journal need not lie there any longer.
        let mut next = Instant::now();
        loop {
            let rest = next.saturating_duration_since(Instant::now());
            match orders.recv_timeout(rest) {
                Ok(Order::Fold) if !self.unfolded.is_worth_folding() => {}
                Ok(Order::Fold) | Err(RecvTimeoutError::Timeout) => {
                    next = Instant::now() + self.fold_in_time(ending);
                }
                Ok(Order::FoldAll(reply)) => {
                    let folded = match self.fold_twice(ending) {
                        Ok(()) => Ok(()),
                        Err(Halt::Ending) => Err(StoreError::Closed),
                        Err(Halt::Failed(error)) => Err(error),
                    };
                    // Whoever asked may have gone.
                    let _ = reply.send(folded);
                }
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if self.unfolded.bytes() <= CLOSING_BYTES
            && let Err(Halt::Failed(error)) = self.fold_twice(&AtomicBool::new(false))
        {
            tracing::warn!(%error, "usage was left in the journal");
        }
    }

    /// Folds, and answers when to fold again.
    fn fold_in_time(&self, ending: &AtomicBool) -> Duration {
        match self.fold(ending) {
            Ok(()) if self.unfolded.is_worth_folding() => Duration::ZERO,
            Ok(()) | Err(Halt::Ending) => EVERY,
            Err(Halt::Failed(error)) => {
                tracing::warn!(%error, "usage could not be folded; it is kept in the journal");
                RETRY
            }
        }
    }

    /// Folds what was being folded, and then what was added since.
    fn fold_twice(&self, ending: &AtomicBool) -> Result<(), Halt> {
        self.fold(ending)?;
        self.fold(ending)
    }

    /// Folds one part, and then whatever else is due.
    fn fold(&self, ending: &AtomicBool) -> Result<(), Halt> {
        if let Some(Load { subjects, until }) = self.unfolded.load() {
            let mut rest = subjects.as_slice();
            while !rest.is_empty() {
                goes_on(ending)?;
                let (step, taken) = self.unfolded.step(rest);
                rest = &rest[taken..];
                self.write(step)?;
            }
            while self.write_act(move |acts| acts.cut(until))? {
                goes_on(ending)?;
            }
            self.unfolded.emptied();
        }
        loop {
            goes_on(ending)?;
            let due = due_subjects(&self.connection, self.now(), STEP)?;
            let last = due.len() < STEP;
            if !due.is_empty() {
                self.write(due)?;
            }
            if last {
                return Ok(());
            }
        }
    }

    /// Folds these, and waits until that is on disk.
    fn write(&self, step: Step) -> Result<(), Halt> {
        let fold = Fold::of(&self.connection, &step, self.now(), &self.keeping)?;
        let subjects = step.into_iter().map(|(subject, _)| subject).collect();
        self.write_act(move |acts| {
            acts.fold(&fold)?;
            acts.unfolded.folded(subjects);
            Ok(())
        })
    }

    fn write_act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Acts<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Halt> {
        self.writer.carry_out_blocking(act).map_err(Halt::Failed)
    }

    fn now(&self) -> Hour {
        Hour::of(self.time.now())
    }
}

fn goes_on(ending: &AtomicBool) -> Result<(), Halt> {
    match ending.load(Ordering::Acquire) {
        true => Err(Halt::Ending),
        false => Ok(()),
    }
}
