//! The registry on Redis: what becomes of it, and of leases, when Redis fails, is lost, or says too little.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use token_authority::domain::coherence::registry::{Known, News, Renewal};
use token_authority::domain::coherence::{Epoch, Invalidation, ReplicaId};
use token_authority::store::redis::{RedisStore, init};
use token_authority::store::registry::{Heard, RegistryStore};
use token_authority::store::{StoreError, TokenStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::Receiver;

use crate::faults::proxy;
use crate::kit::{created, marked_server, open, until, usable};
use crate::replication::replicated;
use crate::support::drafts::draft;
use crate::support::redis_server::{RedisServer, free_port};
use crate::support::registries::{
    absent, change, changes, first, having, member, renewed, replica, standing,
};

const REGISTRY: &str = "ta:{r}:h";
const LOG: &str = "ta:{r}:l";

/// What a member says that has known an epoch for long.
fn settling(replica: ReplicaId, epoch: Epoch) -> Renewal {
    let known = Some(Known {
        epoch,
        applied: 0,
        long: true,
    });
    Renewal { replica, known }
}

/// A member that has applied what was announced, in a registry that is not settled, made by whoever
/// comes first after the earlier one was lost.
async fn is_made_anew(store: &RedisStore, one: ReplicaId, earlier: Epoch) {
    let announced = store.announce(&changes(2)).await.unwrap();
    assert_ne!(announced.epoch, earlier);
    assert!(!announced.settled);
    assert_eq!((announced.last, announced.members.len()), (2, 0));
    let told = renewed(store, &having(one, earlier, 2)).await;
    assert_eq!((told.epoch, told.last), (announced.epoch, 2));
    assert_eq!(told.news, News::DropAll);
    assert!(!told.settled);
    // It stays, and is settled by whoever has known it for long.
    assert!(!store.announce(&changes(1)).await.unwrap().settled);
    renewed(store, &settling(one, announced.epoch)).await;
    let later = store.announce(&changes(1)).await.unwrap();
    assert!(later.settled && later.epoch == announced.epoch);
}

#[tokio::test]
async fn a_restarted_redis_has_another_registry_that_is_not_settled() {
    let (mut server, options) = marked_server().await;
    let () = server
        .ask(&["CONFIG", "SET", "appendfsync", "always"])
        .await;
    let store = open(options).await;
    let (one, epoch) = member(&store).await;
    assert!(store.announce(&changes(3)).await.unwrap().settled);
    server.kill();
    until("the loss is noticed", async || {
        store.renew(&having(one, epoch, 3)).await.is_err()
    })
    .await;
    server.restart();
    usable(&store).await;
    // It is still there, and nobody believes it.
    assert_eq!(server.ask::<u64>(&["EXISTS", REGISTRY]).await, 1);
    assert!(store.attendance().await.is_err());
    is_made_anew(&store, one, epoch).await;
}

#[tokio::test]
async fn a_registry_that_was_deleted_is_made_anew_and_not_settled() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let (one, epoch) = member(&store).await;
    store.announce(&changes(3)).await.unwrap();
    let () = server.ask(&["DEL", REGISTRY]).await;
    assert!(store.attendance().await.is_err());
    is_made_anew(&store, one, epoch).await;
}

#[tokio::test]
async fn whoever_lacks_what_the_log_lost_drops_all() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let (one, epoch) = member(&store).await;
    store.announce(&changes(3)).await.unwrap();
    let () = server.ask(&["DEL", LOG]).await;
    store.announce(&changes(1)).await.unwrap();
    let news = async |applied| renewed(&store, &having(one, epoch, applied)).await.news;
    assert_eq!(news(2).await, News::DropAll);
    assert!(matches!(news(3).await, News::Entries(entries) if entries.len() == 1));
}

#[tokio::test]
async fn an_emptied_redis_gives_no_lease_and_stays_empty() {
    let (server, options) = marked_server().await;
    for act in 0..4 {
        let () = server.ask(&["FLUSHALL"]).await;
        init(&options).await.unwrap();
        let store = open(options.clone()).await;
        let (one, epoch) = member(&store).await;
        let () = server.ask(&["FLUSHALL"]).await;
        let answer = match act {
            0 => store.renew(&having(one, epoch, 0)).await.map(drop),
            1 => store.renew(&first(replica())).await.map(drop),
            2 => store.announce(&changes(1)).await.map(drop),
            _ => store.strike(&absent(epoch, one, 1)).await,
        };
        let emptied =
            matches!(&answer, Err(StoreError::Unacceptable(why)) if why.contains("emptied"));
        // To strike off is to do nothing where nobody is.
        assert!(emptied || (act == 3 && answer.is_ok()), "{answer:?}");
        for _ in 0..5 {
            assert!(store.renew(&first(one)).await.is_err());
            assert!(store.announce(&changes(1)).await.is_err());
        }
        assert_eq!(server.ask::<u64>(&["DBSIZE"]).await, 0);
    }
}

