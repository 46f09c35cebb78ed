//! Counting namespaces over the buckets of their series.

use std::sync::Arc;

use token_authority::domain::caller::Reach;
use token_authority::domain::page::PageSize;
use token_authority::store::census::Population;
use token_authority::store::{NamespaceStore, TokenStore};

use crate::kit::{created, marked_server, open};
use crate::support::drafts::{namespace, willing, within};

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
