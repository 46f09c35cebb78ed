//! The scenarios that every client passes against the real authority.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use support::{Authority, BRIEF, Flaky, GET, SECONDS_MAX, Shop, TAIL, told, until};
use token_authority_client::{
    AUTHORITY_UNAVAILABLE, Fence, HeldLease, LeaseLost, Policy, Worker,
    pb::{AcquireRequest, CreateRequest, CreateResponse, RateLimit},
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A small part of how long the answer could have been repeated.
const WATCH_MAX: Duration = Duration::from_secs(10);
const WAIT_MAX: Duration = Duration::from_secs(SECONDS_MAX);

fn id(made: &CreateResponse) -> String {
    made.token.as_ref().unwrap().token_id.clone()
}

fn unavailable() -> (Code, String) {
    (Code::Unavailable, AUTHORITY_UNAVAILABLE.to_owned())
}

#[track_caller]
fn refused<T>(answer: Result<T, Status>) -> (Code, String) {
    told(&answer.map(|_| ()).expect_err("it passed"))
}

async fn guarded(authority: &Authority, policy: Policy) -> Shop {
    Shop::open(&authority.uri, &authority.credential, policy).await
}

/// Asks until an answer stays, which the end of the token's creation may still drop; answers when it was there.
async fn until_cached(authority: &Authority, shop: &Shop, made: &CreateResponse) -> Instant {
    until(async || shop.guard.watching(), WAIT_MAX).await;
    for _ in 0..5 {
        assert_eq!(shop.get(&made.secret).await.unwrap(), id(made));
        let answered = Instant::now();
        if authority.hanging(shop.get(&made.secret)).await.is_ok() {
            return answered;
        }
    }
    panic!("no answer is kept")
}

#[tokio::test]
async fn valid() {
    let authority = Authority::start().await;
    let scopes = |method: &str| match method {
        GET => Some(vec!["orders:read".to_owned()]),
        TAIL => Some(Vec::new()),
        _ => None,
    };
    let shop = guarded(&authority, Policy::default().scopes(scopes)).await;
    let asked = CreateRequest {
        scopes: vec!["orders:*".into()],
        allowed_cidrs: vec!["127.0.0.1".into()],
        allowed_endpoints: vec!["POST /shop.Orders/*".into()],
        ..CreateRequest::default()
    };
    let made = authority.create(asked.clone()).await;
    assert_eq!(shop.get(&made.secret).await.unwrap(), id(&made));
    assert_eq!(
        shop.tail(&made.secret).await.unwrap(),
        [id(&made), id(&made)]
    );
    let key = ("x-api-key", made.secret.as_str());
    assert_eq!(shop.get_with(&[key], WAIT_MAX).await.unwrap(), id(&made));

    let missing = "ERROR_REASON_CREDENTIAL_INVALID".to_owned();
    for nothing in [
        &[][..],
        &[("authorization", "Basic eDp5")],
        &[key, ("authorization", "bearer x")],
    ] {
        let answer = shop.get_with(nothing, WAIT_MAX).await;
        assert_eq!(refused(answer), (Code::Unauthenticated, missing.clone()));
    }
    for malformed in ["nonsense", &"x".repeat(513)] {
        let expected = (Code::Unauthenticated, "VERDICT_MALFORMED".to_owned());
        assert_eq!(refused(shop.get(malformed).await), expected);
        assert_eq!(refused(shop.tail(malformed).await), expected);
    }
    let elsewhere = CreateRequest {
        allowed_cidrs: vec!["192.0.2.0/24".into()],
        ..asked
    };
    let elsewhere = authority.create(elsewhere).await;
    let expected = (Code::PermissionDenied, "VERDICT_ADDRESS_DENIED".to_owned());
    assert_eq!(refused(shop.get(&elsewhere.secret).await), expected);
    assert_eq!(shop.runs(), 3);

    let open = guarded(&authority, Policy::default().unguarded(GET)).await;
    assert_eq!(open.get_with(&[], WAIT_MAX).await.unwrap(), "nobody");
}

#[tokio::test]
async fn revoked() {
    let authority = Authority::start().await;
    let shop = guarded(&authority, Policy::default()).await;
    let made = authority.create(CreateRequest::default()).await;
    assert_eq!(shop.get(&made.secret).await.unwrap(), id(&made));
    authority.revoke(&made).await;
    let expected = (Code::Unauthenticated, "VERDICT_REVOKED".to_owned());
    assert_eq!(refused(shop.get(&made.secret).await), expected);
    assert_eq!(shop.runs(), 1);
}

#[tokio::test]
async fn scope_denied() {
    let authority = Authority::start().await;
    let scopes = |method: &str| (method == GET).then(|| vec!["orders:write".to_owned()]);
    let shop = guarded(&authority, Policy::default().scopes(scopes)).await;
    let asked = CreateRequest {
        scopes: vec!["orders:read".into()],
        ..CreateRequest::default()
    };
    let made = authority.create(asked).await;
    let expected = (Code::PermissionDenied, "VERDICT_SCOPE_DENIED".to_owned());
    assert_eq!(refused(shop.get(&made.secret).await), expected);
    // What the policy does not list, it gives to nobody.
    assert_eq!(refused(shop.tail(&made.secret).await), expected);
    assert_eq!(shop.runs(), 0);
}

#[tokio::test]
async fn rate_limited() {
    let authority = Authority::start().await;
    let shop = guarded(&authority, Policy::default()).await;
    let once = RateLimit {
        requests: 1,
        ..RateLimit::default()
    };
    let asked = CreateRequest {
        rate_limits: vec![once],
        ..CreateRequest::default()
    };
    let made = authority.create(asked).await;
    assert_eq!(shop.get(&made.secret).await.unwrap(), id(&made));
    let error = shop.get(&made.secret).await.expect_err("one passes");
    let expected = (Code::ResourceExhausted, "VERDICT_RATE_LIMITED".to_owned());
    assert_eq!(told(&error), expected);
    let hint = error.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(50 < hint.as_secs() && hint.as_secs() <= 60, "{hint:?}");
    let pushback = error.metadata().get("grpc-retry-pushback-ms").unwrap();
    let pushback: u128 = pushback.to_str().unwrap().parse().unwrap();
    assert!(pushback - hint.as_millis() <= 1, "{pushback} and {hint:?}");
}

#[tokio::test]
async fn authority_down() {
    let mut authority = Authority::start().await;
    let shop = guarded(&authority, Policy::default()).await;
    let made = authority.create(CreateRequest::default()).await;
    assert_eq!(shop.get(&made.secret).await.unwrap(), id(&made));
    authority.stop().await;
    assert_eq!(refused(shop.get(&made.secret).await), unavailable());
    assert_eq!(shop.runs(), 1);

    // Nor does a guard pass on that its own credential is refused.
    let other = Authority::start().await;
    let shop = Shop::open(&other.uri, "not-a-credential", Policy::default()).await;
    let made = other.create(CreateRequest::default()).await;
    assert_eq!(refused(shop.get(&made.secret).await), unavailable());
    assert_eq!(shop.runs(), 0);
}

#[tokio::test]
async fn cached() {
    let mut authority = Authority::start().await;
    let shop = guarded(&authority, Policy::default().namespace("brief")).await;
    let brief = CreateRequest {
        namespace: "brief".into(),
        ..CreateRequest::default()
    };
    let made = authority.create(brief.clone()).await;
    let fresh = authority.create(brief).await;
    let over = until_cached(&authority, &shop, &made).await + BRIEF;
    authority.stop().await;
    assert_eq!(shop.get(&made.secret).await.unwrap(), id(&made));
    // Neither another's secret nor another method is the same question.
    assert_eq!(refused(shop.get(&fresh.secret).await), unavailable());
    assert_eq!(refused(shop.tail(&made.secret).await), unavailable());
    let answer = loop {
        let asked = Instant::now();
        let answer = shop.get(&made.secret).await;
        if answer.is_err() {
            break answer;
        }
        assert!(asked < over, "repeated beyond its time");
    };
    assert_eq!(refused(answer), unavailable());
}

#[tokio::test]
async fn dropped_on_watch() {
    let authority = Authority::start().await;
    let shop = guarded(&authority, Policy::default().namespace("long")).await;
    let long = CreateRequest {
        namespace: "long".into(),
        ..CreateRequest::default()
    };
    let made = authority.create(long).await;
    until_cached(&authority, &shop, &made).await;
    authority.revoke(&made).await;
    until(async || shop.get(&made.secret).await.is_err(), WATCH_MAX).await;
    let expected = (Code::Unauthenticated, "VERDICT_REVOKED".to_owned());
    assert_eq!(refused(shop.get(&made.secret).await), expected);
}

#[tokio::test]
async fn deadline() {
    let authority = Authority::start().await;
    let policy = Policy::default().deadline(Duration::from_millis(500));
    let shop = guarded(&authority, policy).await;
    let made = authority.create(CreateRequest::default()).await;
    assert_eq!(shop.get(&made.secret).await.unwrap(), id(&made));
    let hanging = async {
        let begun = Instant::now();
        assert_eq!(refused(shop.get(&made.secret).await), unavailable());
        assert!(begun.elapsed() < Duration::from_secs(3));
    };
    authority.hanging(hanging).await;
    assert_eq!(shop.runs(), 1);
}

#[tokio::test]
async fn retried() {
    let authority = Arc::new(Authority::start().await);
    let (flaky, uri) = Flaky::serve(Arc::clone(&authority)).await;
    let policy = Policy::default()
        .deadline(Duration::from_secs(60))
        .cache_entries(0);
    let shop = Shop::open(&uri, &authority.credential, policy).await;
    let made = authority.create(CreateRequest::default()).await;
    assert_eq!(shop.get(&made.secret).await.unwrap(), id(&made));
    let attempts = flaky.attempts.lock().unwrap().clone();
    let before: Vec<_> = attempts.iter().map(|(before, _)| before.as_str()).collect();
    assert_eq!(before, ["", "1"]);
    // The deadline of the judged call is that of the question, too.
    for (_, timeout) in attempts {
        let micros: u64 = timeout.strip_suffix('u').unwrap().parse().unwrap();
        assert!(micros <= SECONDS_MAX * 1_000_000, "{timeout}");
    }
}

#[tokio::test]
async fn lease_lost() {
    let authority = Authority::start().await;
    let pooled = CreateRequest {
        pool: "seats".into(),
        ..CreateRequest::default()
    };
    let token = id(&authority.create(pooled).await);
    let (channel, credential) = (authority.channel.clone(), &authority.credential);
    let worker = Worker::new(channel, credential, Duration::from_secs(5)).unwrap();
    let fence = Fence::default();

    // Kept alive beyond its first end.
    let kept = worker.acquire(seats(3)).await.unwrap();
    let ends = Instant::now() + Duration::from_secs(4);
    while Instant::now() < ends {
        fence.admit(&token, kept.check().unwrap()).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let earlier = kept.fence();
    kept.release().await.unwrap();

    // Taken by force: known with the next beat, long before its time.
    let first = worker.acquire(seats(6)).await.unwrap();
    assert!(first.fence() > earlier);
    fence.admit(&token, first.check().unwrap()).unwrap();
    authority.take(token.clone()).await;
    let known = tokio::time::timeout(Duration::from_millis(3_500), first.lost()).await;
    known.expect("known with the next beat");
    assert_eq!(first.check(), Err(LeaseLost));

    let mut waiting = seats(3);
    waiting.wait = Duration::from_secs(10).try_into().ok();
    let second = worker.acquire(waiting).await.unwrap();
    fence.admit(&token, second.check().unwrap()).unwrap();
    // Who did not notice is too late.
    assert!(fence.admit(&token, first.fence()).is_err());

    // Of an authority that says nothing, the lease's own time tells.
    let begun = Instant::now();
    authority.hanging(silence(&second)).await;
    assert!(begun.elapsed() < Duration::from_millis(3_100));
    let known = tokio::time::timeout(Duration::from_secs(2), second.lost()).await;
    known.expect("known with its time");
}

async fn silence(lease: &HeldLease) {
    until(async || lease.check().is_err(), WAIT_MAX).await;
}

fn seats(seconds: u64) -> AcquireRequest {
    AcquireRequest {
        pool: "seats".into(),
        holder: "worker".into(),
        lease_duration: Duration::from_secs(seconds).try_into().ok(),
        ..AcquireRequest::default()
    }
}
