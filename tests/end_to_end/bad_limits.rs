//! Absurd limits: refused by the very field that is wrong, in Create and Update, and nothing written.

use prost_types::Duration;
use token_authority::transport::grpc::pb::{
    CreateRequest, ListRequest, Quota, RateLimit, ResetLimitsRequest, Token,
};

use crate::harness::{Authority, change, create, fields, get, named, set};

const CENTURY: i64 = 100 * 366 * 86_400;
const LEAP_YEAR: i64 = 366 * 86_400;
const BILLION: u64 = 1_000_000_000;
const MOST: u64 = 1_000_000_000_000_000;

fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

fn nanos(nanos: i32) -> Option<Duration> {
    Some(Duration { seconds: 0, nanos })
}

fn rate(requests: u64, period: Option<Duration>, burst: u64) -> RateLimit {
    RateLimit {
        name: String::new(),
        requests,
        period,
        burst,
    }
}

fn called(name: &str) -> RateLimit {
    RateLimit {
        name: name.to_owned(),
        ..rate(1, None, 0)
    }
}

fn quota(limit: u64, period: Option<Duration>, remaining: u64) -> Quota {
    Quota {
        limit,
        remaining,
        period,
    }
}

/// Lists of rate limits, and the fields of `rate_limits` that are wrong about each.
fn wrong_limits() -> Vec<(Vec<RateLimit>, Vec<&'static str>)> {
    let one = |limit, field| (vec![limit], vec![field]);
    let long = "n".repeat(64);
    vec![
        one(rate(0, None, 0), "[0].requests"),
        one(rate(0, None, 5), "[0].requests"),
        one(rate(BILLION + 1, None, 1), "[0].requests"),
        one(rate(u64::MAX, None, 1), "[0].requests"),
        one(rate(1, seconds(0), 0), "[0].period"),
        one(rate(1, seconds(-1), 0), "[0].period"),
        one(rate(1, nanos(-1), 0), "[0].period"),
        one(rate(1, nanos(1), 0), "[0].period"),
        one(rate(1, nanos(999_999), 0), "[0].period"),
        one(rate(1, nanos(1_000_001), 0), "[0].period"),
        one(rate(1, nanos(1_000_000_000), 0), "[0].period"),
        one(rate(1, seconds(LEAP_YEAR + 1), 0), "[0].period"),
        one(rate(1, seconds(CENTURY), 0), "[0].period"),
        one(rate(1, seconds(i64::MAX), 0), "[0].period"),
        one(rate(1, None, BILLION + 1), "[0].burst"),
        one(rate(1, None, u64::MAX), "[0].burst"),
        one(rate(1, seconds(LEAP_YEAR), 11), "[0].burst"),
        one(called("Upper"), "[0].name"),
        one(called("a b"), "[0].name"),
        one(called(&long), "[0].name"),
        one(called("é"), "[0].name"),
        (vec![called("a"), called("a")], vec!["[1].name"]),
        (vec![called(""), called("default")], vec!["[1].name"]),
        (vec![rate(1, None, 0); 4], vec!["[1].name"]),
        (["a", "b", "c", "d", "e"].map(called).into(), vec![""]),
        (vec![rate(0, None, 0); 5], vec![""]),
        (vec![rate(0, None, 0); 1000], vec![""]),
        (
            vec![called("a"), rate(0, None, 0), rate(1, seconds(-1), 0)],
            vec!["[1].requests", "[2].period"],
        ),
    ]
}

/// Quotas, and the field of `quota` that is wrong about each.
fn wrong_quotas() -> Vec<(Quota, &'static str)> {
    vec![
        (quota(0, None, 0), "limit"),
        (quota(MOST + 1, None, 0), "limit"),
        (quota(u64::MAX, None, 0), "limit"),
        (quota(5, None, 6), "remaining"),
        (quota(5, None, u64::MAX), "remaining"),
        (quota(5, seconds(0), 0), "period"),
        (quota(5, seconds(-1), 0), "period"),
        (quota(5, nanos(1), 0), "period"),
        (quota(5, nanos(1_000_001), 0), "period"),
        (quota(5, seconds(CENTURY), 0), "period"),
        (quota(5, seconds(i64::MAX), 0), "period"),
    ]
}

