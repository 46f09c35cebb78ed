//! Where a replica takes over: what was answered is there where replicas were waited for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use token_authority::domain::lease::LeaseId;
use token_authority::domain::token::TokenId;
use token_authority::store::leases::{Acquired, Released};
use token_authority::store::redis::{RedisOptions, RedisStore, init};
use token_authority::store::{Change, Creation, Found, LeaseStore, StoreStatus, TokenStore};

use crate::kit::{created, open, patient, until};
use crate::replication::{LONG, followed, granted, master, release, replica_of};
use crate::support::drafts::{draft, revoking};
use crate::support::leases::{asking_for, lasting, lease_id, pool};
use crate::switch::Switch;

/// A lease that was answered, and whether its release was.
#[derive(Clone, Copy)]
struct Grant {
    lease: LeaseId,
    fence: u64,
    /// When the call began and when it was answered, by a count of all such moments.
    begun: u64,
    answered: u64,
    released: bool,
}

/// What was answered by all workers.
#[derive(Default)]
struct Ledger {
    moments: AtomicU64,
    failures: AtomicU64,
    answers: AtomicU64,
    over: AtomicBool,
    grants: Mutex<Vec<Grant>>,
    revoked: Mutex<Vec<TokenId>>,
}

impl Ledger {
    fn moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::SeqCst)
    }

    fn failed(&self) {
        self.failures.fetch_add(1, Ordering::SeqCst);
    }

    async fn comes_to(&self, what: &str, count: &AtomicU64, more: u64) {
        let goal = count.load(Ordering::SeqCst) + more;
        until(what, async || count.load(Ordering::SeqCst) >= goal).await;
    }

    /// Acquires, releases, creates and revokes until it is over.
    async fn fill(&self, store: &RedisStore) {
        let mut round = 0u64;
        while !self.over.load(Ordering::SeqCst) {
            round += 1;
            let begun = self.moment();
            match store.acquire(&asking_for(&pool("gpu"), LONG)).await {
                Ok(Acquired::Granted { token, lease, .. }) => {
                    let lease_id = lease_id(&token, &lease);
                    let answered = self.moment();
                    let released = match release(store, lease_id).await {
                        Ok(Released::Ended { before: false, .. }) => true,
                        Ok(other) => panic!("a lease was lost: {other:?}"),
                        Err(_) => false,
                    };
                    self.grants.lock().unwrap().push(Grant {
                        lease: lease_id,
                        fence: lease.fence,
                        begun,
                        answered,
                        released,
                    });
                    self.answers.fetch_add(1, Ordering::SeqCst);
                }
                Ok(Acquired::Busy { .. }) => {}
                Ok(other) => panic!("the pool was lost: {other:?}"),
                Err(_) => {
                    self.failed();
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            if round.is_multiple_of(4) {
                match store.create(draft()).await {
                    Ok(Creation::Created(token)) => {
                        match store.change(token.id, revoking("leaked")).await {
                            Ok(Change::Changed(_)) => self.revoked.lock().unwrap().push(token.id),
                            Ok(other) => panic!("a token was lost: {other:?}"),
                            Err(_) => self.failed(),
                        }
                    }
                    Ok(other) => panic!("a new token was refused: {other:?}"),
                    Err(_) => self.failed(),
                }
            }
        }
    }
}

impl Ledger {
    /// Asserts that the store knows all that was answered.
    async fn holds_in(&self, store: &RedisStore) {
        let grants = self.grants.lock().unwrap().clone();
        for grant in &grants {
            let live = standing(store, grant.lease).await;
            let kept = !grant.released || live == Some(false);
            assert!(kept, "a release was undone");
            let of_token = |later: &&Grant| later.lease.token == grant.lease.token;
            for later in grants.iter().filter(of_token) {
                let ordered = later.begun <= grant.answered || later.fence > grant.fence;
                assert!(ordered, "fence {} came after {}", later.fence, grant.fence);
            }
        }
        let revoked = self.revoked.lock().unwrap().clone();
        assert!(revoked.len() > 50, "{}", revoked.len());
        for id in revoked {
            let token = found(store, id).await.token;
            let kept = token.is_some_and(|token| token.revoked.is_some());
            assert!(kept, "a revocation was undone");
        }
    }
}

/// What stands there; a link may be found out to have been cut only when it is used.
async fn found(store: &RedisStore, id: TokenId) -> Found {
    let mut found = None;
    until("a link is whole", async || {
        found = store.find(id).await.ok();
        found.is_some()
    })
    .await;
    found.unwrap()
}

/// Whether a lease is live as the store has it now; `None` where its token is not there.
async fn standing(store: &RedisStore, lease: LeaseId) -> Option<bool> {
    let found = found(store, lease.token).await;
    let token = found.token?;
    let live = token.tenure.as_ref()?.live(found.now);
    Some(live.is_some_and(|live| live.mark == lease.mark))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_outlives_the_master_and_fences_keep_growing() {
    let mut master = master();
    let between = Switch::to(master.port).await;
    let next = replica_of(between.port);
    let after_next = replica_of(next.port);
    let door = Switch::to(master.port).await;
    let mut options = patient(RedisOptions::new(door.url()));
    options.replicas = 1;
    options.write_timeout = Duration::from_secs(2);
    init(&options).await.unwrap();
    followed(&master).await;
    followed(&next).await;
    let store = Arc::new(open(options).await);
    for _ in 0..64 {
        created(&store, lasting()).await;
    }
    let (_, held_lease, _) = granted(&store).await;
    let ledger = Arc::new(Ledger::default());
    let workers: Vec<_> = (0..6)
        .map(|_| {
            let (ledger, store) = (Arc::clone(&ledger), Arc::clone(&store));
            tokio::spawn(async move { ledger.fill(&store).await })
        })
        .collect();
    ledger
        .comes_to("many acts are answered", &ledger.answers, 200)
        .await;
    between.hold();
    // What the master took from here on the replica never gets.
    ledger
        .comes_to("acts fail for want of the replica", &ledger.failures, 6)
        .await;
    master.kill();
    between.turn_to(next.port);
    let () = next.ask(&["REPLICAOF", "NO", "ONE"]).await;
    followed(&next).await;
    door.turn_to(next.port);
    ledger
        .comes_to("many acts are answered again", &ledger.answers, 200)
        .await;
    ledger.over.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.await.unwrap();
    }
    drop(after_next);
    ledger.holds_in(&store).await;
    assert_eq!(standing(&store, held_lease).await, Some(true));
}

/// How many of the leases that were answered while the replica got nothing are lost with the master.
async fn lost_with_the_master(replicas: usize) -> (usize, usize) {
    let mut master = master();
    let between = Switch::to(master.port).await;
    let next = replica_of(between.port);
    let door = Switch::to(master.port).await;
    let mut options = patient(RedisOptions::new(door.url()));
    options.replicas = replicas;
    options.write_timeout = Duration::from_secs(2);
    init(&options).await.unwrap();
    followed(&master).await;
    let store = open(options.clone()).await;
    for _ in 0..20 {
        created(&store, lasting()).await;
    }
    // The replica has the tokens, however it is waited for.
    followed(&master).await;
    between.hold();
    let mut answered = Vec::new();
    for _ in 0..3 {
        if let Ok(Acquired::Granted { token, lease, .. }) =
            store.acquire(&asking_for(&pool("gpu"), LONG)).await
        {
            answered.push(lease_id(&token, &lease));
        }
    }
    master.kill();
    between.turn_to(next.port);
    let () = next.ask(&["REPLICAOF", "NO", "ONE"]).await;
    door.turn_to(next.port);
    until("the store is usable again", async || {
        store.confirm().await.is_ok()
    })
    .await;
    let mut lost = 0;
    for lease in &answered {
        lost += usize::from(standing(&store, *lease).await != Some(true));
    }
    (answered.len(), lost)
}

#[tokio::test]
async fn leases_are_lost_with_the_master_where_replicas_are_not_waited_for() {
    assert_eq!(lost_with_the_master(0).await, (3, 3));
    assert_eq!(lost_with_the_master(1).await, (0, 0));
}
