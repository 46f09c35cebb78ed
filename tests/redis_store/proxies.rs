//! Behind a proxy that leads connections to different servers.

use std::collections::BTreeSet;
use std::sync::Arc;

use token_authority::domain::page::PageSize;
use token_authority::domain::token::{Refusal, Ruling, Token};
use token_authority::store::redis::{RedisOptions, RedisStore};
use token_authority::store::{Change, Creation, Deletion, Rule, TokenStore};
use tokio::net::{TcpListener, TcpStream};

use crate::kit::{created, everything, marked_server, open, until};
use crate::support::drafts::{requested, revoking};
use crate::support::redis_server::RedisServer;

/// Leads each connection to the server after that of the connection before.
async fn alternating(servers: [u16; 2]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for server in servers.into_iter().cycle() {
            let Ok((mut client, _)) = listener.accept().await else {
                return;
            };
            let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    port
}

/// Gives `copy` all that `server` holds.
pub(crate) async fn copy_to(server: &RedisServer, copy: &RedisServer) {
    let (mut from, mut to) = (server.connection().await, copy.connection().await);
    for key in server.ask::<Vec<String>>(&["KEYS", "*"]).await {
        let dump: Vec<u8> = redis::cmd("DUMP")
            .arg(&key)
            .query_async(&mut from)
            .await
            .unwrap();
        let mut restore = redis::cmd("RESTORE");
        restore.arg(&key).arg(0).arg(dump).arg("REPLACE");
        let () = restore.query_async(&mut to).await.unwrap();
    }
}

/// A store with one link to each of two servers of the same data.
async fn open_over_both(mut options: RedisOptions, servers: [&RedisServer; 2]) -> RedisStore {
    let port = alternating(servers.map(|server| server.port)).await;
    options.url = format!("redis://127.0.0.1:{port}");
    let store = open(options).await;
    until("a link leads to each server", async || {
        let mut linked = 0;
        for server in servers {
            let clients: String = server.ask(&["CLIENT", "LIST"]).await;
            // Whatever the store asked last there; this test asks for other things.
            let ours = |line: &str| {
                ["hmget", "hkeys", "evalsha", "ping"]
                    .iter()
                    .any(|asked| line.contains(&format!("cmd={asked}")))
            };
            linked += usize::from(clients.lines().any(ours));
        }
        linked == 2
    })
    .await;
    store
}

fn refusing() -> Rule {
    Arc::new(|_, _| Ruling::Refuse(Refusal::OutOfSight))
}

/// Whether the answer of an act says that `token` is not there; errors do not.
async fn denies(store: &RedisStore, token: &Token, act: usize) -> bool {
    match act {
        0 => matches!(store.find(token.id).await, Ok(found) if found.token.is_none()),
        1 => {
            let page = store.list(&everything(), None, PageSize::asked(5)).await;
            matches!(page, Ok(page) if page.tokens.is_empty())
        }
        2 => store.change(token.id, revoking("lost")).await == Ok(Change::Absent),
        3 => matches!(store.create(requested(1)).await, Ok(Creation::Created(_))),
        // Refused, so that the token stays for the next round.
        _ => store.delete(token.id, refusing()).await == Ok(Deletion::Absent),
    }
}

#[tokio::test]
async fn a_healthy_server_never_vouches_for_an_emptied_one_behind_the_same_address() {
    let (server, options) = marked_server().await;
    let token = created(&open(options.clone()).await, requested(1)).await;
    let copy = RedisServer::start();
    let mut wrong = BTreeSet::new();
    for act in 0..5 {
        for first in 0..2 {
            copy_to(&server, &copy).await;
            let store = open_over_both(options.clone(), [&server, &copy]).await;
            // Both links are used in turn, so that either comes first in one of two rounds.
            for _ in 0..first {
                store.find(token.id).await.unwrap();
            }
            let () = copy.ask(&["FLUSHALL"]).await;
            for _ in 0..4 {
                if denies(&store, &token, act).await {
                    wrong.insert(act);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "acts that denied the token: {wrong:?}");
}
