//! Update: what its mask names is changed, and nothing else is looked at.

use std::time::{Duration, Instant};

use prost_reflect::DescriptorPool;
use token_authority::transport::grpc::pb::create_request::Expiration;
use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    self, CreateRequest, Quota, RateLimit, RevokeRequest, State, Token, UpdateRequest, Verdict,
};
use tonic::Code;
use tonic_types::StatusExt;

use crate::harness::{
    Authority, PATIENCE, ask, change, create, fields, get, named, presenting, set, span, told,
    update, verdict,
};

/// The fields of a token that Update changes; all others are for answers only.
const CHANGED: [&str; 12] = [
    "name",
    "description",
    "owner",
    "scopes",
    "allowed_endpoints",
    "allowed_cidrs",
    "rate_limits",
    "quota",
    "labels",
    "disabled",
    "expire_time",
    "keep_alive_ttl",
];

fn texts(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn rate(name: &str, requests: u64, seconds: u64) -> RateLimit {
    RateLimit {
        name: name.to_owned(),
        requests,
        period: Some(span(Duration::from_secs(seconds))),
        burst: requests,
    }
}

fn quota(limit: u64, remaining: u64) -> Quota {
    Quota {
        limit,
        remaining,
        period: None,
    }
}

/// An hour after the token began.
fn later(token: &Token) -> Option<prost_types::Timestamp> {
    let created = token.create_time?;
    Some(prost_types::Timestamp {
        seconds: created.seconds + 3600,
        nanos: 0,
    })
}

/// A token that says something in every field.
fn everything() -> CreateRequest {
    CreateRequest {
        description: "before".to_owned(),
        owner: "ann".to_owned(),
        pool: "gpu".to_owned(),
        keep_alive_ttl: Some(span(Duration::from_secs(600))),
        scopes: texts(&["orders:read"]),
        allowed_endpoints: texts(&["GET /orders/**"]),
        allowed_cidrs: texts(&["10.0.0.0/8"]),
        rate_limits: vec![rate("minute", 5, 60)],
        quota: Some(quota(10, 0)),
        labels: [("env".to_owned(), "test".to_owned())].into(),
        expiration: Some(Expiration::Ttl(span(Duration::from_secs(7200)))),
        ..named("before")
    }
}

/// What says something else in every field that can be changed.
fn otherwise(token: &Token) -> Token {
    Token {
        token_id: token.token_id.clone(),
        name: "after".to_owned(),
        description: "changed".to_owned(),
        owner: "bob".to_owned(),
        scopes: texts(&["refunds:*", "orders:write"]),
        allowed_endpoints: texts(&["/a*", "POST /b"]),
        allowed_cidrs: texts(&["192.0.2.0/24", "2001:db8::/32"]),
        rate_limits: vec![rate("default", 1, 1), rate("day", 7, 86_400)],
        quota: Some(Quota {
            limit: 20,
            remaining: 3,
            period: Some(span(Duration::from_secs(86_400))),
        }),
        labels: [("tier".to_owned(), "gold".to_owned())].into(),
        disabled: true,
        expire_time: later(token),
        keep_alive_ttl: Some(span(Duration::from_secs(900))),
        ..Token::default()
    }
}

pub(crate) async fn a_mask_names_only_what_can_be_changed(authority: Authority) {
    let mut root = authority.root().await;
    let (token, _) = create(&mut root, everything()).await;
    let other = otherwise(&token);
    let pool = DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).expect("sound descriptors");
    let described = pool.get_message_by_name("tokenauthority.v1.Token").unwrap();
    let mut refused: Vec<String> = described
        .fields()
        .map(|field| field.name().to_owned())
        .filter(|name| !CHANGED.contains(&name.as_str()))
        .collect();
    assert!(refused.contains(&"secret_version".to_owned()));
    let wrong = [
        "",
        "*",
        "nothing",
        "token.name",
        "Name",
        "rateLimits",
        "rate_limits.name",
        "quota.",
        "quota.used",
        "labels.env",
        "name,owner",
    ];
    refused.extend(texts(&wrong));
    for path in &refused {
        let error = root.update(change(&other, &[path])).await.unwrap_err();
        assert_eq!(fields(&error), set(&["update_mask.paths[0]"]), "{path:?}");
        let error = root.update(change(&other, &["name", path])).await;
        assert_eq!(fields(&error.unwrap_err()), set(&["update_mask.paths[1]"]));
    }
    for update_mask in [None, Some(prost_types::FieldMask::default())] {
        let request = UpdateRequest {
            update_mask,
            ..change(&other, &[])
        };
        let error = root.update(request).await.unwrap_err();
        assert_eq!(fields(&error), set(&["update_mask"]));
    }
    let nobody = Token {
        token_id: "short".to_owned(),
        name: "n".repeat(129),
        ..other.clone()
    };
    let error = root.update(change(&nobody, &["name", "state"])).await;
    let all = ["token.token_id", "token.name", "update_mask.paths[1]"];
    assert_eq!(fields(&error.unwrap_err()), set(&all));
    let request = UpdateRequest {
        token: None,
        ..change(&other, &["name"])
    };
    let error = root.update(request).await.unwrap_err();
    assert_eq!(fields(&error), set(&["token"]));
    let kept = get(&mut root, &token.token_id).await.token;
    assert_eq!(kept, Some(token), "nothing was changed");
}

