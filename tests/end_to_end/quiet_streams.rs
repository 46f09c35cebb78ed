//! Streams whose caller sends no beat: they end with its right, and with nothing else.

use std::time::Duration;

use token_authority::transport::grpc::pb::create_request::Expiration;
use token_authority::transport::grpc::pb::keep_alive_stream_response::Result as Outcome;
use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{CreateRequest, RevokeRequest, Token};
use tonic::Code;

use crate::harness::{Authority, Client, create, named, span, told, until, update};
use crate::keep_alive::Stream;
use crate::leasing::{Held, acquire, any, fill};
use crate::scrape::Scrape;

/// A caller that may lease, and whose stream was opened and is quiet from then on.
async fn worker(
    authority: &Authority,
    root: &mut Client,
    request: CreateRequest,
) -> (Token, Stream) {
    let request = CreateRequest {
        scopes: vec!["authority:lease".to_owned()],
        ..request
    };
    let (token, secret) = create(root, request).await;
    let mut client = authority.client(Some(&secret));
    (token, Stream::open(&mut client).await.expect("a stream"))
}

/// Code and reason of the error that the stream ends with.
async fn end_of(mut stream: Stream) -> (Code, String) {
    told(&stream.answer().await.expect_err("it ends with an error"))
}

fn unknown() -> (Code, String) {
    (Code::Unauthenticated, "CREDENTIAL_INVALID".to_owned())
}

async fn revoke(root: &mut Client, token: Token) {
    let target = Some(Target::TokenId(token.token_id));
    let reason = String::new();
    root.revoke(RevokeRequest { target, reason }).await.unwrap();
}

/// Asserts that the stream is still there and answers a beat.
async fn goes_on(stream: &mut Stream, held: &Held) {
    stream.send(1, held.beat()).await;
    let answer = stream.answer().await.expect("no error").expect("no end");
    assert!(
        matches!(answer.result, Some(Outcome::Response(_))),
        "{answer:?}"
    );
}

pub(crate) async fn a_quiet_stream_ends_when_its_caller_is_revoked_and_others_stay(
    authority: Authority,
) {
    let mut root = authority.root().await;
    fill(&mut root, 1).await;
    let held = acquire(&mut root, any()).await;
    let (_, mut living) = worker(&authority, &mut root, named("living")).await;
    // Each is looked at once a second, and so is the living one meanwhile.
    for _ in 0..3 {
        let (token, quiet) = worker(&authority, &mut root, named("revoked")).await;
        revoke(&mut root, token).await;
        assert_eq!(end_of(quiet).await, unknown());
    }
    goes_on(&mut living, &held).await;
}

pub(crate) async fn a_quiet_stream_ends_when_its_caller_loses_the_permission(authority: Authority) {
    let mut root = authority.root().await;
    let (token, quiet) = worker(&authority, &mut root, named("demoted")).await;
    let without = Token {
        scopes: vec!["authority:read".to_owned()],
        ..token
    };
    update(&mut root, &without, &["scopes"]).await;
    let denied = (Code::PermissionDenied, "PERMISSION_MISSING".to_owned());
    assert_eq!(end_of(quiet).await, denied);
}

pub(crate) async fn a_quiet_stream_ends_when_its_caller_expires(authority: Authority) {
    let mut root = authority.root().await;
    let mortal = CreateRequest {
        expiration: Some(Expiration::Ttl(span(Duration::from_secs(2)))),
        ..named("mortal")
    };
    let (_, quiet) = worker(&authority, &mut root, mortal).await;
    assert_eq!(end_of(quiet).await, unknown());
}

pub(crate) async fn a_quiet_stream_outlasts_an_outage_of_the_store(mut authority: Authority) {
    let mut root = authority.root().await;
    fill(&mut root, 1).await;
    let held = acquire(&mut root, any()).await;
    let (token, mut quiet) = worker(&authority, &mut root, named("quiet")).await;
    let aside = authority.folder.path().join("aside");
    match &mut authority.redis {
        Some(redis) => {
            // What was acknowledged is there again afterwards.
            redis.run("CONFIG SET appendfsync always").await;
            redis.kill();
        }
        None => std::fs::rename(authority.database(), &aside).unwrap(),
    }
    // Nobody else asks the store about a token meanwhile.
    until(|| (failed_looks(&authority) >= 2.0).then_some(())).await;
    match &mut authority.redis {
        Some(redis) => redis.restart(),
        None => std::fs::rename(&aside, authority.database()).unwrap(),
    }
    authority.serving(true).await;
    goes_on(&mut quiet, &held).await;
    // And ends all the same once it may.
    revoke(&mut root, token).await;
    assert_eq!(end_of(quiet).await, unknown());
}

fn failed_looks(authority: &Authority) -> f64 {
    let metrics = Scrape::of(authority);
    let failed = metrics.beginning("store_errors_total{operation=\"find\"");
    failed.into_iter().map(|(_, count)| count).sum()
}
