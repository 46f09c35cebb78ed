//! The gate that every call passes: how many are in hand, and whether new ones are taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts calls in hand and refuses those beyond a limit, or all of them while draining.
pub struct Gate {
    limit: usize,
    in_hand: AtomicUsize,
    closed: AtomicBool,
    left: Notify,
}

/// Why a call does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    Draining,
    /// As many calls are in hand as the limit says.
    Full(usize),
}

/// A call in hand, with any change that it began; it leaves when this is dropped.
pub struct Pass(Arc<Gate>);

impl Gate {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            in_hand: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            left: Notify::new(),
        })
    }

    pub fn enter(self: &Arc<Self>) -> Result<Pass, Closed> {
        // Counted before the look at `closed`, so that whoever waits for the gate to be empty after
        // closing it sees every call that got in.
        let before = self.in_hand.fetch_add(1, Ordering::SeqCst);
        let pass = Pass(self.clone());
        if self.closed.load(Ordering::SeqCst) {
            return Err(Closed::Draining);
        }
        if before >= self.limit {
            return Err(Closed::Full(self.limit));
        }
        Ok(pass)
    }

    /// Takes no new calls from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// How many calls are in hand.
    pub fn in_hand(&self) -> usize {
        self.in_hand.load(Ordering::SeqCst)
    }

    /// Waits until no call is in hand.
    pub async fn emptied(&self) {
        loop {
            let left = self.left.notified();
            if self.in_hand() == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.0.in_hand.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_beyond_the_limit_are_refused_until_one_leaves() {
        let gate = Gate::new(2);
        let (first, _second) = (gate.enter().unwrap(), gate.enter().unwrap());
        assert_eq!(gate.enter().err(), Some(Closed::Full(2)));
        drop(first);
        assert!(gate.enter().is_ok());
    }

    #[tokio::test]
    async fn a_closed_gate_empties() {
        let gate = Gate::new(2);
        let pass = gate.enter().unwrap();
        gate.close();
        assert_eq!(gate.enter().err(), Some(Closed::Draining));
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.emptied().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(pass);
        waiting.await.unwrap();
    }
}
