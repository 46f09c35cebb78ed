//! Which Redis is trusted: its marker, its password, its settings.

use token_authority::entropy;
use token_authority::store::redis::{InitError, RedisOptions, RedisStore, init};
use token_authority::store::{Durability, StoreError, StoreId, StoreStatus, TokenStore};

use crate::kit::{Log, created, marked_server, open, options, refusal, until, usable};
use crate::support::drafts::draft;
use crate::support::redis_server::{RedisServer, free_port};

#[tokio::test]
async fn a_store_is_initialized_once_and_keeps_its_id() {
    let server = RedisServer::start();
    let id = init(&options(&server)).await.unwrap();
    assert_eq!(init(&options(&server)).await.unwrap(), id);
    let store = open(options(&server)).await;
    assert_eq!(store.id(), Ok(id.clone()));
    created(&store, draft()).await;
    assert_eq!(init(&options(&server)).await.unwrap(), id);
}

#[tokio::test]
async fn a_store_is_not_initialized_beside_foreign_keys_of_its_prefix() {
    let server = RedisServer::start();
    let () = server.ask(&["SET", "tax:1", "somebody's"]).await;
    let () = server.ask(&["SET", "ta:1", "somebody's"]).await;
    let refused = init(&options(&server)).await.unwrap_err();
    assert!(matches!(refused, InitError::Foreign { .. }), "{refused}");
    assert_eq!(server.ask::<u64>(&["DBSIZE"]).await, 2);
    let () = server.ask(&["DEL", "ta:1"]).await;
    init(&options(&server)).await.unwrap();
}

