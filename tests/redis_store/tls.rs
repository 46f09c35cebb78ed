//! A Redis that speaks TLS: whom the store trusts, what it shows, and what it says of a distrust.

use std::time::Duration;

use token_authority::store::leases::Acquired;
use token_authority::store::redis::{OwnCertificate, RedisOptions, RedisStore, init};
use token_authority::store::{Change, LeaseStore, StoreError, StoreStatus, TokenStore};

use crate::kit::{created, open, patient, until, usable};
use crate::support::certificates::{HOUR, Issued, TestAuthority, Wanted};
use crate::support::drafts::{requested, revoking};
use crate::support::leases::{pool, waiter, waiting};
use crate::support::redis_server::RedisServer;

/// In every URL, and in nothing that is said.
const CANARY: &str = "canary";

fn localhost() -> Wanted {
    Wanted::server().nameless().dns("localhost")
}

fn trusting(server: &RedisServer, authority: &TestAuthority) -> RedisOptions {
    let mut options = patient(RedisOptions::new(server.url()));
    options.tls.authorities = Some(authority.pem().into_bytes());
    options
}

fn showing(mut options: RedisOptions, own: &Issued) -> RedisOptions {
    options.tls.own = Some(OwnCertificate {
        certificate: own.chain.clone().into_bytes(),
        key: own.key.clone().into_bytes().into(),
    });
    options
}

/// As a user with a password.
async fn with_password(server: &RedisServer, mut options: RedisOptions) -> RedisOptions {
    let user = format!("ACL SETUSER someone on >{CANARY} ~* &* +@all");
    server.run(&user).await;
    options.url = options.url.replace("://", &format!("://someone:{CANARY}@"));
    options
}

/// Waits until a store says in these words why it cannot reach its Redis.
async fn says(store: &RedisStore, words: &str) {
    let mut why = String::new();
    // A Redis that wants a certificate may close before its word for that was read.
    until(words, async || {
        let now = match store.confirm().await {
            Err(StoreError::Unreachable(now)) => now,
            other => panic!("{words}: {other:?}"),
        };
        assert!(!now.contains(CANARY) && !now.contains("PRIVATE"), "{now}");
        why = now;
        why.contains(words)
    })
    .await;
}

/// Asserts that no store comes about, for a reason in these words.
async fn is_refused(options: &RedisOptions, words: &str) {
    says(&RedisStore::start(options.clone()).unwrap(), words).await;
    let error = init(options).await.unwrap_err();
    assert!(error.may_pass(), "{error}");
    assert!(!error.to_string().contains(CANARY), "{error}");
}

async fn works(options: &RedisOptions) {
    init(options).await.unwrap();
    let store = open(options.clone()).await;
    let token = created(&store, requested(1)).await;
    let found = store.find(token.id).await.unwrap();
    assert_eq!(found.token.as_deref(), Some(&token));
    let changed = store.change(token.id, revoking("lost")).await.unwrap();
    assert!(matches!(changed, Change::Changed(_)), "{changed:?}");
    // A connection of its own listens; whoever waits hears that it does.
    let first = waiter();
    let bell = store.bells().hang(first);
    let empty = store.acquire(&waiting(&pool("gpu"), first)).await;
    assert_eq!(empty, Ok(Acquired::Empty));
    let rung = tokio::time::timeout(Duration::from_secs(20), bell.rung()).await;
    rung.expect("the bell rings");
    store.close().await;
}

#[tokio::test]
async fn a_store_works_over_tls_with_a_redis_of_a_trusted_authority() {
    let authority = TestAuthority::new("authority of servers");
    let server = RedisServer::over_tls(&authority.issue(localhost()), None);
    works(&trusting(&server, &authority)).await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let authority = TestAuthority::new("authority of servers");
    let server = RedisServer::over_tls(&authority.issue(localhost()), None);
    let right = with_password(&server, trusting(&server, &authority)).await;
    for name in ["authority of servers", "a stranger"] {
        let mut wrong = right.clone();
        wrong.tls = trusting(&server, &TestAuthority::new(name)).tls;
        is_refused(&wrong, "comes from no authority that is trusted").await;
    }
    let mut of_the_system = right.clone();
    of_the_system.tls.authorities = None;
    is_refused(&of_the_system, "comes from no authority that is trusted").await;
    works(&right).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = TestAuthority::new("authority of servers");
    let server = RedisServer::over_tls(&authority.issue(localhost()), None);
    let right = with_password(&server, trusting(&server, &authority)).await;
    let mut wrong = right.clone();
    wrong.url = right.url.replace("localhost", "127.0.0.1");
    is_refused(&wrong, "not for the host in store.url, but for localhost").await;
    works(&right).await;
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_refused_until_redis_shows_another() {
    let authority = TestAuthority::new("authority of servers");
    for (from, until, words) in [
        (-2 * HOUR, -HOUR, "its certificate ended at 20"),
        (HOUR, 2 * HOUR, "its certificate holds only from 20"),
    ] {
        let bad = authority.issue(localhost().holding(from, until));
        let server = RedisServer::over_tls(&bad, None);
        let options = with_password(&server, trusting(&server, &authority)).await;
        is_refused(&options, words).await;
        let store = RedisStore::start(options.clone()).unwrap();
        says(&store, words).await;
        server.show(&authority.issue(localhost())).await;
        works(&options).await;
        usable(&store).await;
    }
}

#[tokio::test]
async fn a_redis_that_wants_a_certificate_is_shown_one() {
    let authority = TestAuthority::new("authority of servers");
    let clients = TestAuthority::new("authority of clients");
    let server = RedisServer::over_tls(&authority.issue(localhost()), Some(&clients));
    let without = with_password(&server, trusting(&server, &authority)).await;
    is_refused(&without, "takes clients with a certificate only").await;
    let strangers = TestAuthority::new("a stranger").issue(Wanted::client());
    let strange = showing(without.clone(), &strangers);
    is_refused(&strange, "refuses the certificate").await;
    works(&showing(without, &clients.issue(Wanted::client()))).await;
}