#[tokio::test]
async fn a_registry_that_was_left_behind_does_not_keep_a_store_from_being_made() {
    let (server, options) = marked_server().await;
    let store = open(options.clone()).await;
    member(&store).await;
    store.announce(&changes(1)).await.unwrap();
    let () = server.ask(&["DEL", "ta:store"]).await;
    let left: BTreeSet<String> = server.ask(&["KEYS", "*"]).await;
    assert_eq!(left, [REGISTRY, LOG].map(str::to_owned).into());
    init(&options).await.unwrap();
    let store = open(options).await;
    member(&store).await;
}

#[tokio::test]
async fn a_full_redis_still_renews_and_announces() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let (one, epoch) = member(&store).await;
    let () = server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let refused = store.create(draft()).await;
    assert!(
        matches!(refused, Err(StoreError::ReadOnly(_))),
        "{refused:?}"
    );
    let told = changes(2);
    assert_eq!(store.announce(&told).await.unwrap().last, 2);
    let renewed = renewed(&store, &having(one, epoch, 0)).await;
    assert_eq!(renewed.news, News::Entries(told));
    let (other, _) = member(&store).await;
    store.strike(&absent(epoch, other, 3)).await.unwrap();
    assert_eq!(standing(&store, other).await, None);
    store.resign(one).await.unwrap();
    assert_eq!(standing(&store, one).await, None);
    // One that is made anew, too.
    let () = server.ask(&["DEL", REGISTRY]).await;
    is_made_anew(&store, one, epoch).await;
}

/// Waits until it is said that something may have been missed.
async fn interrupted(nudges: &mut Receiver<Heard>) {
    until(
        "it is said that something may have been missed",
        async || {
            let heard = tokio::time::timeout(Duration::from_millis(50), nudges.recv()).await;
            matches!(heard, Ok(Ok(Heard::Interrupted)))
        },
    )
    .await;
}

/// Announces over one store until another hears something of it.
async fn hears(teller: &RedisStore, nudges: &mut Receiver<Heard>) {
    let mut announced = Vec::new();
    until("an announcement is heard", async || {
        let change = change(7);
        announced.push(change);
        teller.announce(&[change]).await.unwrap();
        let heard = tokio::time::timeout(Duration::from_millis(50), nudges.recv()).await;
        let Ok(Ok(Heard::Nudge(nudge))) = heard else {
            return false;
        };
        announced.contains(&nudge.entries[0])
    })
    .await;
}

#[tokio::test]
async fn who_could_not_listen_for_a_while_is_told_so_and_listens_again() {
    let (server, options) = marked_server().await;
    let (store, teller) = (open(options.clone()).await, open(options).await);
    let mut nudges = store.nudges();
    member(&store).await;
    interrupted(&mut nudges).await;
    hears(&teller, &mut nudges).await;
    let killed: u64 = server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    assert!(killed >= 1);
    interrupted(&mut nudges).await;
    hears(&teller, &mut nudges).await;
}

#[tokio::test]
async fn an_ear_whose_connection_went_silent_listens_over_another() {
    let (server, mut options) = marked_server().await;
    let teller = open(options.clone()).await;
    let (port, generation) = proxy(server.port).await;
    options.url = format!("redis://127.0.0.1:{port}");
    options.read_timeout = Duration::from_millis(500);
    options.write_timeout = Duration::from_millis(500);
    let store = open(options).await;
    let mut nudges = store.nudges();
    member(&store).await;
    interrupted(&mut nudges).await;
    hears(&teller, &mut nudges).await;
    generation.fetch_add(1, Ordering::SeqCst);
    interrupted(&mut nudges).await;
    hears(&teller, &mut nudges).await;
}

#[tokio::test]
async fn what_cannot_be_understood_may_be_something_that_was_missed() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let mut nudges = store.nudges();
    let (_, epoch) = member(&store).await;
    interrupted(&mut nudges).await;
    for rubbish in ["", "x", epoch.as_str(), &format!("{epoch}12345678x")] {
        let heard: u64 = server.ask(&["PUBLISH", "ta:news", rubbish]).await;
        assert_eq!(heard, 1);
        interrupted(&mut nudges).await;
    }
}

