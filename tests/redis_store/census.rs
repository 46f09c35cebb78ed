//! Counting namespaces over the buckets of their series.

use std::sync::Arc;

use token_authority::domain::caller::Reach;
use token_authority::domain::page::PageSize;
use token_authority::domain::policy::Bounds;
use token_authority::domain::token::{Draft, Refusal};
use token_authority::store::census::Population;
use token_authority::store::{Creation, NamespaceStore, TokenStore};

use crate::kit::{created, everything, listed, marked_server, open};
use crate::support::drafts::{draft, namespace, willing, within};

#[tokio::test]
async fn tokens_are_counted_over_all_buckets_in_as_many_round_trips() {
    let (_server, options) = marked_server().await;
    let store = Arc::new(open(options).await.with_bucket_size(2));
    let census = async || {
        let census = store.census(&Reach::All, None, PageSize::asked(50)).await;
        census.unwrap().populations
    };
    let population = |name: &str, tokens| Population {
        namespace: namespace(name),
        tokens,
    };
    let mut ids = Vec::new();
    for n in 0..9 {
        ids.push(created(&store, within("shop")).await.id);
        if n < 3 {
            created(&store, within("default")).await;
        }
    }
    let before = store.round_trips();
    let counted = [population("default", 3), population("shop", 9)];
    assert_eq!(census().await, counted);
    let cost = store.round_trips() - before;
    assert_eq!(cost, 4, "names, directories, buckets, marker");
    // Whole buckets in the middle are empty then.
    for id in &ids[1..8] {
        store.delete(*id, willing()).await.unwrap();
    }
    let counted = [population("default", 3), population("shop", 2)];
    assert_eq!(census().await, counted);
}

fn limited(tokens_max: u64) -> Draft {
    let bounds = Bounds {
        tokens_max: Some(tokens_max),
        ..Bounds::default()
    };
    Draft { bounds, ..draft() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn buckets_that_roll_under_a_race_let_no_token_too_many_in() {
    let (server, options) = marked_server().await;
    // Two processes, that learn of the buckets apart from each other.
    let open = async || Arc::new(open(options.clone()).await.with_bucket_size(3));
    let stores = [open().await, open().await];
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..64 {
        let store = stores[n % 2].clone();
        tasks.spawn(async move { store.create(limited(10)).await.unwrap() });
    }
    let answers = tasks.join_all().await;
    let is_created = |answer: &&Creation| matches!(answer, Creation::Created(_));
    assert_eq!(answers.iter().filter(is_created).count(), 10);
    assert_eq!(listed(&stores[0], &everything(), 50).await.len(), 10);
    let buckets: u64 = server.ask(&["ZCARD", "ta:{n:default}:d"]).await;
    assert!(buckets >= 3, "{buckets} buckets after the first");
    let one_more = stores[1].create(limited(10)).await;
    let full = matches!(
        one_more,
        Ok(Creation::Refused(Refusal::NamespaceFull { .. }))
    );
    assert!(full, "{one_more:?}");
}

#[tokio::test]
async fn a_limit_costs_a_create_one_round_trip() {
    let (_server, options) = marked_server().await;
    let store = open(options).await;
    created(&store, limited(10)).await;
    let cost = async |draft: Draft| {
        let before = store.round_trips();
        created(&store, draft).await;
        store.round_trips() - before
    };
    assert_eq!(cost(draft()).await, 2);
    assert_eq!(cost(limited(10)).await, 3);
}
