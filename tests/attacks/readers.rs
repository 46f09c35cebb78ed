//! Peers that ask for much and read little of it.

use std::time::{Duration, Instant};

use prost_reflect::prost::Message;
use token_authority::transport::grpc::pb::ValidateStreamRequest;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::harness::{
    Authority, Client, PATIENCE, ROOT_TOKEN, client_over, create, named, presenting,
};
use crate::honest::Honest;
use crate::peer::{
    DATA, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW_SIZE, NO_FIELDS, Peer, SETTINGS, call,
    frame, head, is_closed,
};
use crate::questions::Questions;
use crate::scrape::Scrape;
use crate::target::{Memory, serving, until_ended};

/// Peers that flood streams with questions, the window that each opens for answers, in bytes, and how
/// many questions may be judged for all of them while they read nothing: answers of some 35 bytes for
/// that window, and as many again for what the server has in hand.
const PEERS: usize = 8;
const WINDOW: u32 = 65_535;
const JUDGED_MAX: f64 = PEERS as f64 * 2.0 * WINDOW as f64 / 35.0;
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

/// Peers that ask for so many answers each and open a window of so many bytes for each of them.
async fn ask(
    address: &str,
    (peers, each, window): (u8, u32, u32),
    ask: fn(u32) -> Vec<u8>,
) -> Vec<Peer> {
    let mut asking = Vec::new();
    for _ in 0..peers {
        let mut peer = Peer::greeting(address, 2, &[(INITIAL_WINDOW_SIZE, window)]).await;
        let asked: Vec<u8> = (0..each).flat_map(|n| ask(2 * n + 1)).collect();
        peer.send(&asked).await.unwrap();
        peer.settle().await.unwrap();
        asking.push(peer);
    }
    asking
}

/// Asks for pages with such windows, and expects to be cut off.
async fn leave_pages_unread(window: u32) {
    let authority = serving(&SOON).await;
    let (honest, memory) = (Honest::begin(&authority).await, Memory::of(&authority));
    let mut peers = ask(&authority.address, (8, 500, window), page).await;
    memory.is_about_the_same();
    // The others of this address got no page that they could leave unread.
    let first = &mut peers[0].stream;
    assert!(is_closed(first, PATIENCE).await, "it stays");
    until_ended(&authority, &["stalled"], 1).await;
    honest.fared_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_opens_no_window_for_pages_is_cut_off() {
    leave_pages_unread(0).await;
}

/// For one byte, HTTP/2 takes all of an answer into its own memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_one_byte_of_each_page_is_cut_off() {
    leave_pages_unread(1).await;
}