#[tokio::test]
async fn changes_are_announced_by_whoever_may_not_send_them_around() {
    let (server, mut options) = marked_server().await;
    let () = server
        .ask(&[
            "ACL",
            "SETUSER",
            "app",
            "on",
            ">x",
            "~*",
            "+@all",
            "resetchannels",
        ])
        .await;
    options.url = format!("redis://app:x@127.0.0.1:{}", server.port);
    let store = open(options).await;
    let (one, epoch) = member(&store).await;
    let told = changes(2);
    assert_eq!(store.announce(&told).await.unwrap().last, 2);
    let news = renewed(&store, &having(one, epoch, 0)).await.news;
    assert_eq!(news, News::Entries(told));
}

#[tokio::test]
async fn without_its_replica_a_redis_gives_no_lease_and_announces_nothing() {
    let (_master, following, mut options) = replicated().await;
    options.write_timeout = Duration::from_secs(2);
    options.read_timeout = Duration::from_secs(2);
    let store = open(options).await;
    let (one, epoch) = member(&store).await;
    following.signal("STOP");
    let wanting = StoreError::Unreplicated { have: 0, wanted: 1 };
    let renewal = having(one, epoch, 0);
    let told = changes(1);
    let (renewed, announced) = tokio::join!(store.renew(&renewal), store.announce(&told));
    assert_eq!(renewed.err(), Some(wanting.clone()));
    assert_eq!(announced.err(), Some(wanting));
    following.signal("CONT");
    until("the replica has caught up", async || {
        store.renew(&renewal).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_became_a_replica_gives_no_lease() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let (one, epoch) = member(&store).await;
    let before = standing(&store, one).await;
    let nowhere = free_port().to_string();
    let () = server.ask(&["REPLICAOF", "127.0.0.1", &nowhere]).await;
    let renewed = store.renew(&having(one, epoch, 0)).await;
    assert!(
        matches!(renewed, Err(StoreError::ReadOnly(_))),
        "{renewed:?}"
    );
    assert!(store.announce(&changes(1)).await.is_err());
    let () = server.ask(&["REPLICAOF", "NO", "ONE"]).await;
    usable(&store).await;
    assert_eq!(standing(&store, one).await, before);
}

/// Forwards connections to a server, and leaves out which run of it that is.
async fn hiding_the_run(server: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move {
                let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
            });
            tokio::spawn(async move {
                let mut bytes = [0; 1 << 16];
                while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
                    let name = b"run_id:";
                    let told = &mut bytes[..count];
                    if let Some(at) = told.windows(name.len()).position(|some| some == name) {
                        told[at..at + 3].copy_from_slice(b"xxx");
                    }
                    if to_client.write_all(told).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_redis_that_does_not_name_its_run_gives_no_lease_and_each_change_waits() {
    let server = RedisServer::start();
    let mut direct = crate::kit::options(&server);
    let mut options = direct.clone();
    options.url = format!("redis://127.0.0.1:{}", hiding_the_run(server.port).await);
    init(&options).await.unwrap();
    let store = open(options).await;
    let why = store.renew(&first(replica())).await.unwrap_err();
    assert!(why.to_string().contains("run_id"), "{why}");
    created(&store, draft()).await;
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        // An epoch that was not seen before is waited for.
        let announced = store.announce(&changes(1)).await.unwrap();
        assert!(!announced.settled && seen.insert(announced.epoch));
    }
    assert_eq!(server.ask::<u64>(&["EXISTS", REGISTRY]).await, 0);
    // Whoever knows the run another way finds in the log what this one changes.
    direct.url = server.url();
    let knowing = open(direct).await;
    let (one, epoch) = member(&knowing).await;
    let told: Vec<Invalidation> = changes(2);
    store.announce(&told).await.unwrap();
    let news = renewed(&knowing, &having(one, epoch, 0)).await.news;
    assert_eq!(news, News::Entries(told));
}

#[tokio::test]
async fn what_a_later_release_keeps_beside_is_left_alone() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    member(&store).await;
    let () = server.ask(&["HSET", REGISTRY, "later", "whatever"]).await;
    let announced = store.announce(&changes(1)).await.unwrap();
    assert_eq!(announced.members.len(), 1);
    assert_eq!(store.attendance().await.unwrap().members.len(), 1);
}
