//! No more passes than may, and no less: over any interval, at how many servers, whoever dies.

use std::time::Duration;

use token_authority::transport::grpc::pb::Verdict;
use tokio::task::JoinSet;

use crate::checker::worst;
use crate::sites::Site;
use crate::uses::{Callers, YEAR, limited, made, passed, rate, unknown, use_once};

/// A limit that is small against what is asked, and large enough for batches.
const THOUSAND: u64 = 1000;

async fn two_thousand_at_once(site: &Site) {
    let hundred = limited(rate(100, Duration::from_secs(3600), 0));
    let (_, secret) = made(site, hundred).await;
    let clients = site.clients();
    let mut calls = JoinSet::new();
    for number in 0..2000 {
        let (mut client, secret) = (clients[number % clients.len()].clone(), secret.clone());
        calls.spawn(async move { use_once(&mut client, &secret, 1).await });
    }
    let uses = calls.join_all().await;
    let refused = uses
        .iter()
        .filter(|made| made.verdict == Some(Verdict::RateLimited));
    assert_eq!((passed(&uses), refused.count()), (100, 1900));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_of_two_thousand_calls_at_once_pass_over_four_servers() {
    two_thousand_at_once(&Site::four().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_of_two_thousand_calls_at_once_pass_at_one_server() {
    two_thousand_at_once(&Site::one().await).await;
}

async fn all_of_a_limit_can_be_used(site: &Site) {
    for _ in 0..3 {
        let (_, secret) = made(site, limited(rate(THOUSAND, YEAR, 0))).await;
        // What comes back too late, as it may where the machine is busy, stays spent.
        let lost_before = site.sum("permits_lost_total");
        let callers = Callers::at(site, 4, &secret, &[1]);
        callers.until_passed(THOUSAND / 2).await;
        let passed = passed(&callers.exhaust(site, &secret).await);
        assert!(passed <= THOUSAND, "{passed}");
        let lost = site.sum("permits_lost_total") - lost_before;
        assert!(passed as f64 + lost >= THOUSAND as f64, "{passed} {lost}");
    }
    assert!(
        site.sum("permits_used_total") > 0.0,
        "nothing was taken ahead"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_a_limit_and_no_more_can_be_used_over_four_servers() {
    all_of_a_limit_can_be_used(&Site::four().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_a_limit_and_no_more_can_be_used_at_one_server() {
    all_of_a_limit_can_be_used(&Site::one().await).await;
}

/// How fast the limit is that is asked for more than it allows, in units of cost each second.
const FAST: u64 = 10_000;
const FAST_BURST: u64 = 4_000;

async fn no_interval_has_too_many(site: &Site) {
    let limit = rate(FAST, Duration::from_secs(1), FAST_BURST);
    let (_, secret) = made(site, limited(limit)).await;
    // Dear uses, so that few of them are too many.
    let callers = Callers::at(
        site,
        24 / site.authorities.len(),
        &secret,
        &[100, 2, 20, 200],
    );
    let more_than_comes_back = 4 * FAST;
    callers.until_passed(more_than_comes_back).await;
    let uses = callers.off().await;
    let refused = uses
        .iter()
        .filter(|made| made.verdict == Some(Verdict::RateLimited));
    assert!(refused.count() > 0, "it was never too much");
    if let Some(excess) = worst(&uses, FAST_BURST, FAST as f64) {
        panic!("{excess}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_interval_has_more_than_may_pass_over_four_servers() {
    no_interval_has_too_many(&Site::four().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_interval_has_more_than_may_pass_at_one_server() {
    no_interval_has_too_many(&Site::one().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_killed_let_nothing_pass_twice() {
    let mut site = Site::four().await;
    let (_, secret) = made(&site, limited(rate(4 * THOUSAND, YEAR, 0))).await;
    let callers = Callers::at(&site, 4, &secret, &[1]);
    for round in 1..=3 {
        callers.until_passed(round * THOUSAND).await;
        let at = usize::try_from(round).unwrap();
        site.authorities[at].kill();
        site.authorities[at].start();
        site.authorities[at].serving(true).await;
    }
    callers.until_refused().await;
    let uses = callers.off().await;
    let (passed, unknown) = (passed(&uses), unknown(&uses));
    assert!(passed <= 4 * THOUSAND, "{passed}");
    // Three were killed, each with one batch at the most, and four others may hold some still.
    let held = 7 * (4 * THOUSAND / 80);
    assert!(
        passed + unknown + held >= 4 * THOUSAND,
        "{passed} {unknown}"
    );
}
