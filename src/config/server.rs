//! Where the server listens, and how it stops.

use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use serde::Deserialize;

use crate::domain::flaw::quoted;

use super::{ConfigError, span};

const LISTEN: &str = "server.listen";
const METRICS_LISTEN: &str = "server.metrics_listen";

/// Listening and stopping.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// What was asked for may be a name, and then has several addresses: IPv4 first, never none.
    pub listen: Vec<SocketAddr>,
    pub metrics: MetricsPlace,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerTable {
    listen: String,
    metrics_listen: String,
    allow_plaintext: bool,
    drain_delay: String,
    drain_deadline: String,
}

impl ServerTable {
    pub(super) fn parse(self) -> Result<ServerConfig, ConfigError> {
        let Self {
            listen,
            metrics_listen,
            allow_plaintext,
            drain_delay,
            drain_deadline,
        } = self;
        let own = |listen: &str| bindable(METRICS_LISTEN, listen, allow_plaintext);
        let metrics = match metrics_listen.as_str() {
            "" => MetricsPlace::Beside,
            "off" => MetricsPlace::Off,
            listen => MetricsPlace::Own(own(listen)?),
        };
        let smallest = Duration::from_millis(1);
        Ok(ServerConfig {
            listen: bindable(LISTEN, &listen, allow_plaintext)?,
            metrics,
            drain_delay: span("server.drain_delay", &drain_delay, Duration::ZERO)?,
            drain_deadline: span("server.drain_deadline", &drain_deadline, smallest)?,
        })
    }
}

/// The addresses of `listen` where plaintext may be spoken.
fn bindable(
    key: &str,
    listen: &str,
    allow_plaintext: bool,
) -> Result<Vec<SocketAddr>, ConfigError> {
    let addresses = addresses(key, listen)?;
    let beyond = addresses.iter().find(|address| !address.ip().is_loopback());
    if let Some(address) = beyond.filter(|_| !allow_plaintext) {
        let why = format!(
            "{address} is beyond loopback and would be served in plaintext; \
             set server.allow_plaintext (--allow-plaintext) if something in front protects it"
        );
        return Err(ConfigError::key(key, why));
    }
    Ok(addresses)
}

fn addresses(key: &str, listen: &str) -> Result<Vec<SocketAddr>, ConfigError> {
    if listen.starts_with("unix:") {
        let why = "Unix sockets are not in this release; give an address and a port";
        return Err(ConfigError::key(key, why));
    }
    let shape = || {
        let why = "must be an address or a name, and a port, such as 127.0.0.1:50051; got";
        ConfigError::key(key, format!("{why} {}", quoted(listen)))
    };
    let resolved = listen
        .to_socket_addrs()
        .map_err(|error| match error.kind() {
            ErrorKind::InvalidInput => shape(),
            _ => ConfigError::key(key, format!("{}: {error}", quoted(listen))),
        })?;
    let mut addresses: Vec<SocketAddr> = resolved.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.dedup();
    if addresses.is_empty() {
        return Err(shape());
    }
    Ok(addresses)
}
