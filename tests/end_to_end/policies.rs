//! Policies of namespaces: what the configuration gives their tokens, and what it refuses them.

use std::time::Duration;

use token_authority::clock::{Clock, SystemClock};
use token_authority::transport::grpc::pb::create_request::Expiration;
use token_authority::transport::grpc::pb::{
    self, CreateRequest, DeleteRequest, RotateRequest, UpdateRequest, ValidateRequest, Verdict,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Authority, Client, ask, create, presenting, reason};
use crate::namespaces::{caller, counted, pairs, within};

/// The same authority, started anew with this configuration file.
pub(crate) async fn configured(mut authority: Authority, file: &str) -> Authority {
    authority.serving(true).await;
    authority.stop("TERM");
    let path = authority.folder.path().join("config.toml");
    std::fs::write(&path, file).unwrap();
    let mut authority = authority.with(&["--config", path.to_str().unwrap()]);
    authority.start();
    authority
}

fn living(namespace: &str, seconds: i64) -> CreateRequest {
    let ttl = prost_types::Duration { seconds, nanos: 0 };
    CreateRequest {
        expiration: Some(Expiration::Ttl(ttl)),
        ..within(namespace)
    }
}

fn ending(namespace: &str, after: Duration) -> CreateRequest {
    CreateRequest {
        expiration: Some(Expiration::ExpireTime(instant(after))),
        ..within(namespace)
    }
}

/// Whole seconds `after` now.
fn instant(after: Duration) -> prost_types::Timestamp {
    let micros = SystemClock.now().saturating_add(after).micros();
    prost_types::Timestamp {
        seconds: (micros / 1_000_000).cast_signed(),
        nanos: 0,
    }
}

/// How many whole seconds a token lives, if not for ever.
fn life(token: &pb::Token) -> Option<i64> {
    let created = token.create_time.as_ref().expect("a time");
    let end = token.expire_time.as_ref()?;
    let nanos = (end.seconds - created.seconds) * 1_000_000_000;
    // The end is cut to the millisecond.
    Some((nanos + i64::from(end.nanos - created.nanos) + 1_000_000) / 1_000_000_000)
}

/// The one field that an answer finds fault with, and why.
fn violation(error: &Status) -> (String, String) {
    assert_eq!(error.code(), Code::InvalidArgument, "{error:?}");
    let request = error.get_details_bad_request().expect("violations");
    let [one] = &request.field_violations[..] else {
        panic!("{request:?}");
    };
    (one.field.clone(), one.description.clone())
}

pub(crate) async fn a_policy_gives_tokens_their_end_and_bounds_it(authority: Authority) {
    let file = "[namespaces.shop]\ndefault_ttl = \"1h\"\nmax_ttl = \"1d\"\n\
                [namespaces.runs]\nmax_ttl = \"90s\"\n[namespaces.soft]\ndefault_ttl = \"1h\"\n";
    let authority = configured(authority, file).await;
    let mut root = authority.root().await;
    for (request, expected) in [
        (within("shop"), Some(3600)),
        (living("shop", 86400), Some(86400)),
        (within("runs"), Some(90)),
        (within("soft"), Some(3600)),
        (living("soft", 0), None),
        (living("soft", 400 * 86400), Some(400 * 86400)),
        (within("free"), None),
        (living("free", 0), None),
    ] {
        let (token, _) = create(&mut root, request.clone()).await;
        assert_eq!(life(&token), expected, "{request:?}");
    }
    let day = Duration::from_secs(24 * 3600);
    let minute = Duration::from_secs(60);
    create(&mut root, ending("shop", day - minute)).await;
    let longest = "86400 seconds, the longest lifetime in this namespace; got";
    for (request, field, told) in [
        (
            living("shop", 86401),
            "ttl",
            format!("{longest} 86401 seconds"),
        ),
        (
            living("shop", 0),
            "ttl",
            format!("{longest} 0, which means never"),
        ),
        (
            living("runs", 91),
            "ttl",
            "to 90 seconds, the longest".to_owned(),
        ),
        (
            ending("shop", day + minute),
            "expire_time",
            "must be at most 86400 seconds after the store's time".to_owned(),
        ),
    ] {
        let error = root.create(request.clone()).await.unwrap_err();
        let (named, why) = violation(&error);
        assert_eq!(named, field, "{request:?}");
        assert!(why.contains(&told), "{request:?}: {why}");
    }
    // What the policy made of a request does not make its replay another one.
    let asked = CreateRequest {
        request_id: "r".to_owned(),
        ..within("runs")
    };
    let (first, _) = create(&mut root, asked.clone()).await;
    let (second, _) = create(&mut root, asked.clone()).await;
    assert_eq!(first.token_id, second.token_id);
    let other = CreateRequest {
        request_id: "r".to_owned(),
        ..living("runs", 90)
    };
    let error = root.create(other).await.unwrap_err();
    assert_eq!(violation(&error).0, "request_id");
}