/// Rate limits and a quota at the very edge of what is allowed.
fn widest() -> CreateRequest {
    CreateRequest {
        rate_limits: vec![
            RateLimit {
                name: "n".repeat(63),
                ..rate(BILLION, nanos(1_000_000), BILLION)
            },
            rate(1, seconds(LEAP_YEAR), 10),
            RateLimit {
                name: "a-b_c.0".to_owned(),
                ..rate(1, nanos(1_001_000), 1)
            },
            called("z"),
        ],
        quota: Some(quota(MOST, seconds(LEAP_YEAR), MOST)),
        ..named("widest")
    }
}

pub(crate) async fn a_wrong_limit_is_refused_by_its_field(authority: Authority) {
    let mut root = authority.root().await;
    let (token, _) = create(&mut root, widest()).await;
    let named_by = |prefix: &str, wrong: &[&str]| {
        let fields = wrong.iter().map(|field| format!("{prefix}{field}"));
        fields.collect::<std::collections::BTreeSet<_>>()
    };
    for (rate_limits, wrong) in wrong_limits() {
        let request = CreateRequest {
            rate_limits: rate_limits.clone(),
            ..named("never")
        };
        let error = root.create(request).await.unwrap_err();
        let expected = named_by("rate_limits", &wrong);
        assert_eq!(fields(&error), expected, "{rate_limits:?}");
        let message = format!("has {} entries", rate_limits.len());
        assert!(
            wrong != [""] || error.message().contains(&message),
            "{error:?}"
        );
        let wanted = Token {
            rate_limits: rate_limits.clone(),
            ..token.clone()
        };
        let error = root.update(change(&wanted, &["rate_limits", "name"])).await;
        let expected = named_by("token.rate_limits", &wrong);
        assert_eq!(fields(&error.unwrap_err()), expected, "{rate_limits:?}");
    }
    for (quota, wrong) in wrong_quotas() {
        let request = CreateRequest {
            quota: Some(quota),
            ..named("never")
        };
        let error = root.create(request).await.unwrap_err();
        assert_eq!(fields(&error), named_by("quota.", &[wrong]), "{quota:?}");
        let wanted = Token {
            quota: Some(quota),
            ..token.clone()
        };
        let error = root.update(change(&wanted, &["quota", "name"])).await;
        let expected = named_by("token.quota.", &[wrong]);
        assert_eq!(fields(&error.unwrap_err()), expected, "{quota:?}");
    }
    let error = root.reset_limits(ResetLimitsRequest {
        token_id: "short".to_owned(),
    });
    assert_eq!(fields(&error.await.unwrap_err()), set(&["token_id"]));
    let kept = get(&mut root, &token.token_id).await.token;
    assert_eq!(kept, Some(token.clone()), "it is as it was");
    let listed = root.list(ListRequest::default()).await.unwrap();
    assert_eq!(
        listed.into_inner().tokens,
        [token],
        "nothing else came to be"
    );
}

pub(crate) async fn all_that_is_wrong_about_limits_is_said_at_once(authority: Authority) {
    let mut root = authority.root().await;
    let request = CreateRequest {
        rate_limits: vec![called("Upper"), rate(0, None, 0), rate(1, seconds(-1), 0)],
        quota: Some(quota(0, None, 0)),
        request_id: "r".repeat(129),
        ..named("never")
    };
    let error = root.create(request).await.unwrap_err();
    let all = [
        "rate_limits[0].name",
        "rate_limits[1].requests",
        "rate_limits[2].period",
        "quota.limit",
        "request_id",
    ];
    assert_eq!(fields(&error), set(&all));
}

pub(crate) async fn the_widest_limits_are_answered_as_they_were_given(authority: Authority) {
    let mut root = authority.root().await;
    let (token, _) = create(&mut root, widest()).await;
    let mut expected = widest().rate_limits;
    expected[1].name = "default".to_owned();
    expected[3] = RateLimit {
        period: seconds(60),
        burst: 1,
        ..called("z")
    };
    assert_eq!(token.rate_limits, expected);
    assert_eq!(token.quota, widest().quota);
    let got = get(&mut root, &token.token_id).await;
    assert_eq!(got.token.as_ref(), Some(&token));
    let again = root.update(change(&token, &["rate_limits"])).await.unwrap();
    assert_eq!(again.into_inner().token, Some(token), "nothing is lost");
}
