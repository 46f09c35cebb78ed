//! Whoever keeps to 95 % of a limit is never refused, and what is slow is counted use by use.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::sites::Site;
use crate::uses::{Nanos, Use, limited, made, now, passed, rate, use_once};

const FAST: u64 = 10_000;
const COST: u64 = 10;
/// How much passes at such a pace before it is enough.
const ENOUGH: u64 = 5 * FAST;

/// 95 % of a limit, as callers keep to it who share it: whatever was asked counts in full until it is
/// answered, and drains only then. So they keep to it whenever in between the use was made.
struct Pacer(Mutex<Paced>);

struct Paced {
    /// Asked, and not yet answered.
    asked: f64,
    backlog: f64,
    at: Nanos,
}

impl Pacer {
    fn drained(&self) -> std::sync::MutexGuard<'_, Paced> {
        let mut paced = self.0.lock().unwrap();
        let at = now();
        let gone = (at - paced.at) as f64 / 1e9 * FAST as f64 * 0.95;
        paced.backlog = (paced.backlog - gone).max(0.0);
        paced.at = at;
        paced
    }

    fn may_ask(&self) -> bool {
        let mut paced = self.drained();
        let may = paced.asked + paced.backlog + COST as f64 <= 0.95 * FAST as f64;
        if may {
            paced.asked += COST as f64;
        }
        may
    }

    fn answered(&self) {
        let mut paced = self.drained();
        paced.asked -= COST as f64;
        paced.backlog += COST as f64;
    }
}

async fn nobody_is_refused_who_keeps_to_95_percent(site: &Site) {
    let limit = rate(FAST, Duration::from_secs(1), 0);
    let (_, secret) = made(site, limited(limit)).await;
    let paced = Paced {
        asked: 0.0,
        backlog: 0.0,
        at: now(),
    };
    let pacer = Arc::new(Pacer(Mutex::new(paced)));
    let clients = site.clients();
    let mut calling = JoinSet::new();
    for number in 0..16 {
        let (mut client, secret) = (clients[number % clients.len()].clone(), secret.clone());
        let pacer = pacer.clone();
        calling.spawn(async move {
            let mut uses: Vec<Use> = Vec::new();
            while passed(&uses) < ENOUGH / 16 {
                if pacer.may_ask() {
                    uses.push(use_once(&mut client, &secret, COST).await);
                    pacer.answered();
                } else {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            uses
        });
    }
    let uses = calling.join_all().await.concat();
    let refused: Vec<_> = uses.iter().filter(|made| !made.passed()).collect();
    assert!(
        refused.is_empty(),
        "{} of {}: {refused:?}",
        refused.len(),
        uses.len()
    );
    assert!(
        site.sum("permits_used_total") > 0.0,
        "nothing was taken ahead"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_refused_who_keeps_to_95_percent_over_four_servers() {
    nobody_is_refused_who_keeps_to_95_percent(&Site::four().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_refused_who_keeps_to_95_percent_at_one_server() {
    nobody_is_refused_who_keeps_to_95_percent(&Site::one().await).await;
}

/// What is used now and then is taken use by use, and so is what has a small limit, however often it is
/// used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_tokens_and_small_limits_go_one_use_at_a_time() {
    let site = Site::four().await;
    let (_, slow) = made(&site, limited(rate(FAST, Duration::from_secs(1), 0))).await;
    let (_, small) = made(&site, limited(rate(159, Duration::from_secs(1), 0))).await;
    for client in &mut site.clients() {
        for _ in 0..10 {
            let made = use_once(client, &slow, 1).await;
            assert!(made.passed());
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        for _ in 0..100 {
            use_once(client, &small, 1).await;
        }
    }
    assert_eq!(site.sum("permit_batches_total"), 0.0);
}
