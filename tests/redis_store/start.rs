//! The start of a store: when its first probe has something to say.

use std::time::Duration;

use token_authority::store::redis::RedisStore;
use token_authority::store::{StoreError, StoreStatus};

use crate::kit::{marked_server, options};
use crate::support::redis_server::{RedisServer, free_port};

/// What the first probe says of a store that was started just now.
async fn first_probe(store: &RedisStore) -> Result<(), StoreError> {
    let settled = tokio::time::timeout(Duration::from_secs(30), store.settled());
    settled.await.expect("the start settles");
    store.probe_read().await
}

#[tokio::test]
async fn the_first_probe_after_settling_knows_how_the_first_attempt_ended() {
    let (server, options) = marked_server().await;
    for connections in 1..=4 {
        let mut options = options.clone();
        options.connections = connections;
        let store = RedisStore::start(options).unwrap();
        assert_eq!(first_probe(&store).await, Ok(()));
    }
    let () = server.ask(&["FLUSHALL"]).await;
    let store = RedisStore::start(options.clone()).unwrap();
    let refused = first_probe(&store).await;
    assert!(
        matches!(refused, Err(StoreError::Unacceptable(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_start_without_a_server_settles_on_why() {
    let mut options = options(&RedisServer::start());
    options.url = format!("redis://127.0.0.1:{}", free_port());
    let store = RedisStore::start(options).unwrap();
    match first_probe(&store).await {
        Err(StoreError::Unreachable(why)) => assert!(why.contains("refused"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_store_that_is_closed_before_it_connected_is_settled() {
    let (_server, options) = marked_server().await;
    let store = RedisStore::start(options).unwrap();
    store.close().await;
    assert_eq!(first_probe(&store).await, Err(StoreError::Closed));
}
