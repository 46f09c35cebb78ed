//! Peers that ask for much and read little of it.

use crate::harness::{PATIENCE, create, named};
use crate::honest::Honest;
use crate::peer::{
    DATA, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW_SIZE, NO_FIELDS, Peer, call, frame,
    head, is_closed,
};
use crate::target::{Memory, serving, until_ended};

const LIST: &str = "/tokenauthority.v1.TokenService/List";
/// Soon enough for a test: what is unread for a second is given up.
const SOON: [&str; 2] = ["stall_timeout=1s", "call_deadline=1s"];

fn page(stream: u32) -> Vec<u8> {
    let head = head("GET", "/metrics");
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head)
}

fn list(stream: u32) -> Vec<u8> {
    [
        frame(HEADERS, END_HEADERS, stream, &call(LIST)),
        frame(DATA, END_STREAM, stream, NO_FIELDS),
    ]
    .concat()
}

/// Peers that ask for so many answers each and open no window for them.
async fn ask(address: &str, peers: u8, each: u32, ask: fn(u32) -> Vec<u8>) -> Vec<Peer> {
    let mut asking = Vec::new();
    for _ in 0..peers {
        let mut peer = Peer::greeting(address, 2, &[(INITIAL_WINDOW_SIZE, 0)]).await;
        let asked: Vec<u8> = (0..each).flat_map(|n| ask(2 * n + 1)).collect();
        peer.send(&asked).await.unwrap();
        peer.settle().await.unwrap();
        asking.push(peer);
    }
    asking
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_opens_no_window_for_pages_is_cut_off() {
    let authority = serving(&SOON).await;
    let (honest, memory) = (Honest::begin(&authority).await, Memory::of(&authority));
    let mut peers = ask(&authority.address, 8, 500, page).await;
    memory.is_about_the_same();
    // The others of this address got no page that they could leave unread.
    let first = &mut peers[0].stream;
    assert!(is_closed(first, PATIENCE).await, "it stays");
    until_ended(&authority, &["stalled"], 1).await;
    honest.fared_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_opens_no_window_for_answers_is_cut_off() {
    let authority = serving(&[SOON[0], SOON[1], "calls_per_address=300"]).await;
    let mut root = authority.root().await;
    for n in 0..50 {
        create(&mut root, named(&format!("{n}-{}", "x".repeat(100)))).await;
    }
    let (honest, memory) = (Honest::begin(&authority).await, Memory::of(&authority));
    let peers = ask(&authority.address, 4, 500, list).await;
    memory.is_about_the_same();
    for mut peer in peers {
        assert!(is_closed(&mut peer.stream, 2 * PATIENCE).await, "one stays");
    }
    until_ended(&authority, &["stalled"], 1).await;
    honest.fared_well().await;
    memory.is_about_the_same();
}

/// The windows of HTTP/2 are wide open, and nothing is read from the socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_nothing_is_cut_off() {
    let authority = serving(&["stall_timeout=1s"]).await;
    let (honest, memory) = (Honest::begin(&authority).await, Memory::of(&authority));
    let mut peers = Vec::new();
    for _ in 0..8 {
        let widest = 0x7fff_ffff;
        let mut peer =
            Peer::greeting(&authority.address, 2, &[(INITIAL_WINDOW_SIZE, widest)]).await;
        let widened = (widest - 65_535).to_be_bytes();
        peer.send(&frame(crate::peer::WINDOW_UPDATE, 0, 0, &widened))
            .await
            .unwrap();
        peers.push(peer);
    }
    // Until the sockets' buffers are full, whatever their size.
    let mut stream = 1;
    while crate::target::ended(&authority, "stalled") < 8.0 {
        for peer in &mut peers {
            let asked: Vec<u8> = (0..20).flat_map(|n| page(stream + 2 * n)).collect();
            // It may be cut off already.
            let _ = tokio::time::timeout(PATIENCE, peer.send(&asked)).await;
        }
        stream += 40;
        assert!(stream < 40_000, "no buffer is as large as this");
        memory.is_about_the_same();
    }
    honest.fared_well().await;
}
