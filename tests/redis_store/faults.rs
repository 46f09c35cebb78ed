//! What the store survives: lost data, lost servers, lost connections, full and demoted servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use token_authority::domain::page::PageSize;
use token_authority::domain::token::State;
use token_authority::store::redis::{RedisStore, init};
use token_authority::store::{Change, Deletion, StoreError, StoreStatus, TokenStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::kit::{
    created, everything, listed, marked_server, open, options, system_time, until, usable,
};
use crate::support::drafts::{draft, revoking, willing};
use crate::support::redis_server::{RedisServer, free_port};

#[tokio::test]
async fn an_emptied_redis_is_an_error_and_never_an_absence() {
    let (server, options) = marked_server().await;
    let token = created(&open(options.clone()).await, draft()).await;
    let find = async |store: &RedisStore| store.find(token.id).await.map(drop);
    let list = async |store: &RedisStore| {
        let page = store.list(&everything(), None, PageSize::asked(5)).await;
        page.map(drop)
    };
    let create = async |store: &RedisStore| store.create(draft()).await.map(drop);
    let change =
        async |store: &RedisStore| store.change(token.id, revoking("lost")).await.map(drop);
    let delete = async |store: &RedisStore| store.delete(token.id, willing()).await.map(drop);
    for act in 0..5 {
        let () = server.ask(&["FLUSHALL"]).await;
        let id = init(&options).await.unwrap();
        let store = open(options.clone()).await;
        assert_eq!(store.id(), Ok(id));
        created(&store, draft()).await;
        let () = server.ask(&["FLUSHALL"]).await;
        let answer = match act {
            0 => find(&store).await,
            1 => list(&store).await,
            2 => create(&store).await,
            3 => change(&store).await,
            _ => delete(&store).await,
        };
        let emptied =
            matches!(&answer, Err(StoreError::Unacceptable(why)) if why.contains("emptied"));
        assert!(emptied, "act {act}: {answer:?}");
        assert!(find(&store).await.is_err());
    }
}

#[tokio::test]
async fn an_idle_store_notices_by_itself_that_its_redis_was_emptied() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let () = server.ask(&["FLUSHALL"]).await;
    until("the probe tells", async || {
        store.probe_read().await.is_err()
    })
    .await;
}

#[tokio::test]
async fn a_restarted_redis_is_used_again_with_all_it_kept() {
    let (mut server, options) = marked_server().await;
    // Else a busy disk may hold back what was acknowledged.
    let () = server
        .ask(&["CONFIG", "SET", "appendfsync", "always"])
        .await;
    let store = open(options).await;
    let token = created(&store, draft()).await;
    server.kill();
    until("the loss is noticed", async || {
        matches!(store.find(token.id).await, Err(StoreError::Unreachable(_)))
    })
    .await;
    assert!(store.probe_write().await.is_err());
    server.restart();
    usable(&store).await;
    assert_eq!(
        store.find(token.id).await.unwrap().token.as_deref(),
        Some(&token)
    );
    created(&store, draft()).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let port = free_port();
    let mut options = options(&RedisServer::start());
    options.url = format!("redis://127.0.0.1:{port}");
    let store = RedisStore::start(options).unwrap();
    until("the refusal is told", async || {
        let answer = store.confirm().await;
        matches!(answer, Err(StoreError::Unreachable(why)) if why.contains("refused"))
    })
    .await;
}

