//! No attack: connections that come of age under load, of which their clients notice next to nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use token_authority::transport::grpc::pb::Verdict;
use tonic::{Code, Status};

use crate::harness::{Client, create, named, presenting};
use crate::scrape::Scrape;
use crate::target::{ended, serving, until_ended};

/// So many calls at once, and so many connections that come of age meanwhile.
const AT_ONCE: usize = 8;
const ROTATIONS: usize = 8;

/// Asks, and again where the client's own transport gave the call up before it was sent: unlike
/// gRPC's other clients, tonic leaves it to its user to repeat what a closed connection never took.
async fn validate(client: &mut Client, secret: &str) {
    loop {
        match client.validate(presenting(secret)).await {
            Ok(answer) => return assert_eq!(answer.into_inner().verdict(), Verdict::Valid),
            Err(status) => assert!(is_transports(&status), "{status:?}"),
        }
    }
}

/// What the client's own transport says, not the server, of a call on a connection that was told to
/// go: it has many words for it.
fn is_transports(status: &Status) -> bool {
    format!("{status:?}").contains("transport::Error(Transport")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_connections_come_of_age() {
    let authority = serving(&["connection_age=500ms"]).await;
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("t")).await;
    let (over, calls) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let calling: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (mut root, secret) = (root.clone(), secret.clone());
            let (over, calls) = (over.clone(), calls.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    validate(&mut root, &secret).await;
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    until_ended(&authority, &["aged"], ROTATIONS).await;
    over.store(true, Ordering::Relaxed);
    for call in calling {
        call.await.expect("every call is answered");
    }
    assert_eq!(ended(&authority, "stalled"), 0.0);
    // Were one of those taken after all, the server would know of more calls than were answered.
    let taken = Scrape::of(&authority);
    let (known, answered) = (taken.calls("Validate", "OK"), calls.load(Ordering::Relaxed));
    assert_eq!(known, answered as f64);
    assert_eq!(taken.calls("Validate", "CANCELLED"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_on_a_connection_of_age_is_told_to_begin_again_and_not_that_the_server_stops() {
    let authority = serving(&["connection_age=500ms"]).await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(authority.channel());
    let request = tonic_health::pb::HealthCheckRequest::default();
    let mut watched = health.watch(request).await.expect("a stream").into_inner();
    let end = loop {
        if let Err(end) = watched.message().await {
            break end;
        }
    };
    assert_eq!(end.code(), Code::Unavailable);
    assert_eq!(end.message(), "the connection ends; begin again");
}
