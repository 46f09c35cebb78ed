//! Many connections, calls and streams from one address, which leave room for others.

use std::time::Duration;

use crate::harness::PATIENCE;
use crate::honest::Honest;
use crate::peer::{END_HEADERS, HEADERS, Peer, VALIDATE, call, connect, frame, is_closed};
use crate::scrape::Scrape;
use crate::target::{Memory, ended, serving};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_gets_so_many_connections_and_others_theirs() {
    let authority = serving(&["connections_per_address=20"]).await;
    let honest = Honest::begin(&authority).await;
    let mut peers = Vec::new();
    for _ in 0..20 {
        let mut peer = Peer::greeting(&authority.address, 2, &[]).await;
        peer.settle().await.expect("it was taken");
        peers.push(peer);
    }
    for _ in 0..30 {
        let mut refused = connect(&authority.address, 2).await.expect("a connection");
        assert!(is_closed(&mut refused, PATIENCE).await);
    }
    assert_eq!(ended(&authority, "address_full"), 30.0);
    let log = authority.log();
    let told = log
        .lines()
        .filter(|line| line.contains("limits.connections_per_address"));
    assert_eq!(told.count(), 1, "thirty do not make thirty lines: {log}");
    let mut other = Peer::greeting(&authority.address, 3, &[]).await;
    other.settle().await.expect("another address is let in");
    for peer in &mut peers {
        peer.settle().await.expect("those that were taken stay");
    }
    drop(peers.pop());
    let mut next = None;
    crate::harness::until(|| (ended(&authority, "address_full") > 0.0).then_some(())).await;
    while next.is_none() {
        let mut peer = Peer {
            stream: connect(&authority.address, 2).await.unwrap(),
        };
        if peer.greet(&[]).await.is_ok() && peer.settle().await.is_ok() {
            next = Some(peer);
        }
    }
    honest.fared_well().await;
}

/// Opens calls of a method whose messages never come, on as many connections as are needed, and
/// answers the connections.
async fn open_calls(address: &str, from: u8, path: &str, count: u32) -> Vec<Peer> {
    const EACH: u32 = 500;
    let mut peers = Vec::new();
    for _ in 0..count.div_ceil(EACH) {
        let mut peer = Peer::greeting(address, from, &[]).await;
        let calls = (0..EACH).flat_map(|n| frame(HEADERS, END_HEADERS, 2 * n + 1, &call(path)));
        peer.send(&calls.collect::<Vec<u8>>()).await.unwrap();
        peers.push(peer);
    }
    peers
}

/// Reads until so many calls were refused, each by an answer without a message.
async fn refused(peer: &mut Peer) -> usize {
    let mut refused = 0;
    peer.send(&frame(crate::peer::PING, 0, 0, &[0; 8]))
        .await
        .unwrap();
    // Answers to pings may overtake those to calls, which come soon after.
    while let Ok(Ok(frame)) = tokio::time::timeout(Duration::from_secs(1), peer.next()).await {
        refused += usize::from(frame.kind == HEADERS && frame.flags & 1 == 1);
    }
    refused
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_calls_whose_messages_never_come_leave_room_for_others() {
    let authority = serving(&[
        "calls_in_flight=1000",
        "calls_per_address=600",
        "call_deadline=1h",
    ])
    .await;
    let (honest, memory) = (Honest::begin(&authority).await, Memory::of(&authority));
    let mut peers = open_calls(&authority.address, 2, VALIDATE, 4000).await;
    let mut of_all = 0;
    for peer in &mut peers {
        of_all += refused(peer).await;
    }
    assert_eq!(of_all, 4000 - 600);
    let in_hand = Scrape::of(&authority).value("calls_in_hand");
    assert!((600.0..650.0).contains(&in_hand), "{in_hand}");
    honest.fared_well().await;
    memory.is_about_the_same();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_whose_messages_never_come_run_out_of_time() {
    let authority = serving(&["call_deadline=1s"]).await;
    let honest = Honest::begin(&authority).await;
    let mut peers = open_calls(&authority.address, 2, VALIDATE, 500).await;
    let mut ended = 0;
    while ended < 500 {
        let frame = peers[0].next().await.expect("an answer");
        ended += usize::from(frame.kind == HEADERS && frame.flags & 1 == 1);
    }
    honest.fared_well().await;
}

/// Health is answered while draining and under load, and has a bound of its own all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_health_checks_whose_messages_never_come_leave_room_for_others() {
    let authority = serving(&["call_deadline=1h"]).await;
    let (honest, memory) = (Honest::begin(&authority).await, Memory::of(&authority));
    let mut peers = open_calls(&authority.address, 2, "/grpc.health.v1.Health/Check", 2000).await;
    let mut of_all = 0;
    for peer in &mut peers {
        of_all += refused(peer).await;
    }
    assert_eq!(of_all, 2000 - 64);
    authority.serving(true).await;
    honest.fared_well().await;
    memory.is_about_the_same();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_held_open_leave_room_for_others() {
    let authority = serving(&["streams=300", "streams_per_address=200"]).await;
    let (honest, memory) = (Honest::begin(&authority).await, Memory::of(&authority));
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let mut peers = open_calls(&authority.address, 2, reflection, 1000).await;
    let mut of_all = 0;
    for peer in &mut peers {
        of_all += refused(peer).await;
    }
    assert_eq!(of_all, 1000 - 200);
    let request = tonic_health::pb::HealthCheckRequest::default();
    let mut health = tonic_health::pb::health_client::HealthClient::new(authority.channel());
    let mut watched = health.watch(request).await.expect("a stream").into_inner();
    let status = tokio_stream::StreamExt::next(&mut watched).await;
    assert!(matches!(status, Some(Ok(_))), "{status:?}");
    honest.fared_well().await;
    memory.is_about_the_same();
}