pub(crate) async fn each_field_changes_alone(authority: Authority) {
    let mut root = authority.root().await;
    type Put = fn(&mut Token, Token);
    let cases: [(&str, Put); 15] = [
        ("name", |one, other| one.name = other.name),
        ("description", |one, other| {
            one.description = other.description;
        }),
        ("owner", |one, other| one.owner = other.owner),
        ("scopes", |one, other| one.scopes = other.scopes),
        ("allowed_endpoints", |one, other| {
            one.allowed_endpoints = other.allowed_endpoints;
        }),
        ("allowed_cidrs", |one, other| {
            one.allowed_cidrs = other.allowed_cidrs;
        }),
        ("rate_limits", |one, other| {
            one.rate_limits = other.rate_limits;
        }),
        ("quota", |one, other| one.quota = other.quota),
        ("quota.limit", |one, _| one.quota = Some(quota(20, 20))),
        ("quota.period", |one, other| {
            one.quota.as_mut().unwrap().period = other.quota.unwrap().period;
        }),
        ("quota.remaining", |one, _| one.quota = Some(quota(10, 3))),
        ("labels", |one, other| one.labels = other.labels),
        ("disabled", |one, other| {
            one.disabled = other.disabled;
            one.state = State::Disabled.into();
        }),
        ("expire_time", |one, other| {
            one.expire_time = other.expire_time;
        }),
        ("keep_alive_ttl", |one, other| {
            one.keep_alive_ttl = other.keep_alive_ttl;
        }),
    ];
    let whole = |path: &&str| !path.contains('.');
    let covered = cases.iter().map(|(path, _)| *path).filter(whole);
    assert!(covered.eq(CHANGED), "a field without a case");
    for (path, put) in cases {
        let (token, _) = create(&mut root, everything()).await;
        let other = otherwise(&token);
        let answered = update(&mut root, &other, &[path]).await;
        let mut expected = token.clone();
        put(&mut expected, other);
        expected.update_time = answered.update_time;
        if *path == *"keep_alive_ttl" {
            expected.keep_alive_deadline = answered.keep_alive_deadline;
        }
        expected.revision = answered.revision;
        assert_eq!(answered, expected, "{path}");
        assert!(answered.revision > token.revision, "{path}");
        let got = get(&mut root, &token.token_id).await.token;
        assert_eq!(got.as_ref(), Some(&answered), "{path}");
    }
    let (token, _) = create(&mut root, everything()).await;
    let other = otherwise(&token);
    let all = update(&mut root, &other, &CHANGED).await;
    let again = update(&mut root, &all, &["name", "scopes", "rate_limits"]).await;
    assert_eq!(again, all, "what is so already changes nothing");
}