#[tokio::test]
async fn initializing_an_unreachable_redis_names_its_address_and_no_password() {
    let address = format!("127.0.0.1:{}", free_port());
    let options = RedisOptions::new(format!("redis://ann:hunter2@{address}"));
    let told = init(&options).await.unwrap_err().to_string();
    assert!(told.contains(&address), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[tokio::test]
async fn initializing_a_redis_that_would_not_be_served_succeeds_and_warns() {
    let evicting = ["--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru"];
    let cases: [(&[&str], &str); 3] = [
        (&[], ""),
        (&["--appendonly", "no"], "appendonly no"),
        (&evicting, "allkeys-lru"),
    ];
    for (settings, expected) in cases {
        let server = RedisServer::with(settings);
        // At the first time, and at every other.
        for _ in 0..2 {
            let log = Log::start();
            init(&options(&server)).await.unwrap();
            let told = log.lines("WARN");
            let fits = match told.as_slice() {
                [] => expected.is_empty(),
                told => !expected.is_empty() && told.iter().all(|line| line.contains(expected)),
            };
            assert!(fits, "{settings:?}: {told:?}");
        }
    }
}

#[tokio::test]
async fn two_who_initialize_at_once_get_one_id() {
    let server = RedisServer::start();
    let options = options(&server);
    let (one, other) = tokio::join!(init(&options), init(&options));
    assert_eq!(one.unwrap(), other.unwrap());
}

#[tokio::test]
async fn a_demanded_id_is_given_to_a_new_store_and_refused_where_another_stands() {
    let server = RedisServer::start();
    let mut options = options(&server);
    let fresh = || StoreId::parse(&entropy::digits(22).unwrap()).unwrap();
    options.store_id = Some(fresh());
    assert_eq!(
        init(&options).await.unwrap(),
        options.store_id.clone().unwrap()
    );
    options.store_id = Some(fresh());
    let refused = init(&options).await.unwrap_err();
    assert!(matches!(refused, InitError::Other { .. }), "{refused}");
}

#[tokio::test]
async fn an_empty_redis_is_refused_until_it_is_initialized_and_never_adopted() {
    let server = RedisServer::start();
    let store = RedisStore::start(options(&server)).unwrap();
    let why = refusal(&store).await;
    let told = format!(
        "token-authority init --store redis://127.0.0.1:{}",
        server.port
    );
    assert!(why.contains(&told), "{why}");
    assert!(store.create(draft()).await.is_err());
    assert!(store.find(draft().id).await.is_err());
    assert!(store.id().is_err());
    assert_eq!(server.ask::<u64>(&["DBSIZE"]).await, 0);
    init(&options(&server)).await.unwrap();
    usable(&store).await;
}

#[tokio::test]
async fn another_store_than_the_pinned_one_is_refused() {
    let (_server, mut options) = marked_server().await;
    let pinned = "p".repeat(22);
    options.store_id = StoreId::parse(&pinned).ok();
    let store = RedisStore::start(options).unwrap();
    assert!(refusal(&store).await.contains(&pinned));
}

#[tokio::test]
async fn another_store_than_the_first_seen_one_is_refused_and_answers_no_absence() {
    let (server, options) = marked_server().await;
    let store = open(options.clone()).await;
    let first = store.id().unwrap();
    let () = server.ask(&["FLUSHALL"]).await;
    let second = init(&options).await.unwrap();
    assert_ne!(first, second);
    let answer = store.find(draft().id).await;
    assert!(
        matches!(answer, Err(StoreError::Unacceptable(_))),
        "{answer:?}"
    );
    let why = refusal(&store).await;
    assert!(why.contains(second.as_str()), "{why}");
    assert!(why.contains("restart this process"), "{why}");
    assert_eq!(store.id(), Ok(first));
}

#[tokio::test]
async fn a_wrong_or_missing_password_is_told_without_telling_it() {
    let server = RedisServer::with(&["--appendonly", "yes", "--requirepass", "sesame"]);
    let with = |login: &str| {
        let mut options = options(&server);
        options.url = format!("redis://{login}127.0.0.1:{}", server.port);
        options
    };
    for login in ["", ":hunter2@", "ann:hunter2@"] {
        let store = RedisStore::start(with(login)).unwrap();
        let why = refusal(&store).await;
        assert!(why.contains("refuses the password"), "{why}");
        assert!(!why.contains("hunter2"), "{why}");
        let refused = init(&with(login)).await.unwrap_err().to_string();
        assert!(refused.contains("refuses the password"), "{refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
    }
    init(&with(":sesame@")).await.unwrap();
    let store = open(with("default:sesame@")).await;
    created(&store, draft()).await;
}

#[tokio::test]
async fn a_redis_that_may_evict_is_refused_unless_that_is_accepted() {
    let (server, mut options) = marked_server().await;
    let () = server.ask(&["CONFIG", "SET", "maxmemory", "1gb"]).await;
    let () = server
        .ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"])
        .await;
    let store = RedisStore::start(options.clone()).unwrap();
    let why = refusal(&store).await;
    assert!(why.contains("allkeys-lru"), "{why}");
    assert!(why.contains("store.accept_eviction"), "{why}");
    options.accept_eviction = true;
    open(options).await;
    let () = server
        .ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"])
        .await;
    usable(&store).await;
}

#[tokio::test]
async fn a_redis_that_begins_to_evict_is_left() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let () = server.ask(&["CONFIG", "SET", "maxmemory", "1gb"]).await;
    let () = server
        .ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"])
        .await;
    assert!(refusal(&store).await.contains("allkeys-lru"));
}

#[tokio::test]
async fn a_less_durable_redis_than_demanded_is_refused() {
    let server = RedisServer::with(&["--appendonly", "no"]);
    let mut options = options(&server);
    init(&options).await.unwrap();
    let store = RedisStore::start(options.clone()).unwrap();
    let why = refusal(&store).await;
    assert!(why.contains("appendonly no"), "{why}");
    assert!(
        why.contains("store.min_durability (--min-durability)"),
        "{why}"
    );
    assert_eq!(store.durability(), None);
    options.min_durability = Durability::None;
    assert_eq!(open(options).await.durability(), Some(Durability::None));
}

#[tokio::test]
async fn the_durability_is_read_from_the_settings_of_redis() {
    let (server, mut options) = marked_server().await;
    let store = open(options.clone()).await;
    assert_eq!(store.durability(), Some(Durability::OneSecond));
    options.min_durability = Durability::Strict;
    let strict = RedisStore::start(options).unwrap();
    assert!(refusal(&strict).await.contains("everysec"));
    let () = server
        .ask(&["CONFIG", "SET", "appendfsync", "always"])
        .await;
    usable(&strict).await;
    assert_eq!(strict.durability(), Some(Durability::Strict));
}

#[tokio::test]
async fn where_config_is_refused_the_weakest_durability_is_assumed() {
    let (server, mut options) = marked_server().await;
    let () = server
        .ask(&[
            "ACL", "SETUSER", "app", "on", ">x", "~*", "+@all", "-config",
        ])
        .await;
    options.url = format!("redis://app:x@127.0.0.1:{}", server.port);
    let store = RedisStore::start(options.clone()).unwrap();
    assert!(refusal(&store).await.contains("CONFIG GET is refused"));
    options.min_durability = Durability::None;
    created(&open(options).await, draft()).await;
}

#[tokio::test]
async fn a_cluster_node_is_refused() {
    let server = RedisServer::with(&["--appendonly", "yes", "--cluster-enabled", "yes"]);
    let store = RedisStore::start(options(&server)).unwrap();
    assert!(refusal(&store).await.contains("cluster"));
}

#[tokio::test]
async fn a_closed_store_answers_that_it_is_closed_and_lets_its_connections_go() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    store.close().await;
    assert_eq!(store.confirm().await, Err(StoreError::Closed));
    until("only the asking connection is left", async || {
        let clients: String = server.ask(&["CLIENT", "LIST"]).await;
        clients.lines().count() == 1
    })
    .await;
}