/// Forwards connections to a server; those of a swallowed generation stay open and go silent.
pub(crate) async fn proxy(server: u16) -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let generation = Arc::new(AtomicU64::new(0));
    let current = generation.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let born = current.load(Ordering::SeqCst);
            let current = current.clone();
            let alive = Arc::new(move || current.load(Ordering::SeqCst) == born);
            let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::spawn(pump(from_client, to_server, alive.clone()));
            tokio::spawn(pump(from_server, to_client, alive));
        }
    });
    (port, generation)
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    alive: Arc<impl Fn() -> bool>,
) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if alive() && to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_half_open_connection_is_replaced() {
    let (server, mut options) = marked_server().await;
    let (port, generation) = proxy(server.port).await;
    options.url = format!("redis://127.0.0.1:{port}");
    options.read_timeout = Duration::from_millis(200);
    let store = open(options).await;
    let token = created(&store, draft()).await;
    generation.fetch_add(1, Ordering::SeqCst);
    let began = Instant::now();
    let first = store.find(token.id).await;
    assert!(matches!(first, Err(StoreError::Slow(_))), "{first:?}");
    until("the connection is replaced", async || {
        store.find(token.id).await.is_ok()
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_idle_half_open_connection_is_replaced_without_any_call() {
    let (server, mut options) = marked_server().await;
    let (port, generation) = proxy(server.port).await;
    options.url = format!("redis://127.0.0.1:{port}");
    options.connections = 1;
    options.read_timeout = Duration::from_millis(100);
    options.write_timeout = Duration::from_millis(100);
    let store = open(options).await;
    let connected = async || {
        let stats: String = server.ask(&["CLIENT", "LIST"]).await;
        let ids = stats.lines().filter(|line| !line.contains("cmd=client"));
        ids.map(|line| line.split(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let before = connected().await;
    assert_eq!(before.len(), 1);
    generation.fetch_add(1, Ordering::SeqCst);
    let trips = store.round_trips();
    until("another connection is there", async || {
        connected().await.iter().any(|id| !before.contains(id))
    })
    .await;
    assert_eq!(store.round_trips(), trips);
    usable(&store).await;
}

#[tokio::test]
async fn forgotten_scripts_are_not_noticed() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let forget = async || server.ask::<()>(&["SCRIPT", "FLUSH"]).await;
    forget().await;
    let token = created(&store, draft()).await;
    forget().await;
    assert!(store.find(token.id).await.unwrap().token.is_some());
    forget().await;
    let changed = store.change(token.id, revoking("lost")).await;
    assert!(matches!(changed, Ok(Change::Changed(_))), "{changed:?}");
    forget().await;
    assert_eq!(
        (store.probe_read().await, store.probe_write().await),
        (Ok(()), Ok(()))
    );
    forget().await;
    assert_eq!(
        store.delete(token.id, willing()).await,
        Ok(Deletion::Deleted)
    );
    assert!(listed(&store, &everything(), 5).await.is_empty());
}

#[tokio::test]
async fn a_redis_that_became_a_replica_is_left_until_it_is_a_master_again() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let token = created(&store, draft()).await;
    let nowhere = free_port().to_string();
    let () = server.ask(&["REPLICAOF", "127.0.0.1", &nowhere]).await;
    let answer = store.change(token.id, revoking("lost")).await;
    assert!(matches!(answer, Err(StoreError::ReadOnly(_))), "{answer:?}");
    until("the replica is refused", async || {
        matches!(store.confirm().await, Err(StoreError::Unacceptable(why)) if why.contains("replica"))
    })
    .await;
    let () = server.ask(&["REPLICAOF", "NO", "ONE"]).await;
    usable(&store).await;
    let answer = store.change(token.id, revoking("lost")).await;
    assert!(matches!(answer, Ok(Change::Changed(_))), "{answer:?}");
}

#[tokio::test]
async fn the_probe_tells_that_a_replica_is_not_written() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let nowhere = free_port().to_string();
    let () = server.ask(&["REPLICAOF", "127.0.0.1", &nowhere]).await;
    let write = store.probe_write().await;
    assert!(matches!(write, Err(StoreError::ReadOnly(_))), "{write:?}");
}

#[tokio::test]
async fn a_full_redis_refuses_new_tokens_and_still_finds_revokes_and_deletes() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let kept = created(&store, draft()).await;
    let gone = created(&store, draft()).await;
    let () = server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    for _ in 0..3 {
        let refused = store.create(draft()).await;
        let full = matches!(&refused, Err(StoreError::ReadOnly(why)) if why.contains("maxmemory"));
        assert!(full, "{refused:?}");
    }
    assert_eq!(store.probe_read().await, Ok(()));
    assert!(matches!(
        store.probe_write().await,
        Err(StoreError::ReadOnly(_))
    ));

    assert!(store.find(kept.id).await.unwrap().token.is_some());
    match store.change(kept.id, revoking("lost")).await {
        Ok(Change::Changed(token)) => assert_eq!(token.state(system_time()), State::Revoked),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        store.delete(gone.id, willing()).await,
        Ok(Deletion::Deleted)
    );
    assert!(store.find(gone.id).await.unwrap().token.is_none());
    assert!(listed(&store, &everything(), 5).await.is_empty());

    let () = server.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    created(&store, draft()).await;
    assert_eq!(store.probe_write().await, Ok(()));
}
