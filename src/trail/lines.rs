//! Lines on their way to an outlet: a queue, and the thread that empties it.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

use crate::metrics::Metrics;

use super::outlet::Outlet;
use super::{TARGET, Weight};

/// Most lines that wait before those of refusals are only counted.
const REFUSALS_WAITING_MAX: usize = 1024;

/// Time between two attempts to write what could not be written.
const AGAIN: Duration = Duration::from_millis(500);

/// Longest that an answer waits for its line; an outlet that takes longer is taken for broken.
const PATIENCE: Duration = Duration::from_secs(1);

/// A queue before an outlet.
pub(super) struct Lines(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    /// Set by whoever notices that lines do not get through, cleared when none waits any more.
    stuck: AtomicBool,
    /// How many lines were written, ever.
    written: watch::Sender<u64>,
    ended: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<[u8]>>,
    /// How many lines were put into the queue, ever.
    pushed: u64,
    lost: u64,
    reopen: bool,
    closed: bool,
}

/// What the thread is to do next.
enum Job {
    Reopen,
    Write(Arc<[u8]>),
    End,
}

impl Lines {
    /// Starts the thread that writes.
    pub(super) fn start(mut outlet: Box<dyn Outlet>, metrics: Arc<Metrics>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
            stuck: AtomicBool::new(false),
            written: watch::Sender::new(0),
            ended: watch::Sender::new(false),
            metrics,
        });
        let lines = Self(shared.clone());
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || shared.run(outlet.as_mut()))?;
        Ok(lines)
    }

    pub(super) fn available(&self) -> bool {
        !self.0.stuck.load(Ordering::Acquire)
    }

    pub(super) fn push(&self, weight: Weight, line: Vec<u8>) {
        let mut state = self.0.state();
        if weight == Weight::Refusal && state.waiting.len() >= REFUSALS_WAITING_MAX {
            state.lost += 1;
            self.0.metrics.audit_lost.inc();
            return;
        }
        state.waiting.push_back(line.into());
        state.pushed += 1;
        self.0.tell_waiting(&state);
        if *self.0.ended.borrow() {
            self.0.leave(&mut state);
        }
        self.0.wake.notify_one();
    }

    pub(super) async fn settled(&self) {
        let pushed = self.0.state().pushed;
        let mut written = self.0.written.subscribe();
        let mut ended = self.0.ended.subscribe();
        let through = async {
            tokio::select! {
                _ = written.wait_for(|written| *written >= pushed || !self.available()) => {}
                _ = ended.wait_for(|ended| *ended) => {}
            }
        };
        if tokio::time::timeout(PATIENCE, through).await.is_err() {
            self.0.give_up(&"nobody takes them");
        }
    }

    pub(super) fn reopen(&self) {
        self.0.state().reopen = true;
        self.0.wake.notify_one();
    }

    pub(super) async fn close(&self) {
        self.0.state().closed = true;
        self.0.wake.notify_one();
        let mut ended = self.0.ended.subscribe();
        let ended = ended.wait_for(|ended| *ended);
        if tokio::time::timeout(PATIENCE, ended).await.is_err() {
            tracing::error!("audit lines are still on their way");
            // The thread hangs within a line; nothing more is expected of it.
            self.0.ended.send_replace(true);
            self.0.leave(&mut self.0.state());
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.wake.notify_one();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_waiting(&self, state: &State) {
        let waiting = i64::try_from(state.waiting.len()).unwrap_or(i64::MAX);
        self.metrics.audit_pending.set(waiting);
    }

    fn run(&self, outlet: &mut dyn Outlet) {
        loop {
            match self.next() {
                Job::Reopen => match outlet.reopen() {
                    Ok(()) => tracing::info!("the audit file is open again"),
                    Err(error) => {
                        tracing::error!(%error, "the audit file cannot be opened again; the old one is kept");
                    }
                },
                Job::Write(line) => match outlet.write(&line) {
                    Ok(()) => self.wrote(),
                    Err(error) => self.failed(&error),
                },
                Job::End => break,
            }
        }
        self.ended.send_replace(true);
        // What came in between.
        self.leave(&mut self.state());
    }

    fn next(&self) -> Job {
        let mut state = self.state();
        loop {
            if std::mem::take(&mut state.reopen) {
                return Job::Reopen;
            }
            if let Some(line) = state.waiting.front() {
                return Job::Write(line.clone());
            }
            if state.closed {
                return Job::End;
            }
            let woken = self.wake.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn wrote(&self) {
        let mut state = self.state();
        state.waiting.pop_front();
        self.tell_waiting(&state);
        if state.waiting.is_empty() && self.stuck.swap(false, Ordering::AcqRel) {
            let lost = std::mem::take(&mut state.lost);
            tracing::info!(lost, "audit lines are written again");
        }
        drop(state);
        self.written.send_modify(|written| *written += 1);
    }

    /// Waits for the time of another attempt, or, when the server ends, for nothing.
    fn failed(&self, error: &io::Error) {
        self.give_up(error);
        let mut state = self.state();
        if state.closed {
            return self.leave(&mut state);
        }
        let idle = |state: &mut State| !state.reopen && !state.closed;
        // Why it ended does not matter.
        drop(self.wake.wait_timeout_while(state, AGAIN, idle));
    }

    fn give_up(&self, why: &dyn std::fmt::Display) {
        let begins = {
            // With the queue in hand: when the last line is through, nothing would clear it again.
            let state = self.state();
            !state.waiting.is_empty() && !self.stuck.swap(true, Ordering::AcqRel)
        };
        if begins {
            tracing::error!(%why, "audit lines cannot be written; management is refused until they are");
        }
        // Whoever waits for a line learns that it waits, too.
        self.written.send_modify(|_| {});
    }

    /// Puts into the log what no attempt is made for any more.
    fn leave(&self, state: &mut State) {
        for line in state.waiting.drain(..) {
            let line = String::from_utf8_lossy(&line);
            tracing::error!(target: TARGET, line = line.trim_end(), "not written");
        }
        self.tell_waiting(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes everything.
    struct Void;

    impl Outlet for Void {
        fn write(&mut self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn reopen(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_not_given_up_where_none_waits() {
        let metrics = Arc::new(Metrics::new([]));
        let lines = Lines::start(Box::new(Void), metrics).unwrap();
        lines.0.give_up(&"a line that came through just now");
        assert!(lines.available(), "no line would clear it");
    }
}