pub(crate) async fn a_full_namespace_takes_no_more_tokens(authority: Authority) {
    let authority = configured(authority, "[namespaces.shop]\nmax_tokens = 3\n").await;
    let mut root = authority.root().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let mut root = root.clone();
        tasks.spawn(async move { root.create(within("shop")).await });
    }
    let mut created = Vec::new();
    for answer in tasks.join_all().await {
        match answer {
            Ok(answer) => created.extend(answer.into_inner().token),
            Err(error) => {
                let what = (error.code(), reason(&error));
                assert_eq!(what, (Code::ResourceExhausted, "NAMESPACE_FULL".into()));
                let details = error.get_error_details();
                let metadata = &details.error_info().unwrap().metadata;
                assert_eq!(metadata["namespace"], "shop");
                assert_eq!(metadata["limit"], "3");
                assert!(details.retry_info().unwrap().retry_delay.is_some());
                let quota = &details.quota_failure().unwrap().violations[0];
                assert_eq!(quota.subject, "namespace:shop");
                let why = "the namespace \"shop\" holds 3 tokens, as many as it may";
                assert_eq!(error.message(), why);
            }
        }
    }
    assert_eq!(created.len(), 3);
    assert_eq!(counted(&mut root, 0).await, pairs(&[("shop", 3)]));
    create(&mut root, within("free")).await;

    let token_id = created[0].token_id.clone();
    root.delete(DeleteRequest { token_id }).await.unwrap();
    let last = CreateRequest {
        request_id: "last".to_owned(),
        ..within("shop")
    };
    let (token, _) = create(&mut root, last.clone()).await;
    let error = root.create(within("shop")).await.unwrap_err();
    assert_eq!(reason(&error), "NAMESPACE_FULL");
    let (again, _) = create(&mut root, last).await;
    assert_eq!(token.token_id, again.token_id, "a replay needs no room");
}

pub(crate) async fn a_policy_holds_for_whoever_creates_from_the_start_on(authority: Authority) {
    let mut root = authority.root().await;
    create(&mut root, within("shop")).await;
    create(&mut root, within("shop")).await;
    let file = "[namespaces.shop]\nmax_tokens = 2\nmax_ttl = \"1h\"\n";
    let authority = configured(authority, file).await;
    let mut root = authority.root().await;
    let mut manager = caller(&authority, "ops", &["authority:manage@shop"]).await;
    for client in [&mut root, &mut manager] {
        let error = client.create(within("shop")).await.unwrap_err();
        assert_eq!(reason(&error), "NAMESPACE_FULL");
        let error = client.create(living("shop", 0)).await.unwrap_err();
        assert_eq!(violation(&error).0, "ttl");
    }
    // Whoever may not create there learns nothing of the policy.
    let mut other = caller(&authority, "ops", &["authority:manage"]).await;
    let error = other.create(living("shop", 0)).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
}

async fn move_end(
    client: &mut Client,
    token: &pb::Token,
    end: Option<prost_types::Timestamp>,
) -> Result<pb::Token, Status> {
    let changed = pb::Token {
        token_id: token.token_id.clone(),
        expire_time: end,
        ..pb::Token::default()
    };
    let paths = vec!["expire_time".to_owned()];
    let request = UpdateRequest {
        token: Some(changed),
        update_mask: Some(prost_types::FieldMask { paths }),
        revision: None,
    };
    let answer = client.update(request).await?;
    Ok(answer.into_inner().token.expect("a token"))
}

pub(crate) async fn a_policy_bounds_changes_of_an_end_and_leaves_others_alone(
    authority: Authority,
) {
    let mut root = authority.root().await;
    // From before there was a policy: it lives for ever.
    let (old, _) = create(&mut root, within("shop")).await;
    let authority = configured(authority, "[namespaces.shop]\nmax_ttl = \"1d\"\n").await;
    let mut root = authority.root().await;
    let (new, _) = create(&mut root, within("shop")).await;
    let (free, _) = create(&mut root, within("free")).await;
    let day = Duration::from_secs(24 * 3600);
    let minute = Duration::from_secs(60);
    for token in [&old, &new] {
        let late = Some(instant(day + minute));
        let (field, why) = violation(&move_end(&mut root, token, late).await.unwrap_err());
        assert_eq!(field, "token.expire_time");
        assert!(why.contains("at most 86400 seconds after"), "{why}");
    }
    let error = move_end(&mut root, &new, None).await.unwrap_err();
    assert!(violation(&error).1.ends_with("got none, which means never"));
    let kept = move_end(&mut root, &old, None).await.unwrap();
    assert_eq!(kept.expire_time, None, "as it was");
    let end = instant(day - minute);
    let moved = move_end(&mut root, &old, Some(end)).await.unwrap();
    assert_eq!(moved.expire_time, Some(end));
    move_end(&mut root, &free, Some(instant(9 * day)))
        .await
        .unwrap();
}

