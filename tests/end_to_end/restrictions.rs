//! Verdicts: what a token may not do, and that the answer says why.

use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    CreateRequest, RevokeRequest, ValidateRequest, Verdict, create_request::Expiration,
};

use crate::harness::{Authority, PATIENCE, ask, create, named, presenting, verdict};

fn texts(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

pub(crate) async fn every_refusal_has_its_verdict(authority: Authority) {
    let mut root = authority.root().await;
    let strict = CreateRequest {
        owner: "ann".to_owned(),
        scopes: texts(&["orders:*"]),
        allowed_endpoints: texts(&["GET /orders/**"]),
        allowed_cidrs: texts(&["10.0.0.0/8"]),
        ..named("strict")
    };
    let (token, secret) = create(&mut root, strict.clone()).await;
    let good = ValidateRequest {
        owner: "ann".to_owned(),
        required_scopes: texts(&["orders:read"]),
        method: "GET".to_owned(),
        path: "/orders/7?expand=1".to_owned(),
        client_ip: "10.1.2.3".to_owned(),
        ..presenting(&secret)
    };
    let cases = [
        (good.clone(), Verdict::Valid),
        (
            ValidateRequest {
                owner: "bob".to_owned(),
                ..good.clone()
            },
            Verdict::OwnerMismatch,
        ),
        (
            ValidateRequest {
                required_scopes: texts(&["refunds"]),
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
                method: "POST".to_owned(),
                ..good.clone()
            },
            Verdict::EndpointDenied,
        ),
        (
            ValidateRequest {
                method: String::new(),
                ..good.clone()
            },
            Verdict::EndpointDenied,
        ),
        (
            ValidateRequest {
                path: String::new(),
                ..good.clone()
            },
            Verdict::EndpointDenied,
        ),
        (
            ValidateRequest {
                client_ip: "11.1.2.3".to_owned(),
                ..good.clone()
            },
            Verdict::AddressDenied,
        ),
        (
            ValidateRequest {
                client_ip: String::new(),
                ..good.clone()
            },
            Verdict::AddressDenied,
        ),
    ];
    for (request, expected) in cases {
        let answer = ask(&mut root, request.clone()).await;
        assert_eq!(answer.verdict(), expected, "{request:?}");
        assert_eq!(answer.valid, expected == Verdict::Valid);
        let facts = answer.token.expect("a known token is named");
        assert_eq!(
            (facts.token_id, facts.owner),
            (token.token_id.clone(), "ann".to_owned())
        );
        assert!(
            facts.allowed_endpoints.is_empty() && facts.create_time.is_none(),
            "public facts only"
        );
    }
    let (_, disabled) = create(
        &mut root,
        CreateRequest {
            disabled: true,
            ..strict
        },
    )
    .await;
    assert_eq!(
        ask(
            &mut root,
            ValidateRequest {
                secret: disabled,
                ..good.clone()
            }
        )
        .await
        .verdict(),
        Verdict::Disabled
    );
    let target = Some(Target::TokenId(token.token_id));
    root.revoke(RevokeRequest {
        target,
        reason: String::new(),
    })
    .await
    .unwrap();
    assert_eq!(ask(&mut root, good).await.verdict(), Verdict::Revoked);
}

pub(crate) async fn a_token_expires_while_the_authority_runs(authority: Authority) {
    let mut root = authority.root().await;
    let ttl = prost_types::Duration {
        seconds: 2,
        nanos: 0,
    };
    let request = CreateRequest {
        expiration: Some(Expiration::Ttl(ttl)),
        ..named("brief")
    };
    let begun = Instant::now();
    let (token, secret) = create(&mut root, request).await;
    assert!(token.expire_time.is_some());
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);
    while verdict(&mut root, &secret).await == Verdict::Valid {
        assert!(begun.elapsed() < PATIENCE, "it never ends");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(1990),
        "not before its time"
    );
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Expired);
}

pub(crate) async fn namespaces_are_walls(authority: Authority) {
    let mut root = authority.root().await;
    let (_, secret) = create(
        &mut root,
        CreateRequest {
            namespace: "there".to_owned(),
            ..named("t")
        },
    )
    .await;
    let within = |namespace: &str| ValidateRequest {
        namespace: namespace.to_owned(),
        ..presenting(&secret)
    };
    for (namespace, expected) in [
        ("", Verdict::NotFound),
        ("here", Verdict::NotFound),
        ("there", Verdict::Valid),
        ("-", Verdict::Valid),
    ] {
        let answer = ask(&mut root, within(namespace)).await;
        assert_eq!(answer.verdict(), expected, "{namespace:?}");
        assert_eq!(answer.token.is_some(), expected == Verdict::Valid);
    }
}

pub(crate) async fn tricky_paths_are_refused(authority: Authority) {
    let mut root = authority.root().await;
    let open = CreateRequest {
        allowed_endpoints: texts(&["/public/**"]),
        ..named("t")
    };
    let (_, secret) = create(&mut root, open).await;
    for (path, expected) in [
        ("/public/a", Verdict::Valid),
        ("/public", Verdict::Valid),
        ("/public/a?next=/../b", Verdict::Valid),
        ("/public-admin", Verdict::EndpointDenied),
        ("/public/../admin", Verdict::EndpointDenied),
        ("/public/%2e%2e/admin", Verdict::EndpointDenied),
        ("/public/%2E./admin", Verdict::EndpointDenied),
        ("/public//admin", Verdict::EndpointDenied),
        ("/public/..%2fadmin", Verdict::EndpointDenied),
        ("/public/%2F", Verdict::EndpointDenied),
        ("/public/%252e%252e/admin", Verdict::EndpointDenied),
        ("/public/..;/admin", Verdict::EndpointDenied),
        ("/public/\\..\\admin", Verdict::EndpointDenied),
        ("/public/%00", Verdict::EndpointDenied),
        ("/public/%zz", Verdict::EndpointDenied),
        ("public/a", Verdict::EndpointDenied),
    ] {
        let request = ValidateRequest {
            path: path.to_owned(),
            ..presenting(&secret)
        };
        assert_eq!(ask(&mut root, request).await.verdict(), expected, "{path}");
    }
}

pub(crate) async fn addresses_are_judged_whatever_their_family(authority: Authority) {
    let mut root = authority.root().await;
    let nets = CreateRequest {
        allowed_cidrs: texts(&["10.0.0.0/8", "2001:db8::/32"]),
        ..named("t")
    };
    let (token, secret) = create(&mut root, nets).await;
    assert_eq!(token.allowed_cidrs, ["10.0.0.0/8", "2001:db8::/32"]);
    for (address, expected) in [
        ("10.9.9.9", Verdict::Valid),
        ("::ffff:10.9.9.9", Verdict::Valid),
        ("::ffff:0a09:0909", Verdict::Valid),
        ("2001:db8::1", Verdict::Valid),
        ("::ffff:11.0.0.1", Verdict::AddressDenied),
        ("2001:db9::1", Verdict::AddressDenied),
        ("::", Verdict::AddressDenied),
    ] {
        let request = ValidateRequest {
            client_ip: address.to_owned(),
            ..presenting(&secret)
        };
        assert_eq!(
            ask(&mut root, request).await.verdict(),
            expected,
            "{address}"
        );
    }
}
