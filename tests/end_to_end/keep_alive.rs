//! Keeping leases and tokens alive: by single calls, and by many beats on one stream.

use std::time::Duration;

use token_authority::transport::grpc::pb::keep_alive_stream_response::Result as Outcome;
use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    CreateRequest, GetRequest, KeepAliveRequest, KeepAliveStreamRequest, KeepAliveStreamResponse,
    ListRequest, RevokeRequest, Verdict,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::harness::{
    Authority, Client, PATIENCE, create, fields, get, named, set, span, told, update, verdict,
};
use crate::leasing::{
    acquire, any, beat_of, fill, keep_alive, lease_for, micros, pooled, release, standing,
    token_beat,
};

const SECOND: Duration = Duration::from_secs(1);

/// A token of the pool that lives so long without a beat.
fn mortal(ttl: Duration) -> CreateRequest {
    CreateRequest {
        keep_alive_ttl: Some(span(ttl)),
        ..pooled()
    }
}

pub(crate) async fn a_beat_extends_a_lease_and_never_shortens_it(authority: Authority) {
    let mut root = authority.root().await;
    create(&mut root, mortal(300 * SECOND)).await;
    let held = acquire(&mut root, lease_for(60 * SECOND)).await;
    let deadline = |lease: i64| lease + 300_000_000;
    let first = keep_alive(&mut root, held.beat()).await.unwrap();
    let lease = first.lease.clone().unwrap();
    assert_eq!(lease.lease_id, held.lease.lease_id);
    assert_eq!(lease.fence, held.lease.fence);
    assert!(micros(&lease.expire_time) > micros(&held.lease.expire_time));
    assert_eq!(
        micros(&first.keep_alive_deadline),
        deadline(micros(&lease.expire_time))
    );
    let third = first.next_beat_after.unwrap();
    assert_eq!((third.seconds, third.nanos), (20, 0));
    let longer = KeepAliveRequest {
        lease_duration: Some(span(600 * SECOND)),
        ..held.beat()
    };
    let longer = keep_alive(&mut root, longer).await.unwrap().lease.unwrap();
    assert!(micros(&longer.expire_time) > micros(&lease.expire_time) + 500_000_000);
    let shorter = KeepAliveRequest {
        lease_duration: Some(span(SECOND)),
        ..held.beat()
    };
    let same = keep_alive(&mut root, shorter).await.unwrap().lease.unwrap();
    assert_eq!(same.expire_time, longer.expire_time);
    for wrong in [SECOND / 2, 86_401 * SECOND] {
        let wrong = KeepAliveRequest {
            lease_duration: Some(span(wrong)),
            ..held.beat()
        };
        let error = keep_alive(&mut root, wrong).await.unwrap_err();
        assert_eq!(fields(&error), set(&["lease_duration"]));
    }
}

pub(crate) async fn a_beat_by_token_leaves_its_lease_as_it_is(authority: Authority) {
    let mut root = authority.root().await;
    let (token, _) = create(&mut root, mortal(300 * SECOND)).await;
    let free = keep_alive(&mut root, token_beat(&token.token_id))
        .await
        .unwrap();
    assert_eq!(free.lease, None);
    assert!(micros(&free.keep_alive_deadline) > micros(&token.keep_alive_deadline));
    assert_eq!(free.next_beat_after.unwrap().seconds, 100);
    let held = acquire(&mut root, any()).await;
    let kept = keep_alive(&mut root, token_beat(&token.token_id))
        .await
        .unwrap();
    let lease = kept.lease.unwrap();
    assert_eq!(lease.expire_time, held.lease.expire_time);
    assert_eq!(lease.lease_id, "", "whoever manages is not its holder");
    // Of what the beat extends, which is 300 seconds after the lease.
    let third = kept.next_beat_after.unwrap().seconds;
    assert!((100..=120).contains(&third), "{third}");
    let longer = KeepAliveRequest {
        lease_duration: Some(span(SECOND)),
        ..token_beat(&token.token_id)
    };
    let error = keep_alive(&mut root, longer).await.unwrap_err();
    assert_eq!(fields(&error), set(&["lease_duration"]));
    let error = keep_alive(&mut root, KeepAliveRequest::default())
        .await
        .unwrap_err();
    assert_eq!(fields(&error), set(&["target"]));
    let (plain, _) = create(&mut root, named("in no pool")).await;
    let error = keep_alive(&mut root, token_beat(&plain.token_id))
        .await
        .unwrap_err();
    let expected = (Code::FailedPrecondition, "NOT_POOLED".to_owned());
    assert_eq!(told(&error), expected);
    let (lasting, _) = create(&mut root, pooled()).await;
    let kept = keep_alive(&mut root, token_beat(&lasting.token_id))
        .await
        .unwrap();
    assert_eq!(
        (kept.keep_alive_deadline, kept.next_beat_after),
        (None, None)
    );
    let target = Some(Target::TokenId(lasting.token_id.clone()));
    let reason = String::new();
    root.revoke(RevokeRequest { target, reason }).await.unwrap();
    let error = keep_alive(&mut root, token_beat(&lasting.token_id))
        .await
        .unwrap_err();
    assert_eq!(
        told(&error),
        (Code::FailedPrecondition, "TOKEN_OVER".to_owned())
    );
}

