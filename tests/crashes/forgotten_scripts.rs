//! A Redis that forgets its scripts all the time: nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use token_authority::transport::grpc::pb::Verdict;
use tokio::task::JoinHandle;

use crate::callers::rotation;
use crate::harness::{Client, create, presenting, verdict};
use crate::kit::{by_id, connect, deletion, found, marked_redis, rounds, serving_over};
use crate::ledger::{Facts, Purse};

const CALLERS: usize = 6;
const FORGOTTEN_EVERY: Duration = Duration::from_millis(100);

/// Lives of tokens, one after the other, until told to stop; answers how many.
async fn live(mut client: Client, purses: Arc<[Purse; 2]>, name: String, stop: Stop) -> usize {
    let mut lives = 0;
    while !stop.is_due() {
        lives += 1;
        let facts = |step| Facts::new(format!("{name}-{lives}.{step}"), &name);
        let (token, secret) = create(&mut client, facts(0).creation()).await;
        let id = token.token_id.as_str();
        for purse in purses.iter() {
            purse.spend(&mut client).await.expect("a use");
        }
        let update = facts(1).update(id);
        client.update(update).await.expect("a change");
        let rotate = rotation(id, &format!("rotate {name} {lives}"));
        let rotated = client.rotate(rotate).await.expect("a new secret");
        let rotated = rotated.into_inner();
        assert_eq!(verdict(&mut client, &secret).await, Verdict::Superseded);
        assert_eq!(verdict(&mut client, &rotated.secret).await, Verdict::Valid);
        client.revoke(by_id(id, "")).await.expect("a revocation");
        let last = client.validate(presenting(&rotated.secret)).await;
        assert_eq!(last.unwrap().into_inner().verdict(), Verdict::Revoked);
        assert!(found(&mut client, id).await.is_some());
        client.delete(deletion(id)).await.expect("a deletion");
    }
    lives
}

/// Whether it is time to stop.
#[derive(Clone, Default)]
struct Stop(Arc<AtomicBool>);

impl Stop {
    fn is_due(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_that_are_forgotten_under_load_fail_not_a_single_call() {
    let redis = marked_redis(&[]);
    let authority = serving_over(&redis.url(), &[]).await;
    let mut root = connect(&authority);
    let purses = Arc::new([
        Purse::new(&mut root, "quota", false).await,
        Purse::new(&mut root, "both", true).await,
    ]);
    let stop = Stop::default();
    let callers: Vec<JoinHandle<usize>> = (0..CALLERS)
        .map(|n| {
            let purses = Arc::clone(&purses);
            let (client, name) = (connect(&authority), format!("c{n}"));
            tokio::spawn(live(client, purses, name, stop.clone()))
        })
        .collect();
    let mut ticks = tokio::time::interval(FORGOTTEN_EVERY);
    for _ in 0..2 * rounds() {
        ticks.tick().await;
        let () = redis.ask(&["SCRIPT", "FLUSH"]).await;
    }
    stop.0.store(true, Ordering::SeqCst);
    for caller in callers {
        assert!(caller.await.unwrap() > 0);
    }
    for purse in purses.iter() {
        purse.is_true(&mut root, 0).await;
    }
}
