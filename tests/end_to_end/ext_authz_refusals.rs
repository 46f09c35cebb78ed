//! Check, where it refuses: each refusal in the client's own language, and no error that would let pass.

use std::time::{Duration, Instant};

use token_authority::transport::grpc::envoy::service::auth::v3::CheckRequest;
use token_authority::transport::grpc::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use token_authority::transport::grpc::pb::{CreateRequest, Quota, RateLimit};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::checking::{Answer, Held, as_root, check, check_bytes, proxy, revoke, undecided};
use crate::harness::{Authority, PATIENCE, ROOT_TOKEN, create, named, presenting, reason, span};

pub(crate) async fn every_refusal_has_its_status(authority: Authority) {
    let mut root = authority.root().await;
    let strict = CreateRequest {
        owner: "ann".to_owned(),
        allowed_endpoints: vec!["GET /orders/**".to_owned()],
        allowed_cidrs: vec!["192.0.2.0/24".to_owned()],
        quota: Some(Quota {
            limit: 1,
            ..Quota::default()
        }),
        ..named("strict")
    };
    let (_, secret) = create(&mut root, strict).await;
    let (revoked, gone) = create(&mut root, named("revoked")).await;
    revoke(&mut root, &revoked.token_id).await;
    let mut proxy = as_root(&authority);
    let invalid = "Bearer realm=\"token-authority\", error=\"invalid_token\"";
    let cases = [
        (
            Held::with(&[]),
            401,
            16,
            "unauthenticated",
            Some("Bearer realm=\"token-authority\""),
        ),
        (
            Held::with(&[("authorization", "Basic czpz")]),
            401,
            16,
            "unauthenticated",
            Some("Bearer realm=\"token-authority\""),
        ),
        (
            Held::with(&[("authorization", "Bearer ")]),
            401,
            16,
            "invalid_token",
            Some(invalid),
        ),
        (Held::of("rubbish"), 401, 16, "invalid_token", Some(invalid)),
        (
            Held::of(&"x".repeat(5000)),
            401,
            16,
            "invalid_token",
            Some(invalid),
        ),
        (Held::of(&gone), 401, 16, "invalid_token", Some(invalid)),
        (
            Held::of(&secret).demanding("owner", "bob"),
            403,
            7,
            "owner_mismatch",
            None,
        ),
        (
            Held::of(&secret).asking("POST", "/orders"),
            403,
            7,
            "endpoint_denied",
            None,
        ),
        (
            Held::of(&secret).asking("GET", "/orders/../admin"),
            403,
            7,
            "endpoint_denied",
            None,
        ),
        (
            Held::of(&secret).asking("GET", "/orders%2f..%2fadmin"),
            403,
            7,
            "endpoint_denied",
            None,
        ),
        (
            Held::of(&secret).asking("", ""),
            403,
            7,
            "endpoint_denied",
            None,
        ),
        (
            Held::of(&secret).from("198.51.100.1"),
            403,
            7,
            "address_denied",
            None,
        ),
        (
            Held::of(&secret).demanding("cost", "2"),
            429,
            8,
            "quota_exhausted",
            None,
        ),
        (
            Held::of(&secret).asking("G T", "/orders"),
            400,
            3,
            "invalid_request",
            None,
        ),
        (
            Held::of(&secret).asking("GET", &format!("/{}", "a".repeat(9000))),
            400,
            3,
            "invalid_request",
            None,
        ),
        (
            Held::of(&secret).from("gateway"),
            400,
            3,
            "invalid_request",
            None,
        ),
    ];
    for (held, status, code, error, challenge) in cases {
        for held in [held.clone(), held.raw()] {
            let answer = check(&mut proxy, held.clone()).await;
            assert_eq!((answer.status, answer.code), (status, code), "{held:?}");
            assert_eq!(answer.error(), error, "{held:?}");
            assert_eq!(answer.header("www-authenticate"), challenge, "{held:?}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
            let told = format!("{answer:?}");
            assert!(!told.contains(&secret) && !told.contains(&gone), "{told}");
        }
    }
    assert_eq!(check(&mut proxy, Held::of(&secret)).await.status, 200);
}

/// Whoever shows secrets must not learn which of them once were in force.
pub(crate) async fn an_unknown_secret_is_not_told_from_a_revoked_one(authority: Authority) {
    let mut root = authority.root().await;
    let (deleted, unknown) = create(&mut root, named("deleted")).await;
    root.delete(token_authority::transport::grpc::pb::DeleteRequest {
        token_id: deleted.token_id,
    })
    .await
    .unwrap();
    let (revoked, once) = create(&mut root, named("revoked")).await;
    revoke(&mut root, &revoked.token_id).await;
    let mut proxy = as_root(&authority);
    let told = |answer: &Answer| {
        (
            answer.status,
            answer.code,
            answer.headers.clone(),
            answer.body.clone(),
        )
    };
    let unknown = check(&mut proxy, Held::of(&unknown)).await;
    let once = check(&mut proxy, Held::of(&once)).await;
    assert_eq!(told(&unknown), told(&once));
    // The proxy's own log may know.
    assert_eq!(unknown.text("verdict"), Some("VERDICT_NOT_FOUND"));
    assert_eq!(once.text("verdict"), Some("VERDICT_REVOKED"));
    assert_eq!(once.text("token_id"), Some(revoked.token_id.as_str()));
}

pub(crate) async fn credentials_that_differ_are_refused(authority: Authority) {
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("one")).await;
    let (_, other) = create(&mut root, named("other")).await;
    let mut proxy = as_root(&authority);
    let bearer = format!("Bearer {secret}");
    let same = Held::with(&[("authorization", &bearer), ("x-api-key", &secret)]);
    assert_eq!(check(&mut proxy, same.clone()).await.status, 200);
    assert_eq!(check(&mut proxy, same.raw()).await.status, 200);
    let joined = format!("Bearer {secret},Bearer {other}");
    let keys = format!("{secret},{other}");
    let mixed = format!("Basic czpz, Bearer {secret}");
    for differing in [
        Held::with(&[("authorization", &bearer), ("x-api-key", &other)]),
        Held::with(&[("authorization", &bearer), ("x-api-key", &other)]).raw(),
        Held::with(&[("authorization", &joined)]),
        Held::with(&[("x-api-key", &keys)]),
        Held::with(&[("authorization", &mixed)]),
    ] {
        let refused = check(&mut proxy, differing).await;
        assert_eq!((refused.status, refused.code), (400, 3));
        assert_eq!(
            refused.header("www-authenticate"),
            Some("Bearer realm=\"token-authority\", error=\"invalid_request\"")
        );
        assert!(refused.metadata.is_empty(), "nothing was judged");
    }
}

