//! Peers that connect and then say nothing, or as little as they can.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::encrypted::Encrypted;
use crate::harness::PATIENCE;
use crate::honest::Honest;
use crate::peer::{PREFACE, Peer, connect, is_closed};
use crate::target::{Memory, serving, until_ended};

/// Connects many times, from so many addresses.
async fn crowd(address: &str, addresses: u8, each: usize) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for from in 2..2 + addresses {
        for _ in 0..each {
            crowd.push(connect(address, from).await.expect("a connection"));
        }
    }
    crowd
}

async fn all_are_closed(crowd: Vec<TcpStream>) {
    for mut stream in crowd {
        assert!(is_closed(&mut stream, PATIENCE).await, "one stays open");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_that_say_nothing_make_room_for_whoever_speaks() {
    let authority = serving(&["connections=1000", "handshake_timeout=1day"]).await;
    let (honest, memory) = (Honest::begin(&authority).await, Memory::of(&authority));
    let crowd = crowd(&authority.address, 15, 200).await;
    until_ended(&authority, &["full"], 2000).await;
    honest.fared_well().await;
    memory.is_about_the_same();
    drop(crowd);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_that_only_greet_make_room_for_whoever_calls() {
    let authority = serving(&["connections=500"]).await;
    let (honest, memory) = (Honest::begin(&authority).await, Memory::of(&authority));
    let mut crowd = crowd(&authority.address, 5, 200).await;
    for stream in &mut crowd {
        // The server may have taken its place already.
        let _ = Peer { stream }.greet(&[]).await;
    }
    until_ended(&authority, &["full"], 500).await;
    honest.fared_well().await;
    memory.is_about_the_same();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_says_nothing_in_time_is_cut_off() {
    let authority = serving(&["handshake_timeout=1s"]).await;
    let (honest, memory) = (Honest::begin(&authority).await, Memory::of(&authority));
    let crowd = crowd(&authority.address, 5, 200).await;
    all_are_closed(crowd).await;
    until_ended(&authority, &["silent"], 1000).await;
    honest.fared_well().await;
    memory.is_about_the_same();
}

/// Sends one byte after the other, none late by itself; answers whether it is cut off.
async fn dribbles(address: &str, from: u8, bytes: &[u8]) -> bool {
    let stream = connect(address, from).await.expect("a connection");
    let (mut reading, mut writing) = stream.into_split();
    let closed = is_closed(&mut reading, PATIENCE);
    let dribbling = async {
        for byte in bytes.iter().cycle() {
            if writing.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        closed = closed => closed,
        () = dribbling => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dribbles_a_preface_or_a_head_is_cut_off() {
    let authority = serving(&["handshake_timeout=2s"]).await;
    let honest = Honest::begin(&authority).await;
    let head = b"GET /metrics HTTP/1.1\r\nx-long: and-so-on-and-so-on";
    let address = authority.address.as_str();
    // Twenty-four bytes, two tenths of a second each.
    let (preface, head) = tokio::join!(dribbles(address, 2, PREFACE), dribbles(address, 3, head));
    assert!(preface && head, "preface: {preface}, head: {head}");
    until_ended(&authority, &["silent"], 2).await;
    honest.fared_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_calls_no_more_is_sent_away() {
    let authority = serving(&["idle_timeout=1s"]).await;
    let honest = Honest::begin(&authority).await;
    let mut greeted = Peer::greeting(&authority.address, 2, &[]).await;
    let mut kept_alive = connect(&authority.address, 3).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
    kept_alive.write_all(request).await.unwrap();
    assert!(is_closed(&mut kept_alive, PATIENCE).await);
    // Before the ping that finds the dead: this one would answer it.
    let goodbye = greeted.until(crate::peer::GOAWAY, 0).await;
    assert_eq!(crate::peer::farewells(&[goodbye]), [0], "NO_ERROR");
    until_ended(&authority, &["idle"], 1).await;
    honest.fared_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_silent_within_tls_is_cut_off_and_others_shake_hands() {
    let encrypted = Encrypted::start(&[
        "--set",
        "log.filter=info",
        "--set",
        "limits.handshake_timeout=2s",
    ]);
    let authority = &encrypted.authority;
    let crowd = crowd(&authority.address, 5, 100).await;
    let mut half = connect(&authority.address, 9).await.unwrap();
    // The head of a ClientHello of 512 bytes, which do not come.
    half.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252])
        .await
        .unwrap();

    let shaking = async {
        let stranger = encrypted.stranger();
        let stream = encrypted.connect(&stranger).await.expect("TLS");
        let mut peer = Peer { stream };
        peer.greet(&[]).await.unwrap();
        peer.settle().await.expect("an answer");
    };
    tokio::time::timeout(PATIENCE, shaking)
        .await
        .expect("others shake hands meanwhile");
    assert!(is_closed(&mut half, PATIENCE).await, "half a handshake");
    all_are_closed(crowd).await;
}
