//! Rate limits and quotas as the middleware meets them: exact, all together or not at all.

use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::{
    CreateRequest, Quota, RateLimit, RateLimitStatus, ResetLimitsRequest, Token, ValidateRequest,
    ValidateResponse, Verdict,
};
use tokio::task::JoinSet;

use crate::harness::{
    Authority, Client, PATIENCE, ask, create, fields, get, named, presenting, rotation, set, span,
    update, verdict,
};

const DAY: u64 = 86_400;

fn rate(name: &str, requests: u64, seconds: u64, burst: u64) -> RateLimit {
    RateLimit {
        name: name.to_owned(),
        requests,
        period: Some(span(Duration::from_secs(seconds))),
        burst,
    }
}

fn limited(rate_limits: Vec<RateLimit>, quota: Option<u64>) -> CreateRequest {
    CreateRequest {
        rate_limits,
        quota: quota.map(|limit| Quota {
            limit,
            ..Quota::default()
        }),
        ..named("limited")
    }
}

fn costing(secret: &str, cost: u64) -> ValidateRequest {
    ValidateRequest {
        cost: Some(cost),
        ..presenting(secret)
    }
}

fn read(span: Option<prost_types::Duration>) -> Option<Duration> {
    span.map(|span| Duration::try_from(span).expect("a span that is not negative"))
}

fn remaining(statuses: &[RateLimitStatus]) -> Vec<u64> {
    statuses.iter().map(|status| status.remaining).collect()
}

/// What 2000 calls, 50 of them at any time, are answered.
async fn two_thousand(clients: &[Client], secret: &str) -> Vec<ValidateResponse> {
    let mut callers = JoinSet::new();
    for number in 0..50 {
        let (mut client, secret) = (clients[number % clients.len()].clone(), secret.to_owned());
        callers.spawn(async move {
            let mut answers = Vec::new();
            for _ in 0..40 {
                answers.push(ask(&mut client, presenting(&secret)).await);
            }
            answers
        });
    }
    callers.join_all().await.into_iter().flatten().collect()
}

/// That of 2000 answers 100 let pass, and all others say when to try again.
fn a_hundred_passed(answers: &[ValidateResponse]) {
    let (passed, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.valid);
    assert_eq!((passed.len(), refused.len()), (100, 1900));
    let mut left: Vec<u64> = Vec::new();
    for answer in passed {
        let [status] = answer.rate_limits.as_slice() else {
            panic!("{answer:?}");
        };
        assert_eq!((status.limit, status.retry_after), (100, None));
        left.push(status.remaining);
    }
    left.sort_unstable();
    assert!(left.iter().copied().eq(0..100), "each left another count");
    for answer in refused {
        assert_eq!(answer.verdict(), Verdict::RateLimited);
        let [status] = answer.rate_limits.as_slice() else {
            panic!("{answer:?}");
        };
        assert_eq!((status.name.as_str(), status.remaining), ("hour", 0));
        let retry = read(status.retry_after).expect("when to try again");
        let reset = read(status.reset_after).expect("when all is whole again");
        assert!(retry > Duration::ZERO && retry <= Duration::from_secs(36));
        assert!(reset > retry && reset <= Duration::from_secs(3600));
    }
}