pub(crate) async fn a_client_of_grpc_is_refused_in_its_own_language(authority: Authority) {
    let mut root = authority.root().await;
    let limited = CreateRequest {
        rate_limits: vec![RateLimit {
            requests: 1,
            period: Some(span(Duration::from_secs(3600))),
            ..RateLimit::default()
        }],
        ..named("limited")
    };
    let (_, secret) = create(&mut root, limited).await;
    let mut proxy = as_root(&authority);
    let call = |held: Held| {
        held.header("content-type", "application/grpc")
            .asking("POST", "/shop.Orders/Get")
    };
    assert_eq!(check(&mut proxy, call(Held::of(&secret))).await.status, 200);
    for (held, status, code, expected) in [
        (
            Held::of(&secret),
            429,
            Code::ResourceExhausted,
            "RATE_LIMITED",
        ),
        (
            Held::of("rubbish"),
            401,
            Code::Unauthenticated,
            "CREDENTIAL_INVALID",
        ),
        (
            Held::with(&[]),
            401,
            Code::Unauthenticated,
            "CREDENTIAL_INVALID",
        ),
        (
            Held::of(&secret).demanding("required_scopes", "a"),
            403,
            Code::PermissionDenied,
            "SCOPE_DENIED",
        ),
        (
            Held::of(&secret).demanding("cost", "x"),
            500,
            Code::Internal,
            "DEMAND_UNREADABLE",
        ),
    ] {
        let answer = check(&mut proxy, call(held).raw()).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.body, "", "it would take the place of the message");
        assert_eq!(answer.header("content-type"), None);
        let details = answer.header("grpc-status-details-bin").unwrap();
        assert!(!details.contains('='), "{details}");
        let headers = answer.headers.iter().map(|(name, value)| {
            let name = http::HeaderName::try_from(name).unwrap();
            (name, http::HeaderValue::try_from(value).unwrap())
        });
        let told = Status::from_header_map(&headers.collect()).unwrap();
        assert_eq!((told.code(), reason(&told).as_str()), (code, expected));
        assert!(!told.message().is_empty());
        let retry = told
            .get_details_retry_info()
            .and_then(|info| info.retry_delay);
        assert_eq!(retry.is_some(), status == 429);
        assert_eq!(told.get_details_quota_failure().is_some(), status == 429);
        assert_eq!(
            answer.header("grpc-retry-pushback-ms").is_some(),
            status == 429
        );
    }
}

