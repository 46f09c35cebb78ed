//! Quotas: no use of them is given twice, and what was taken ahead comes back in order.

use crate::harness::get;
use crate::sites::Site;
use crate::uses::{Callers, made, metered, passed, unknown, use_once};

const QUOTA: u64 = 100_000;
/// Most that a batch may hold of it.
const BATCH: u64 = QUOTA / 100;
const WARM: u64 = 300;

async fn left(site: &Site, token_id: &str) -> u64 {
    let got = get(&mut site.root(), token_id).await;
    got.quota_remaining.expect("a quota")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_stopped_give_all_back() {
    let mut site = Site::four().await;
    let (token, secret) = made(&site, metered(QUOTA)).await;
    let callers = Callers::at(&site, 3, &secret, &[1]);
    callers.until_passed(WARM).await;
    let uses = callers.off().await;
    // While something is still held.
    let stopped = &mut site.authorities[1..];
    stopped
        .iter()
        .for_each(|authority| authority.signal("TERM"));
    for authority in stopped {
        assert_eq!(authority.exited(), Some(0));
    }
    site.authorities.truncate(1);
    site.is_quiet().await;
    assert_eq!(unknown(&uses), 0);
    assert_eq!(left(&site, &token.token_id).await, QUOTA - passed(&uses));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_and_started_has_given_all_back() {
    let mut site = Site::one().await;
    let (token, secret) = made(&site, metered(QUOTA)).await;
    let mut passed_so_far = 0;
    for _ in 0..3 {
        let callers = Callers::at(&site, 8, &secret, &[1]);
        callers.until_passed(WARM).await;
        let uses = callers.off().await;
        passed_so_far += passed(&uses);
        assert_eq!(unknown(&uses), 0);
        let authority = &mut site.authorities[0];
        assert_eq!(authority.stop("TERM").0, Some(0));
        authority.start();
        authority.serving(true).await;
        assert_eq!(left(&site, &token.token_id).await, QUOTA - passed_so_far);
    }
}

/// Kills the last server while it holds something; answers what is left, what certainly passed, and
/// what may have.
async fn killed(site: &mut Site, kills: usize) -> (u64, u64, u64) {
    let (token, secret) = made(site, metered(QUOTA)).await;
    let callers = Callers::at(site, 3, &secret, &[1]);
    for kill in 1..=kills {
        callers.until_passed(WARM * kill as u64).await;
        let authority = site.authorities.last_mut().unwrap();
        authority.kill();
        authority.start();
        authority.serving(true).await;
    }
    let uses = callers.off().await;
    site.is_quiet().await;
    let left = left(site, &token.token_id).await;
    (left, passed(&uses), unknown(&uses))
}

async fn kills_cost_a_hundredth_at_most(site: &mut Site) {
    const KILLS: usize = 3;
    let (left, passed, unknown) = killed(site, KILLS).await;
    assert!(left + passed <= QUOTA, "{left} {passed}: given twice");
    let lost = QUOTA - left - passed;
    assert!(lost <= unknown + KILLS as u64 * BATCH, "{lost} {unknown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_servers_give_nothing_twice_and_lose_little_over_four_servers() {
    kills_cost_a_hundredth_at_most(&mut Site::four().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_servers_give_nothing_twice_and_lose_little_at_one_server() {
    kills_cost_a_hundredth_at_most(&mut Site::one().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_a_quota_can_be_used_and_no_more() {
    const SMALL: u64 = 1000;
    for site in [Site::four().await, Site::one().await] {
        let (token, secret) = made(&site, metered(SMALL)).await;
        let callers = Callers::at(&site, 4, &secret, &[1]);
        callers.until_passed(SMALL - 50).await;
        let mut uses = callers.off().await;
        site.is_quiet().await;
        let mut root = site.root();
        loop {
            let last = use_once(&mut root, &secret, 1).await;
            uses.push(last);
            if !last.passed() {
                break;
            }
        }
        assert_eq!(passed(&uses), SMALL);
        assert_eq!(left(&site, &token.token_id).await, 0);
        assert!(
            site.sum("permits_used_total") > 0.0,
            "nothing was taken ahead"
        );
    }
}