pub(crate) async fn a_token_that_nobody_keeps_alive_is_gone_at_its_time(authority: Authority) {
    let mut root = authority.root().await;
    let (kept, kept_secret) = create(&mut root, mortal(SECOND)).await;
    let (gone, secret) = create(&mut root, mortal(SECOND)).await;
    let lasts = micros(&gone.keep_alive_deadline) - micros(&gone.create_time);
    assert_eq!(lasts, 1_000_000);
    let begun = tokio::time::Instant::now();
    while verdict(&mut root, &secret).await == Verdict::Valid {
        keep_alive(&mut root, token_beat(&kept.token_id))
            .await
            .unwrap();
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(verdict(&mut root, &secret).await, Verdict::NotFound);
    assert_eq!(verdict(&mut root, &kept_secret).await, Verdict::Valid);
    let token_id = gone.token_id.clone();
    let error = root.get(GetRequest { token_id }).await.unwrap_err();
    assert_eq!(told(&error), (Code::NotFound, "TOKEN_NOT_FOUND".to_owned()));
    let error = keep_alive(&mut root, token_beat(&gone.token_id))
        .await
        .unwrap_err();
    assert_eq!(told(&error), (Code::NotFound, "TOKEN_NOT_FOUND".to_owned()));
    let listed = root.list(ListRequest::default()).await.unwrap();
    let listed = listed.into_inner().tokens;
    assert!(listed.iter().all(|token| token.token_id != gone.token_id));
    // A lease is one beat all along.
    keep_alive(&mut root, token_beat(&kept.token_id))
        .await
        .unwrap();
    let held = acquire(&mut root, lease_for(60 * SECOND)).await;
    assert_eq!(held.token.token_id, kept.token_id);
    let lives = micros(&held.token.keep_alive_deadline) - micros(&held.lease.expire_time);
    assert_eq!(lives, 1_000_000);
    let released = release(&mut root, held.release()).await.unwrap();
    let after = get(&mut root, &kept.token_id).await.token.unwrap();
    let lives = micros(&after.keep_alive_deadline) - micros(&released.end_time);
    assert_eq!(lives, 1_000_000, "the clock starts anew");
}

pub(crate) async fn how_long_a_token_lives_is_asked_and_changed_within_bounds(
    authority: Authority,
) {
    let mut root = authority.root().await;
    let by_default = CreateRequest {
        keep_alive_ttl: None,
        ..pooled()
    };
    let (token, _) = create(&mut root, by_default).await;
    assert_eq!(token.keep_alive_ttl, Some(span(300 * SECOND)));
    let mut wanted = token.clone();
    wanted.keep_alive_ttl = Some(span(60 * SECOND));
    let changed = update(&mut root, &wanted, &["keep_alive_ttl"]).await;
    assert_eq!(changed.keep_alive_ttl, wanted.keep_alive_ttl);
    let lives = micros(&changed.keep_alive_deadline) - micros(&changed.update_time);
    assert_eq!(lives, 60_000_000, "another span starts anew");
    wanted.keep_alive_ttl = None;
    let cleared = update(&mut root, &wanted, &["keep_alive_ttl"]).await;
    assert_eq!(
        (cleared.keep_alive_ttl, cleared.keep_alive_deadline),
        (None, None)
    );
    for wrong in [SECOND / 2, 367 * 86_400 * SECOND] {
        let error = root.create(mortal(wrong)).await.unwrap_err();
        assert_eq!(fields(&error), set(&["keep_alive_ttl"]));
        wanted.keep_alive_ttl = Some(span(wrong));
        let change = crate::harness::change(&wanted, &["keep_alive_ttl"]);
        let error = root.update(change).await.unwrap_err();
        assert_eq!(fields(&error), set(&["token.keep_alive_ttl"]));
    }
    let unpooled = CreateRequest {
        keep_alive_ttl: Some(span(SECOND)),
        ..named("in no pool")
    };
    let error = root.create(unpooled).await.unwrap_err();
    assert_eq!(fields(&error), set(&["keep_alive_ttl"]));
    let (mut plain, _) = create(&mut root, named("in no pool")).await;
    plain.keep_alive_ttl = Some(span(SECOND));
    let change = crate::harness::change(&plain, &["keep_alive_ttl"]);
    let error = root.update(change).await.unwrap_err();
    assert_eq!(fields(&error), set(&["token.keep_alive_ttl"]));
}

pub(crate) async fn time_in_which_the_authority_was_down_does_not_count(mut authority: Authority) {
    let mut root = authority.root().await;
    let ttl = 8 * SECOND;
    let (token, secret) = create(&mut root, mortal(ttl)).await;
    authority.kill();
    // Longer than the token lives without a beat, and than what is no absence.
    tokio::time::sleep(10 * SECOND).await;
    authority.start();
    let mut root = authority.root().await;
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);
    let back = get(&mut root, &token.token_id).await.token.unwrap();
    let later = micros(&back.keep_alive_deadline) - micros(&token.keep_alive_deadline);
    assert!(later > 9_000_000, "it has its whole span again: {later}");
}

