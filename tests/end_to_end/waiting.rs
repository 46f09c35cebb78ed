//! Waiting for a lease: in order, woken in time, and no longer than anybody wants.

use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    AcquireRequest, AcquireResponse, CreateRequest, RevokeRequest, Token,
};
use tokio::task::JoinHandle;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

use crate::harness::{Authority, Client, PATIENCE, create, named, out_of_time, span, told, update};
use crate::leasing::{Held, acquire, any, fill, lease_for, pooled, release, standing, waiting};
use crate::scrape::Scrape;

const SECOND: Duration = Duration::from_secs(1);
/// Sooner than a call that nothing woke asks again, and long enough for a busy machine.
const SOON: Duration = Duration::from_millis(800);

type Answer = Result<Response<AcquireResponse>, Status>;

fn spawned(client: &Client, request: AcquireRequest) -> JoinHandle<Answer> {
    let mut client = client.clone();
    tokio::spawn(async move { client.acquire(request).await })
}

/// Waits until so many calls wait.
async fn queued(client: &mut Client, count: u64) {
    let patience = Instant::now() + PATIENCE;
    loop {
        let found = standing(client).await[3];
        if found == count {
            return;
        }
        assert!(Instant::now() < patience, "{found} wait, not {count}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn who_waits_longest_is_served_first_and_at_once(authority: Authority) {
    let mut root = authority.root().await;
    fill(&mut root, 1).await;
    let mut held = acquire(&mut root, any()).await;
    let mut queue = Vec::new();
    for place in 0..5_u64 {
        let request = AcquireRequest {
            holder: place.to_string(),
            ..waiting(60 * SECOND)
        };
        queue.push(spawned(&root, request));
        queued(&mut root, place + 1).await;
    }
    let full = root.acquire(any()).await.unwrap_err();
    assert_eq!(
        told(&full),
        (Code::ResourceExhausted, "POOL_EXHAUSTED".to_owned())
    );
    let mut quick = 0;
    for (place, waiter) in queue.into_iter().enumerate() {
        release(&mut root, held.release()).await.unwrap();
        let released = Instant::now();
        held = Held::of(waiter.await.unwrap().expect("a lease").into_inner());
        quick += u32::from(released.elapsed() < SOON);
        assert_eq!(held.lease.holder, place.to_string());
    }
    let scrape = Scrape::of(&authority);
    let counted = [
        "granted_total",
        "ended_total{reason=\"released\"}",
        "refused_total",
        "waiting",
    ];
    let counted = counted.map(|name| scrape.value(&format!("leases_{name}")));
    assert_eq!(counted, [6.0, 5.0, 1.0, 0.0]);
    assert!(
        quick >= 4,
        "woken by the release, not by a clock: {quick} of 5"
    );
    assert_eq!(standing(&mut root).await, [0, 1, 0, 0]);
}

pub(crate) async fn a_lease_that_ends_by_itself_is_the_next_ones(authority: Authority) {
    let mut root = authority.root().await;
    fill(&mut root, 1).await;
    let held = acquire(&mut root, lease_for(2 * SECOND)).await;
    let next = acquire(&mut root, waiting(30 * SECOND)).await;
    let gap = crate::leasing::micros(&next.lease.acquire_time)
        - crate::leasing::micros(&held.lease.expire_time);
    assert!(gap >= 0, "never two holders");
    assert!(gap < 700_000, "at the instant of the end: {gap} µs");
}

pub(crate) async fn a_wait_is_over_at_its_end(authority: Authority) {
    let mut root = authority.root().await;
    fill(&mut root, 1).await;
    acquire(&mut root, any()).await;
    let begun = Instant::now();
    let error = root.acquire(waiting(SECOND)).await.unwrap_err();
    assert!(begun.elapsed() >= SECOND);
    assert_eq!(
        told(&error),
        (Code::ResourceExhausted, "POOL_EXHAUSTED".to_owned())
    );
    let retry = error.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(retry > 10 * SECOND && retry < 60 * SECOND, "{retry:?}");
    assert_eq!(standing(&mut root).await, [0, 1, 0, 0]);
}

pub(crate) async fn who_gives_up_leaves_the_queue_and_takes_nothing(authority: Authority) {
    let mut root = authority.root().await;
    fill(&mut root, 1).await;
    let held = acquire(&mut root, any()).await;
    let gone = spawned(&root, waiting(600 * SECOND));
    queued(&mut root, 1).await;
    let mut hasty = Request::new(waiting(600 * SECOND));
    hasty.set_timeout(Duration::from_millis(300));
    let late = root.acquire(hasty).await.unwrap_err();
    assert!(out_of_time(&late), "{late:?}");
    let next = spawned(&root, waiting(60 * SECOND));
    queued(&mut root, 2).await;
    gone.abort();
    queued(&mut root, 1).await;
    release(&mut root, held.release()).await.unwrap();
    let next = Held::of(next.await.unwrap().expect("a lease").into_inner());
    release(&mut root, next.release()).await.unwrap();
    assert_eq!(standing(&mut root).await, [1, 0, 0, 0]);
}

pub(crate) async fn a_token_that_comes_to_the_pool_wakes_who_waits(authority: Authority) {
    let mut root = authority.root().await;
    fill(&mut root, 1).await;
    acquire(&mut root, any()).await;
    let waiter = spawned(&root, waiting(60 * SECOND));
    queued(&mut root, 1).await;
    let (token, _) = create(&mut root, pooled()).await;
    let held = Held::of(waiter.await.unwrap().expect("a lease").into_inner());
    assert_eq!(held.token.token_id, token.token_id);
}

pub(crate) async fn a_stop_does_not_wait_for_those_who_wait(mut authority: Authority) {
    let mut root = authority.root().await;
    fill(&mut root, 1).await;
    acquire(&mut root, any()).await;
    let waiters = [1, 2].map(|_| spawned(&root, waiting(600 * SECOND)));
    queued(&mut root, 2).await;
    let (code, took) = authority.stop("TERM");
    assert_eq!(code, Some(0), "{}", authority.log());
    assert!(took < 8 * SECOND, "it waited for its deadline: {took:?}");
    for waiter in waiters {
        let end = waiter.await.unwrap().unwrap_err();
        assert_eq!(told(&end), (Code::Unavailable, "DRAINING".to_owned()));
    }
    authority.start();
    let mut root = authority.root().await;
    queued(&mut root, 0).await;
}

pub(crate) async fn no_more_wait_than_may_and_others_are_served_meanwhile(
    mut authority: Authority,
) {
    authority.stop("TERM");
    let settings = ["leases.max_waiting=8", "limits.calls_in_flight=6"];
    let flags = settings.map(|setting| ["--set", setting]).concat();
    let mut authority = authority.with(&flags);
    authority.start();
    let mut root = authority.root().await;
    fill(&mut root, 1).await;
    let held = acquire(&mut root, any()).await;
    let mut waiters = Vec::new();
    for place in 1..=8 {
        waiters.push(spawned(&root, waiting(60 * SECOND)));
        queued(&mut root, place).await;
    }
    let error = root.acquire(waiting(60 * SECOND)).await.unwrap_err();
    let many = (Code::ResourceExhausted, "TOO_MANY_WAITING".to_owned());
    assert_eq!(told(&error), many);
    let info = error.get_details_error_info().unwrap();
    assert_eq!(info.metadata["limit"], "8");
    assert!(error.get_details_retry_info().is_some());
    let mut held = held;
    while let Some(waiter) = (!waiters.is_empty()).then(|| waiters.remove(0)) {
        release(&mut root, held.release()).await.unwrap();
        held = Held::of(waiter.await.unwrap().expect("a lease").into_inner());
    }
    release(&mut root, held.release()).await.unwrap();
    let there = AcquireRequest {
        wait: Some(span(SECOND)),
        ..any()
    };
    acquire(&mut root, there).await;
}

pub(crate) async fn a_wait_may_outlast_every_deadline_of_other_calls(mut authority: Authority) {
    authority.stop("TERM");
    let settings = ["limits.call_deadline=1s", "limits.stall_timeout=500ms"];
    let flags = settings.map(|setting| ["--set", setting]).concat();
    let mut authority = authority.with(&flags);
    authority.start();
    let mut root = authority.root().await;
    fill(&mut root, 1).await;
    acquire(&mut root, lease_for(6 * SECOND)).await;
    acquire(&mut root, waiting(30 * SECOND)).await;
}

pub(crate) async fn who_loses_the_right_while_waiting_gets_nothing(authority: Authority) {
    let mut root = authority.root().await;
    fill(&mut root, 1).await;
    let held = acquire(&mut root, any()).await;
    let mut waiters = Vec::new();
    for place in 1..=2 {
        let request = CreateRequest {
            scopes: vec!["authority:lease".to_owned()],
            ..named("worker")
        };
        let (token, secret) = create(&mut root, request).await;
        let worker = authority.client(Some(&secret));
        waiters.push((token, spawned(&worker, waiting(60 * SECOND))));
        queued(&mut root, place).await;
    }
    let next = spawned(&root, waiting(60 * SECOND));
    queued(&mut root, 3).await;
    let target = Some(Target::TokenId(waiters[0].0.token_id.clone()));
    let reason = String::new();
    root.revoke(RevokeRequest { target, reason }).await.unwrap();
    let without = Token {
        scopes: vec!["authority:read".to_owned()],
        ..waiters[1].0.clone()
    };
    update(&mut root, &without, &["scopes"]).await;
    release(&mut root, held.release()).await.unwrap();
    next.await
        .unwrap()
        .expect("it does not wait for their leases");
    for ((_, waiter), expected) in waiters.into_iter().zip([
        (Code::Unauthenticated, "CREDENTIAL_INVALID"),
        (Code::PermissionDenied, "PERMISSION_MISSING"),
    ]) {
        let end = waiter.await.unwrap().unwrap_err();
        assert_eq!(told(&end), (expected.0, expected.1.to_owned()));
    }
    assert_eq!(standing(&mut root).await, [0, 1, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_those_who_wait_leave_the_queue_of_a_slow_store() {
    let mut authority = Authority::on_redis();
    let mut root = authority.root().await;
    fill(&mut root, 1).await;
    acquire(&mut root, any()).await;
    let waiter = spawned(&root, waiting(600 * SECOND));
    queued(&mut root, 1).await;
    authority.redis().signal("STOP");
    authority.signal("TERM");
    // Longer than the last bytes of finished calls may take.
    tokio::time::sleep(Duration::from_millis(600)).await;
    authority.redis().signal("CONT");
    let end = waiter.await.unwrap().unwrap_err();
    assert_eq!(told(&end), (Code::Unavailable, "DRAINING".to_owned()));
    assert_eq!(authority.exited(), Some(0), "{}", authority.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_is_one_over_all_servers() {
    let one = Authority::on_redis();
    let mut root = one.root().await;
    let other = Authority::beside(&one);
    let mut there = other.root().await;
    fill(&mut root, 1).await;
    let mut held = acquire(&mut root, any()).await;
    let mut queue = Vec::new();
    for place in 0..4_u64 {
        let client = if place % 2 == 0 { &there } else { &root };
        let request = AcquireRequest {
            holder: place.to_string(),
            ..waiting(60 * SECOND)
        };
        queue.push(spawned(client, request));
        queued(&mut root, place + 1).await;
    }
    for (place, waiter) in queue.into_iter().enumerate() {
        release(&mut there, held.release()).await.unwrap();
        held = Held::of(waiter.await.unwrap().expect("a lease").into_inner());
        assert_eq!(held.lease.holder, place.to_string());
    }
}
