//! Batches of uses in Redis: how long their key lives, and with what it goes.

use std::sync::Arc;

use token_authority::domain::permits::{Ahead, Back, BatchId, Wish};
use token_authority::domain::spending::Scope;
use token_authority::domain::token::{Draft, Token};
use token_authority::store::redis::RedisStore;
use token_authority::store::{Deletion, LimitStore, Take, Taken, TokenStore};

use crate::kit::{created, marked_server, open};
use crate::support::drafts::{draft, pooled, rate_limits, willing};
use crate::support::redis_server::RedisServer;

const BATCH: BatchId = BatchId(1);

/// 400 uses, of which one comes back each second.
fn limited(draft: Draft) -> Draft {
    let mut draft = draft;
    draft.profile.rate_limits = rate_limits(&[("", 400, 400, 0)]);
    draft
}

/// A use of which five more are granted, or are given back.
async fn take(store: &RedisStore, token: &Token, ahead: Ahead) -> u64 {
    let take = Take {
        token: Arc::new(token.clone()),
        until: None,
        cost: 1,
        scope: Scope::All,
        dry_run: false,
        ahead,
    };
    match store.take(&take).await.unwrap() {
        Taken::Admitted(_, granted) => granted,
        other => panic!("not admitted: {other:?}"),
    }
}

async fn take_five_ahead(store: &RedisStore, token: &Token) {
    let wish = Wish {
        batch: BATCH,
        uses: 5,
    };
    let ahead = Ahead {
        back: None,
        wish: Some(wish),
    };
    assert_eq!(take(store, token, ahead).await, 5);
}

async fn keys_of_batches(server: &RedisServer) -> Vec<String> {
    server.ask(&["KEYS", "ta:*:g:*"]).await
}

#[tokio::test]
async fn batches_are_kept_as_long_as_they_count_and_go_with_the_last() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let token = created(&store, limited(draft())).await;
    take(&store, &token, Ahead::default()).await;
    assert_eq!(keys_of_batches(&server).await, [""; 0], "none was granted");
    take_five_ahead(&store, &token).await;
    let keys = keys_of_batches(&server).await;
    let [key] = keys.as_slice() else {
        panic!("{keys:?}");
    };
    // Seven uses drain in as many seconds from the end of the batch on; and a minute more.
    let spent: Vec<String> = server.ask(&["KEYS", "ta:*:l:*"]).await;
    for key in [key, &spent[0]] {
        let lives: i64 = server.ask(&["PTTL", key]).await;
        assert!((62_000..=67_101).contains(&lives), "{lives} ms");
    }
    let back = Back {
        batch: BATCH,
        unused: 3,
    };
    let ahead = Ahead {
        back: Some(back),
        wish: None,
    };
    take(&store, &token, ahead).await;
    assert_eq!(keys_of_batches(&server).await, [""; 0]);
}

#[tokio::test]
async fn batches_go_with_a_token_that_is_deleted() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    for draft in [draft(), pooled(draft(), "gpu")] {
        let token = created(&store, limited(draft)).await;
        take_five_ahead(&store, &token).await;
        assert_eq!(keys_of_batches(&server).await.len(), 1);
        let deleted = store.delete(token.id, willing()).await;
        assert!(matches!(deleted, Ok(Deletion::Deleted)));
        assert_eq!(keys_of_batches(&server).await, [""; 0]);
    }
}