/// A stream of beats, by a client.
pub(crate) struct Stream {
    beats: mpsc::Sender<KeepAliveStreamRequest>,
    answers: Streaming<KeepAliveStreamResponse>,
}

impl Stream {
    pub(crate) async fn open(client: &mut Client) -> Result<Self, Status> {
        let (beats, receiver) = mpsc::channel(64);
        let answers = client
            .keep_alive_stream(ReceiverStream::new(receiver))
            .await?;
        let answers = answers.into_inner();
        Ok(Self { beats, answers })
    }

    pub(crate) async fn send(&self, id: u64, request: KeepAliveRequest) {
        let request = Some(request);
        let beat = KeepAliveStreamRequest { id, request };
        self.beats.send(beat).await.expect("a stream that is read");
    }

    pub(crate) async fn answer(&mut self) -> Result<Option<KeepAliveStreamResponse>, Status> {
        let answer = tokio::time::timeout(PATIENCE, self.answers.message());
        answer.await.expect("an answer in time")
    }
}

/// Code and reason of an error that came within an answer.
fn in_band(outcome: Outcome) -> (Code, String) {
    let Outcome::Error(error) = outcome else {
        panic!("{outcome:?}");
    };
    crate::questions::in_band(&error)
}

pub(crate) async fn one_stream_keeps_all_leases_of_a_worker_alive(authority: Authority) {
    let mut root = authority.root().await;
    fill(&mut root, 40).await;
    let mut worker = crate::leasing::caller(&authority, "", &["authority:lease"]).await;
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(acquire(&mut worker, any()).await);
    }
    let mut stream = Stream::open(&mut worker).await.unwrap();
    for (id, held) in (0..).zip(&held) {
        stream.send(id, held.beat()).await;
    }
    let mut left: Vec<u64> = (0..40).collect();
    while !left.is_empty() {
        let answer = stream.answer().await.unwrap().expect("an answer");
        left.retain(|id| *id != answer.id);
        let Some(Outcome::Response(kept)) = answer.result else {
            panic!("{answer:?}");
        };
        let (lease, before) = (
            kept.lease.unwrap(),
            &held[usize::try_from(answer.id).unwrap()],
        );
        assert_eq!(lease.lease_id, before.lease.lease_id);
        assert!(micros(&lease.expire_time) > micros(&before.lease.expire_time));
    }
    // What is wrong with one beat is said in its answer, and the stream goes on.
    release(&mut worker, held[0].release()).await.unwrap();
    stream.send(7, held[0].beat()).await;
    let answer = stream.answer().await.unwrap().unwrap();
    let over = (Code::FailedPrecondition, "LEASE_OVER".to_owned());
    assert_eq!((answer.id, in_band(answer.result.unwrap())), (7, over));
    stream.send(8, beat_of(&"z".repeat(44))).await;
    let answer = stream.answer().await.unwrap().unwrap();
    let absent = (Code::NotFound, "LEASE_NOT_FOUND".to_owned());
    assert_eq!((answer.id, in_band(answer.result.unwrap())), (8, absent));
    stream.send(9, token_beat(&held[0].token.token_id)).await;
    let answer = stream.answer().await.unwrap().unwrap();
    let invalid = (Code::InvalidArgument, "INVALID_REQUEST".to_owned());
    assert_eq!((answer.id, in_band(answer.result.unwrap())), (9, invalid));
    stream.send(10, held[1].beat()).await;
    let answer = stream.answer().await.unwrap().unwrap();
    assert!(matches!(answer.result, Some(Outcome::Response(_))));
    // The leases do not depend on the stream.
    drop(stream);
    assert_eq!(verdict(&mut root, &held[1].secret).await, Verdict::Valid);
    let mut stream = Stream::open(&mut worker).await.unwrap();
    stream.send(1, held[1].beat()).await;
    let answer = stream.answer().await.unwrap().unwrap();
    assert!(matches!(answer.result, Some(Outcome::Response(_))));
    let Stream { beats, mut answers } = stream;
    drop(beats);
    assert_eq!(answers.message().await.unwrap(), None, "it ends well");
    assert_eq!(standing(&mut root).await, [1, 39, 0, 0]);
}

