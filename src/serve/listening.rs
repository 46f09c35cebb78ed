//! The socket, and what is said once it serves.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::config::{self, Config, Listen, default_root_token_file};
use crate::transport::connections::{Bounds, Listener, Place};

use super::ServeError;

/// Where the command line calls unless it is told otherwise.
const CLIENT_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50051);

/// Binds everything that gRPC listens on.
pub(super) async fn bind_all(config: &Config) -> Result<Vec<Listener>, ServeError> {
    let mut listeners = Vec::new();
    for place in &config.server.listen {
        listeners.push(match place {
            Listen::Tcp(addresses) => bind(addresses).await?,
            Listen::Unix(path) => Listener::unix(path, config.server.unix_mode)
                .await
                .map_err(|error| ServeError::Listen {
                    place: Place::Unix(path.clone()),
                    error,
                })?,
        });
    }
    Ok(listeners)
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

/// Says on standard output, each alone on a line, where the sockets are, and where that of the
/// metrics is if it is another; and, for people, how to call them. `root_token` is the file of the
/// generated root token that is in force, if it is known; without `people`, machines read standard
/// error.
pub(super) fn announce(
    places: &[Place],
    metrics: Option<&Place>,
    root_token: Option<&Path>,
    people: bool,
) {
    let lines = places.iter().map(|place| format!("listening on {place}\n"));
    let mut text: String = lines.collect();
    if let Some(metrics) = metrics {
        tracing::info!(address = %metrics, "metrics");
        text.push_str(&format!("metrics on {metrics}\n"));
    }
    let mut stdout = std::io::stdout().lock();
    // Nobody may be reading; that is no reason to stop.
    let _ = write!(stdout, "{text}").and_then(|()| stdout.flush());
    let Some(address) = called_first(places).filter(|_| people) else {
        return;
    };
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("token-authority"));
    let found = default_root_token_file(&config::environment().unwrap_or_default());
    let text = suggestions(&program, address, root_token, found.as_deref());
    let _ = write!(std::io::stderr().lock(), "\n{text}\n");
}

/// The place that a person calls first.
fn called_first(places: &[Place]) -> Option<SocketAddr> {
    places.iter().find_map(|place| match place {
        Place::Tcp(address) => Some(*address),
        Place::Unix(_) => None,
    })
}

/// Lines that a person can copy into a shell. The command line finds a root token by itself in the
/// file `found`, for servers that it knows to be on this machine.
fn suggestions(
    program: &Path,
    address: SocketAddr,
    root_token: Option<&Path>,
    found: Option<&Path>,
) -> String {
    let address = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    };
    let place = quoted(&address.to_string());
    let mut flags = String::new();
    if address != CLIENT_DEFAULT {
        flags.push_str(&format!(" --server {place}"));
    }
    let (head, credential, token) = match root_token {
        Some(path) => {
            let file = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            let quoted_file = quoted(&file.to_string_lossy());
            if Some(path) != found || !address.ip().is_loopback() {
                flags.push_str(&format!(" --token-file {quoted_file}"));
            }
            ("Try it:", "", format!("$(cat {quoted_file})"))
        }
        None => (
            "Try it, with a root token in TOKEN:",
            "TOKEN_AUTHORITY_TOKEN=\"$TOKEN\" ",
            "$TOKEN".to_owned(),
        ),
    };
    let program = quoted(&program.to_string_lossy());
    format!(
        "{head}\n  \
           {credential}{program}{flags} token create --name hello\n  \
           grpcurl -plaintext {place} describe tokenauthority.v1.TokenService\n  \
           grpcurl -plaintext -H \"authorization: Bearer {token}\" -d '{{\"name\":\"hello\"}}' \\\n    \
             {place} tokenauthority.v1.TokenService/Create\n"
    )
}

/// The text as one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(address: &str, root_token: Option<&str>, found: Option<&str>) -> String {
        let (root_token, found) = (root_token.map(Path::new), found.map(Path::new));
        let program = Path::new("/opt/ta");
        suggestions(program, address.parse().unwrap(), root_token, found)
    }

    #[test]
    fn at_the_default_place_nothing_needs_to_be_said() {
        let text = lines("127.0.0.1:50051", Some("/r"), Some("/r"));
        assert!(
            text.contains("\n  /opt/ta token create --name hello\n"),
            "{text}"
        );
        assert!(text.contains("Bearer $(cat /r)\""), "{text}");
    }

    #[test]
    fn another_address_and_another_file_are_named_and_quoted() {
        let text = lines("[::]:7", Some("/my root"), Some("/r"));
        let flags = "--server '[::1]:7' --token-file '/my root' token create";
        assert!(text.contains(flags), "{text}");
        assert!(text.contains("Bearer $(cat '/my root')\""), "{text}");
        assert!(text.contains("\n    '[::1]:7' tokenauthority.v1"), "{text}");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn beyond_loopback_the_file_is_named_even_in_its_default_place() {
        let text = lines("10.0.0.5:50051", Some("/r"), Some("/r"));
        let flags = "/opt/ta --server 10.0.0.5:50051 --token-file /r token";
        assert!(text.contains(flags), "{text}");
    }

    #[test]
    fn a_configured_root_token_is_the_readers_to_fill_in() {
        let text = lines("0.0.0.0:50051", None, Some("/r"));
        assert!(text.contains("with a root token in TOKEN"), "{text}");
        assert!(
            text.contains("TOKEN_AUTHORITY_TOKEN=\"$TOKEN\" /opt/ta token"),
            "{text}"
        );
        assert!(
            text.contains("Bearer $TOKEN\"") && !text.contains("/r"),
            "{text}"
        );
    }

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
