//! What `doctor` says of where a server listens, and of who is there.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use crate::harness::{Authority, until};
use crate::support::child::OwnedChild;

use super::patient::{Patient, chmod};

#[tokio::test]
async fn whoever_else_listens_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let patient = Patient::new().with(&["--listen", &address]);
    patient
        .asks(&["--timeout", "5s"])
        .only("FAIL", "server.listen", "is in use by");
    drop(taken);
    patient.asks(&[]).nothing();
    // A network for documentation: this machine has no such address.
    let elsewhere = Patient::new()
        .with(&["--listen", "192.0.2.1:50051"])
        .set("server.allow_plaintext=true");
    elsewhere
        .asks(&[])
        .tells("FAIL", "server.listen", "cannot be listened on");

    let (_, health) = tonic_health::server::health_reporter();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let serving = tonic::transport::Server::builder().add_service(health);
    let serving = tokio::spawn(serving.serve_with_incoming(incoming));
    let patient = Patient::new().with(&["--listen", &address]);
    let said = tokio::task::spawn_blocking(move || patient.asks(&[]))
        .await
        .unwrap();
    said.only("FAIL", "server.listen", "another gRPC server");
    serving.abort();
}

#[tokio::test]
async fn a_server_that_does_not_serve_is_told() {
    let mut authority = Authority::before_redis_start();
    authority.start();
    authority.serving(true).await;
    authority.redis.as_mut().unwrap().kill();
    authority.serving(false).await;
    let patient = Patient::new().with(&["--listen", &authority.address]);
    let said = patient.asks(&[]);
    said.only("warn", "server.listen", "and does not serve");
}

#[tokio::test]
async fn unix_sockets_are_told_by_what_they_are() {
    let patient = Patient::new();
    let path = patient.path("s");
    let listen = format!("unix:{}", path.display());
    let patient = patient.with(&["--listen", &listen]);
    patient.asks(&[]).nothing();
    drop(UnixListener::bind(&path).unwrap());
    let said = patient.asks(&[]);
    said.nothing();
    said.tells("ok", "server.listen", "left over");
    fs::remove_file(&path).unwrap();
    fs::write(&path, "").unwrap();
    patient.asks(&[]).only("FAIL", "server.listen", "no socket");
    fs::remove_file(&path).unwrap();
    let open = Patient::new()
        .with(&["--listen", &listen])
        .set("server.unix_mode=0666");
    open.asks(&[])
        .only("warn", "server.unix_mode", "lets everybody");
    let _server = OwnedChild::spawn(&mut patient.serving()).unwrap();
    until(|| {
        let lines = patient.asks(&[]).of_level("ok");
        lines
            .iter()
            .any(|line| line.ends_with("and serves"))
            .then_some(())
    })
    .await;
    patient.asks(&[]).nothing();
    chmod(&path, 0o600);
    patient
        .asks(&[])
        .only("warn", "server.unix_mode", "has mode 0600");
}

#[tokio::test]
async fn the_consoles_place_is_looked_at_too() {
    let patient = Patient::new().set("console.listen=127.0.0.1:0");
    patient.asks(&[]).tells("ok", "console.listen", "is free");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("console.listen={}", taken.local_addr().unwrap());
    let said = Patient::new().set(&place).asks(&[]);
    said.tells("ok", "console.listen", "is in use");
}

#[tokio::test]
async fn forward_auth_that_believes_nobody_is_told() {
    let patient = Patient::new().set("forward_auth.listen=127.0.0.1:0");
    let said = patient.asks(&[]);
    said.only("warn", "forward_auth.trusted_peers", "refuses everybody");
    said.tells("ok", "forward_auth.listen", "is free");
    let named = patient.set("forward_auth.trusted_peers=[\"unix\"]");
    named.asks(&[]).nothing();
}
