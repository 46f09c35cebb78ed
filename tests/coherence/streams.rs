//! Streams of callers who lost their right elsewhere.

use std::time::Duration;

use token_authority::transport::grpc::pb::{
    CreateRequest, KeepAliveRequest, KeepAliveStreamRequest, keep_alive_request::Target,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::harness::{Client, PATIENCE, create, named, told, update};
use crate::history::{Nanos, Spans, now};
use crate::kit::by_id;
use crate::replicas::{REPLICAS, Replicas};

/// How often a worker sends a beat.
const BEAT: Duration = Duration::from_millis(100);
/// How soon a stream ends: 2 s, and what a busy machine adds.
const ENDED_WITHIN: Duration = Duration::from_secs(5);

/// Sends beats for a lease of nobody until the stream ends, or one and no more; answers when and how
/// it ended.
async fn beat_until_the_end(
    mut worker: Client,
    quiet: bool,
    begun: mpsc::Sender<()>,
) -> (Nanos, (Code, String)) {
    let (beats, receiver) = mpsc::channel(4);
    let answers = worker
        .keep_alive_stream(ReceiverStream::new(receiver))
        .await;
    let mut answers = answers.expect("a stream").into_inner();
    for id in 0.. {
        let request = KeepAliveRequest {
            target: Some(Target::LeaseId("z".repeat(44))),
            lease_duration: None,
        };
        let request = Some(request);
        if id == 0 || !quiet {
            // The stream may have ended: its answer says so.
            let _ = beats.send(KeepAliveStreamRequest { id, request }).await;
        }
        let answer = tokio::time::timeout(PATIENCE, answers.message()).await;
        if let Err(end) = answer.expect("an answer in time") {
            return (now(), told(&end));
        }
        if id == 0 {
            begun.send(()).await.expect("somebody who waits for it");
        }
        tokio::time::sleep(BEAT).await;
    }
    unreachable!("beats go on until the stream ends")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_on_every_replica_when_their_caller_loses_its_right() {
    let replicas = Replicas::start().await;
    let mut root = replicas.authorities[0].root().await;
    let mut spans = Vec::new();
    let unknown = (Code::Unauthenticated, "CREDENTIAL_INVALID");
    let denied = (Code::PermissionDenied, "PERMISSION_MISSING");
    for (quiet, revoked, expected) in [
        (false, true, unknown),
        (false, false, denied),
        (true, true, unknown),
        (true, false, denied),
    ] {
        let request = CreateRequest {
            scopes: vec!["authority:lease".to_owned()],
            ..named("worker")
        };
        let (token, secret) = create(&mut root, request).await;
        let (begun, mut under_way) = mpsc::channel(REPLICAS);
        let mut streams = JoinSet::new();
        for authority in &replicas.authorities {
            let worker = authority.client(Some(&secret));
            streams.spawn(beat_until_the_end(worker, quiet, begun.clone()));
        }
        for _ in 0..REPLICAS {
            let next = tokio::time::timeout(PATIENCE, under_way.recv()).await;
            next.expect("each stream is under way");
        }
        if revoked {
            root.revoke(by_id(&token.token_id, "")).await.unwrap();
        } else {
            let without = token_authority::transport::grpc::pb::Token {
                scopes: vec!["authority:read".to_owned()],
                ..token
            };
            update(&mut root, &without, &["scopes"]).await;
        }
        let changed = now();
        for (ended, end) in streams.join_all().await {
            assert_eq!((end.0, end.1.as_str()), expected);
            spans.push(Duration::from_nanos(ended.saturating_sub(changed)));
        }
    }
    let spans = Spans::of(spans);
    assert!(spans.longest() < ENDED_WITHIN, "{spans}");
    eprintln!("streams ended: {spans}");
}
