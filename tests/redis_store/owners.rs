//! The listing entries of tokens whose owner changes: what they cost, and what is left of them.

use std::sync::Arc;

use token_authority::domain::name::Owner;
use token_authority::domain::page::Filter;
use token_authority::domain::token::{Token, TokenId};
use token_authority::store::redis::RedisStore;
use token_authority::store::{Change, StoreError, TokenStore};

use crate::kit::{created, everything, listed, marked_server, open};
use crate::support::drafts::{draft, giving_to, owned, willing};
use crate::support::redis_server::RedisServer;

fn of(owner: &str) -> Filter {
    Filter {
        owner: Owner::parse(owner).ok(),
        ..everything()
    }
}

async fn give(store: &RedisStore, id: TokenId, owner: &str) -> Token {
    match store.change(id, giving_to(owner)).await {
        Ok(Change::Changed(token)) => token,
        other => panic!("expected a change, got {other:?}"),
    }
}

/// What stands in all series of owners, as (key, entry).
async fn owner_entries(server: &RedisServer) -> Vec<(String, String)> {
    let keys: Vec<String> = server.ask(&["KEYS", "ta:{o:*}:i"]).await;
    let mut entries = Vec::new();
    for key in keys {
        let texts: Vec<String> = server.ask(&["ZRANGE", &key, "0", "-1"]).await;
        entries.extend(texts.into_iter().map(|text| (key.clone(), text)));
    }
    entries
}

#[tokio::test]
async fn a_token_has_one_entry_of_its_present_owner_and_none_once_it_has_no_owner() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let id = created(&store, owned("ann")).await.id;
    for owner in ["bob", "ann", "bob"] {
        let given = give(&store, id, owner).await;
        let entries = owner_entries(&server).await;
        let [(key, text)] = entries.as_slice() else {
            panic!("{entries:?}");
        };
        assert_eq!(*text, format!("{id}{}", given.owner_since.micros()));
        let score: u64 = server.ask(&["ZSCORE", key, text]).await;
        assert_eq!(score, given.create_time.micros());
    }
    give(&store, id, "").await;
    assert!(owner_entries(&server).await.is_empty());
    give(&store, id, "ann").await;
    store.delete(id, willing()).await.unwrap();
    assert!(owner_entries(&server).await.is_empty());
}

#[tokio::test]
async fn a_change_of_owner_costs_two_round_trips_more_and_any_other_change_none() {
    let (_server, options) = marked_server().await;
    let store = open(options).await;
    for owner in ["ann", "bob"] {
        created(&store, owned(owner)).await;
    }
    let id = created(&store, owned("ann")).await.id;
    give(&store, id, "bob").await;
    give(&store, id, "ann").await;
    let before = store.round_trips();
    give(&store, id, "bob").await;
    assert_eq!(store.round_trips() - before, 4);
    let before = store.round_trips();
    store.change(id, giving_to("bob")).await.unwrap();
    assert_eq!(store.round_trips() - before, 1);
}

#[tokio::test]
async fn entries_of_hand_overs_that_came_to_nothing_are_passed_over() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let id = created(&store, owned("ann")).await.id;
        give(&store, id, "bob").await;
        tokens.push(give(&store, id, "ann").await);
    }
    let entries = owner_entries(&server).await;
    let key = &entries[0].0;
    // Before and behind the entry that counts, more than are read at once.
    for token in &tokens {
        let time = token.create_time.micros().to_string();
        let since = token.owner_since.micros();
        for other in (since - 10..since + 10).filter(|other| *other != since) {
            let text = format!("{}{other}", token.id);
            let added: u64 = server.ask(&["ZADD", key, &time, &text]).await;
            assert_eq!(added, 1);
        }
    }
    tokens.reverse();
    for size in [1, 2, 50] {
        assert_eq!(listed(&store, &of("ann"), size).await, tokens);
    }
    give(&store, tokens[1].id, "").await;
    let left = [tokens[0].clone(), tokens[2].clone()];
    assert_eq!(listed(&store, &of("ann"), 1).await, left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_hand_overs_at_once_by_two_processes_the_last_decides_who_lists_the_token() {
    let (_server, options) = marked_server().await;
    // Two processes, that learn of the buckets apart from each other.
    let open = async || Arc::new(open(options.clone()).await.with_bucket_size(4));
    let stores = [open().await, open().await];
    for _ in 0..10 {
        created(&stores[0], owned("ann")).await;
    }
    let id = created(&stores[0], draft()).await.id;
    for _ in 0..20 {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..8 {
            let (store, rule) = (stores[n % 2].clone(), giving_to(["ann", "bob", ""][n % 3]));
            tasks.spawn(async move { store.change(id, rule).await });
        }
        for answer in tasks.join_all().await {
            let known = matches!(
                answer,
                Ok(Change::Changed(_) | Change::Kept(_)) | Err(StoreError::Contended(_))
            );
            assert!(known, "{answer:?}");
        }
        let token = stores[0].find(id).await.unwrap().token.unwrap();
        for owner in ["ann", "bob"] {
            let lists = listed(&stores[1], &of(owner), 2).await;
            let times = lists.iter().filter(|token| token.id == id).count();
            let expected = usize::from(token.profile.owner_text() == owner);
            assert_eq!(times, expected, "{owner}");
        }
    }
}
