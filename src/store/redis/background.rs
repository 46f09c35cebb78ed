//! The runtime that the store was started on, where what drives its connections lives.
//!
//! Calls may come from other runtimes, which end before the store does, or are busy with other calls.

use std::future::{Future, poll_fn};
use std::pin::pin;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

#[derive(Clone)]
pub(super) struct Background(Handle);

impl Background {
    /// The runtime of whoever calls.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub(super) fn here() -> Self {
        Self(Handle::current())
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.0.spawn(task)
    }

    /// Does `work`, which is still part of the call that waits for it, such that what it opens and
    /// spawns lives here.
    pub(super) async fn within<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|context| {
            let _here = self.0.enter();
            work.as_mut().poll(context)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn what_a_call_of_another_runtime_spawns_outlives_that() {
        let [store, caller] = [(); 2].map(|()| Builder::new_current_thread().build().unwrap());
        let background = store.block_on(async { Background::here() });
        let spawned = caller.block_on(background.within(async {
            // As a handshake would.
            tokio::task::yield_now().await;
            Some(tokio::spawn(async { 7 }))
        }));
        drop(caller);
        assert_eq!(store.block_on(spawned.unwrap()).unwrap(), 7);
    }
}
