//! Where a server listens: whether the place is free, and who is there if it is not.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::config::{Config, Listen, MetricsPlace};
use crate::tls::{certificates, presented_on};
use crate::transport::connections::channel_over;

use super::files;
use super::{Case, Finding, Findings};

/// What only a token authority has a health of.
const SERVICE: &str = "tokenauthority.v1.TokenService";

pub(super) async fn check(case: Arc<Case>) -> Findings {
    let mut findings = Vec::new();
    for place in &case.config.server.listen {
        match place {
            Listen::Tcp(addresses) => {
                let tls = case.config.tls.as_ref();
                let certificate = tls.map(|tls| tls.files.certificate.as_path());
                findings.push(tcp(addresses, certificate, case.until).await);
            }
            Listen::Unix(path) => {
                findings.extend(unix(path, case.config.server.unix_mode, case.until).await);
            }
        }
    }
    if let MetricsPlace::Own(addresses) = &case.config.server.metrics {
        findings.push(beside("server.metrics_listen", addresses));
    }
    findings.extend(forward_auth(&case.config));
    let console = case.config.console.listen.iter();
    findings.extend(console.map(|place| further("console.listen", place)));
    findings
}

/// Where forward-auth listens, and whether anybody may ask it.
fn forward_auth(config: &Config) -> Findings {
    const SUBJECT: &str = "forward_auth.listen";
    let forward_auth = &config.forward_auth;
    let mut findings = Vec::new();
    let places = forward_auth.listen.iter();
    findings.extend(places.map(|place| further(SUBJECT, place)));
    if !forward_auth.listen.is_empty() && forward_auth.trusted_peers.is_empty() {
        findings.push(Finding::warn(
            "forward_auth.trusted_peers",
            "names nobody, so that /auth refuses everybody".to_owned(),
            "name the proxies that ask; introspection and revocation need none",
        ));
    }
    findings
}

fn further(subject: &str, place: &Listen) -> Finding {
    match place {
        Listen::Tcp(addresses) => beside(subject, addresses),
        Listen::Unix(path) => files::workable(subject, files::folder(path)),
    }
}

/// Whether an address can be bound; nobody who binds it meanwhile notices, as it is not listened on.
fn free(address: SocketAddr) -> io::Result<()> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}

/// The first of a name's addresses that this machine has, as a server binds it.
fn chosen(addresses: &[SocketAddr]) -> (Option<SocketAddr>, io::Result<()>) {
    let mut last = (None, Ok(()));
    for address in addresses {
        let bound = free(*address);
        let elsewhere =
            matches!(&bound, Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable);
        last = (Some(*address), bound);
        if !elsewhere {
            break;
        }
    }
    last
}

fn unbound(subject: &str, address: SocketAddr, error: &io::Error) -> Finding {
    let advice = match error.kind() {
        io::ErrorKind::AddrNotAvailable => "name an address of this machine",
        io::ErrorKind::PermissionDenied => "take a port of 1024 or more",
        _ => "name another address or port",
    };
    Finding::fail(
        subject,
        format!("{address} cannot be listened on: {error}"),
        advice,
    )
}

/// A listener beside that for calls.
fn beside(subject: &str, addresses: &[SocketAddr]) -> Finding {
    match chosen(addresses) {
        (Some(address), Ok(())) => Finding::ok(subject, format!("{address} is free")),
        (Some(address), Err(error)) if error.kind() == io::ErrorKind::AddrInUse => {
            // Whoever listens for calls knows who this is.
            Finding::ok(
                subject,
                format!("{address} is in use, as by a running server"),
            )
        }
        (Some(address), Err(error)) => unbound(subject, address, &error),
        (None, _) => Finding::ok(subject, "nowhere"),
    }
}

async fn tcp(addresses: &[SocketAddr], certificate: Option<&Path>, until: Instant) -> Finding {
    const SUBJECT: &str = "server.listen";
    let (Some(address), bound) = chosen(addresses) else {
        return Finding::ok(SUBJECT, "nowhere");
    };
    match bound {
        Ok(()) => Finding::ok(SUBJECT, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let asking = neighbour(reachable(address), certificate);
            told(SUBJECT, &address.to_string(), within(until, asking).await)
        }
        Err(error) => unbound(SUBJECT, address, &error),
    }
}

/// Where a listener on every address is reached from here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let local: std::net::IpAddr = match address {
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    match address.ip().is_unspecified() {
        true => SocketAddr::new(local, address.port()),
        false => address,
    }
}

