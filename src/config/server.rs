//! Where the server listens, on which threads it serves, and how it stops.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use crate::domain::flaw::quoted;

use super::listen::{self, Listen, Protection};
use super::{ConfigError, span, within};

const LISTEN: &str = "server.listen";
const METRICS_LISTEN: &str = "server.metrics_listen";

/// Most threads that serve.
const WORKERS_MAX: i64 = 256;

/// Listening, serving and stopping.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Never none.
    pub listen: Vec<Listen>,
    /// Who may connect to Unix sockets, as the permissions of a file.
    pub unix_mode: u32,
    pub metrics: MetricsPlace,
    pub runtime: RuntimeShape,
    /// How many threads serve.
    pub workers: NonZeroUsize,
    pub drain_delay: Duration,
    pub drain_deadline: Duration,
}

/// Where the metrics are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricsPlace {
    /// Where gRPC listens.
    Beside,
    /// Nowhere.
    Off,
    /// On a listener of their own, at one of these addresses, never none.
    Own(Vec<SocketAddr>),
}

/// Which thread goes on with a connection that has something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeShape {
    /// Always the one that it was given to when it was accepted.
    PerCore,
    /// Any.
    Shared,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerTable {
    listen: String,
    unix_mode: String,
    metrics_listen: String,
    allow_plaintext: bool,
    runtime: String,
    workers: i64,
    drain_delay: String,
    drain_deadline: String,
}

impl ServerTable {
    /// What protects connections where TLS is spoken, if `tls` says that it is.
    pub(super) fn protection(&self, tls: bool) -> Protection {
        match (tls, self.allow_plaintext) {
            (true, _) => Protection::Tls,
            (false, true) => Protection::Elsewhere,
            (false, false) => Protection::None,
        }
    }

    /// `tls` says whether TLS is spoken where gRPC listens.
    pub(super) fn parse(self, tls: bool) -> Result<ServerConfig, ConfigError> {
        let protection = self.protection(tls);
        let plaintext = self.protection(false);
        let Self {
            listen,
            unix_mode,
            metrics_listen,
            runtime,
            workers,
            drain_delay,
            drain_deadline,
            ..
        } = self;
        // Pages are never served with TLS on a listener of their own.
        let own = |listen: &str| listen::bindable(METRICS_LISTEN, listen, plaintext);
        let metrics = match metrics_listen.as_str() {
            "" => MetricsPlace::Beside,
            "off" => MetricsPlace::Off,
            listen => MetricsPlace::Own(own(listen)?),
        };
        let smallest = Duration::from_millis(1);
        let listen = listen::places(LISTEN, &listen, protection)?;
        if let MetricsPlace::Own(addresses) = &metrics
            && let Some(taken) = listen::taken(&listen, addresses)
        {
            let why = format!(
                "{taken} is taken by server.listen; name another port, or leave it empty: then \
                 metrics are read where gRPC listens"
            );
            return Err(ConfigError::key(METRICS_LISTEN, why));
        }
        Ok(ServerConfig {
            listen,
            unix_mode: mode(&unix_mode)?,
            metrics,
            runtime: shape(&runtime)?,
            workers: threads(workers)?,
            drain_delay: span("server.drain_delay", &drain_delay, Duration::ZERO)?,
            drain_deadline: span("server.drain_deadline", &drain_deadline, smallest)?,
        })
    }
}

fn shape(text: &str) -> Result<RuntimeShape, ConfigError> {
    match text {
        "per-core" => Ok(RuntimeShape::PerCore),
        "shared" => Ok(RuntimeShape::Shared),
        other => {
            let why = "must be \"per-core\" or \"shared\"; got";
            Err(ConfigError::key(
                "server.runtime",
                format!("{why} {}", quoted(other)),
            ))
        }
    }
}

/// How many threads serve; 0 means one for each core that this process may use, as far as the system
/// tells.
fn threads(given: i64) -> Result<NonZeroUsize, ConfigError> {
    let given = NonZeroUsize::new(within("server.workers", given, 0, WORKERS_MAX)?);
    let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    Ok(given.unwrap_or_else(cores))
}

/// Reads the permissions of a file as `chmod` does, in octal digits.
fn mode(text: &str) -> Result<u32, ConfigError> {
    let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777);
    mode.filter(|_| digits).ok_or_else(|| {
        let why = "must be 3 or 4 octal digits up to \"0777\"; got";
        ConfigError::key("server.unix_mode", format!("{why} {}", quoted(text)))
    })
}
