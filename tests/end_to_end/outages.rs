//! An outage is never a verdict: a store that is down, empty or foreign is `UNAVAILABLE`.

use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    BatchCreateRequest, DeleteRequest, GetRequest, ListPoolsRequest, ListRequest, RevokeRequest,
    Verdict, WhoAmIRequest,
};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::harness::{
    Authority, Client, PATIENCE, command, create, is_outage, named, presenting, verdict,
};
use crate::leasing::{any, beat_of, forced, release_of, token_beat, waiting};
use crate::support::redis_server::RedisServer;

/// Asserts that nothing about tokens is answered, known or unknown.
pub(crate) async fn nothing_is_known(client: &mut Client, token_id: &str, secret: &str) {
    for id in [token_id, "zzzzzzzzzzzzzzzzzzzzzz"] {
        let token_id = id.to_owned();
        let target = Some(Target::TokenId(id.to_owned()));
        is_outage(
            "Get",
            client
                .get(GetRequest {
                    token_id: token_id.clone(),
                })
                .await,
        );
        is_outage(
            "Revoke",
            client
                .revoke(RevokeRequest {
                    target,
                    reason: String::new(),
                })
                .await,
        );
        is_outage("Delete", client.delete(DeleteRequest { token_id }).await);
        let lease_id = format!("{id}{}", "z".repeat(22));
        is_outage("Release", client.release(release_of(&lease_id)).await);
        is_outage("Release", client.release(forced(id)).await);
        is_outage("KeepAlive", client.keep_alive(beat_of(&lease_id)).await);
        is_outage("KeepAlive", client.keep_alive(token_beat(id)).await);
    }
    is_outage("Acquire", client.acquire(any()).await);
    is_outage("Acquire", client.acquire(waiting(PATIENCE)).await);
    let pools = client.list_pools(ListPoolsRequest::default());
    is_outage("ListPools", pools.await);
    let batch = BatchCreateRequest {
        template: Some(named("lost")),
        count: 3,
    };
    is_outage("BatchCreate", client.batch_create(batch).await);
    is_outage("Validate", client.validate(presenting(secret)).await);
    is_outage("List", client.list(ListRequest::default()).await);
    is_outage("Create", client.create(named("lost")).await);
    let malformed = client
        .validate(presenting("x"))
        .await
        .expect("decided without the store")
        .into_inner();
    assert_eq!(malformed.verdict(), Verdict::Malformed);
    client
        .who_am_i(WhoAmIRequest {})
        .await
        .expect("root is known by heart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_is_an_outage_also_after_a_restart() {
    let mut authority = Authority::on_redis();
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, named("t")).await;
    authority.redis().run("FLUSHALL").await;
    nothing_is_known(&mut root, &token.token_id, &secret).await;
    authority.serving(false).await;
    let management = authority
        .health("tokenauthority.v1.TokenService.management")
        .await;
    assert_eq!(management, Some(ServingStatus::NotServing));
    assert_eq!(authority.stop("TERM").0, Some(0));
    authority.start();
    let mut root = authority.client(Some(crate::harness::ROOT_TOKEN));
    nothing_is_known(&mut root, &token.token_id, &secret).await;
    assert_eq!(authority.health("").await, Some(ServingStatus::NotServing));
    assert!(
        authority.log().contains("token-authority init"),
        "the log says what to do:\n{}",
        authority.log()
    );
    // What an operator may do where the data is known to be lost.
    let init = command(&["init", "--store", &authority.redis().url()])
        .output()
        .unwrap();
    assert!(
        init.status.success(),
        "{}",
        String::from_utf8_lossy(&init.stderr)
    );
    authority.serving(true).await;
    assert_eq!(verdict(&mut root, &secret).await, Verdict::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_down_at_start_is_waited_for() {
    let mut authority = Authority::before_redis_start();
    authority.redis.as_mut().unwrap().kill();
    authority.start();
    assert_eq!(authority.health("").await, Some(ServingStatus::NotServing));
    let mut root = authority.client(Some(crate::harness::ROOT_TOKEN));
    is_outage("List", root.list(ListRequest::default()).await);
    authority.redis.as_mut().unwrap().restart();
    authority.serving(true).await;
    let (_, secret) = create(&mut root, named("t")).await;
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_dies_and_comes_back_is_found_again() {
    let mut authority = Authority::on_redis();
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, named("t")).await;
    // The append-only file is flushed each second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    authority.redis.as_mut().unwrap().kill();
    nothing_is_known(&mut root, &token.token_id, &secret).await;
    authority.serving(false).await;
    authority.redis.as_mut().unwrap().restart();
    authority.serving(true).await;
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);
}

/// Waits until the log of a server that does not serve says why.
pub(crate) async fn refused_because(authority: &Authority, why: &str) {
    let patience = Instant::now() + PATIENCE;
    while !authority.log().contains(why) {
        assert!(
            Instant::now() < patience,
            "the log never says {why:?}:\n{}",
            authority.log()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(authority.health("").await, Some(ServingStatus::NotServing));
    let mut root = authority.client(Some(crate::harness::ROOT_TOKEN));
    is_outage("Validate", root.validate(presenting(&malleable())).await);
}

/// A well-formed secret of nobody.
fn malleable() -> String {
    use token_authority::domain::secret::{Brand, Secret};
    let id = token_authority::entropy::token_id().unwrap();
    let random = token_authority::entropy::secret_digits().unwrap();
    Secret::assemble(&Brand::parse("ta").unwrap(), &id, &random)
        .expose()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_never_was_a_store_is_not_adopted() {
    let mut authority = Authority::before_redis_start();
    authority.redis().run("FLUSHALL").await;
    authority.start();
    refused_because(&authority, "token-authority init").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_another_id_is_not_served() {
    let mut authority = Authority::before_redis_start().with(&["--store-id", &"x".repeat(22)]);
    authority.start();
    refused_because(&authority, &"x".repeat(22)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_said_and_not_shown() {
    let mut authority = Authority::before_redis_start();
    authority
        .redis()
        .run("CONFIG SET requirepass right-password")
        .await;
    let url = authority
        .redis()
        .url()
        .replace("redis://", "redis://:canary-password@");
    authority = authority.with(&["--set", &format!("store.url={url}")]);
    authority.start();
    refused_because(&authority, "password").await;
    authority.stop("TERM");
    assert!(
        !authority.log().contains("canary-password"),
        "{}",
        authority.log()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_evicts_is_not_served_unless_accepted() {
    let mut authority = Authority::before_redis_start();
    authority.redis().run("CONFIG SET maxmemory 100mb").await;
    authority
        .redis()
        .run("CONFIG SET maxmemory-policy allkeys-lru")
        .await;
    authority.start();
    refused_because(&authority, "noeviction").await;
    authority.stop("TERM");
    let mut authority = authority.with(&["--set", "store.accept_eviction=true"]);
    authority.start();
    authority.serving(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_keeps_nothing_is_not_served_unless_accepted() {
    let mut authority = Authority::before_redis_start();
    authority.redis().run("CONFIG SET appendonly no").await;
    authority.start();
    refused_because(&authority, "durab").await;
    authority.stop("TERM");
    let mut authority = authority.with(&["--min-durability", "none"]);
    authority.start();
    authority.serving(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_replica_changes_are_refused_and_tokens_are_judged() {
    let mut authority = Authority::before_redis_start().with(&[
        "--set",
        "store.replicas=1",
        "--min-durability",
        "replicated",
    ]);
    let at_once = "CONFIG SET repl-diskless-sync-delay 0";
    authority.redis().run(at_once).await;
    let port = authority.redis().port.to_string();
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &port]);
    authority.start();
    managing(&authority, ServingStatus::Serving).await;
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("t")).await;
    replica.signal("STOP");
    managing(&authority, ServingStatus::NotServing).await;
    is_outage("Create", root.create(named("lost")).await);
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);
    assert_eq!(authority.health("").await, Some(ServingStatus::Serving));
    let log = authority.log();
    assert!(
        log.contains("only 0 of 1 replicas have the change"),
        "{log}"
    );
    replica.signal("CONT");
    managing(&authority, ServingStatus::Serving).await;
    create(&mut root, named("kept")).await;
    assert!(authority.log().contains("replicated"));
}

/// Waits until health says so of changes.
async fn managing(authority: &Authority, status: ServingStatus) {
    let management = "tokenauthority.v1.TokenService.management";
    let patience = Instant::now() + PATIENCE;
    while authority.health(management).await != Some(status) {
        assert!(Instant::now() < patience, "{}", authority.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_file_that_was_taken_away_is_an_outage() {
    let authority = Authority::on_sqlite();
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, named("t")).await;
    std::fs::remove_file(authority.database()).unwrap();
    nothing_is_known(&mut root, &token.token_id, &secret).await;
    let unknown = root.validate(presenting(&malleable())).await;
    is_outage("Validate", unknown);
    authority.serving(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marker_key_of_another_program_is_an_outage() {
    let mut authority = Authority::before_redis_start();
    authority.redis().run("DEL ta:store").await;
    authority.redis().run("SET ta:store hello").await;
    authority.start();
    refused_because(&authority, "redis_prefix").await;
    let mut root = authority.client(Some(crate::harness::ROOT_TOKEN));
    is_outage("Create", root.create(named("lost")).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_marked_at_start_may_come_later() {
    let mut authority = Authority::before_redis_start().with(&["--init-store"]);
    authority.redis().run("FLUSHALL").await;
    authority.redis.as_mut().unwrap().kill();
    authority.start();
    assert_eq!(authority.health("").await, Some(ServingStatus::NotServing));
    authority.redis.as_mut().unwrap().restart();
    let mut root = authority.root().await;
    create(&mut root, named("t")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_tells_reading_from_writing_on_sqlite() {
    let authority = Authority::on_sqlite();
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("t")).await;
    let path = authority.database();
    let foreign = rusqlite::Connection::open(path).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    managing(&authority, ServingStatus::NotServing).await;
    assert_eq!(authority.health("").await, Some(ServingStatus::Serving));
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);
    drop(foreign);
    managing(&authority, ServingStatus::Serving).await;
}