pub(crate) async fn a_policy_gives_tokens_their_rate_limits(authority: Authority) {
    let file = "[namespaces.shop]\ndefault_rate_limits = [{ requests = 2 }]\n";
    let authority = configured(authority, file).await;
    let mut root = authority.root().await;
    let limits = |token: &pb::Token| {
        let limits = token.rate_limits.iter();
        limits
            .map(|limit| (limit.name.clone(), limit.requests))
            .collect::<Vec<_>>()
    };
    let (given, secret) = create(&mut root, within("shop")).await;
    assert_eq!(limits(&given), [("default".to_owned(), 2)]);
    let request = ValidateRequest {
        namespace: "shop".to_owned(),
        ..presenting(&secret)
    };
    for expected in [Verdict::Valid, Verdict::Valid, Verdict::RateLimited] {
        let answer = ask(&mut root, request.clone()).await;
        assert_eq!(answer.verdict(), expected);
    }
    let own = pb::RateLimit {
        name: "own".to_owned(),
        requests: 7,
        ..pb::RateLimit::default()
    };
    let asked = CreateRequest {
        rate_limits: vec![own],
        ..within("shop")
    };
    let (asked, _) = create(&mut root, asked).await;
    assert_eq!(limits(&asked), [("own".to_owned(), 7)]);
    let (free, _) = create(&mut root, within("free")).await;
    assert_eq!(limits(&free), []);
}

/// For how long the answer to `request` may be repeated; `None` where it may not.
async fn cache_ttl(client: &mut Client, request: ValidateRequest) -> Option<Duration> {
    let answer = ask(client, request).await;
    assert!(!answer.degraded, "{answer:?}");
    answer
        .cache_ttl
        .map(|span| span.try_into().expect("a span"))
}

pub(crate) async fn a_policy_says_for_how_long_an_answer_may_be_repeated(authority: Authority) {
    let file = "[namespaces.shop]\ncache_ttl = \"30s\"\n";
    let authority = configured(authority, file).await;
    let mut root = authority.root().await;
    let about = |secret: &str| ValidateRequest {
        namespace: "-".to_owned(),
        ..presenting(secret)
    };
    let (span, none) = (Duration::from_secs(30), None);
    let (plain, secret) = create(&mut root, within("shop")).await;
    assert_eq!(cache_ttl(&mut root, about(&secret)).await, Some(span));
    let dry = ValidateRequest {
        dry_run: true,
        ..about(&secret)
    };
    assert_eq!(cache_ttl(&mut root, dry).await, none);
    let refused = ValidateRequest {
        required_scopes: vec!["refunds".to_owned()],
        ..about(&secret)
    };
    assert_eq!(cache_ttl(&mut root, refused).await, none);
    assert_eq!(cache_ttl(&mut root, about("rubbish")).await, none);

    let (_, ending) = create(&mut root, living("shop", 20)).await;
    let left = cache_ttl(&mut root, about(&ending)).await.expect("a span");
    assert!(
        Duration::ZERO < left && left <= Duration::from_secs(20),
        "{left:?}"
    );
    let limited = CreateRequest {
        rate_limits: vec![pb::RateLimit {
            requests: 7,
            ..pb::RateLimit::default()
        }],
        ..within("shop")
    };
    let pooled = CreateRequest {
        pool: "gpu".to_owned(),
        ..within("shop")
    };
    for request in [limited, pooled, within("free")] {
        let (token, secret) = create(&mut root, request).await;
        let told = cache_ttl(&mut root, about(&secret)).await;
        assert_eq!(told, none, "{token:?}");
    }

    let grace_period = prost_types::Duration {
        seconds: 10,
        nanos: 0,
    };
    let rotation = RotateRequest {
        token_id: plain.token_id,
        grace_period: Some(grace_period),
        ..RotateRequest::default()
    };
    let new = root.rotate(rotation).await.unwrap().into_inner().secret;
    assert_eq!(cache_ttl(&mut root, about(&new)).await, Some(span));
    let left = cache_ttl(&mut root, about(&secret)).await.expect("a span");
    assert!(
        Duration::ZERO < left && left <= Duration::from_secs(10),
        "{left:?}"
    );
}