pub(crate) async fn a_stream_ends_with_the_right_of_its_caller(authority: Authority) {
    let mut root = authority.root().await;
    fill(&mut root, 1).await;
    let request = CreateRequest {
        scopes: vec!["authority:lease".to_owned()],
        ..named("worker")
    };
    let (token, secret) = create(&mut root, request).await;
    let mut worker = authority.client(Some(&secret));
    let held = acquire(&mut worker, any()).await;
    let mut stream = Stream::open(&mut worker).await.unwrap();
    stream.send(1, held.beat()).await;
    assert!(stream.answer().await.unwrap().is_some());
    let without = token_authority::transport::grpc::pb::Token {
        scopes: vec!["authority:read".to_owned()],
        ..token.clone()
    };
    update(&mut root, &without, &["scopes"]).await;
    stream.send(2, held.beat()).await;
    let end = stream.answer().await.unwrap_err();
    let denied = (Code::PermissionDenied, "PERMISSION_MISSING".to_owned());
    assert_eq!(told(&end), denied);
    let end = Stream::open(&mut worker)
        .await
        .err()
        .expect("it is refused");
    assert_eq!(told(&end), denied);
    update(&mut root, &token, &["scopes"]).await;
    let mut stream = Stream::open(&mut worker).await.unwrap();
    let target = Some(Target::TokenId(token.token_id));
    let reason = String::new();
    root.revoke(RevokeRequest { target, reason }).await.unwrap();
    stream.send(3, held.beat()).await;
    let end = stream.answer().await.unwrap_err();
    let unknown = (Code::Unauthenticated, "CREDENTIAL_INVALID".to_owned());
    assert_eq!(told(&end), unknown);
    let end = Stream::open(&mut authority.client(None)).await.err();
    assert_eq!(told(&end.expect("it is refused")), unknown);
}

pub(crate) async fn a_stream_ends_when_the_server_leaves(mut authority: Authority) {
    let mut root = authority.root().await;
    fill(&mut root, 1).await;
    let held = acquire(&mut root, any()).await;
    let mut stream = Stream::open(&mut root).await.unwrap();
    stream.send(1, held.beat()).await;
    assert!(stream.answer().await.unwrap().is_some());
    let ended = tokio::spawn(async move { stream.answer().await });
    let (code, took) = authority.stop("TERM");
    assert_eq!(code, Some(0), "{}", authority.log());
    assert!(took < 8 * SECOND, "it waited for its deadline: {took:?}");
    let end = ended.await.unwrap().unwrap_err();
    assert_eq!(told(&end), (Code::Unavailable, "DRAINING".to_owned()));
}