pub(crate) async fn who_may_not_ask_is_refused_by_a_decision(authority: Authority) {
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("plain")).await;
    let scoped = |scope: &str| CreateRequest {
        scopes: vec![scope.to_owned()],
        ..named("proxy")
    };
    let (_, reader) = create(&mut root, scoped("authority:read")).await;
    let (_, elsewhere) = create(&mut root, scoped("authority:validate@shop")).await;
    let (_, gateway) = create(&mut root, scoped("authority:validate")).await;
    for credential in [
        None,
        Some("rubbish"),
        Some(reader.as_str()),
        Some(elsewhere.as_str()),
    ] {
        let mut stranger = proxy(&authority, credential);
        let answer = check(&mut stranger, Held::of(&secret)).await;
        assert_eq!((answer.status, answer.code), (403, 7), "{credential:?}");
        assert_eq!(answer.error(), "proxy_denied");
        let call = Held::of(&secret).header("content-type", "application/grpc");
        let answer = check(&mut stranger, call).await;
        assert_eq!(answer.header("grpc-status"), Some("7"));
    }
    let mut gateway = proxy(&authority, Some(&gateway));
    assert_eq!(check(&mut gateway, Held::of(&secret)).await.status, 200);
    let foreign = Held::of(&secret).demanding("namespace", "shop");
    assert_eq!(check(&mut gateway, foreign).await.error(), "proxy_denied");
    let log = authority.log();
    assert!(
        log.contains("rpc=\"Check\"") || log.contains("\"Check\""),
        "who was refused is told"
    );
}

pub(crate) async fn what_is_no_request_of_http_is_refused(authority: Authority) {
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("plain")).await;
    let mut proxy = as_root(&authority);
    let empty = check_bytes(&authority, Vec::new()).await.unwrap();
    assert_eq!(
        (empty.status, empty.error().as_str()),
        (400, "invalid_request")
    );
    let mut without = Held::of(&secret).message();
    without.attributes.as_mut().unwrap().request = None;
    let refused = proxy.check(without).await.unwrap().into_inner();
    assert_eq!(refused.status.unwrap().code, 3);
    let bare = proxy.check(CheckRequest::default()).await.unwrap();
    assert_eq!(bare.into_inner().status.unwrap().code, 3);
    let unread = check_bytes(&authority, vec![0xff; 20]).await.unwrap();
    assert_eq!(
        (unread.status, unread.error().as_str()),
        (400, "invalid_request")
    );
    let vast = Held::of(&secret).header("x-vast", &"x".repeat(300 << 10));
    let vast = check(&mut proxy, vast).await;
    assert_eq!((vast.status, vast.error().as_str()), (413, "too_large"));
    let wide = Held::of(&secret).header("x-wide", &"x".repeat(200 << 10));
    assert_eq!(
        check(&mut proxy, wide).await.status,
        200,
        "more than other calls may take"
    );
}

