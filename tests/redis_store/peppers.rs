//! The check values of peppers in the marker: who writes them, when, and what waits for them.

use std::sync::Arc;

use token_authority::domain::pepper::PepperCheck;
use token_authority::domain::token::Ruling;
use token_authority::store::redis::{RedisOptions, RedisStore};
use token_authority::store::{Change, Rule, StoreError, StoreStatus, TokenStore};

use crate::kit::{created, marked_server, open, refusal, until, usable};
use crate::support::drafts::{draft, peppered, revoking};
use crate::support::redis_server::RedisServer;

fn with(options: &RedisOptions, peppers: &[(u32, u8)]) -> RedisOptions {
    let check = |(id, byte): &(u32, u8)| PepperCheck {
        id: *id,
        value: [*byte; 16],
    };
    RedisOptions {
        peppers: peppers.iter().map(check).collect(),
        ..options.clone()
    }
}

/// A rule that adds a secret made under a pepper.
fn adding(pepper: u32) -> Rule {
    Arc::new(move |token, now| {
        let mut changed = token.clone();
        let digest = peppered(pepper).digest;
        changed.secrets.current.digests.push(digest);
        changed.update_time = now;
        Ruling::Replace(Box::new(changed))
    })
}

async fn kept(server: &RedisServer, pepper: u32) -> Option<Vec<u8>> {
    let field = format!("pepper:{pepper}");
    server.ask(&["HGET", "ta:store", &field]).await
}

fn waits_for_pepper<T>(answer: Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::ReadOnly(why)) if why.contains("under pepper 1"))
}

#[tokio::test]
async fn of_two_peppers_under_one_id_the_first_is_kept_and_the_other_refused() {
    let (server, options) = marked_server().await;
    let first = open(with(&options, &[(1, 1)])).await;
    assert_eq!(kept(&server, 1).await, Some(vec![1; 16]));
    let token = created(&first, peppered(1)).await;
    let second = RedisStore::start(with(&options, &[(2, 2), (1, 9)])).unwrap();
    let why = refusal(&second).await;
    assert!(why.contains("pepper 1 is not the one"), "{why}");
    assert!(second.find(token.id).await.is_err());
    assert_eq!(kept(&server, 1).await, Some(vec![1; 16]));
    assert_eq!(kept(&server, 2).await, None);
    // Whoever was first is not disturbed.
    assert!(first.find(token.id).await.unwrap().token.is_some());
    created(&first, peppered(1)).await;
}

#[tokio::test]
async fn of_two_who_bring_a_pepper_at_once_one_is_refused() {
    for _ in 0..5 {
        let (_server, options) = marked_server().await;
        let stores = [1, 9].map(|byte| RedisStore::start(with(&options, &[(1, byte)])).unwrap());
        let [one, other] = &stores;
        let judged = |answer: &Result<(), StoreError>| {
            matches!(answer, Ok(()) | Err(StoreError::Unacceptable(_)))
        };
        let mut answers = [Ok(()), Ok(())];
        until("both are judged", async || {
            answers = [one.confirm().await, other.confirm().await];
            answers.iter().all(judged)
        })
        .await;
        let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(accepted, 1, "{answers:?}");
    }
}

#[tokio::test]
async fn a_full_redis_that_does_not_know_the_pepper_is_read_and_gets_no_token_under_it() {
    let (server, options) = marked_server().await;
    let before = open(options.clone()).await;
    let token = created(&before, draft()).await;
    let other = created(&before, draft()).await;
    let () = server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let store = open(with(&options, &[(1, 1)])).await;
    assert!(store.find(token.id).await.unwrap().token.is_some());
    assert!(store.find(draft().id).await.unwrap().token.is_none());
    let revoked = store.change(other.id, revoking("lost")).await;
    assert!(matches!(revoked, Ok(Change::Changed(_))), "{revoked:?}");
    assert!(waits_for_pepper(store.create(peppered(1)).await));
    assert!(waits_for_pepper(store.change(token.id, adding(1)).await));
    assert!(waits_for_pepper(store.probe_write().await));
    assert_eq!(kept(&server, 1).await, None);
    let () = server.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    until("a token can be made", async || {
        store.probe_write().await.is_ok() && store.create(peppered(1)).await.is_ok()
    })
    .await;
    assert_eq!(kept(&server, 1).await, Some(vec![1; 16]));
}

#[tokio::test]
async fn where_the_check_value_may_not_be_written_the_store_can_be_read() {
    let (server, options) = marked_server().await;
    let token = created(&open(options.clone()).await, draft()).await;
    let () = server
        .ask(&[
            "ACL", "SETUSER", "app", "on", ">x", "~*", "+@all", "-hsetnx",
        ])
        .await;
    let mut limited = with(&options, &[(1, 1)]);
    limited.url = format!("redis://app:x@127.0.0.1:{}", server.port);
    let store = open(limited.clone()).await;
    assert!(store.find(token.id).await.unwrap().token.is_some());
    assert!(waits_for_pepper(store.create(peppered(1)).await));
    // Somebody who may writes it.
    open(with(&options, &[(1, 1)])).await;
    created(&open(limited).await, peppered(1)).await;
}

#[tokio::test]
async fn a_check_value_that_went_away_is_written_anew() {
    let (server, options) = marked_server().await;
    let store = open(with(&options, &[(1, 1)])).await;
    created(&store, peppered(1)).await;
    let () = server.ask(&["HDEL", "ta:store", "pepper:1"]).await;
    // It notices; or else a watchdog was faster.
    let answer = store.create(peppered(1)).await;
    let faster = answer.is_ok() && kept(&server, 1).await.is_some();
    let noticed = matches!(&answer, Err(StoreError::Unreachable(why)) if why.contains("pepper 1"));
    assert!(noticed || faster, "{answer:?}");
    usable(&store).await;
    assert_eq!(kept(&server, 1).await, Some(vec![1; 16]));
    created(&store, peppered(1)).await;
}

#[tokio::test]
async fn a_check_value_that_was_exchanged_is_noticed_and_not_put_right() {
    let (server, options) = marked_server().await;
    let store = open(with(&options, &[(1, 1)])).await;
    let () = server
        .ask(&["HSET", "ta:store", "pepper:1", "another's value."])
        .await;
    let why = refusal(&store).await;
    assert!(why.contains("pepper 1 is not the one"), "{why}");
    let standing = kept(&server, 1).await;
    assert_eq!(standing.as_deref(), Some(b"another's value.".as_slice()));
}

#[tokio::test]
async fn nothing_is_written_into_a_redis_that_is_no_store() {
    let server = RedisServer::start();
    let store = RedisStore::start(with(&crate::kit::options(&server), &[(1, 1)])).unwrap();
    assert!(refusal(&store).await.contains("no store marker"));
    assert_eq!(server.ask::<u64>(&["DBSIZE"]).await, 0);
}
