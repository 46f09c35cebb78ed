//! One act waiting for the writer, and whoever waits for its answer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

use super::error::Fault;
use super::tokens::Acts;
use crate::store::StoreError;

/// An act whose answer is held back until the transaction around it is committed.
pub(super) trait Job: Send {
    /// Carries it out. After an error its changes must be undone.
    fn run(&mut self, acts: &Acts<'_>) -> Result<(), StoreError>;

    /// Answers: with its own outcome if the transaction was committed, else with the reason.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

/// Makes a job of `act`, and the receiver of its answer.
pub(super) fn job<T, F>(act: F) -> (Box<dyn Job>, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    F: FnOnce(&Acts<'_>) -> Result<T, Fault> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let call = Call {
        act: Some(act),
        outcome: None,
        reply,
    };
    (Box::new(call), answer)
}

struct Call<T, F> {
    act: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Call<T, F>
where
    T: Send,
    F: FnOnce(&Acts<'_>) -> Result<T, Fault> + Send,
{
    fn run(&mut self, acts: &Acts<'_>) -> Result<(), StoreError> {
        let Some(act) = self.act.take() else {
            return Ok(());
        };
        // Rules come from outside; one that panics must not take the writer with it. Whatever it
        // left half done in the database is undone by the caller, and there is nothing else.
        let outcome = catch_unwind(AssertUnwindSafe(|| act(acts)))
            .unwrap_or_else(|_| {
                let reason = "its rule panicked; nothing was changed";
                Err(StoreError::Corrupt(reason.to_owned()).into())
            })
            .map_err(StoreError::from);
        let done = outcome.as_ref().map(drop).map_err(Clone::clone);
        self.outcome = Some(outcome);
        done
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let outcome = self.outcome.unwrap_or(Err(StoreError::Closed));
        // Whoever asked may have gone; the act is done all the same.
        let _ = self.reply.send(committed.and(outcome));
    }
}
