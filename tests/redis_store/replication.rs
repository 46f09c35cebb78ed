//! Waiting for replicas: what is answered when, what fails without them, and what it costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use token_authority::domain::caller::Reach;
use token_authority::domain::lease::LeaseId;
use token_authority::domain::token::{Ruling, Token};
use token_authority::store::leases::{Acquired, KeptAlive, LeaseTarget, Released};
use token_authority::store::redis::{RedisOptions, RedisStore, init};
use token_authority::store::{
    Change, Deletion, Durability, LeaseStore, Rule, StoreError, StoreStatus, TokenStore,
};

use crate::kit::{created, open, options, refusal, until};
use crate::support::drafts::{draft, revoking, willing};
use crate::support::leases::{asking, asking_for, beat, lasting, lease_id, pool};
use crate::support::redis_server::RedisServer;

/// Long enough for no lease to end while a test runs.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// What lets replicas follow as soon as they ask.
const AT_ONCE: [&str; 2] = ["--repl-diskless-sync-delay", "0"];

pub(crate) fn replica_of(port: u16) -> RedisServer {
    let port = port.to_string();
    let [setting, value] = AT_ONCE;
    RedisServer::with(&[setting, value, "--replicaof", "127.0.0.1", &port])
}

pub(crate) fn master() -> RedisServer {
    RedisServer::with(&AT_ONCE)
}

/// Waits until a replica follows, and where the server is a master, until it says what it has: a new
/// one is busy with what it was given first.
pub(crate) async fn followed(server: &RedisServer) {
    until("a replica follows", async || {
        let info: String = server.ask(&["INFO", "replication"]).await;
        info.contains("state=online") && (info.contains("role:slave") || heard(server).await)
    })
    .await;
}

async fn heard(server: &RedisServer) -> bool {
    let mut connection = server.connection().await;
    let (_, heard): (u64, u64) = redis::pipe()
        .cmd("PUBLISH")
        .arg("beside")
        .arg("")
        .cmd("WAIT")
        .arg(1)
        .arg(50)
        .query_async(&mut connection)
        .await
        .unwrap_or_default();
    heard == 1
}

/// Whether any connection waits for replicas.
async fn waits(server: &RedisServer) -> bool {
    let clients: String = server.ask(&["CLIENT", "LIST"]).await;
    clients.lines().any(|line| line.contains("flags=b"))
}

/// A master with a replica, and what opens a store that waits for it.
pub(crate) async fn replicated() -> (RedisServer, RedisServer, RedisOptions) {
    let master = master();
    let replica = replica_of(master.port);
    let mut options = options(&master);
    options.replicas = 1;
    options.min_durability = Durability::Replicated;
    init(&options).await.unwrap();
    followed(&master).await;
    (master, replica, options)
}

/// The lease of an act that found a free token.
pub(crate) async fn granted(store: &RedisStore) -> (Token, LeaseId, u64) {
    match store.acquire(&asking_for(&pool("gpu"), LONG)).await {
        Ok(Acquired::Granted { token, lease, .. }) => {
            let id = lease_id(&token, &lease);
            (*token, id, lease.fence)
        }
        other => panic!("expected a lease, got {other:?}"),
    }
}

pub(crate) async fn release(store: &RedisStore, lease: LeaseId) -> Result<Released, StoreError> {
    store.release(LeaseTarget::Lease(lease), &Reach::All).await
}

fn keeping() -> Rule {
    Arc::new(|_, _| Ruling::Keep)
}

#[tokio::test]
async fn a_change_is_answered_only_when_the_replica_has_it() {
    let (master, replica, options) = replicated().await;
    let store = Arc::new(open(options).await);
    assert_eq!(store.durability(), Some(Durability::Replicated));
    let token = created(&store, draft()).await;
    replica.signal("STOP");
    let changing = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            let rule = revoking("leaked");
            store.change(token.id, rule).await
        }
    });
    until("it waits for the replica", async || waits(&master).await).await;
    for _ in 0..20 {
        store.find(token.id).await.unwrap();
    }
    assert!(!changing.is_finished());
    replica.signal("CONT");
    let changed = changing.await.unwrap();
    assert!(matches!(changed, Ok(Change::Changed(_))), "{changed:?}");
}

