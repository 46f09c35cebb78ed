//! Being told to stop, and what is still done then.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::config::ServerConfig;
use crate::transport::gate::Gate;

use super::ServeError;

/// How long the last bytes of finished calls may take to leave.
const LAST_BYTES: Duration = Duration::from_millis(200);

/// The signals that ask a server to stop.
///
/// They are caught from the moment that this exists, so it is made before anybody can know of the
/// server; and until it is dropped, so that a second signal is noticed, too.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// A signal that was caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caught {
    Terminate,
    Interrupt,
}

impl Caught {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        }
    }

    /// The exit code of a process that the signal ends, as shells count.
    pub(super) fn exit_code(self) -> u8 {
        match self {
            Self::Terminate => 128 + 15,
            Self::Interrupt => 128 + 2,
        }
    }
}

impl Signals {
    pub(super) fn catch() -> Result<Self, ServeError> {
        let failed = |error: std::io::Error| ServeError::Failed(error.to_string());
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
        })
    }

    pub(super) async fn next(&mut self) -> Caught {
        tokio::select! {
            _ = self.terminate.recv() => Caught::Terminate,
            _ = self.interrupt.recv() => Caught::Interrupt,
        }
    }
}

/// Waits, as often as is asked for, for one word to stop, or for whoever would say it to be gone.
pub(super) fn shared(
    stopped: oneshot::Receiver<()>,
) -> impl Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let (stop, stopping) = watch::channel(());
    tokio::spawn(async move {
        // Either way it is time to stop.
        let _ = stopped.await;
        drop(stop);
    });
    move || {
        let mut stopping = stopping.clone();
        Box::pin(async move { while stopping.changed().await.is_ok() {} })
    }
}

/// Lets calls in hand finish; answers whether they did before the deadline.
///
/// Connections that stay open, idle, silent or with endless streams, are not waited for: once no
/// call is in hand, only their last bytes are.
pub(super) async fn drained<T>(
    server: &ServerConfig,
    gate: &Gate,
    stop: oneshot::Sender<()>,
    serving: impl Future<Output = T> + Unpin,
) -> bool {
    let mut serving = serving;
    let drain = async {
        tokio::select! {
            // Connections are served by their own tasks; this keeps accepting during the delay.
            _ = &mut serving => return,
            () = tokio::time::sleep(server.drain_delay) => {}
        }
        gate.close();
        let _ = stop.send(());
        // Both, since a call may outlive its connection, and a connection its calls.
        let served = tokio::select! {
            _ = &mut serving => true,
            () = gate.emptied() => false,
        };
        if served {
            gate.emptied().await;
        } else {
            let _ = tokio::time::timeout(LAST_BYTES, &mut serving).await;
        }
    };
    tokio::time::timeout(server.drain_delay + server.drain_deadline, drain)
        .await
        .is_ok()
}
