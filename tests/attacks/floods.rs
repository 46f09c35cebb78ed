//! Floods of frames that ask nothing, and of calls that are reset as soon as they begin.

use crate::harness::PATIENCE;
use crate::honest::Honest;
use crate::peer::{
    ACK, CONTINUATION, DATA, END_HEADERS, HEADERS, PING, PRIORITY, Peer, RST_STREAM, SETTINGS,
    VALIDATE, WINDOW_UPDATE, call, farewells, frame, is_closed,
};
use crate::target::{Memory, ended, serving, until_ended};

/// Frames at once, and how often at most: far more than any bound allows.
const VOLLEY: usize = 500;
const VOLLEYS_MAX: usize = 200;
/// Connections that flood at once.
const FLOODERS: u8 = 4;

/// A flood, of which each of several peers sends the next part as long as it may.
async fn floods(reasons: &[&str], opening: &[u8], part: fn(usize) -> Vec<u8>) {
    let authority = serving(&[]).await;
    let (honest, memory) = (Honest::begin(&authority).await, Memory::of(&authority));
    let mut flooding = tokio::task::JoinSet::new();
    for from in 2..2 + FLOODERS {
        let (address, opening) = (authority.address.clone(), opening.to_vec());
        flooding.spawn(async move {
            let mut peer = Peer::greeting(&address, from, &[]).await;
            peer.send(&opening).await.expect("an opening");
            let (mut reading, mut writing) = peer.stream.into_split();
            // What comes back is read, or the server would wait for that.
            let closed = tokio::spawn(async move { is_closed(&mut reading, 2 * PATIENCE).await });
            for volley in 0..VOLLEYS_MAX {
                let parts = (volley * VOLLEY..(volley + 1) * VOLLEY).map(part);
                let bytes: Vec<u8> = parts.flatten().collect();
                let sent = tokio::io::AsyncWriteExt::write_all(&mut writing, &bytes).await;
                if sent.is_err() {
                    return;
                }
            }
            assert!(closed.await.unwrap(), "the flood was borne to its end");
        });
    }
    flooding.join_all().await;
    until_ended(&authority, reasons, FLOODERS.into()).await;
    honest.fared_well().await;
    memory.is_about_the_same();
}

/// A call whose message is still to come, on stream 1.
fn open_call() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &call(VALIDATE))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_pings_is_cut_off() {
    floods(&["flood"], &[], |_| frame(PING, 0, 0, &[0; 8])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_answers_to_pings_nobody_sent_is_cut_off() {
    floods(&["flood"], &[], |_| frame(PING, ACK, 0, &[0; 8])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_settings_is_cut_off() {
    floods(&["flood"], &[], |_| {
        frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 1, 0])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_empty_parts_of_a_message_is_cut_off() {
    floods(&["flood"], &open_call(), |_| frame(DATA, 0, 1, &[])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_priorities_and_unknown_frames_is_cut_off() {
    floods(&["flood"], &[], |n| match n % 2 {
        0 => frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
        _ => frame(0xfa, 0, 0, b"unknown"),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_opened_windows_is_cut_off() {
    let opened = |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    floods(&["flood"], &[], opened).await;
}

/// Rapid reset (CVE-2023-44487): as fast as it can be written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_reset_in_the_same_breath_are_cut_off() {
    floods(&["resets"], &[], |n| {
        let stream = u32::try_from(2 * n + 1).unwrap();
        [
            frame(HEADERS, END_HEADERS, stream, &call(VALIDATE)),
            frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
        ]
        .concat()
    })
    .await;
}

/// MadeYouReset (CVE-2025-8671): a frame that obliges the server to reset the stream itself, here by
/// a window that becomes too large.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_the_server_is_made_to_reset_are_cut_off() {
    floods(&["flood"], &[], |n| {
        let stream = u32::try_from(2 * n + 1).unwrap();
        [
            frame(HEADERS, END_HEADERS, stream, &call(VALIDATE)),
            frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]),
        ]
        .concat()
    })
    .await;
}

/// The CONTINUATION flood (CVE-2024-27316): a head that never ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_never_ends_is_cut_off() {
    let opening = frame(HEADERS, 0, 1, &call(VALIDATE));
    floods(&["flood"], &opening, |_| frame(CONTINUATION, 0, 1, &[])).await;
}

/// Rapid reset of calls that did begin: the server has read each before it is reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_reset_once_they_have_begun_are_cut_off() {
    const AT_ONCE: u32 = 50;
    let authority = serving(&[]).await;
    let (honest, memory) = (Honest::begin(&authority).await, Memory::of(&authority));
    let mut peer = Peer::greeting(&authority.address, 2, &[]).await;
    let mut begun = 0;
    loop {
        let streams: Vec<u32> = (0..AT_ONCE).map(|n| 2 * (begun + n) + 1).collect();
        begun += AT_ONCE;
        let calls = streams
            .iter()
            .flat_map(|s| frame(HEADERS, END_HEADERS, *s, &call(VALIDATE)));
        let resets = streams
            .iter()
            .flat_map(|s| frame(RST_STREAM, 0, *s, &[0, 0, 0, 8]));
        let (calls, resets): (Vec<u8>, Vec<u8>) = (calls.collect(), resets.collect());
        if peer.send(&calls).await.is_err()
            || peer.settle().await.is_err()
            || peer.send(&resets).await.is_err()
        {
            break;
        }
        assert!(begun < 50_000, "resets go on for ever");
    }
    until_ended(&authority, &["resets"], 1).await;
    assert_eq!(ended(&authority, "flood"), 0.0, "counted once");
    honest.fared_well().await;
    memory.is_about_the_same();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_floods_is_told_why() {
    let authority = serving(&[]).await;
    let mut peer = Peer::greeting(&authority.address, 2, &[]).await;
    let rule = frame(DATA, 0, 1, b"on a stream that is not open");
    peer.send(&rule).await.unwrap();
    let frames = peer.until_closed().await;
    assert_eq!(farewells(&frames), [1], "PROTOCOL_ERROR: {frames:?}");
    until_ended(&authority, &["protocol"], 1).await;
}
