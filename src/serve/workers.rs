//! The threads that serve: workers with a runtime of their own each, or one runtime for everything.

use std::future::pending;
use std::io;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::thread;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{mpsc, watch};

use crate::config::{RuntimeShape, ServerConfig};

/// Most threads for what is not a connection, where connections have theirs: it waits, mostly.
const BACKGROUND_MAX: usize = 2;

/// The threads of a server.
pub(super) struct Threads {
    /// Runs all that is not a connection, and those, too, where there are no workers: so no connection
    /// keeps the cache's lease, signals, or the links to the store waiting where there are.
    pub(super) main: Runtime,
    pub(super) workers: Workers,
}

impl Threads {
    pub(super) fn start(server: &ServerConfig) -> io::Result<Self> {
        let (name, count, workers) = match server.runtime {
            RuntimeShape::PerCore => {
                let count = server.workers.get().min(BACKGROUND_MAX);
                ("background", count, Workers::start(server.workers)?)
            }
            RuntimeShape::Shared => ("worker", server.workers.get(), Workers::none()),
        };
        let mut main = Builder::new_multi_thread();
        main.worker_threads(count).thread_name(name).enable_all();
        Ok(Self {
            main: main.build()?,
            workers,
        })
    }
}

/// Threads with a runtime of their own each, which run what is spawned there until they are told to end.
pub(super) struct Workers {
    runtimes: Vec<Handle>,
    threads: Vec<thread::JoinHandle<()>>,
    end: watch::Sender<bool>,
    lost: Lost,
}

/// Told by a thread that panics outside of all tasks, and so serves nobody any more.
type Lost = mpsc::UnboundedReceiver<usize>;

impl Workers {
    fn none() -> Self {
        Self {
            runtimes: Vec::new(),
            threads: Vec::new(),
            end: watch::Sender::new(false),
            lost: mpsc::unbounded_channel().1,
        }
    }

    fn start(count: NonZeroUsize) -> io::Result<Self> {
        let (tell, lost) = mpsc::unbounded_channel();
        let mut workers = Self {
            lost,
            ..Self::none()
        };
        for number in 0..count.get() {
            let name = format!("worker-{number}");
            let mut runtime = Builder::new_current_thread();
            let runtime = runtime.enable_all().thread_name(&name).build()?;
            workers.runtimes.push(runtime.handle().clone());
            let mut end = workers.end.subscribe();
            let work = move || {
                // An error means that nobody is left who could tell it to end.
                let _ = runtime.block_on(end.wait_for(|end| *end));
            };
            let thread = thread(name, number, tell.clone(), work)?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// One for each thread; none where everything runs on one runtime.
    pub(super) fn runtimes(&self) -> Vec<Handle> {
        self.runtimes.clone()
    }

    /// Waits for a thread that ends before its time, and answers its number.
    pub(super) async fn lost(&mut self) -> usize {
        match self.lost.recv().await {
            Some(number) => number,
            None => pending().await,
        }
    }

    /// Ends all threads and what still runs on them, and waits for that.
    ///
    /// # Panics
    ///
    /// Where one of them did.
    pub(super) fn end(self) {
        self.end.send_replace(true);
        for thread in self.threads {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    }

    /// The same, and waits for nothing.
    pub(super) fn end_at_once(self) {
        self.end.send_replace(true);
    }
}

/// Begins a thread that tells `tell` its number should it panic.
fn thread(
    name: String,
    number: usize,
    tell: mpsc::UnboundedSender<usize>,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<thread::JoinHandle<()>> {
    let telling = Telling { number, tell };
    thread::Builder::new().name(name).spawn(move || {
        let _telling = telling;
        work();
    })
}

struct Telling {
    number: usize,
    tell: mpsc::UnboundedSender<usize>,
}

impl Drop for Telling {
    fn drop(&mut self) {
        if thread::panicking() {
            // An error means that the server ends anyway.
            let _ = self.tell.send(self.number);
        }
    }
}

#[cfg(test)]
mod tests;
