//! Quotas: how Update moves what is left, how they end and begin again, and what outlives a server.

use std::time::{Duration, Instant};

use token_authority::domain::permits::QUOTA_PART;
use token_authority::transport::grpc::pb::{
    CreateRequest, Quota, RateLimit, Token, ValidateRequest, Verdict,
};

use crate::harness::{
    Authority, Client, PATIENCE, ask, change, create, fields, get, named, presenting, set, span,
    update, verdict,
};

fn quota(limit: u64, remaining: u64) -> Quota {
    Quota {
        limit,
        remaining,
        period: None,
    }
}

fn with_quota(quota: Quota) -> CreateRequest {
    CreateRequest {
        quota: Some(quota),
        ..named("t")
    }
}

/// What is left, about which every answer says the same.
async fn left(client: &mut Client, token_id: &str, secret: &str) -> (u64, u64) {
    let got = get(client, token_id).await;
    let told = got.token.unwrap().quota.unwrap();
    let look = ValidateRequest {
        cost: Some(0),
        ..presenting(secret)
    };
    let judged = ask(client, look).await;
    assert_eq!(got.quota_remaining, Some(told.remaining));
    assert_eq!(judged.quota_remaining, Some(told.remaining));
    (told.limit, told.remaining)
}

async fn spend(client: &mut Client, secret: &str, cost: u64) {
    let request = ValidateRequest {
        cost: Some(cost),
        ..presenting(secret)
    };
    assert_eq!(ask(client, request).await.verdict(), Verdict::Valid);
}

pub(crate) async fn an_update_moves_what_is_left_as_it_says(authority: Authority) {
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, with_quota(quota(10, 0))).await;
    let id = token.token_id.clone();
    spend(&mut root, &secret, 4).await;
    assert_eq!(left(&mut root, &id, &secret).await, (10, 6));
    // Of the given quota only what the mask names counts.
    let cases: [(&[&str], Quota, (u64, u64)); 11] = [
        (&["quota.limit"], quota(15, 1), (15, 11)),
        (&["quota.limit"], quota(3, 1), (3, 0)),
        (&["quota.limit"], quota(10, 9), (10, 7)),
        (&["quota.remaining"], quota(1, 0), (10, 0)),
        (&["quota.remaining"], quota(1, 10), (10, 10)),
        (&["quota.limit", "quota.remaining"], quota(4, 1), (4, 1)),
        (&["quota"], quota(20, 0), (20, 20)),
        (&["quota"], quota(20, 5), (20, 5)),
        (&["quota", "quota.remaining"], quota(30, 0), (30, 0)),
        (&["quota.remaining", "quota.limit"], quota(7, 7), (7, 7)),
        (&["quota.limit", "quota"], quota(9, 2), (9, 2)),
    ];
    for (paths, given, expected) in cases {
        let wanted = Token {
            quota: Some(given),
            ..token.clone()
        };
        let answered = update(&mut root, &wanted, paths).await.quota.unwrap();
        assert_eq!((answered.limit, answered.remaining), expected, "{paths:?}");
        assert_eq!(left(&mut root, &id, &secret).await, expected, "{paths:?}");
        if expected.1 == 0 {
            let refused = verdict(&mut root, &secret).await;
            assert_eq!(refused, Verdict::QuotaExhausted, "{paths:?}");
        }
    }
    let daily = Token {
        quota: Some(Quota {
            period: Some(span(Duration::from_secs(86_400))),
            ..Quota::default()
        }),
        ..token.clone()
    };
    let periodic = update(&mut root, &daily, &["quota.period"]).await;
    let expected = Quota {
        period: daily.quota.unwrap().period,
        ..quota(9, 2)
    };
    assert_eq!(periodic.quota, Some(expected));
    let none = Token {
        quota: None,
        ..token.clone()
    };
    assert_eq!(update(&mut root, &none, &["quota"]).await.quota, None);
    let free = ask(&mut root, presenting(&secret)).await;
    assert_eq!(
        (free.verdict(), free.quota_remaining),
        (Verdict::Valid, None)
    );
    assert_eq!(get(&mut root, &id).await.quota_remaining, None);
    let again = Token {
        quota: Some(quota(6, 1)),
        ..token
    };
    let again = update(&mut root, &again, &["quota.limit"]).await.quota;
    assert_eq!(again, Some(quota(6, 6)), "what was spent before is over");
}