pub(crate) async fn what_the_mask_does_not_name_is_not_looked_at(authority: Authority) {
    let mut root = authority.root().await;
    let (token, _) = create(&mut root, everything()).await;
    let rubbish = Token {
        token_id: token.token_id.clone(),
        namespace: "No Name".to_owned(),
        name: "n".repeat(129),
        owner: "o".repeat(129),
        pool: "P".to_owned(),
        scopes: texts(&["*", "a b", "authority:fly"]),
        labels: [("b ad".to_owned(), String::new())].into(),
        expire_time: Some(prost_types::Timestamp {
            seconds: -1,
            nanos: -1,
        }),
        state: 99,
        description: "d".repeat(1025),
        allowed_endpoints: texts(&["nowhere"]),
        allowed_cidrs: texts(&["10.0.0.1/8"]),
        rate_limits: vec![RateLimit::default(); 9],
        quota: Some(Quota {
            limit: 0,
            remaining: u64::MAX,
            period: Some(prost_types::Duration {
                seconds: -1,
                nanos: 0,
            }),
        }),
        ..Token::default()
    };
    let of = |field: &str| set(&[field]);
    for (path, wrong) in [
        ("name", of("token.name")),
        ("owner", of("token.owner")),
        (
            "scopes",
            set(&["token.scopes[0]", "token.scopes[1]", "token.scopes[2]"]),
        ),
        ("labels", of("token.labels[\"b ad\"]")),
        ("expire_time", of("token.expire_time")),
        ("description", of("token.description")),
        ("allowed_endpoints", of("token.allowed_endpoints[0]")),
        ("allowed_cidrs", of("token.allowed_cidrs[0]")),
        ("rate_limits", of("token.rate_limits")),
        ("quota.limit", of("token.quota.limit")),
        ("quota.period", of("token.quota.period")),
        ("quota.remaining", of("token.quota.remaining")),
    ] {
        let error = root.update(change(&rubbish, &[path])).await.unwrap_err();
        assert_eq!(fields(&error), wrong, "{path}");
    }
    let kept = get(&mut root, &token.token_id).await.token;
    assert_eq!(kept, Some(token), "nothing was changed");
    let switched = update(&mut root, &rubbish, &["disabled"]).await;
    assert_eq!(switched.state(), State::Active, "no flaw was seen");
}

pub(crate) async fn a_path_named_twice_is_as_named_once(authority: Authority) {
    let mut root = authority.root().await;
    let (token, _) = create(&mut root, named("t")).await;
    let wanted = Token {
        name: "once".to_owned(),
        scopes: texts(&["fine", "a b", "b c"]),
        ..token.clone()
    };
    let paths = ["scopes", "scopes", "name", "scopes"];
    let error = root.update(change(&wanted, &paths)).await.unwrap_err();
    assert_eq!(fields(&error), set(&["token.scopes[1]", "token.scopes[2]"]));
    assert_eq!(
        update(&mut root, &wanted, &["name", "name"]).await.name,
        "once"
    );
    let error = root.update(change(&wanted, &["scopes"; 5000])).await;
    let named = fields(&error.unwrap_err());
    assert!(named.contains("update_mask"), "{named:?}");
}

