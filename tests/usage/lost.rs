//! What a server that is killed takes with it: what it counted since it last added to the store.

use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::{UsageRequest, Verdict};

use crate::harness::{create, named, presenting};
use crate::sites::Site;

/// How often what was counted is added, and how long counting and adding may take on a busy machine.
const INTERVAL: Duration = Duration::from_millis(1000);
const TAKES: Duration = Duration::from_millis(1000);
/// For how long is asked before each kill.
const ASKED_FOR: Duration = Duration::from_millis(3500);
const KILLS: usize = 3;

async fn killed_servers_take_no_more_than_an_interval_with_them(mut site: Site) {
    let (token, secret) = create(&mut site.root(), named("asked")).await;
    let mut at_risk = 0;
    let mut answered = 0;
    for _ in 0..KILLS {
        let mut client = crate::kit::connect(&site.authorities[0]);
        let begun = Instant::now();
        let mut times = Vec::new();
        while begun.elapsed() < ASKED_FOR {
            let answer = client.validate(presenting(&secret)).await.unwrap();
            assert_eq!(answer.into_inner().verdict(), Verdict::Valid);
            times.push(Instant::now());
        }
        site.authorities[0].kill();
        let killed = Instant::now();
        let recent = |at: &&Instant| killed.saturating_duration_since(**at) < INTERVAL + TAKES;
        at_risk += times.iter().filter(recent).count();
        answered += times.len();
        site.authorities[0].start();
        site.authorities[0].serving(true).await;
    }
    let request = UsageRequest {
        token_id: token.token_id,
        window: None,
    };
    let told = site.root().usage(request).await.unwrap().into_inner();
    let counted = usize::try_from(told.totals.unwrap().requests).unwrap();
    assert!(counted <= answered, "{counted} of {answered}");
    let lost = answered - counted;
    assert!(lost <= at_risk, "{lost} of {answered}, {at_risk}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_on_redis_takes_no_more_than_an_interval_with_it() {
    killed_servers_take_no_more_than_an_interval_with_them(Site::four().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_on_sqlite_takes_no_more_than_an_interval_with_it() {
    killed_servers_take_no_more_than_an_interval_with_them(Site::one().await).await;
}
