//! `doctor` on Redis: what it says of one that is not reached, is not the right one, or loses what
//! it got; and that it only reads.

use std::collections::BTreeSet;
use std::time::Instant;

use redis::Value;

use crate::harness::{Authority, PATIENCE, mark};
use crate::support::redis_server::{RedisServer, free_port};

use super::patient::Patient;

fn patient(url: &str) -> Patient {
    Patient::new()
        .with(&["--store", url])
        .set("store.read_timeout=5s")
}

fn marked(settings: &[&str]) -> RedisServer {
    let redis = RedisServer::with(settings);
    mark(&redis);
    redis
}

/// All keys, and what they hold.
async fn contents(redis: &RedisServer) -> Vec<(String, Value)> {
    let mut keys: Vec<String> = redis.ask(&["KEYS", "*"]).await;
    keys.sort();
    let mut contents = Vec::new();
    for key in keys {
        let dump = redis.ask(&["DUMP", &key]).await;
        contents.push((key, dump));
    }
    contents
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_asked_that_could_change_a_redis() {
    let mut authority = Authority::on_redis();
    drop(authority.root().await);
    assert_eq!(authority.stop("TERM").0, Some(0));
    let redis = authority.redis();
    let before = contents(redis).await;
    assert!(!before.is_empty());
    redis.run("CONFIG RESETSTAT").await;
    let pepper = "secrets.peppers=[{ id = 1, pepper = \"canary-0123456789-0123456789-0123\" }]";
    let said = patient(&redis.url()).set(pepper).asks(&[]);
    assert_eq!(said.code, 0);
    let info: String = redis.ask(&["INFO", "commandstats"]).await;
    let asked: BTreeSet<&str> = info
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next())
        .collect();
    let reading = [
        "acl|dryrun",
        "acl|whoami",
        "client|setinfo",
        "config|get",
        "config|resetstat",
        "hkeys",
        "hmget",
        "info",
        "ping",
        "time",
    ];
    let unknown: Vec<_> = asked
        .difference(&BTreeSet::from(reading))
        .copied()
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(before == contents(redis).await, "keys changed");
}

#[tokio::test]
async fn a_redis_that_is_not_reached_is_told_by_where_it_fails() {
    let dead = format!("redis://user:canary@127.0.0.1:{}", free_port());
    patient(&dead)
        .asks(&[])
        .tells("FAIL", "store", "Connection refused");
    let said = patient("redis://no-such-host.invalid").asks(&[]);
    said.only("FAIL", "store", "has no address");
    let closed = marked(&[]);
    closed.run("CONFIG SET requirepass canary").await;
    let url = closed.url();
    patient(&url)
        .asks(&[])
        .only("FAIL", "store", "refuses the password");
    let wrong = url.replace("redis://", "redis://:canary-wrong@");
    patient(&wrong)
        .asks(&[])
        .tells("FAIL", "store", "refuses the password");
    let right = url.replace("redis://", "redis://:canary@");
    let said = patient(&right).asks(&[]);
    said.only("warn", "configuration", "a secret stands in --store");
    let variable = Patient::new()
        .without_store()
        .set("store.read_timeout=5s")
        .knowing("TOKEN_AUTHORITY_STORE", &right);
    variable.asks(&[]).nothing();
}

#[tokio::test]
async fn a_redis_that_hangs_holds_nobody_up() {
    let redis = marked(&[]);
    redis.signal("STOP");
    let begun = Instant::now();
    let said = patient(&redis.url()).asks(&["--timeout", "5s"]);
    assert!(begun.elapsed() < PATIENCE);
    said.only("FAIL", "store", "did not answer");
    assert_eq!(said.code, 1);
    redis.signal("CONT");
}

#[tokio::test]
async fn a_redis_that_holds_no_store_or_another_is_told() {
    let redis = RedisServer::start();
    let url = redis.url();
    patient(&url)
        .asks(&[])
        .only("FAIL", "marker", "holds no store");
    redis.run("SET ta:other 1").await;
    patient(&url)
        .asks(&[])
        .only("FAIL", "marker", "no store marker");
    patient(&url)
        .set("store.redis_prefix=mine")
        .asks(&[])
        .only("FAIL", "marker", "holds no store");
    redis.run("DEL ta:other").await;
    mark(&redis);
    patient(&url).asks(&[]).nothing();
    let other = "aaaaaaaaaaaaaaaaaaaaaa";
    let pinned = patient(&url).with(&["--store-id", other]);
    pinned.asks(&[]).only("FAIL", "marker", other);
    redis.run("HSET ta:store min_reader 99").await;
    patient(&url)
        .asks(&[])
        .only("FAIL", "marker", "reads schema 99");
    redis.run("DEL ta:store").await;
    redis.run("SET ta:store 1").await;
    patient(&url)
        .asks(&[])
        .only("FAIL", "marker", "another program's");
}

