//! Bad input: a precise answer, nothing half-written.

use std::collections::BTreeSet;

use token_authority::transport::grpc::pb::create_request::Expiration;
use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    CreateRequest, GetRequest, ListRequest, Quota, RateLimit, RevokeRequest, ValidateRequest,
    Verdict,
};
use tonic::Status;
use tonic_types::StatusExt;

use crate::harness::{Authority, Client, create, fields, named, presenting, set, verdict};

async fn refused(client: &mut Client, request: CreateRequest) -> BTreeSet<String> {
    fields(
        &client
            .create(request)
            .await
            .expect_err("an invalid request"),
    )
}

pub(crate) async fn all_violations_come_in_one_answer(authority: Authority) {
    let mut root = authority.root().await;
    let request = CreateRequest {
        namespace: "Bad Name".to_owned(),
        name: "n".repeat(129),
        description: "d".repeat(1025),
        owner: "o".repeat(129),
        pool: "P".to_owned(),
        scopes: vec!["ok".to_owned(), "a b".to_owned(), "*".to_owned()],
        allowed_endpoints: vec!["/a//b".to_owned()],
        allowed_cidrs: vec!["10.0.0.1/8".to_owned(), "300.0.0.0/8".to_owned()],
        rate_limits: vec![RateLimit::default()],
        quota: Some(Quota::default()),
        labels: [("b ad".to_owned(), String::new())].into(),
        disabled: false,
        request_id: "r".repeat(129),
        expiration: Some(Expiration::Ttl(prost_types::Duration {
            seconds: -1,
            nanos: 0,
        })),
        keep_alive_ttl: Some(prost_types::Duration {
            seconds: -1,
            nanos: 0,
        }),
    };
    let expected = [
        "namespace",
        "name",
        "description",
        "owner",
        "pool",
        "scopes[1]",
        "scopes[2]",
        "allowed_endpoints[0]",
        "allowed_cidrs[0]",
        "allowed_cidrs[1]",
        "rate_limits[0].requests",
        "quota.limit",
        "labels[\"b ad\"]",
        "request_id",
        "ttl",
        "keep_alive_ttl",
    ];
    assert_eq!(refused(&mut root, request).await, set(&expected));
    let request = ValidateRequest {
        secret: "s".repeat(513),
        namespace: "_".to_owned(),
        owner: "o".repeat(129),
        required_scopes: vec![String::new()],
        method: "GET POST".to_owned(),
        path: "p".repeat(8193),
        client_ip: "localhost".to_owned(),
        user_agent: "u".repeat(513),
        request_id: "r".repeat(129),
        cost: Some(1_000_000_001),
        dry_run: true,
        consistency: 9,
    };
    let status = root.validate(request).await.unwrap_err();
    let expected = [
        "secret",
        "namespace",
        "owner",
        "required_scopes[0]",
        "method",
        "path",
        "client_ip",
        "user_agent",
        "request_id",
        "cost",
        "consistency",
    ];
    assert_eq!(fields(&status), set(&expected));
    let listed = root
        .list(ListRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(listed.tokens.is_empty(), "nothing was written");
}

/// What a status takes in headers: the message percent-encoded, the details in base64.
fn header_bytes(status: &Status) -> usize {
    let plain = |byte: &u8| (b' '..=b'~').contains(byte) && *byte != b'%';
    let encoded = |byte: u8| if plain(&byte) { 1 } else { 3 };
    let message: usize = status.message().bytes().map(encoded).sum();
    message + status.details().len().div_ceil(3) * 4
}

pub(crate) async fn a_flood_of_violations_still_fits_the_headers(authority: Authority) {
    let mut root = authority.root().await;
    let request = CreateRequest {
        scopes: (0..64).map(|n| format!("bad scope {n}")).collect(),
        allowed_endpoints: (0..64).map(|n| format!("no/slash/{n}")).collect(),
        allowed_cidrs: (0..64).map(|n| format!("nowhere-{n}")).collect(),
        ..named("")
    };
    let status = root.create(request).await.unwrap_err();
    let listed = fields(&status);
    assert!(
        listed.contains("scopes[0]") && listed.contains(""),
        "{listed:?}"
    );
    assert!(header_bytes(&status) < 6000, "{}", header_bytes(&status));
    let bad = status.get_details_bad_request().unwrap();
    let last = bad.field_violations.last().unwrap();
    assert!(last.description.ends_with("more violations"), "{last:?}");
    let request = CreateRequest {
        labels: (0..32)
            .map(|n| (format!("{}{n}", "\u{1f600}".repeat(64)), String::new()))
            .collect(),
        ..named("")
    };
    let status = root.create(request).await.unwrap_err();
    assert!(header_bytes(&status) < 6000, "{}", header_bytes(&status));
    let secret = format!("ta_{}", "x".repeat(71));
    let request = CreateRequest {
        labels: [(secret.clone(), String::new())].into(),
        ..named("")
    };
    let status = root.create(request).await.unwrap_err();
    assert!(
        !format!("{status:?}").contains("xxxx"),
        "a key may be a secret, too"
    );
}

pub(crate) async fn every_limit_is_exact(authority: Authority) {
    let mut root = authority.root().await;
    let numbered = |count: usize| (0..count).map(|n| format!("s{n}")).collect::<Vec<_>>();
    let most = CreateRequest {
        name: "ñ".repeat(128),
        description: "d".repeat(1024),
        owner: "o".repeat(128),
        scopes: numbered(63).into_iter().chain(["s".repeat(128)]).collect(),
        allowed_endpoints: (0..63)
            .map(|n| format!("/{n}"))
            .chain([format!("/{}", "e".repeat(255))])
            .collect(),
        allowed_cidrs: (0..64).map(|n| format!("10.0.{n}.0/24")).collect(),
        labels: (0..32)
            .map(|n| (format!("k{n}"), "v".repeat(256)))
            .collect(),
        request_id: "r".repeat(128),
        ..named("")
    };
    create(&mut root, most.clone()).await;
    let beyond = [
        (
            CreateRequest {
                name: "n".repeat(129),
                ..most.clone()
            },
            "name",
        ),
        (
            CreateRequest {
                description: "d".repeat(1025),
                ..most.clone()
            },
            "description",
        ),
        (
            CreateRequest {
                owner: "o".repeat(129),
                ..most.clone()
            },
            "owner",
        ),
        (
            CreateRequest {
                scopes: numbered(65),
                ..most.clone()
            },
            "scopes",
        ),
        (
            CreateRequest {
                scopes: vec!["s".repeat(129)],
                ..most.clone()
            },
            "scopes[0]",
        ),
        (
            CreateRequest {
                allowed_endpoints: vec![format!("/{}", "e".repeat(256))],
                ..most.clone()
            },
            "allowed_endpoints[0]",
        ),
        (
            CreateRequest {
                labels: (0..33).map(|n| (format!("k{n}"), String::new())).collect(),
                ..most.clone()
            },
            "labels",
        ),
        (
            CreateRequest {
                labels: [("k".repeat(64), String::new())].into(),
                ..named("")
            },
            "",
        ),
        (
            CreateRequest {
                request_id: "r".repeat(129),
                ..most
            },
            "request_id",
        ),
    ];
    for (request, field) in beyond {
        let named = refused(&mut root, request).await;
        assert!(
            named.len() == 1 && named.iter().all(|name| name.starts_with(field)),
            "{field}: {named:?}"
        );
    }
    let reason = "r".repeat(257);
    let target = Some(Target::TokenId("z".repeat(22)));
    let status = root
        .revoke(RevokeRequest { target, reason })
        .await
        .unwrap_err();
    assert_eq!(fields(&status), set(&["reason"]));
    let status = root.revoke(RevokeRequest::default()).await.unwrap_err();
    assert_eq!(fields(&status), set(&["target"]));
    let status = root
        .list(ListRequest {
            states: vec![0, 99, -1],
            ..ListRequest::default()
        })
        .await
        .unwrap_err();
    assert_eq!(
        fields(&status),
        set(&["states[0]", "states[1]", "states[2]"])
    );
    let huge = ListRequest {
        page_size: u32::MAX,
        ..ListRequest::default()
    };
    assert_eq!(
        root.list(huge).await.unwrap().into_inner().tokens.len(),
        1,
        "a page size is cut, not refused"
    );
}

pub(crate) async fn page_tokens_of_other_filters_are_refused(authority: Authority) {
    let mut root = authority.root().await;
    for name in ["a", "b", "c"] {
        create(&mut root, named(name)).await;
    }
    let first = ListRequest {
        page_size: 1,
        ..ListRequest::default()
    };
    let token = root
        .list(first.clone())
        .await
        .unwrap()
        .into_inner()
        .next_page_token;
    let with = |page_token: &str| ListRequest {
        page_token: page_token.to_owned(),
        ..first.clone()
    };
    root.list(with(&token))
        .await
        .expect("the same filter goes on");
    root.list(ListRequest {
        page_size: 7,
        ..with(&token)
    })
    .await
    .expect("another page size is the same filter");
    let other = if token.ends_with('A') { 'B' } else { 'A' };
    let forged = format!("{}{other}", &token[..token.len() - 1]);
    for request in [
        ListRequest {
            owner: "ann".to_owned(),
            ..with(&token)
        },
        ListRequest {
            namespace: "-".to_owned(),
            ..with(&token)
        },
        ListRequest {
            states: vec![3],
            ..with(&token)
        },
        with("rubbish"),
        with(&forged.replace("AA", "BB")),
        with(&"z".repeat(10_000)),
    ] {
        let status = root.list(request).await.unwrap_err();
        assert_eq!(fields(&status), set(&["page_token"]));
    }
}

pub(crate) async fn absurd_times_are_refused(authority: Authority) {
    let mut root = authority.root().await;
    let ttl = |seconds, nanos| Some(Expiration::Ttl(prost_types::Duration { seconds, nanos }));
    let end = |seconds, nanos| {
        Some(Expiration::ExpireTime(prost_types::Timestamp {
            seconds,
            nanos,
        }))
    };
    for (expiration, field) in [
        (ttl(-1, 0), "ttl"),
        (ttl(0, -1), "ttl"),
        (ttl(0, 1), "ttl"),
        (ttl(i64::MAX, 0), "ttl"),
        (ttl(1, 1_000_000_000), "ttl"),
        (ttl(200 * 366 * 86_400, 0), "ttl"),
        (end(0, 0), "expire_time"),
        (end(1_000_000_000, 0), "expire_time"),
        (end(-1, 0), "expire_time"),
        (end(i64::MAX, 0), "expire_time"),
        (end(4_000_000_000, -5), "expire_time"),
    ] {
        let request = CreateRequest {
            expiration,
            ..named("t")
        };
        assert_eq!(
            refused(&mut root, request).await,
            set(&[field]),
            "{expiration:?}"
        );
    }
    let never = CreateRequest {
        expiration: ttl(0, 0),
        ..named("t")
    };
    assert_eq!(
        create(&mut root, never).await.0.expire_time,
        None,
        "a ttl of zero means never"
    );
    let last = CreateRequest {
        expiration: end(253_402_300_799, 0),
        ..named("t")
    };
    assert!(create(&mut root, last).await.0.expire_time.is_some());
}

pub(crate) async fn rubbish_secrets_are_malformed(authority: Authority) {
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("t")).await;
    let flipped = if secret.ends_with('0') { '1' } else { '0' };
    let wrong_sum = format!("{}{flipped}", &secret[..secret.len() - 1]);
    let other_brand = secret.replacen("ta_", "tb_", 1);
    for presented in [
        "",
        "x",
        "ta_",
        &wrong_sum,
        &other_brand,
        &secret[1..],
        &format!("{secret} "),
        &"z".repeat(512),
    ] {
        assert_eq!(
            verdict(&mut root, presented).await,
            Verdict::Malformed,
            "{presented:?}"
        );
    }
    // The right id with a wrong secret, whose checksum is right.
    let body = &secret[..secret.len() - 6];
    let other = format!(
        "{}{}",
        &body[..body.len() - 1],
        if body.ends_with('a') { 'b' } else { 'a' }
    );
    let mut sum = u64::from(crc32fast::hash(other.as_bytes()));
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut tail = [0u8; 6];
    for place in tail.iter_mut().rev() {
        *place = digits[(sum % 62) as usize];
        sum /= 62;
    }
    let forged = other + std::str::from_utf8(&tail).unwrap();
    let answer = root
        .validate(presenting(&forged))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((answer.verdict(), answer.token), (Verdict::NotFound, None));
    let status = root
        .get(GetRequest {
            token_id: secret.clone(),
        })
        .await
        .unwrap_err();
    assert_eq!(fields(&status), set(&["token_id"]));
    assert!(
        !format!("{status:?}").contains(&secret[25..60]),
        "a secret in the wrong field is not repeated"
    );
}
