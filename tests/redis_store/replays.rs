//! Replays of a creation, and what the index says about the token meanwhile and afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use token_authority::domain::token::TokenId;
use token_authority::store::redis::RedisStore;
use token_authority::store::{Creation, TokenStore};

use crate::kit::{created, everything, listed, marked_server, open, requested_in};
use crate::support::drafts::willing;
use crate::support::redis_server::RedisServer;

const ADD_ENTRY: &str = include_str!("../../src/store/redis/scripts/add_entry.lua");

/// The first step of a creation, by a process that dies after it.
async fn begin_only(server: &RedisServer, id: TokenId) {
    let (entries, seal) = ("ta:{n:default:0}:i", "ta:{n:default:0}:s");
    let script = ["EVAL", ADD_ENTRY, "2", entries, seal];
    let arguments = [id.as_str(), "", "0", "65536", "", "", ""];
    let (outcome, _): (String, u64) = server.ask(&[&script[..], &arguments].concat()).await;
    assert_eq!(outcome, "added");
}

#[tokio::test]
async fn a_replay_that_dies_after_its_first_step_leaves_the_token_listed() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    for pool in [None, Some("a")] {
        let draft = requested_in(1 + u8::from(pool.is_some()), pool);
        let token = created(&store, draft.clone()).await;
        begin_only(&server, token.id).await;
        assert!(listed(&store, &everything(), 1).await.contains(&token));
        let replay = store.create(draft).await;
        assert_eq!(replay, Ok(Creation::Taken(token.clone())));
        let tokens = listed(&store, &everything(), 1).await;
        let times = tokens.iter().filter(|listed| **listed == token).count();
        assert_eq!(times, 1, "{pool:?}");
    }
}

#[tokio::test]
async fn a_creation_that_died_lends_its_time_to_no_later_one_of_the_same_request() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    begin_only(&server, requested_in(1, None).id).await;
    let between = store.find(requested_in(1, None).id).await.unwrap();
    assert!(between.token.is_none());
    let token = created(&store, requested_in(1, None)).await;
    assert!(token.create_time > between.now);
    assert_eq!(
        listed(&store, &everything(), 1).await,
        std::slice::from_ref(&token)
    );
    store.delete(token.id, willing()).await.unwrap();
    assert!(listed(&store, &everything(), 1).await.is_empty());
}

/// Lists for ever; fails once a token that was answered before is not in the list.
async fn watch(
    store: Arc<RedisStore>,
    id: TokenId,
    answered: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
) {
    while !over.load(Ordering::SeqCst) {
        let was_answered = answered.load(Ordering::SeqCst);
        let tokens = listed(&store, &everything(), 10).await;
        let there = tokens.iter().any(|token| token.id == id);
        assert!(there || !was_answered, "the token is not listed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_once_created_is_listed_whatever_replays_are_under_way() {
    let (_server, options) = marked_server().await;
    let store = Arc::new(open(options).await);
    for round in 0..10 {
        let id = requested_in(round, None).id;
        let flag = || Arc::new(AtomicBool::new(false));
        let (answered, over) = (flag(), flag());
        let watching = watch(store.clone(), id, answered.clone(), over.clone());
        let watching = tokio::spawn(watching);
        let mut creations = tokio::task::JoinSet::new();
        for _ in 0..32 {
            let (store, answered) = (store.clone(), answered.clone());
            creations.spawn(async move {
                let answer = store.create(requested_in(round, None)).await;
                answered.store(true, Ordering::SeqCst);
                matches!(answer.unwrap(), Creation::Created(_))
            });
        }
        let made = creations.join_all().await;
        assert_eq!(made.iter().filter(|made| **made).count(), 1);
        over.store(true, Ordering::SeqCst);
        watching.await.unwrap();
        let tokens = listed(&store, &everything(), 10).await;
        assert_eq!(tokens.len(), usize::from(round) + 1);
    }
}