pub(crate) async fn exactly_a_hundred_of_two_thousand_concurrent_calls_pass(authority: Authority) {
    let mut root = authority.root().await;
    let hundred = limited(vec![rate("hour", 100, 3600, 0)], None);
    let (_, secret) = create(&mut root, hundred).await;
    let clients: Vec<Client> = (0..4).map(|_| authority.client_as_root()).collect();
    a_hundred_passed(&two_thousand(&clients, &secret).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_a_hundred_pass_over_two_servers_on_one_redis() {
    let authority = Authority::on_redis();
    let other = Authority::beside(&authority);
    let mut root = authority.root().await;
    other.serving(true).await;
    let hundred = limited(vec![rate("hour", 100, 3600, 0)], None);
    let (token, secret) = create(&mut root, hundred).await;
    let clients: Vec<Client> = [&authority, &other, &authority, &other]
        .map(Authority::client_as_root)
        .into();
    a_hundred_passed(&two_thousand(&clients, &secret).await);
    let mut there = other.client_as_root();
    let got = get(&mut there, &token.token_id).await;
    assert_eq!(remaining(&got.rate_limits), [0]);
}

pub(crate) async fn a_use_is_taken_from_all_limits_or_from_none(authority: Authority) {
    let mut root = authority.root().await;
    let limits = vec![
        rate("a", 6, DAY, 0),
        rate("b", 5, DAY, 3),
        rate("c", 9, DAY, 0),
    ];
    let (token, secret) = create(&mut root, limited(limits, Some(5))).await;
    let first = ask(&mut root, presenting(&secret)).await;
    assert!(first.valid);
    assert_eq!(remaining(&first.rate_limits), [5, 2, 8]);
    assert_eq!(first.quota_remaining, Some(4));
    let dear = ask(&mut root, costing(&secret, 2)).await;
    assert_eq!(remaining(&dear.rate_limits), [3, 0, 6]);
    for _ in 0..3 {
        let refused = ask(&mut root, presenting(&secret)).await;
        assert_eq!(refused.verdict(), Verdict::RateLimited);
        assert_eq!(remaining(&refused.rate_limits), [3, 0, 6]);
        assert_eq!(refused.quota_remaining, Some(2));
        let retry = refused.rate_limits.iter().map(|one| one.retry_after);
        let retry: Vec<bool> = retry.map(|after| after.is_some()).collect();
        assert_eq!(retry, [false, true, false], "only what refused it");
    }
    let wider = Token {
        rate_limits: vec![rate("a", 6, DAY, 0), rate("c", 9, DAY, 0)],
        ..token.clone()
    };
    update(&mut root, &wider, &["rate_limits"]).await;
    let refused = ask(&mut root, costing(&secret, 3)).await;
    assert_eq!(refused.verdict(), Verdict::QuotaExhausted);
    assert_eq!(remaining(&refused.rate_limits), [3, 6]);
    assert_eq!(refused.quota_remaining, Some(2));
    let last = ask(&mut root, costing(&secret, 2)).await;
    assert_eq!(
        (last.verdict(), last.quota_remaining),
        (Verdict::Valid, Some(0))
    );
    assert_eq!(remaining(&last.rate_limits), [1, 4]);
    let refused = ask(&mut root, presenting(&secret)).await;
    assert_eq!(refused.verdict(), Verdict::QuotaExhausted);
}

pub(crate) async fn a_refused_call_spends_nothing_and_says_nothing_of_limits(authority: Authority) {
    let mut root = authority.root().await;
    let once = CreateRequest {
        owner: "ann".to_owned(),
        scopes: vec!["orders:read".to_owned()],
        allowed_endpoints: vec!["/orders/**".to_owned()],
        allowed_cidrs: vec!["10.0.0.0/8".to_owned()],
        ..limited(vec![rate("", 1, DAY, 0)], Some(1))
    };
    let (token, superseded) = create(&mut root, once).await;
    let rotated = root.rotate(rotation(&token.token_id, Duration::ZERO)).await;
    let secret = rotated.unwrap().into_inner().secret;
    let good = ValidateRequest {
        owner: "ann".to_owned(),
        required_scopes: vec!["orders:read".to_owned()],
        path: "/orders/1".to_owned(),
        client_ip: "10.0.0.1".to_owned(),
        ..presenting(&secret)
    };
    let refused = [
        (
            ValidateRequest {
                secret: secret[..70].to_owned(),
                ..good.clone()
            },
            Verdict::Malformed,
        ),
        (
            ValidateRequest {
                namespace: "elsewhere".to_owned(),
                ..good.clone()
            },
            Verdict::NotFound,
        ),
        (
            ValidateRequest {
                secret: superseded,
                ..good.clone()
            },
            Verdict::Superseded,
        ),
        (
            ValidateRequest {
                owner: "bob".to_owned(),
                ..good.clone()
            },
            Verdict::OwnerMismatch,
        ),
        (
            ValidateRequest {
                required_scopes: vec!["refunds".to_owned()],
                ..good.clone()
            },
            Verdict::ScopeDenied,
        ),
        (
            ValidateRequest {
                path: "/refunds".to_owned(),
                ..good.clone()
            },
            Verdict::EndpointDenied,
        ),
        (
            ValidateRequest {
                client_ip: "192.0.2.1".to_owned(),
                ..good.clone()
            },
            Verdict::AddressDenied,
        ),
    ];
    for (request, expected) in refused {
        for _ in 0..2 {
            let answer = ask(&mut root, request.clone()).await;
            assert_eq!(answer.verdict(), expected);
            assert!(answer.rate_limits.is_empty(), "{expected:?}: not judged");
            assert_eq!(answer.quota_remaining, None, "{expected:?}: not judged");
        }
    }
    let switched = async |disabled: bool| {
        let token = Token {
            disabled,
            ..token.clone()
        };
        let mut root = authority.client_as_root();
        update(&mut root, &token, &["disabled"]).await;
        ask(&mut root, good.clone()).await
    };
    let off = switched(true).await;
    assert_eq!(
        (off.verdict(), off.quota_remaining),
        (Verdict::Disabled, None)
    );
    let on = switched(false).await;
    assert_eq!(
        (on.verdict(), on.quota_remaining),
        (Verdict::Valid, Some(0))
    );
    let second = ask(&mut root, good.clone()).await;
    assert_eq!(second.verdict(), Verdict::RateLimited);
}

pub(crate) async fn a_use_costs_what_it_says(authority: Authority) {
    let mut root = authority.root().await;
    let limits = vec![rate("", 10, DAY, 0)];
    let (_, secret) = create(&mut root, limited(limits, Some(1000))).await;
    for (cost, left) in [(None, 9), (Some(0), 9), (Some(4), 5), (Some(5), 0)] {
        let request = ValidateRequest {
            cost,
            ..presenting(&secret)
        };
        let answer = ask(&mut root, request).await;
        assert!(answer.valid, "{cost:?}");
        assert_eq!(remaining(&answer.rate_limits), [left], "{cost:?}");
        assert_eq!(answer.quota_remaining, Some(990 + left), "{cost:?}");
    }
    let free = ask(&mut root, costing(&secret, 0)).await;
    assert!(free.valid, "nothing fits into nothing");
    let later = ask(&mut root, costing(&secret, 10)).await;
    assert_eq!(later.verdict(), Verdict::RateLimited);
    let retry = read(later.rate_limits[0].retry_after).expect("when all is whole");
    assert_eq!(Some(retry), read(later.rate_limits[0].reset_after));
    for cost in [11, 1_000_000_000] {
        let never = ask(&mut root, costing(&secret, cost)).await;
        assert_eq!(never.verdict(), Verdict::RateLimited, "{cost}");
        assert_eq!(never.rate_limits[0].retry_after, None, "it never will");
    }
    for cost in [1_000_000_001, u64::MAX] {
        let error = root.validate(costing(&secret, cost)).await.unwrap_err();
        assert_eq!(fields(&error), set(&["cost"]));
    }
    let whole = limited(Vec::new(), Some(1_000_000_000_000_000));
    let (_, secret) = create(&mut root, whole).await;
    let answer = ask(&mut root, costing(&secret, 1_000_000_000)).await;
    assert_eq!(answer.quota_remaining, Some(999_999_000_000_000));
}

pub(crate) async fn a_dry_run_answers_the_same_and_takes_nothing(authority: Authority) {
    let mut root = authority.root().await;
    let limits = vec![rate("", 2, DAY, 0)];
    let (token, secret) = create(&mut root, limited(limits, Some(1))).await;
    let dry = |cost| ValidateRequest {
        dry_run: true,
        ..costing(&secret, cost)
    };
    for (cost, expected) in [
        (1, Verdict::Valid),
        (2, Verdict::QuotaExhausted),
        (3, Verdict::RateLimited),
        (1, Verdict::Valid),
    ] {
        let answer = ask(&mut root, dry(cost)).await;
        assert_eq!(answer.verdict(), expected, "{cost}");
        assert_eq!(remaining(&answer.rate_limits), [2]);
        assert_eq!(answer.quota_remaining, Some(1));
    }
    let got = get(&mut root, &token.token_id).await;
    assert_eq!(got.token, Some(token), "it is as it was");
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);
    let refused = ask(&mut root, dry(1)).await;
    assert_eq!(refused.verdict(), Verdict::QuotaExhausted);
}

pub(crate) async fn limits_are_shown_as_they_stand_and_reset(authority: Authority) {
    let mut root = authority.root().await;
    let limits = vec![rate("a", 4, DAY, 0), rate("b", 10, DAY, 5)];
    let (token, secret) = create(&mut root, limited(limits, Some(7))).await;
    let fresh = get(&mut root, &token.token_id).await;
    assert_eq!(remaining(&fresh.rate_limits), [4, 5]);
    for status in &fresh.rate_limits {
        assert_eq!(read(status.reset_after), Some(Duration::ZERO));
        assert_eq!(status.retry_after, None);
    }
    ask(&mut root, costing(&secret, 4)).await;
    let spent = get(&mut root, &token.token_id).await;
    assert_eq!(remaining(&spent.rate_limits), [0, 1]);
    let names: Vec<&str> = spent.rate_limits.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(spent.quota_remaining, Some(3));
    assert!(spent.rate_limits[0].retry_after.is_some(), "of a use of 1");
    assert_eq!(spent.rate_limits[1].retry_after, None);
    assert_eq!(verdict(&mut root, &secret).await, Verdict::RateLimited);

    let request = ResetLimitsRequest {
        token_id: token.token_id.clone(),
    };
    let reset = root.reset_limits(request.clone()).await.unwrap();
    let reset = reset.into_inner();
    assert_eq!(reset.rate_limits, fresh.rate_limits);
    assert_eq!(reset.quota_remaining, Some(7));
    let got = get(&mut root, &token.token_id).await;
    assert_eq!(got.rate_limits, fresh.rate_limits);
    let after = got.token.unwrap();
    assert!(after.revision > token.revision);
    let expected = Token {
        update_time: after.update_time,
        revision: after.revision,
        ..token
    };
    assert_eq!(after, expected, "nothing else is forgotten");
    for _ in 0..4 {
        assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);
    }
    assert_eq!(verdict(&mut root, &secret).await, Verdict::RateLimited);

    let (free, _) = create(&mut root, named("free")).await;
    let request = ResetLimitsRequest {
        token_id: free.token_id.clone(),
    };
    let nothing = root.reset_limits(request).await.unwrap().into_inner();
    assert_eq!(
        (nothing.rate_limits.len(), nothing.quota_remaining),
        (0, None)
    );
    let kept = get(&mut root, &free.token_id).await.token;
    assert_eq!(kept, Some(free), "there was nothing to forget");
}