async fn unix(path: &Path, mode: u32, until: Instant) -> Findings {
    const SUBJECT: &str = "server.listen";
    let shown = format!("unix:{}", path.display());
    let mut findings = vec![files::workable(SUBJECT, files::folder(path))];
    if mode & 0o007 != 0 {
        findings.push(Finding::warn(
            "server.unix_mode",
            format!("{mode:04o} lets everybody on this machine connect"),
            "set it to 0660, and give clients the group",
        ));
    }
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            findings.push(Finding::ok(SUBJECT, format!("{shown} is free")));
            return findings;
        }
        Err(error) => {
            findings.push(files::unreadable(SUBJECT, path, &error));
            return findings;
        }
        Ok(found) => found,
    };
    if !found.file_type().is_socket() {
        findings.push(Finding::fail(
            SUBJECT,
            format!("{shown}: there is a file of that name, and it is no socket"),
            "remove it, or name another place",
        ));
        return findings;
    }
    let dialled = within(until, async { UnixStream::connect(path).await.map(drop) }).await;
    match dialled {
        Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            let told = format!("{shown} is left over from a server; the next one replaces it");
            findings.push(Finding::ok(SUBJECT, told));
        }
        Some(Err(error)) => findings.push(files::unreadable(SUBJECT, path, &error)),
        _ => {
            let path = path.to_owned();
            let asking = async move { health(on_unix(path).await?).await.map(Met::Plain) };
            findings.push(told(SUBJECT, &shown, within(until, asking).await));
            let present = found.mode() & 0o777;
            if present != mode {
                findings.push(Finding::warn(
                    "server.unix_mode",
                    format!("{shown} has mode {present:04o}; configured is {mode:04o}"),
                    "start the server again, or correct server.unix_mode",
                ));
            }
        }
    }
    findings
}

async fn within<T>(until: Instant, asking: impl Future<Output = T>) -> Option<T> {
    let left = until.saturating_duration_since(Instant::now());
    tokio::time::timeout(left, asking).await.ok()
}

/// Who listens at a place.
enum Met {
    Plain(State),
    /// Over TLS, with the certificate that the file holds now.
    Same(Option<State>),
    /// Over TLS, with another.
    Other(Option<State>),
}

/// What a server says of itself.
#[derive(Clone, Copy)]
enum State {
    Serves,
    DoesNot,
    /// It speaks gRPC, and is no token authority.
    Foreign,
}

fn told(subject: &str, place: &str, met: Option<io::Result<Met>>) -> Finding {
    let foreign = |what: &str| {
        let advice = "end that process, or listen elsewhere";
        Finding::fail(subject, format!("{place} is in use by {what}"), advice)
    };
    // A server that is full turns the doctor away like anybody: nobody should end it for that.
    let silent = |what: &str| {
        let advice = "see who it is (ss -ltnp) before you end it: it may be a token authority that \
                      is full or hangs, or has another configuration; or listen elsewhere";
        Finding::fail(subject, format!("{place} is in use by {what}"), advice)
    };
    let met = match met {
        None => return silent("a process that does not answer for its health"),
        Some(Err(error)) => {
            return silent(&format!(
                "a process that does not answer as a token authority with this configuration \
                 ({error})"
            ));
        }
        Some(Ok(met)) => met,
    };
    let (state, stale) = match met {
        Met::Plain(state) => (Some(state), false),
        Met::Same(state) => (state, false),
        Met::Other(state) => (state, true),
    };
    match state {
        Some(State::Foreign) => foreign("another gRPC server"),
        _ if stale => Finding::warn(
            subject,
            format!("a server runs on {place} and shows another certificate than the file holds"),
            "if the file changed more than tls.reload_every ago, look at the log of the server",
        ),
        Some(State::DoesNot) => Finding::warn(
            subject,
            format!("a token authority runs on {place}, and does not serve"),
            "see what else is told here, and the log of the server; it may be stopping",
        ),
        Some(State::Serves) => Finding::ok(
            subject,
            format!("a token authority runs on {place}, and serves"),
        ),
        None => Finding::ok(
            subject,
            format!("a server runs on {place} with this certificate, and wants one of its clients"),
        ),
    }
}

async fn neighbour(address: SocketAddr, certificate: Option<&Path>) -> io::Result<Met> {
    let stream = TcpStream::connect(address).await?;
    let Some(certificate) = certificate else {
        return health(channel_over(stream).await?).await.map(Met::Plain);
    };
    let shown = presented_on(stream).await?;
    let file = certificates(certificate).ok();
    let same = file.is_some_and(|chain| chain.first() == Some(&shown.certificate));
    // Where a certificate is demanded of clients, the connection ends here.
    let state = match channel_over(shown.stream).await {
        Ok(channel) => health(channel).await.ok(),
        Err(_) => None,
    };
    Ok(if same {
        Met::Same(state)
    } else {
        Met::Other(state)
    })
}

async fn on_unix(path: PathBuf) -> io::Result<Channel> {
    channel_over(UnixStream::connect(path).await?).await
}

async fn health(channel: Channel) -> io::Result<State> {
    let mut request = Request::new(HealthCheckRequest {
        service: SERVICE.to_owned(),
    });
    request.set_timeout(Duration::from_secs(10));
    match HealthClient::new(channel).check(request).await {
        Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => Ok(State::Serves),
        Ok(_) => Ok(State::DoesNot),
        Err(status) if [Code::NotFound, Code::Unimplemented].contains(&status.code()) => {
            Ok(State::Foreign)
        }
        // Its words for an error that is not of gRPC say nothing.
        Err(status) if status.code() == Code::Unknown => {
            Err(io::Error::other("the connection broke off"))
        }
        Err(status) => Err(io::Error::other(status.code().description())),
    }
}
