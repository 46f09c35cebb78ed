//! Lists over very many namespaces.

use std::collections::BTreeSet;
use std::sync::Arc;

use token_authority::domain::page::{Cursor, Filter, PageSize};
use token_authority::domain::token::{State, Token, TokenId};
use token_authority::store::redis::RedisStore;
use token_authority::store::{Change, TokenStore};

use crate::kit::{created, everything, listed, marked_server, open};
use crate::support::drafts::{revoking, within};

/// More than one page can reach.
const NAMESPACES: usize = 2100;

/// One token in each of `count` namespaces.
async fn spread(store: &Arc<RedisStore>, count: usize) -> Vec<Token> {
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..20 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut tokens = Vec::new();
            for n in (task..count).step_by(20) {
                tokens.push(created(&store, within(&format!("n{n}"))).await);
            }
            tokens
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_over_more_namespaces_than_a_page_reaches_misses_none() {
    let (_server, options) = marked_server().await;
    let store = Arc::new(open(options).await);
    let mut tokens = spread(&store, NAMESPACES).await;
    tokens.sort_by_key(|token| std::cmp::Reverse(Cursor::of(token)));

    let before = store.round_trips();
    let size = PageSize::asked(10);
    let page = store.list(&everything(), None, size).await.unwrap();
    assert_eq!(page.tokens, tokens[..10]);
    // Names, directories and entries of each batch; the records.
    let batches = NAMESPACES.div_ceil(256) as u64;
    assert!(store.round_trips() - before <= 1 + 3 * batches);

    let ids = |tokens: &[Token]| {
        tokens
            .iter()
            .map(|token| token.id)
            .collect::<Vec<TokenId>>()
    };
    assert_eq!(
        ids(&listed(&store, &everything(), 1000).await),
        ids(&tokens)
    );

    let oldest = tokens.last().unwrap();
    let revoked = store.change(oldest.id, revoking("lost")).await;
    assert!(matches!(revoked, Ok(Change::Changed(_))));
    let filter = Filter {
        states: BTreeSet::from([State::Revoked]),
        ..everything()
    };
    assert_eq!(ids(&listed(&store, &filter, 10).await), [oldest.id]);
}

#[tokio::test]
async fn a_namespace_that_was_noted_twice_is_listed_once() {
    let (server, options) = marked_server().await;
    let mut expected = BTreeSet::new();
    // Each start forgets which namespaces it noted.
    for _ in 0..2 {
        let store = Arc::new(open(options.clone()).await.with_bucket_size(2));
        let tokens = spread(&store, 5).await;
        expected.extend(tokens.iter().map(|token| token.id.to_string()));
    }
    let names: Vec<String> = server.ask(&["ZRANGE", "ta:{s}:n", "0", "-1"]).await;
    assert_eq!(names, ["n0", "n1", "n2", "n3", "n4"]);
    let store = open(options).await.with_bucket_size(2);
    let tokens = listed(&store, &everything(), 3).await;
    assert_eq!(tokens.len(), 10);
    let ids: BTreeSet<_> = tokens.iter().map(|token| token.id.to_string()).collect();
    assert_eq!(ids, expected);
}