pub(crate) async fn a_limit_admits_its_burst_and_then_one_at_a_time(authority: Authority) {
    const EACH: Duration = Duration::from_millis(300);
    let mut root = authority.root().await;
    // 200 requests, in a minute, with a burst of 200: all but the first are said by default.
    let by_default = RateLimit {
        requests: 200,
        ..RateLimit::default()
    };
    let (token, secret) = create(&mut root, limited(vec![by_default], None)).await;
    let written = token.rate_limits.first().cloned().unwrap();
    assert_eq!(written, rate("default", 200, 60, 200));
    let begun = Instant::now();
    let (mut passed, mut passed_late, mut refused) = (0, 0, 0);
    while passed_late < 3 {
        assert!(begun.elapsed() < PATIENCE, "{passed} passed");
        let answer = ask(&mut root, presenting(&secret)).await;
        if answer.valid {
            passed += 1;
            passed_late += u32::from(refused > 0);
        } else {
            assert_eq!(answer.verdict(), Verdict::RateLimited);
            assert!(passed >= 200, "{passed} of the burst");
            refused += 1;
            let retry = read(answer.rate_limits[0].retry_after).unwrap();
            assert!(retry > Duration::ZERO && retry <= EACH, "{retry:?}");
            tokio::time::sleep(retry).await;
        }
        // Since before the first: no shorter than the time in which these passed.
        let most = 200 + begun.elapsed().as_micros() / EACH.as_micros();
        assert!(passed <= most, "{passed} of {most}");
    }
}