/// Asks for answers with such windows, and expects to be cut off.
async fn leave_answers_unread(window: u32) {
    let authority = serving(&[SOON[0], SOON[1], "calls_per_address=300"]).await;
    let mut root = authority.root().await;
    for n in 0..50 {
        create(&mut root, named(&format!("{n}-{}", "x".repeat(100)))).await;
    }
    let (honest, memory) = (Honest::begin(&authority).await, Memory::of(&authority));
    let peers = ask(&authority.address, (4, 500, window), list).await;
    memory.is_about_the_same();
    for mut peer in peers {
        assert!(is_closed(&mut peer.stream, 2 * PATIENCE).await, "one stays");
    }
    until_ended(&authority, &["stalled"], 1).await;
    honest.fared_well().await;
    memory.is_about_the_same();
    assert_eq!(Scrape::of(&authority).value("calls_in_hand"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_opens_no_window_for_answers_is_cut_off() {
    leave_answers_unread(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_one_byte_of_each_answer_is_cut_off() {
    leave_answers_unread(1).await;
}

/// The windows of HTTP/2 are wide open, and nothing is read from the socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_nothing_is_cut_off() {
    let authority = serving(&["stall_timeout=1s"]).await;
    let (honest, memory) = (Honest::begin(&authority).await, Memory::of(&authority));
    let mut peers = Vec::new();
    // Each from an address of its own, which may have only so many pages in hand.
    for from in 2..10 {
        let widest = 0x7fff_ffff;
        let settings = [(INITIAL_WINDOW_SIZE, widest)];
        let mut peer = Peer::greeting(&authority.address, from, &settings).await;
        let widened = (widest - 65_535).to_be_bytes();
        peer.send(&frame(crate::peer::WINDOW_UPDATE, 0, 0, &widened))
            .await
            .unwrap();
        peers.push(peer);
    }
    // Until the sockets' buffers are full, whatever their size, and though most answers be short ones of
    // a server that has too many calls in hand. So many of these that wait are a flood of their own.
    let mut stream = 1;
    let cut_off = || {
        let reasons = ["stalled", "flood"].into_iter();
        let ended = reasons.map(|reason| crate::target::ended(&authority, reason));
        ended.sum::<f64>()
    };
    while cut_off() < 8.0 {
        for peer in &mut peers {
            let asked: Vec<u8> = (0..20).flat_map(|n| page(stream + 2 * n)).collect();
            // It may be cut off already.
            let _ = tokio::time::timeout(PATIENCE, peer.send(&asked)).await;
        }
        stream += 40;
        assert!(
            stream < 400_000,
            "no buffer is as large as this: {:?}",
            Scrape::of(&authority).beginning("connections_ended")
        );
        memory.is_about_the_same();
    }
    honest.fared_well().await;
}

/// Sends questions without end and reads no answer until it is told to; answers how many it sent and
/// how many were answered.
async fn flood_of_questions(mut client: Client, reads: watch::Receiver<bool>) -> (usize, usize) {
    let stream = Questions::open(&mut client).await.expect("a stream");
    let Questions {
        questions,
        mut answers,
    } = stream;
    let mut over = reads.clone();
    let sending = tokio::spawn(async move {
        let request = Some(presenting("x"));
        let question = ValidateStreamRequest { id: 1, request };
        let mut sent = 0;
        loop {
            tokio::select! {
                biased;
                _ = over.changed() => return sent,
                room = questions.send(question.clone()) => {
                    room.expect("the stream goes on");
                    sent += 1;
                }
            }
        }
    });
    let sent = sending.await.unwrap();
    let mut answered = 0;
    while answers.message().await.expect("no error").is_some() {
        answered += 1;
    }
    (sent, answered)
}

fn judged(authority: &Authority) -> f64 {
    let judged = Scrape::of(authority);
    judged.value("verdicts_total{verdict=\"malformed\"}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_no_answer_to_its_questions_is_read_no_further() {
    let authority = serving(&[]).await;
    let (honest, memory) = (Honest::begin(&authority).await, Memory::of(&authority));
    let (read, reads) = watch::channel(false);
    let mut floods = JoinSet::new();
    for _ in 0..PEERS {
        let endpoint = authority.endpoint().initial_stream_window_size(WINDOW);
        let client = client_over(endpoint.connect_lazy(), Some(ROOT_TOKEN));
        floods.spawn(flood_of_questions(client, reads.clone()));
    }
    // Until none of them gets any further.
    let mut before = -1.0;
    let patience = Instant::now() + 2 * PATIENCE;
    while before < 1.0 || judged(&authority) > before {
        before = judged(&authority);
        assert!(
            before < JUDGED_MAX,
            "{before} were judged, and no answer read"
        );
        assert!(Instant::now() < patience, "it never stands still");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    memory.is_about_the_same();
    read.send_replace(true);
    while let Some(flood) = floods.join_next().await {
        let (sent, answered) = flood.unwrap();
        assert_eq!(sent, answered, "each question has an answer");
    }
    honest.fared_well().await;
}

/// As many clients do: each question in a frame of its own, as far as the stream's window goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_sends_small_frames_to_a_stream_and_reads_nothing_is_no_flood() {
    const STREAM: &str = "/tokenauthority.v1.TokenService/ValidateStream";
    // A question of a secret that is none, and as long as one.
    const QUESTION: usize = 80;
    let authority = serving(&[]).await;
    let mut peer = Peer::greeting(&authority.address, 2, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    let settings = peer.until(SETTINGS, 0).await.payload;
    let window = settings.chunks(6).find_map(|setting| {
        let (key, value) = setting.split_at(2);
        let value = u32::from_be_bytes(value.try_into().unwrap());
        (key == INITIAL_WINDOW_SIZE.to_be_bytes()).then_some(value as usize)
    });
    let window = window.unwrap_or(65_535);
    peer.send(&frame(HEADERS, END_HEADERS, 1, &call(STREAM)))
        .await
        .unwrap();
    peer.settle().await.unwrap();
    let secret = "x".repeat(QUESTION - 4);
    let request = ValidateStreamRequest {
        id: 0,
        request: Some(presenting(&secret)),
    };
    let message = request.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let message = [&[0], &length[..], &message].concat();
    let question = frame(DATA, 0, 1, &message);
    // As fast as can be, so that most of them wait in the server.
    let questions = question.repeat(window / message.len());
    peer.send(&questions).await.unwrap();
    peer.settle().await.expect("the connection goes on");
    assert_eq!(crate::target::ended(&authority, "flood"), 0.0);
}
