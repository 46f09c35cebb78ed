//! Tokens that come and go by themselves: they are listed for a while after their end, and then
//! nothing of them is left.

use std::path::Path;
use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::create_request::Expiration;
use token_authority::transport::grpc::pb::{CreateRequest, GetRequest, ListRequest, State};
use tonic::Code;

use crate::harness::{Authority, Client, PATIENCE, create, named, verdict};
use crate::support::redis_server::RedisServer;

const RETENTION: [&str; 6] = [
    "--set",
    "retention.short_lived=2s",
    "--set",
    "retention.ended=2s",
    "--set",
    "retention.sweep_every=100ms",
];
const TOKENS: usize = 200;

fn short_lived() -> CreateRequest {
    let ttl = prost_types::Duration {
        seconds: 1,
        nanos: 0,
    };
    CreateRequest {
        owner: "ann".to_owned(),
        pool: "gpu".to_owned(),
        expiration: Some(Expiration::Ttl(ttl)),
        ..CreateRequest::default()
    }
}

async fn listed(root: &mut Client, state: State) -> usize {
    let request = ListRequest {
        page_size: 1000,
        states: vec![state.into()],
        ..ListRequest::default()
    };
    let answer = root.list(request).await.expect("a page").into_inner();
    answer.tokens.len()
}

async fn until(what: &str, authority: &Authority, mut condition: impl AsyncFnMut() -> bool) {
    let patience = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(
            Instant::now() < patience,
            "not {what}:\n{}",
            authority.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Lets tokens come and go; one that lasts stays.
async fn come_and_go(authority: &Authority, root: &mut Client) {
    let mut ids = Vec::new();
    let mut secret = String::new();
    for _ in 0..TOKENS {
        let (token, own) = create(root, short_lived()).await;
        ids.push(token.token_id);
        secret = own;
    }
    let seen = root.clone();
    until("listed as expired", authority, async || {
        listed(&mut seen.clone(), State::Expired).await > 0
    })
    .await;
    until("vanished", authority, async || {
        let mut root = seen.clone();
        let states = [State::Active, State::Expired];
        let mut left = 0;
        for state in states {
            left += listed(&mut root, state).await;
        }
        left == 1
    })
    .await;
    for token_id in ids {
        let gone = root.get(GetRequest { token_id }).await.unwrap_err();
        assert_eq!(gone.code(), Code::NotFound);
    }
    let answer = verdict(root, &secret).await;
    assert_eq!(answer.as_str_name(), "VERDICT_NOT_FOUND");
    assert!(
        authority
            .log()
            .contains("removed tokens that ended long ago")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_redis_no_key_is_left_and_nothing_was_scanned() {
    let mut authority = Authority::before_redis_start().with(&RETENTION);
    // Init looks at all keys, once.
    let _: String = authority.redis().ask(&["CONFIG", "RESETSTAT"]).await;
    authority.start();
    let mut root = authority.root().await;
    // The list of pools stays, as that of namespaces does.
    let lasting = CreateRequest {
        pool: "other".to_owned(),
        ..named("lasting")
    };
    create(&mut root, lasting).await;
    let keys = async |redis: &RedisServer| -> usize { redis.ask(&["DBSIZE"]).await };
    let before = keys(authority.redis()).await;
    come_and_go(&authority, &mut root).await;
    until("back to the keys before", &authority, async || {
        keys(authority.redis()).await == before
    })
    .await;
    let stats: String = authority.redis().ask(&["INFO", "commandstats"]).await;
    for all in ["cmdstat_scan:", "cmdstat_keys:"] {
        assert!(!stats.contains(all), "{stats}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_ended_during_an_outage_vanish_after_it() {
    const TROUBLE: &str = "ended tokens cannot be removed";
    let mut authority = Authority::before_redis_start().with(&RETENTION);
    authority.start();
    let mut root = authority.root().await;
    create(&mut root, short_lived()).await;
    authority.redis.as_mut().unwrap().kill();
    until("told of the trouble", &authority, async || {
        authority.log().contains(TROUBLE)
    })
    .await;
    // Some ten sweeps more: that nothing comes can only be waited for.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = authority.log().matches(TROUBLE).count();
    assert!(told <= 3, "once for each reason, not for each of 10 sweeps");
    authority.redis.as_mut().unwrap().restart();
    authority.serving(true).await;
    until("vanished", &authority, async || {
        listed(&mut root.clone(), State::Expired).await == 0
            && listed(&mut root.clone(), State::Active).await == 0
    })
    .await;
    assert!(authority.log().contains("ended tokens are removed again"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_no_page_is_left() {
    // What happened is kept for those who watch, but for all that is too much.
    let few_events = ["--set", "events.max=1"];
    let authority = Authority::before_sqlite_start().with(&RETENTION);
    let mut authority = authority.with(&few_events);
    authority.start();
    let mut root = authority.root().await;
    create(&mut root, named("lasting")).await;
    let path = authority.folder.path().join("token-authority.db");
    let before = pages(&path);
    come_and_go(&authority, &mut root).await;
    until("back to the pages before", &authority, async || {
        pages(&path) <= before
    })
    .await;
}

/// Pages of a database that hold something.
fn pages(path: &Path) -> i64 {
    let connection = rusqlite::Connection::open(path).unwrap();
    let count = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    count("page_count").unwrap() - count("freelist_count").unwrap()
}
