//! Where connections live: on the runtime that accepts them, or each on one of several workers.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

use crate::metrics::{Connections, OfWorker, OpenConnection};

use super::socket::Socket;

/// Where connections live. By default that is the runtime that accepts them.
#[derive(Clone, Default)]
pub struct Homes(Arc<Inner>);

#[derive(Default)]
struct Inner {
    workers: Vec<Worker>,
    /// Held while a worker is chosen, so that those who come at once do not all go to the same.
    choosing: Mutex<()>,
}

/// A runtime of one thread.
struct Worker {
    runtime: Handle,
    connections: OfWorker,
}

impl Homes {
    /// On the given runtimes, each connection on one of them from its handshake to its end, and counted
    /// in `metrics` under that one's number.
    pub fn on(runtimes: impl IntoIterator<Item = Handle>, metrics: &Connections) -> Self {
        let worker = |(number, runtime)| Worker {
            runtime,
            connections: metrics.of_worker(number),
        };
        Self(Arc::new(Inner {
            workers: (0..).zip(runtimes).map(worker).collect(),
            choosing: Mutex::default(),
        }))
    }

    /// Lets a connection live where there are the fewest. It fails where the machine has no room for it
    /// there.
    pub(super) fn house<L>(&self, socket: Socket, live: impl FnOnce(Socket) -> L) -> io::Result<()>
    where
        L: Future<Output = ()> + Send + 'static,
    {
        let Some((worker, open)) = self.fewest() else {
            tokio::spawn(live(socket));
            return Ok(());
        };
        let living = live(socket.moved_to(&worker.runtime)?);
        worker.runtime.spawn(async move {
            let _open = open;
            living.await;
        });
        Ok(())
    }

    /// The worker with the fewest connections, which has one more until the other thing that is
    /// answered is dropped.
    fn fewest(&self) -> Option<(&Worker, OpenConnection)> {
        let choosing = self.0.choosing.lock();
        let _choosing = choosing.unwrap_or_else(PoisonError::into_inner);
        let workers = self.0.workers.iter();
        let fewest = workers.min_by_key(|worker| worker.connections.open())?;
        Some((fewest, fewest.connections.begun()))
    }

    /// Waits until each worker has done something that it was asked to do now. It takes as long as the
    /// busiest one lets others wait, and for ever where one is stuck.
    pub async fn turn(&self) {
        let turns = self
            .0
            .workers
            .iter()
            .map(|worker| worker.runtime.spawn(async {}));
        let turns: Vec<_> = turns.collect();
        for turn in turns {
            // An error means that the worker ends, which is not being stuck.
            let _ = turn.await;
        }
    }
}

impl fmt::Debug for Homes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Homes")
            .field("workers", &self.0.workers.len())
            .finish_non_exhaustive()
    }
}
