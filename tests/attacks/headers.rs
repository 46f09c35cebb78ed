//! Heads of requests that are too long, and those that only become so when they are unpacked.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::PATIENCE;
use crate::honest::Honest;
use crate::peer::{
    CONTINUATION, END_HEADERS, END_STREAM, HEADERS, Peer, VALIDATE, call, connect, farewells,
    frame, is_closed, literal,
};
use crate::target::{Memory, serving, until_ended};

/// What a frame may hold unless both sides agreed on more.
const FRAME_BYTES: usize = 16 << 10;

const ENHANCE_YOUR_CALM: u32 = 11;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_of_a_megabyte_is_refused() {
    let authority = serving(&[]).await;
    let (honest, memory) = (Honest::begin(&authority).await, Memory::of(&authority));
    for from in 2..10 {
        let field = literal("x-long", &"v".repeat(100));
        let mut block = call(VALIDATE);
        block.extend(field.repeat((1 << 20) / field.len()));
        let mut pieces = block.chunks(FRAME_BYTES);
        let mut bytes = frame(HEADERS, 0, 1, pieces.next().unwrap());
        pieces.for_each(|piece| bytes.extend(frame(CONTINUATION, 0, 1, piece)));
        bytes.extend(frame(CONTINUATION, END_HEADERS, 1, &[]));
        let mut peer = Peer::greeting(&authority.address, from, &[]).await;
        // It may be cut off before all is sent.
        let _ = peer.send(&bytes).await;
        assert!(is_closed(&mut peer.stream, PATIENCE).await);
    }
    honest.fared_well().await;
    memory.is_about_the_same();
}

/// An HPACK bomb: a long field is kept in the table of the connection, and then named, with one byte
/// each time, thousands of times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_head_that_unpacks_to_a_long_one_is_cut_off() {
    const BOMBS: u32 = 100;
    let authority = serving(&[]).await;
    let (honest, memory) = (Honest::begin(&authority).await, Memory::of(&authority));
    let mut peer = Peer::greeting(&authority.address, 2, &[]).await;
    // With incremental indexing (RFC 7541, section 6.2.1): as long as fits the table of 4096 bytes.
    let long = 4000;
    let mut kept = vec![0x40, 1, b'x', 0x7f];
    kept.extend([0x80 | u8::try_from((long - 127) % 128).unwrap()]);
    kept.push(u8::try_from((long - 127) / 128).unwrap());
    kept.extend(vec![b'v'; long]);
    let first = [call(VALIDATE), kept].concat();
    let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, 1, &first);
    for n in 0..BOMBS {
        let mut bomb = call(VALIDATE);
        // The newest entry of the dynamic table, each time.
        bomb.resize(FRAME_BYTES, 0x80 | 62);
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 3, &bomb));
    }
    // It may be cut off before all is sent.
    let _ = peer.send(&bytes).await;
    let frames = peer.until_closed().await;
    assert_eq!(farewells(&frames), [ENHANCE_YOUR_CALM]);
    until_ended(&authority, &["flood"], 1).await;
    honest.fared_well().await;
    memory.is_about_the_same();
}

/// HTTP/1 has no frames: a head is kept until it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_of_http_1_that_does_not_end_is_refused_where_it_is_too_long() {
    let authority = serving(&["handshake_timeout=1h"]).await;
    let mut stream = connect(&authority.address, 2).await.unwrap();
    let head = format!("GET /livez HTTP/1.1\r\nx-long: {}", "v".repeat(64 << 10));
    // It may be cut off before all is sent.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = [0; 12];
    let answered = stream.read_exact(&mut answer);
    let answered = tokio::time::timeout(PATIENCE, answered).await;
    answered.expect("no answer comes").expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 431");
    assert!(is_closed(&mut stream, PATIENCE).await);
}