pub(crate) async fn a_quota_that_cannot_be_changed_so_says_which_field(authority: Authority) {
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, with_quota(quota(10, 4))).await;
    let (bare, _) = create(&mut root, named("bare")).await;
    let mut wrong = async |token: &Token, paths: &[&str], quota: Option<Quota>| {
        let wanted = Token {
            quota,
            ..token.clone()
        };
        let error = root.update(change(&wanted, paths)).await.unwrap_err();
        fields(&error)
    };
    let cases: [(&[&str], Quota, &str); 6] = [
        (&["quota"], quota(0, 0), "token.quota.limit"),
        (&["quota"], quota(5, 6), "token.quota.remaining"),
        (&["quota.remaining"], quota(99, 11), "token.quota.remaining"),
        (&["quota.limit"], quota(0, 1), "token.quota.limit"),
        (
            &["quota.limit"],
            quota(1_000_000_000_000_001, 0),
            "token.quota.limit",
        ),
        (
            &["quota.limit", "quota.remaining"],
            quota(2, 3),
            "token.quota.remaining",
        ),
    ];
    for (paths, given, field) in cases {
        let named = wrong(&token, paths, Some(given)).await;
        assert_eq!(named, set(&[field]), "{paths:?}");
    }
    for part in ["quota.limit", "quota.period", "quota.remaining"] {
        let named = wrong(&token, &[part], None).await;
        assert_eq!(named, set(&["token.quota"]), "{part}");
    }
    for part in ["quota.period", "quota.remaining"] {
        let named = wrong(&bare, &[part], Some(quota(5, 5))).await;
        assert_eq!(named, set(&["token.quota.limit"]), "{part}: there is none");
    }
    let kept = get(&mut root, &token.token_id).await.token;
    assert_eq!(kept, Some(token.clone()), "nothing was changed");
    let untouched = left(&mut root, &token.token_id, &secret).await;
    assert_eq!(untouched, (10, 4));
}

pub(crate) async fn an_exhausted_quota_is_full_again_with_the_next_period(authority: Authority) {
    let mut root = authority.root().await;
    let period = Duration::from_secs(2);
    let refilled = Quota {
        period: Some(span(period)),
        ..quota(3, 0)
    };
    let begun = Instant::now();
    let (_, secret) = create(&mut root, with_quota(refilled)).await;
    let (mut passed, mut refused) = (0, 0);
    // Until it was exhausted twice, and refilled in between.
    while passed <= 3 || refused == 0 {
        let answer = ask(&mut root, presenting(&secret)).await;
        match answer.verdict() {
            Verdict::Valid => passed += 1,
            Verdict::QuotaExhausted => {
                assert_eq!(answer.quota_remaining, Some(0));
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
        let periods = begun.elapsed().as_millis() / period.as_millis() + 1;
        assert!(passed <= 3 * periods, "{passed} in {periods} periods");
        assert!(begun.elapsed() < PATIENCE, "it is never full again");
    }
}

pub(crate) async fn what_is_spent_survives_a_stop(mut authority: Authority) {
    let mut root = authority.root().await;
    let limited = CreateRequest {
        rate_limits: vec![RateLimit {
            requests: 5,
            period: Some(span(Duration::from_secs(86_400))),
            ..RateLimit::default()
        }],
        ..named("t")
    };
    let both = CreateRequest {
        quota: Some(quota(9, 0)),
        ..limited.clone()
    };
    let (limited, limited_secret) = create(&mut root, limited).await;
    let (both, both_secret) = create(&mut root, both).await;
    for secret in [&limited_secret, &both_secret] {
        spend(&mut root, secret, 3).await;
    }
    assert_eq!(authority.stop("TERM").0, Some(0), "{}", authority.log());
    authority.start();
    let mut root = authority.root().await;
    assert_eq!(left(&mut root, &both.token_id, &both_secret).await, (9, 6));
    for (id, secret) in [
        (&limited.token_id, &limited_secret),
        (&both.token_id, &both_secret),
    ] {
        let got = get(&mut root, id).await;
        assert_eq!(got.rate_limits[0].remaining, 2);
        spend(&mut root, secret, 2).await;
        assert_eq!(verdict(&mut root, secret).await, Verdict::RateLimited);
    }
}

pub(crate) async fn no_use_of_a_quota_is_given_twice_over_a_kill(mut authority: Authority) {
    const LIMIT: u64 = 100_000;
    const CALLERS: u64 = 8;
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, with_quota(quota(LIMIT, 0))).await;
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (mut client, secret) = (root.clone(), secret.clone());
            tokio::spawn(async move {
                let mut passed = 0;
                // Until the authority is gone.
                while let Ok(answer) = client.validate(presenting(&secret)).await {
                    assert!(answer.into_inner().valid);
                    passed += 1;
                }
                passed
            })
        })
        .collect();
    let begun = Instant::now();
    while get(&mut root, &token.token_id).await.quota_remaining > Some(LIMIT - 50) {
        assert!(begun.elapsed() < PATIENCE, "nobody spends anything");
    }
    authority.kill();
    let mut passed = 0;
    for caller in callers {
        passed += caller.await.unwrap();
    }
    authority.start();
    let mut root = authority.root().await;
    let (_, left) = left(&mut root, &token.token_id, &secret).await;
    let spent = LIMIT - left;
    // Of each caller at most one use was under way, taken and not answered; and one batch was taken ahead.
    assert!(
        (passed..=passed + CALLERS + LIMIT / QUOTA_PART).contains(&spent),
        "{spent} are spent, {passed} were answered"
    );
    spend(&mut root, &secret, left).await;
    let refused = verdict(&mut root, &secret).await;
    assert_eq!(refused, Verdict::QuotaExhausted);
}
