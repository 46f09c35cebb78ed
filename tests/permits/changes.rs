//! Changes of a token take effect at once, whatever was taken ahead of it.

use std::sync::Arc;

use token_authority::transport::grpc::pb::{ResetLimitsRequest, Token, UpdateRequest, Verdict};

use crate::harness::Client;
use crate::kit::by_id;
use crate::sites::Site;
use crate::uses::{Callers, Nanos, Use, YEAR, limited, made, now, only, passed, rate, use_once};

/// What a token may be used before it is changed: more than anybody asks.
const PLENTY: u64 = 10_000_000;
/// How much passes before the change, so that batches are as large as they get.
const WARM: u64 = 300;

/// A way to change a token.
#[derive(Clone, Copy, Debug)]
enum Way {
    Revoke,
    Disable,
    Narrow,
}

impl Way {
    async fn change(self, client: &mut Client, token: &Token) {
        let token_id = token.token_id.as_str();
        let update = |token, path| UpdateRequest {
            token: Some(token),
            update_mask: only(path),
            revision: None,
        };
        match self {
            Self::Revoke => drop(client.revoke(by_id(token_id, "")).await.expect("revoked")),
            Self::Disable => {
                let disabled = Token {
                    disabled: true,
                    ..token.clone()
                };
                client
                    .update(update(disabled, "disabled"))
                    .await
                    .expect("disabled");
            }
            Self::Narrow => {
                let narrow = Token {
                    rate_limits: vec![rate(1, YEAR, 0)],
                    ..token.clone()
                };
                client
                    .update(update(narrow, "rate_limits"))
                    .await
                    .expect("narrowed");
            }
        }
    }

    /// The verdict afterwards.
    fn verdict(self) -> Verdict {
        match self {
            Self::Revoke => Verdict::Revoked,
            Self::Disable => Verdict::Disabled,
            Self::Narrow => Verdict::RateLimited,
        }
    }
}

/// A token that is in use everywhere, and its users.
async fn in_use(site: &Site, burst: u64) -> (Token, Arc<str>, Callers) {
    let (token, secret) = made(site, limited(rate(burst, YEAR, 0))).await;
    let callers = Callers::at(site, 24 / site.authorities.len(), &secret, &[1]);
    callers.until_passed(WARM).await;
    (token, secret, callers)
}

fn since(uses: &[Use], at: Nanos) -> Vec<Use> {
    uses.iter()
        .copied()
        .filter(|made| made.begun >= at)
        .collect()
}

async fn are_obeyed_at_once(site: &Site) {
    for way in [Way::Revoke, Way::Disable, Way::Narrow].repeat(3) {
        let (token, secret, callers) = in_use(site, PLENTY).await;
        way.change(&mut site.root(), &token).await;
        let done = now();
        for client in &mut site.clients() {
            for _ in 0..5 {
                let made = use_once(client, &secret, 1).await;
                assert_eq!(made.verdict, Some(way.verdict()), "{way:?}");
            }
        }
        for made in since(&callers.off().await, done) {
            assert_eq!(made.verdict, Some(way.verdict()), "{way:?}");
        }
        site.is_quiet().await;
    }
    assert!(
        site.sum("permits_used_total") > 0.0,
        "nothing was taken ahead"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_obeyed_at_once_over_four_servers() {
    are_obeyed_at_once(&Site::four().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_obeyed_at_once_at_one_server() {
    are_obeyed_at_once(&Site::one().await).await;
}

/// After a reset the limit is whole, and no more than whole.
async fn begin_anew(site: &Site) {
    const BURST: u64 = 1000;
    for _ in 0..2 {
        let (token, secret, callers) = in_use(site, BURST).await;
        let lost_before = site.sum("permits_lost_total");
        let sent = now();
        let request = ResetLimitsRequest {
            token_id: token.token_id.clone(),
        };
        site.root().reset_limits(request).await.expect("reset");
        let done = now();
        let uses = callers.exhaust(site, &secret).await;
        let after = passed(&since(&uses, done));
        assert!(after <= BURST, "{after} after a reset");
        // Those that were under way meanwhile may count before or after.
        let meanwhile = uses
            .iter()
            .filter(|made| made.begun < done && made.ended > sent);
        let meanwhile = passed(&meanwhile.copied().collect::<Vec<_>>());
        // What comes back too late, as it may where the machine is busy, stays spent.
        let lost = site.sum("permits_lost_total") - lost_before;
        let all = (after + meanwhile) as f64 + lost;
        assert!(all >= BURST as f64, "{after}, {meanwhile} and {lost}");
    }
    assert!(
        site.sum("permits_used_total") > 0.0,
        "nothing was taken ahead"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_that_are_reset_are_whole_and_no_more_over_four_servers() {
    begin_anew(&Site::four().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_that_are_reset_are_whole_and_no_more_at_one_server() {
    begin_anew(&Site::one().await).await;
}
