//! Telling a service manager, such as systemd, that the server is up, what it can do, and that it stops.
//!
//! The protocol is that of sd_notify(3): datagrams of `NAME=value` lines to a Unix socket.

use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::authority::readiness::Readiness;
use crate::config::Supervision;
use crate::transport::connections::Homes;

/// Longest wait for a service manager that does not read.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
}

/// Says that the server is up, which it is though its store be away; whether it can answer, now and
/// whenever that changes; gives signs of life where they are wanted; and says that it stops as soon as
/// `draining` turns true. Whatever goes wrong with the service manager is a warning: the calls of
/// others matter more than its opinion.
pub(super) fn follow(
    supervision: Option<&Supervision>,
    mut readiness: watch::Receiver<Readiness>,
    mut draining: watch::Receiver<bool>,
    homes: Homes,
) {
    let Some(supervision) = supervision else {
        return;
    };
    let manager = match Manager::reach(supervision) {
        Ok(manager) => Arc::new(manager),
        Err(error) => {
            tracing::warn!(%error, "NOTIFY_SOCKET: the service manager is told nothing");
            return;
        }
    };
    let ready = *readiness.borrow_and_update();
    manager.tell(&format!("READY=1\n{}", status(ready)));
    if let Some(allowed) = manager.watchdog {
        tokio::spawn(give_signs(manager.clone(), allowed, homes));
    }
    tokio::spawn(async move {
        loop {
            tokio::select! {
                // An error means that the server ends without a drain.
                _ = draining.wait_for(|draining| *draining) => break,
                Ok(()) = readiness.changed() => {
                    let now = *readiness.borrow_and_update();
                    manager.tell(status(now));
                }
            }
        }
        manager.tell("STOPPING=1\nSTATUS=draining");
    });
}

fn status(ready: Readiness) -> &'static str {
    match (ready.validate, ready.manage) {
        (true, true) => "STATUS=serving",
        (true, false) => "STATUS=validating only",
        (false, _) => "STATUS=waiting for the store",
    }
}

impl Manager {
    fn reach(supervision: &Supervision) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(Self {
            socket,
            address: address(&supervision.socket)?,
            watchdog: supervision.watchdog,
        })
    }

    fn tell(&self, state: &str) {
        if let Err(error) = self.socket.send_to_addr(state.as_bytes(), &self.address) {
            tracing::warn!(%error, "NOTIFY_SOCKET: the service manager was not told");
        }
    }
}

/// A sign is given by a task when all threads that serve had their turn, so a runtime that is stuck gives
/// none. Nothing else is asked: a server whose store is away must not be ended for it.
async fn give_signs(manager: Arc<Manager>, allowed: Duration, homes: Homes) {
    // Half of what is allowed, as sd_watchdog_enabled(3) advises.
    let mut sign = tokio::time::interval((allowed / 2).max(Duration::from_millis(1)));
    sign.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        sign.tick().await;
        homes.turn().await;
        manager.tell("WATCHDOG=1");
    }
}

/// The address that `NOTIFY_SOCKET` means.
fn address(socket: &str) -> io::Result<SocketAddr> {
    match socket.as_bytes().first() {
        Some(b'/') => SocketAddr::from_pathname(socket),
        Some(b'@') => abstract_address(&socket[1..]),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "neither an absolute path nor an abstract name, which begins with @",
        )),
    }
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &str) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &str) -> io::Result<SocketAddr> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "abstract names are known to Linux only",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_what_can_be_done() {
        let said = |validate, manage| status(Readiness { validate, manage });
        assert_eq!(said(true, true), "STATUS=serving");
        assert_eq!(said(true, false), "STATUS=validating only");
        assert_eq!(said(false, false), "STATUS=waiting for the store");
    }

    #[test]
    fn a_socket_is_named_by_its_path_or_by_an_abstract_name() {
        let path = address("/run/systemd/notify").unwrap();
        assert_eq!(
            path.as_pathname().unwrap().to_str(),
            Some("/run/systemd/notify")
        );
        for nowhere in ["", "notify", "vsock:2:1234"] {
            assert_eq!(
                address(nowhere).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{nowhere:?}"
            );
        }
    }
}