#[tokio::test]
async fn without_its_replica_nothing_is_changed_and_reads_are_answered() {
    let (_master, replica, mut options) = replicated().await;
    let patient = open(options.clone()).await;
    let (plain, doomed) = (
        created(&patient, draft()).await,
        created(&patient, draft()).await,
    );
    let pooled = created(&patient, lasting()).await;
    let (_, lease, _) = granted(&patient).await;
    options.write_timeout = Duration::from_secs(2);
    options.read_timeout = Duration::from_secs(2);
    let store = open(options).await;
    let wanting = |error: Option<StoreError>| {
        let expected = StoreError::Unreplicated { have: 0, wanted: 1 };
        assert_eq!(error, Some(expected));
    };
    replica.signal("STOP");
    let begun = Instant::now();
    let (asking, target) = (asking(&pool("gpu")), beat(lease));
    let (a, b, c, d, e, f, g) = tokio::join!(
        store.create(draft()),
        store.change(plain.id, revoking("leaked")),
        store.delete(doomed.id, willing()),
        store.acquire(&asking),
        release(&store, lease),
        store.keep_alive(&target),
        store.probe_write(),
    );
    let all = [
        a.err(),
        b.err(),
        c.err(),
        d.err(),
        e.err(),
        f.err(),
        g.err(),
    ];
    all.into_iter().for_each(wanting);
    // What earlier attempts may have done already is not answered either.
    let (a, b) = tokio::join!(store.change(plain.id, keeping()), release(&store, lease));
    [a.err(), b.err()].into_iter().for_each(wanting);
    assert!(begun.elapsed() < Duration::from_secs(20));
    for token in [&plain, &pooled] {
        assert!(store.find(token.id).await.unwrap().token.is_some());
    }
    assert_eq!(store.probe_read().await, Ok(()));
    replica.signal("CONT");
    until("the replica has caught up", async || {
        store.probe_write().await.is_ok()
    })
    .await;
    let released = release(&store, lease).await;
    assert!(
        matches!(released, Ok(Released::Ended { before: true, .. })),
        "{released:?}"
    );
    let revoked = store.change(plain.id, revoking("leaked")).await;
    assert!(
        matches!(revoked, Ok(Change::Changed(_) | Change::Kept(..))),
        "{revoked:?}"
    );
    let deleted = store.delete(doomed.id, willing()).await;
    assert_eq!(deleted, Ok(Deletion::Deleted));
}

#[tokio::test]
async fn what_a_failed_attempt_deleted_is_not_said_to_be_absent_before_the_replica_knows() {
    let (master, _replica, mut options) = replicated().await;
    let store = open(options.clone()).await;
    let token = created(&store, draft()).await;
    // Another replica is never there, so that the deletion is done and not answered for.
    options.replicas = 2;
    options.write_timeout = Duration::from_secs(2);
    let demanding = open(options.clone()).await;
    let single = open(RedisOptions {
        replicas: 0,
        min_durability: Durability::OneSecond,
        ..options
    })
    .await;
    assert_eq!(
        single.delete(token.id, willing()).await,
        Ok(Deletion::Deleted)
    );
    let again = demanding.delete(token.id, willing()).await;
    let expected = StoreError::Unreplicated { have: 1, wanted: 2 };
    assert_eq!(again, Err(expected));
    let _second = replica_of(master.port);
    until("a second replica has it, too", async || {
        demanding.delete(token.id, willing()).await == Ok(Deletion::Absent)
    })
    .await;
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_nothing_that_others_wait_for() {
    let (master, replica, mut options) = replicated().await;
    options.write_timeout = Duration::from_secs(100);
    options.read_timeout = Duration::from_secs(100);
    let store = open(options).await;
    let token = created(&store, draft()).await;
    replica.signal("STOP");
    for _ in 0..40 {
        // More than there are connections.
        let change = store.change(token.id, keeping());
        let given_up = tokio::time::timeout(Duration::from_millis(20), change).await;
        assert!(given_up.is_err());
    }
    until("nothing waits for the replica any more", async || {
        !waits(&master).await
    })
    .await;
    replica.signal("CONT");
    let kept = store.change(token.id, keeping()).await;
    assert!(matches!(kept, Ok(Change::Kept(..))), "{kept:?}");
}

#[tokio::test]
async fn waiting_for_replicas_takes_no_further_exchanges() {
    let (_master, _replica, options) = replicated().await;
    let alone = RedisOptions {
        replicas: 0,
        min_durability: Durability::OneSecond,
        ..options.clone()
    };
    let mut costs = Vec::new();
    for mut options in [alone.clone(), options, alone] {
        // A second one may come up later, and what is known is read anew then.
        options.connections = 1;
        let store = open(options).await;
        // The first ones make what the later ones find.
        created(&store, lasting()).await;
        let (_, lease, _) = granted(&store).await;
        release(&store, lease).await.unwrap();
        let begun = store.round_trips();
        let token = created(&store, lasting()).await;
        let (_, lease, _) = granted(&store).await;
        let kept = store.keep_alive(&beat(lease)).await;
        assert!(matches!(kept, Ok(KeptAlive::Kept { .. })), "{kept:?}");
        release(&store, lease).await.unwrap();
        store.change(token.id, revoking("leaked")).await.unwrap();
        costs.push(store.round_trips() - begun);
    }
    assert_eq!(costs[2], costs[1], "{costs:?}");
}

#[tokio::test]
async fn who_demands_replicas_gets_a_file_beside_them() {
    let (master, _replica, mut options) = replicated().await;
    options.replicas = 0;
    let why = refusal(&RedisStore::start(options.clone()).unwrap()).await;
    assert!(why.contains("store.replicas = 0"), "{why}");
    options.replicas = 1;
    let () = master.ask(&["CONFIG", "SET", "appendonly", "no"]).await;
    let why = refusal(&RedisStore::start(options.clone()).unwrap()).await;
    assert!(why.contains("appendonly no"), "{why}");
    let () = master.ask(&["CONFIG", "SET", "appendonly", "yes"]).await;
    options.min_durability = Durability::Strict;
    let why = refusal(&RedisStore::start(options).unwrap()).await;
    assert!(why.contains("everysec"), "{why}");
}
