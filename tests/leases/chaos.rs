//! Workers and servers that die in the middle of it: nobody ever holds what another holds.

use std::sync::Arc;
use std::time::Duration;

use token_authority::store::Store;
use token_authority::transport::grpc::pb::{self, CreateRequest};

use crate::checker::{Wrong, judge};
use crate::doors::{Door, Inside, Wire};
use crate::harness::{Authority, Client, ROOT_TOKEN, mark, span};
use crate::history::History;
use crate::sites::Site;
use crate::support::leases::pool;
use crate::support::redis_server::RedisServer;
use crate::twin::{Fault, Twin};
use crate::workers::{Plan, run};
use crate::{draw, repetitions};

const REPLICAS: usize = 4;
const DYING: u32 = 10;

fn plan() -> Plan {
    Plan {
        workers: 200,
        tokens: 50,
        time: Duration::from_secs(5) * repetitions(),
        dying: DYING,
    }
}

/// Checks that a history is right, and that enough happened in it.
fn is_right(history: &History, plan: &Plan) {
    let wrong = judge(history, plan.tokens);
    assert!(
        wrong.is_empty(),
        "{} wrongs: {:?}",
        wrong.len(),
        &wrong[..wrong.len().min(9)]
    );
    let late = history.holds.iter().filter(|hold| {
        let mut sent = hold.releases.iter().map(|release| release.sent);
        sent.any(|sent| hold.granted.until < sent)
    });
    assert!(late.count() > 10, "nobody was late");
}

/// A fault that must be noticed as what it is.
async fn twin(fault: Fault) -> Vec<Wrong> {
    let plan = Plan {
        workers: 60,
        tokens: 15,
        time: Duration::from_secs(3),
        dying: DYING,
    };
    let twin = Arc::new(Twin::new(fault, plan.tokens));
    let door: Arc<dyn Door> = twin.clone();
    let history = run(&plan, &[door], async || twin.restart()).await;
    if fault == Fault::Nothing {
        is_right(&history, &plan);
    }
    judge(&history, plan.tokens)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_twin_passes() {
    assert_eq!(twin(Fault::Nothing).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_that_counts_over_a_lost_restart_is_caught() {
    let wrong = twin(Fault::CountedFence).await;
    assert!(
        wrong
            .iter()
            .any(|wrong| matches!(wrong, Wrong::Fence { .. }))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_ignores_its_lease_is_caught() {
    let wrong = twin(Fault::CarelessRelease).await;
    assert!(
        wrong
            .iter()
            .any(|wrong| matches!(wrong, Wrong::Overlap { .. }))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweeper_that_decides_is_caught() {
    let wrong = twin(Fault::DecidingSweeper).await;
    assert!(
        wrong
            .iter()
            .any(|wrong| matches!(wrong, Wrong::LateBeat { .. }))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_counted_twice_is_caught() {
    let wrong = twin(Fault::CountedTwice).await;
    assert!(wrong.iter().any(|wrong| matches!(wrong, Wrong::Counts(_))));
}

async fn inside(site: Site) {
    let plan = plan();
    site.fill(plan.tokens).await;
    let door = |store: &Arc<dyn Store>| -> Arc<dyn Door> {
        Arc::new(Inside {
            store: store.clone(),
            pool: pool("gpu"),
        })
    };
    let doors: Vec<Arc<dyn Door>> = site.stores.iter().map(door).collect();
    let history = run(&plan, &doors, async || {}).await;
    is_right(&history, &plan);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_holds_what_another_holds_over_sqlite() {
    inside(Site::on_sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_holds_what_another_holds_over_redis() {
    inside(Site::on_redis(REPLICAS).await).await;
}

/// Fills the pool of a running authority.
async fn fill_by_wire(client: &mut Client, plan: &Plan) {
    for number in 0..plan.tokens {
        let request = CreateRequest {
            name: format!("seat {number}"),
            pool: "gpu".to_owned(),
            keep_alive_ttl: Some(span(Duration::ZERO)),
            ..CreateRequest::default()
        };
        let _: pb::CreateResponse = client.create(request).await.unwrap().into_inner();
    }
}

/// Servers that listen on ports of their own, of which one after the other is killed.
async fn across(mut authorities: Vec<Authority>) {
    let plan = Plan {
        // Who waits in a server that dies keeps its place for 3 s. So servers die at longer intervals,
        // or the dead fill the head of the queue for ever, and nothing happens.
        dying: 5 * DYING,
        ..plan()
    };
    let mut doors: Vec<Arc<dyn Door>> = Vec::new();
    for authority in &mut authorities {
        authority.start();
        let mut client = authority.root().await;
        if doors.is_empty() {
            fill_by_wire(&mut client, &plan).await;
        }
        doors.push(Arc::new(Wire {
            client: authority.client(Some(ROOT_TOKEN)),
            pool: "gpu".to_owned(),
        }));
    }
    let mut kills = 0;
    let history = run(&plan, &doors, async || {
        let at = draw(authorities.len());
        authorities[at].kill();
        authorities[at].start();
        kills += 1;
    })
    .await;
    is_right(&history, &plan);
    assert!(kills > 1, "{kills}");
}

/// One that comes back where it was.
fn lasting(authority: Authority) -> Authority {
    let port = crate::support::redis_server::free_port();
    let place = format!("127.0.0.1:{port}");
    authority
        .listening_on(&place)
        .with(&["--set", "log.filter=info"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_on_sqlite_lets_nobody_hold_what_another_holds() {
    across(vec![lasting(Authority::before_sqlite_start())]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_replicas_on_redis_let_nobody_hold_what_another_holds() {
    let redis = RedisServer::start();
    mark(&redis);
    let replica = |_| lasting(Authority::over(&redis.url()));
    across((0..REPLICAS).map(replica).collect()).await;
}
