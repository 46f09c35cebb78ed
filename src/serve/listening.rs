//! The sockets, and what is said once they serve.

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;

use crate::config::{Config, Listen};
use crate::transport::connections::{Bounds, Listener, Place};

use super::ServeError;
use super::suggestions::Acquaintance;

/// Binds all of these places; Unix sockets for those whom `mode` lets write.
pub(super) async fn bind_places(places: &[Listen], mode: u32) -> Result<Vec<Listener>, ServeError> {
    let mut listeners = Vec::new();
    for place in places {
        listeners.push(match place {
            Listen::Tcp(addresses) => bind(addresses).await?,
            Listen::Unix(path) => {
                Listener::unix(path, mode)
                    .await
                    .map_err(|error| ServeError::Listen {
                        place: Place::Unix(path.clone()),
                        error,
                    })?
            }
        });
    }
    Ok(listeners)
}

/// Where they are bound.
pub(super) fn places(listeners: &[Listener]) -> Result<Vec<Place>, ServeError> {
    let places = listeners.iter().map(Listener::place);
    let places: Result<Vec<Place>, _> = places.collect();
    places.map_err(|error| ServeError::Failed(error.to_string()))
}

/// Bounds on the connections of each listener.
pub(super) fn bounds(config: &Config) -> Bounds {
    let limits = &config.limits;
    Bounds {
        connections: limits.connections,
        of_one_address: limits.connections_per_address,
        handshake: limits.handshake_timeout,
        idle: limits.idle_timeout,
        age: limits.connection_age,
        stall: limits.stall_timeout,
        call: limits.call_deadline,
        calls_per_connection: limits.calls_per_connection,
    }
}

/// Binds the first of a name's addresses that this machine has. One that is in use ends the search:
/// whoever takes the other address of the same name would get half of the callers.
pub(super) async fn bind(addresses: &[SocketAddr]) -> Result<Listener, ServeError> {
    let mut refused = None;
    for address in addresses.iter().copied() {
        match Listener::tcp(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) => {
                let elsewhere = error.kind() == ErrorKind::AddrNotAvailable;
                refused = Some(ServeError::Listen {
                    place: Place::Tcp(address),
                    error,
                });
                if !elsewhere {
                    break;
                }
            }
        }
    }
    Err(refused.unwrap_or_else(|| ServeError::Failed("no address to listen on".to_owned())))
}

/// Says on standard output, each alone on a line, where the sockets are, and those of each further
/// listener by its name; and, where people read standard error, how to call the server.
pub(super) fn announce(
    places: &[Place],
    further: &[(&'static str, Vec<Place>)],
    known: Option<&Acquaintance>,
) {
    let lines = places.iter().map(|place| format!("listening on {place}\n"));
    let mut text: String = lines.collect();
    for (name, places) in further {
        for place in places {
            tracing::info!(address = %place, "{name}");
            text.push_str(&format!("{name} on {place}\n"));
        }
    }
    let mut stdout = std::io::stdout().lock();
    // Nobody may be reading; that is no reason to stop.
    let _ = write!(stdout, "{text}").and_then(|()| stdout.flush());
    let Some(text) = known.and_then(|known| known.suggestions(places)) else {
        return;
    };
    let _ = write!(std::io::stderr().lock(), "\n{text}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_use_is_not_replaced_by_the_names_next_one() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [taken.local_addr().unwrap(), "127.0.0.1:0".parse().unwrap()];
        assert!(matches!(
            bind(&addresses).await,
            Err(ServeError::Listen { .. })
        ));
        // A network for documentation: this machine has no such address.
        let absent = ["192.0.2.1:0".parse().unwrap(), addresses[1]];
        let Place::Tcp(bound) = bind(&absent).await.unwrap().place().unwrap() else {
            panic!("a TCP listener");
        };
        assert!(bound.ip().is_loopback());
    }
}