pub(crate) async fn floods_are_refused_and_pass_nowhere(mut authority: Authority) {
    authority.stop("TERM");
    let mut authority = authority.with(&["--set", "limits.failures_per_minute=2"]);
    authority.start();
    let mut root = authority.root().await;
    let gateway = CreateRequest {
        scopes: vec!["authority:validate".to_owned()],
        rate_limits: vec![RateLimit {
            requests: 8,
            period: Some(span(Duration::from_secs(3600))),
            ..RateLimit::default()
        }],
        ..named("gateway")
    };
    let (_, gateway) = create(&mut root, gateway).await;
    let mut proxy = proxy(&authority, Some(&gateway));
    let mut statuses = Vec::new();
    for _ in 0..9 {
        let wrong = crate::failure_budgets::wrong_secret(None);
        let answer = check(&mut proxy, Held::of(&wrong)).await;
        statuses.push(match answer.status {
            429 => answer.error(),
            _ => answer.status.to_string(),
        });
        assert_eq!(answer.status == 429, answer.header("retry-after").is_some());
    }
    let shed = "too_many_failures";
    let expected = [
        "401",
        "401",
        shed,
        shed,
        shed,
        shed,
        shed,
        shed,
        "proxy_limited",
    ];
    assert_eq!(statuses, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_never_a_decision() {
    let mut authority = Authority::on_redis();
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("plain")).await;
    let mut proxy = as_root(&authority);
    assert_eq!(check(&mut proxy, Held::of(&secret)).await.status, 200);
    authority.redis.as_mut().unwrap().kill();
    authority.serving(false).await;
    // What is in memory may be answered until its lease ends, a second later at the most.
    let patience = Instant::now() + PATIENCE;
    while proxy.check(Held::of(&secret).message()).await.is_ok() {
        assert!(Instant::now() < patience, "it is decided without the store");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let unknown = crate::failure_budgets::wrong_secret(None);
    for held in [Held::of(&secret), Held::of(&unknown)] {
        let status = undecided(&mut proxy, held).await;
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert_eq!(reason(&status), "STORE_UNAVAILABLE");
    }
    let rubbish = check(&mut proxy, Held::of("rubbish")).await;
    assert_eq!(rubbish.status, 401, "decided without the store");
    assert!(root.validate(presenting(&secret)).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_is_known_by_the_certificate_that_a_believed_peer_saw() {
    const CALLERS: &str = r#"access.certificate_callers=[
      { name = "mesh", uri = "spiffe://example.org/ns/shop/sa/gateway", permissions = ["validate"] },
    ]"#;
    let mut authority = Authority::before_sqlite_start().with(&[
        "--set",
        CALLERS,
        "--set",
        "ext_authz.certificate_peers=[\"127.0.0.1\"]",
    ]);
    authority.start();
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("plain")).await;
    let asked = async |header: Option<&str>, key: Option<&str>| {
        let mut request = tonic::Request::new(Held::of(&secret).message());
        let metadata = request.metadata_mut();
        if let Some(header) = header {
            metadata.insert("x-forwarded-client-cert", header.parse().unwrap());
        }
        if let Some(key) = key {
            metadata.insert("x-api-key", key.parse().unwrap());
        }
        let answer = AuthorizationClient::new(authority.channel())
            .check(request)
            .await;
        answer.unwrap().into_inner().status.unwrap().code
    };
    let own =
        "By=spiffe://example.org/authority;Hash=ab;URI=spiffe://example.org/ns/shop/sa/gateway";
    let other =
        "By=spiffe://example.org/authority;Hash=ab;URI=spiffe://example.org/ns/shop/sa/other";
    assert_eq!(asked(Some(own), None).await, 0);
    assert_eq!(asked(None, None).await, 7);
    assert_eq!(asked(Some(other), None).await, 7);
    assert_eq!(
        asked(Some(&format!("{own},{other}")), None).await,
        7,
        "the last one counts"
    );
    assert_eq!(asked(Some("URI=\""), None).await, 7);
    assert_eq!(
        asked(Some(own), Some("rubbish")).await,
        7,
        "a wrong secret is not made good"
    );
    assert_eq!(asked(Some(other), Some(ROOT_TOKEN)).await, 0);

    authority.stop("TERM");
    let mut authority = authority.with(&["--set", "ext_authz.certificate_peers=[\"192.0.2.1\"]"]);
    authority.start();
    authority.serving(true).await;
    let mut request = tonic::Request::new(Held::of(&secret).message());
    request
        .metadata_mut()
        .insert("x-forwarded-client-cert", own.parse().unwrap());
    let answer = AuthorizationClient::new(authority.channel())
        .check(request)
        .await;
    let code = answer.unwrap().into_inner().status.unwrap().code;
    assert_eq!(code, 7, "others are not believed");
}