pub(crate) async fn a_changed_limit_goes_on_from_what_was_used_of_it(authority: Authority) {
    let mut root = authority.root().await;
    // So slow that nothing of it comes back while the test runs.
    let before = vec![rate("", 10, DAY, 0)];
    let (token, secret) = create(&mut root, limited(before, None)).await;
    ask(&mut root, costing(&secret, 7)).await;
    for (limit, left) in [
        (rate("", 20, 20 * DAY, 0), 13),
        (rate("", 10, DAY, 12), 5),
        (rate("other", 4, DAY, 0), 4),
    ] {
        let wanted = Token {
            rate_limits: vec![limit],
            ..token.clone()
        };
        update(&mut root, &wanted, &["rate_limits"]).await;
        let got = get(&mut root, &token.token_id).await;
        assert_eq!(remaining(&got.rate_limits), [left]);
    }
}

pub(crate) async fn what_came_back_before_a_change_is_not_owed_after_it(authority: Authority) {
    let second = Duration::from_secs(1);
    let mut root = authority.root().await;
    let mut order = limited(vec![rate("a", 100, 1, 0)], Some(100));
    if let Some(quota) = &mut order.quota {
        quota.period = Some(span(second));
    }
    let (token, secret) = create(&mut root, order).await;
    ask(&mut root, costing(&secret, 100)).await;
    tokio::time::sleep(second + second / 10).await;
    let full = get(&mut root, &token.token_id).await;
    assert_eq!(remaining(&full.rate_limits), [100]);
    assert_eq!(full.quota_remaining, Some(100));
    // From now on as good as nothing comes back.
    let slow = Token {
        rate_limits: vec![rate("a", 100, DAY, 0)],
        quota: token.quota.map(|quota| Quota {
            period: None,
            ..quota
        }),
        ..token
    };
    let paths = ["rate_limits", "quota.period"];
    let changed = update(&mut root, &slow, &paths).await;
    assert_eq!(changed.quota.unwrap().remaining, 100);
    let got = get(&mut root, &changed.token_id).await;
    assert_eq!(remaining(&got.rate_limits), [100]);
    assert_eq!(got.quota_remaining, Some(100));
    assert!(ask(&mut root, costing(&secret, 100)).await.valid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_keeps_what_was_used_of_a_limit_as_long_as_the_limit_says_now() {
    let authority = Authority::on_redis();
    let mut root = authority.root().await;
    let request = limited(vec![rate("", 10, 1, 0)], None);
    let (token, secret) = create(&mut root, request).await;
    ask(&mut root, costing(&secret, 10)).await;
    let key = {
        let keys: Vec<String> = authority.redis().ask(&["KEYS", "ta:*:l:*"]).await;
        let [key] = keys.as_slice() else {
            panic!("{keys:?}");
        };
        key.clone()
    };
    let lives = async || -> i64 { authority.redis().ask(&["PTTL", &key]).await };
    assert!(lives().await <= 61_000, "a minute beyond its meaning");
    let slow = Token {
        rate_limits: vec![rate("", 10, 100 * DAY, 0)],
        ..token
    };
    let left = update(&mut root, &slow, &["rate_limits"]).await;
    let left = remaining(&get(&mut root, &left.token_id).await.rate_limits);
    let used = i64::try_from(10 - left[0]).unwrap();
    let day = 86_400_000;
    assert!(lives().await >= (10 * used - 1) * day, "{used} are used");
}