#[tokio::test]
async fn a_redis_that_may_lose_what_it_got_is_told() {
    let redis = marked(&[]);
    let url = redis.url();
    redis.run("CONFIG SET maxmemory-policy allkeys-lru").await;
    patient(&url).asks(&[]).nothing();
    redis.run("CONFIG SET maxmemory 100mb").await;
    patient(&url)
        .asks(&[])
        .only("FAIL", "redis memory", "it evicts (allkeys-lru)");
    let said = patient(&url).set("store.accept_eviction=true").asks(&[]);
    said.tells("warn", "redis memory", "it evicts (allkeys-lru)");
    said.tells("warn", "demands on Redis", "store.accept_eviction is set");
    assert_eq!(said.code, 0);
    redis.run("CONFIG SET maxmemory-policy noeviction").await;
    redis.run("CONFIG SET maxmemory 1").await;
    patient(&url).asks(&[]).only("FAIL", "redis memory", "used");
    redis.run("CONFIG SET maxmemory 0").await;

    let strict = ["--min-durability", "strict"];
    patient(&url)
        .with(&strict)
        .asks(&[])
        .only("FAIL", "durability", "\"1s\"");
    redis.run("CONFIG SET appendfsync always").await;
    patient(&url).with(&strict).asks(&[]).nothing();
    redis.run("CONFIG SET appendonly no").await;
    patient(&url)
        .asks(&[])
        .only("FAIL", "durability", "appendonly no");
    let said = patient(&url).with(&["--min-durability", "none"]).asks(&[]);
    said.only("warn", "demands on Redis", "min_durability is \"none\"");

    let master = marked(&[]);
    redis.run("CONFIG SET appendonly yes").await;
    redis
        .run(&format!("REPLICAOF 127.0.0.1 {}", master.port))
        .await;
    patient(&url)
        .asks(&[])
        .tells("FAIL", "redis", "is a replica");
}

#[tokio::test]
async fn a_user_who_may_not_do_all_is_told() {
    let redis = marked(&[]);
    for rules in [
        "ACL SETUSER some on >canary ~ta:* &ta:* +@all -evalsha -zadd",
        "ACL SETUSER elsewhere on >canary ~tb:* &tb:* +@all",
        "ACL SETUSER silent on >canary ~ta:* &ta:* +@all -acl|dryrun",
        "ACL SETUSER closed on >canary ~ta:* &ta:* +@all -hkeys",
        "ACL SETUSER unset on >canary ~ta:* &ta:* +@all -config|get",
        "ACL SETUSER whole on >canary ~ta:* &ta:* +@all",
    ] {
        redis.run(rules).await;
    }
    let asks = |user: &str| {
        let url = redis
            .url()
            .replace("redis://", &format!("redis://{user}:canary@"));
        let patient = Patient::new().set("store.read_timeout=5s");
        let file = patient.write("store", &url, 0o600);
        patient
            .without_store()
            .knowing("TOKEN_AUTHORITY_STORE_FILE", file.to_str().unwrap())
            .asks(&[])
    };
    asks("whole").nothing();
    asks("some").only("FAIL", "redis permissions", "may not use: ZADD EVALSHA");
    let said = asks("elsewhere");
    said.tells("FAIL", "redis permissions", "may not use: GET MGET SET");
    let said = asks("silent");
    said.only("warn", "redis permissions", "not checked");
    let said = asks("unset");
    said.only("FAIL", "durability", "appendfsync is not told");
    let said = asks("closed");
    said.only("warn", "peppers", "not checked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_turned_clients_away_is_told() {
    let redis = marked(&["--maxclients", "3"]);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(redis.connection().await);
    }
    // One too many; and Redis counts it.
    let client = redis::Client::open(redis.url()).unwrap();
    assert!(client.get_multiplexed_async_connection().await.is_err());
    drop(held);
    let patience = Instant::now() + PATIENCE;
    loop {
        let said = patient(&redis.url()).asks(&[]);
        if said.of_level("FAIL").is_empty() {
            said.tells("warn", "redis connections", "rejected since Redis started");
            break;
        }
        assert!(Instant::now() < patience, "{:?}", said.of_level("FAIL"));
    }
}
