//! A service manager is told, by the protocol of sd_notify(3), when calls are answered and when no more.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use tonic_health::pb::health_check_response::ServingStatus;

use crate::harness::{Authority, PATIENCE, command, until};

/// A service manager's socket in the folder of an authority that is not yet started.
fn managed(authority: Authority) -> (Authority, UnixDatagram) {
    let path = authority.folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    (authority.with_variable("NOTIFY_SOCKET", &path), socket)
}

fn told(socket: &UnixDatagram) -> String {
    let mut datagram = [0; 256];
    let length = socket.recv(&mut datagram).expect("the manager is told");
    String::from_utf8_lossy(&datagram[..length]).into_owned()
}

const UP: &str = "READY=1\nSTATUS=waiting for the store";

/// Takes that the server is up, though its store was not yet asked, or was already.
fn told_ready(socket: &UnixDatagram) {
    let ready = told(socket);
    if ready == UP {
        assert_eq!(told(socket), "STATUS=serving");
    } else {
        assert_eq!(ready, "READY=1\nSTATUS=serving");
    }
}

/// Whether nothing was told that was not taken yet.
fn quiet(socket: &UnixDatagram) -> bool {
    socket.set_nonblocking(true).unwrap();
    socket.recv(&mut [0; 256]).is_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_manager_is_told_when_calls_are_answered_and_when_the_drain_begins() {
    let authority = Authority::before_sqlite_start().with(&["--set", "server.drain_delay=60s"]);
    let (mut authority, manager) = managed(authority);
    authority.start();
    told_ready(&manager);
    assert!(authority.health("").await.is_some(), "it answers by then");
    authority.serving(true).await;
    authority.signal("TERM");
    assert_eq!(told(&manager), "STOPPING=1\nSTATUS=draining");
    authority.serving(false).await;
    assert_eq!(
        authority.health("").await,
        Some(ServingStatus::NotServing),
        "the manager was told at the beginning of the drain"
    );
    assert_eq!(authority.stop("TERM").0, Some(143));
    assert!(quiet(&manager));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_on_redis_is_up_though_redis_is_not_and_its_status_follows_redis() {
    let (mut authority, manager) = managed(Authority::before_redis_start());
    authority.redis.as_mut().unwrap().kill();
    authority.start();
    assert_eq!(told(&manager), UP);
    authority.serving(false).await;
    authority.redis.as_mut().unwrap().restart();
    assert_eq!(told(&manager), "STATUS=serving");
    authority.serving(true).await;
    authority.redis.as_mut().unwrap().kill();
    assert_eq!(told(&manager), "STATUS=waiting for the store");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_told_of_a_server_that_cannot_start() {
    let holder = Authority::on_sqlite();
    let manager = holder.folder.path().join("notify");
    let store = format!("sqlite:{}", holder.database().display());
    let socket = UnixDatagram::bind(&manager).unwrap();
    let output = command(&["serve", "--listen", "127.0.0.1:0", "--store", &store])
        .env("NOTIFY_SOCKET", &manager)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(6), "the database is in use");
    assert!(quiet(&socket));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signs_of_life_are_given_as_often_as_they_are_wanted() {
    let (authority, manager) = managed(Authority::before_sqlite_start());
    let mut authority = authority.with_variable("WATCHDOG_USEC", Path::new("300000"));
    authority.start();
    assert!(told(&manager).starts_with("READY=1\n"));
    let signs = std::iter::repeat_with(|| told(&manager)).filter(|said| said == "WATCHDOG=1");
    assert_eq!(signs.take(3).count(), 3);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_manager_may_listen_at_an_abstract_name() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    let authority = Authority::before_sqlite_start();
    let name = format!("token-authority-{}", authority.folder.path().display());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let variable = format!("@{name}");
    let mut authority = authority.with_variable("NOTIFY_SOCKET", Path::new(&variable));
    authority.start();
    told_ready(&manager);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_manager_that_cannot_be_told_keeps_nobody_from_serving() {
    for nowhere in ["/nonexistent/notify", "vsock:2:1234"] {
        let authority = Authority::before_sqlite_start();
        let mut authority = authority.with_variable("NOTIFY_SOCKET", Path::new(nowhere));
        authority.start();
        authority.serving(true).await;
        until(|| authority.log().contains("NOTIFY_SOCKET").then_some(())).await;
    }
}