pub(crate) async fn a_named_field_left_empty_is_cleared_but_nothing_opens_by_accident(
    authority: Authority,
) {
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, everything()).await;
    let empty = Token {
        token_id: token.token_id.clone(),
        ..Token::default()
    };
    for (path, field) in [
        ("allowed_endpoints", "token.allowed_endpoints"),
        ("allowed_cidrs", "token.allowed_cidrs"),
    ] {
        let error = root.update(change(&empty, &["name", path])).await;
        assert_eq!(fields(&error.unwrap_err()), set(&[field]));
    }
    let kept = get(&mut root, &token.token_id).await.token;
    assert_eq!(kept.as_ref(), Some(&token), "the name is kept, too");
    let rest = CHANGED.map(|path| {
        if path.starts_with("allowed_") {
            "name"
        } else {
            path
        }
    });
    let cleared = update(&mut root, &empty, &rest).await;
    let expected = Token {
        namespace: token.namespace.clone(),
        pool: token.pool.clone(),
        state: State::Active.into(),
        allowed_endpoints: token.allowed_endpoints.clone(),
        allowed_cidrs: token.allowed_cidrs.clone(),
        create_time: token.create_time,
        update_time: cleared.update_time,
        secret_hint: token.secret_hint.clone(),
        secrets: token.secrets.clone(),
        secret_version: 1,
        revision: cleared.revision,
        ..empty.clone()
    };
    assert_eq!(cleared, expected);
    let refused = verdict(&mut root, &secret).await;
    assert_eq!(refused, Verdict::EndpointDenied, "it is still closed");
    let open = Token {
        allowed_endpoints: texts(&["*"]),
        allowed_cidrs: texts(&["0.0.0.0/0", "::/0"]),
        ..empty.clone()
    };
    update(&mut root, &open, &["allowed_endpoints", "allowed_cidrs"]).await;
    for client_ip in ["203.0.113.9", "2001:db8::9"] {
        let request = pb::ValidateRequest {
            method: "PUT".to_owned(),
            path: "/anything".to_owned(),
            client_ip: client_ip.to_owned(),
            ..presenting(&secret)
        };
        assert_eq!(ask(&mut root, request).await.verdict(), Verdict::Valid);
    }
    let (never, _) = create(&mut root, named("open")).await;
    let both = ["allowed_endpoints", "allowed_cidrs"];
    let kept = update(&mut root, &never, &both).await;
    assert_eq!(kept, never, "what was empty may stay so");
}

pub(crate) async fn a_revoked_token_is_final(authority: Authority) {
    let mut root = authority.root().await;
    let (token, _) = create(&mut root, named("t")).await;
    let target = Some(Target::TokenId(token.token_id.clone()));
    let reason = String::new();
    root.revoke(RevokeRequest { target, reason }).await.unwrap();
    let before = get(&mut root, &token.token_id).await;
    for path in CHANGED {
        let error = root.update(change(&otherwise(&token), &[path])).await;
        let error = error.unwrap_err();
        let expected = (Code::FailedPrecondition, "TOKEN_OVER".to_owned());
        assert_eq!(told(&error), expected, "{path}");
        let info = error.get_details_error_info().unwrap();
        assert_eq!(info.metadata["state"], "STATE_REVOKED");
        assert_eq!(info.metadata["token_id"], token.token_id);
        assert!(error.get_details_precondition_failure().is_some());
    }
    assert_eq!(get(&mut root, &token.token_id).await, before);
}

pub(crate) async fn an_expired_token_lives_again_by_a_later_end(authority: Authority) {
    let mut root = authority.root().await;
    let short = CreateRequest {
        expiration: Some(Expiration::Ttl(span(Duration::from_millis(50)))),
        ..named("t")
    };
    let (token, secret) = create(&mut root, short).await;
    let begun = Instant::now();
    while verdict(&mut root, &secret).await != Verdict::Expired {
        assert!(begun.elapsed() < PATIENCE, "it never ends");
    }
    let renamed = Token {
        name: "renamed".to_owned(),
        ..token.clone()
    };
    let renamed = update(&mut root, &renamed, &["name", "expire_time"]).await;
    assert_eq!(renamed.state(), State::Expired, "its end is as it was");
    for past in [0, 1, 1_000_000_000] {
        let expire_time = Some(prost_types::Timestamp {
            seconds: past,
            nanos: 0,
        });
        let past = Token {
            expire_time,
            ..token.clone()
        };
        let error = root.update(change(&past, &["expire_time"])).await;
        assert_eq!(fields(&error.unwrap_err()), set(&["token.expire_time"]));
    }
    let extended = Token {
        expire_time: later(&token),
        ..token.clone()
    };
    let alive = update(&mut root, &extended, &["expire_time"]).await;
    assert_eq!(alive.state(), State::Active);
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);
    let never = Token {
        expire_time: None,
        ..token
    };
    let alive = update(&mut root, &never, &["expire_time"]).await;
    assert_eq!((alive.state(), alive.expire_time), (State::Active, None));
}
