//! Where the server listens: addresses with ports, and Unix sockets.

use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use crate::domain::flaw::quoted;

use super::ConfigError;

/// Longest path of a Unix socket, in bytes: what every system's address has room for.
const UNIX_PATH_BYTES_MAX: usize = 103;

/// One place to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// What was asked for may be a name, and then has several addresses: IPv4 first, never none.
    Tcp(Vec<SocketAddr>),
    Unix(PathBuf),
}

/// What protects a connection beyond loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    Tls,
    /// Something in front, as the operator says.
    Elsewhere,
    None,
}

/// Reads places that are parted by commas, at least one.
pub(super) fn places(
    key: &str,
    text: &str,
    protection: Protection,
) -> Result<Vec<Listen>, ConfigError> {
    let mut places = Vec::new();
    for place in text.split(',').map(str::trim) {
        let place = match place.strip_prefix("unix:") {
            Some(path) => Listen::Unix(socket(key, path)?),
            None => Listen::Tcp(bindable(key, place, protection)?),
        };
        if places.contains(&place) && place != Listen::Tcp(free_port(&place)) {
            return Err(ConfigError::key(
                key,
                format!("names a place twice: {}", quoted(text)),
            ));
        }
        places.push(place);
    }
    Ok(places)
}

/// The first of `addresses` that cannot be bound beside `places`.
pub(super) fn taken(places: &[Listen], addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let all = |a: &SocketAddr, b: &SocketAddr| {
        a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified())
    };
    let meets = |a: &SocketAddr, b: &SocketAddr| {
        a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || all(a, b))
    };
    let mut found = addresses.iter().copied();
    found.find(|address| {
        places.iter().any(|place| match place {
            Listen::Tcp(others) => others.iter().any(|other| meets(address, other)),
            Listen::Unix(_) => false,
        })
    })
}

/// The first part of `place` that cannot be bound beside `places`.
pub(super) fn met(places: &[Listen], place: &Listen) -> Option<String> {
    match place {
        Listen::Tcp(addresses) => taken(places, addresses).map(|address| address.to_string()),
        Listen::Unix(path) => {
            let meets = places.contains(place);
            meets.then(|| format!("unix:{}", path.display()))
        }
    }
}

/// The addresses of `place` with port 0, which is another port each time.
fn free_port(place: &Listen) -> Vec<SocketAddr> {
    match place {
        Listen::Tcp(addresses) => {
            let free = |address: &SocketAddr| SocketAddr::new(address.ip(), 0);
            addresses.iter().map(free).collect()
        }
        Listen::Unix(_) => Vec::new(),
    }
}

fn socket(key: &str, path: &str) -> Result<PathBuf, ConfigError> {
    if (1..=UNIX_PATH_BYTES_MAX).contains(&path.len()) {
        return Ok(PathBuf::from(path));
    }
    let bytes = path.len();
    let why = format!(
        "unix: must be followed by a path of 1 to {UNIX_PATH_BYTES_MAX} bytes; got {bytes} bytes"
    );
    Err(ConfigError::key(key, why))
}

/// The addresses of `listen`, if connections there are protected.
pub(super) fn bindable(
    key: &str,
    listen: &str,
    protection: Protection,
) -> Result<Vec<SocketAddr>, ConfigError> {
    let addresses = addresses(key, listen)?;
    let beyond = addresses.iter().find(|address| !address.ip().is_loopback());
    if let Some(address) = beyond.filter(|_| protection == Protection::None) {
        let why = format!(
            "{address} is beyond loopback and would be served in plaintext; set \
             tls.certificate_file and tls.key_file, or server.allow_plaintext \
             (--allow-plaintext) if something in front protects it"
        );
        return Err(ConfigError::key(key, why));
    }
    Ok(addresses)
}

fn addresses(key: &str, listen: &str) -> Result<Vec<SocketAddr>, ConfigError> {
    let shape = || {
        let why =
            "must be an address or a name, and a port, such as 127.0.0.1:50051, or unix:PATH; got";
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
