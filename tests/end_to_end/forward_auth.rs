//! Forward-auth as a proxy asks it: what goes on and as whose, what is refused and how, and who is believed.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use token_authority::transport::grpc::pb::{
    CreateRequest, RateLimit, RevokeRequest, revoke_request,
};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::Endpoint;

use crate::forwarding::{Reply, TRUSTING, again, forwarding, over, post, send};
use crate::harness::{Authority, PATIENCE, create, named};

/// Asks about a request as Caddy does.
fn held(address: &str, method: &str, uri: &str, lines: &[&str]) -> Reply {
    let method = format!("x-forwarded-method: {method}");
    let uri = format!("x-forwarded-uri: {uri}");
    let told: [&str; 3] = [&method, &uri, "x-forwarded-host: shop.example.org"];
    send(address, "GET", "/auth", &[&told, lines].concat(), "")
}

fn bearing(secret: &str) -> String {
    format!("authorization: Bearer {secret}")
}

const IDENTITY: [&str; 6] = [
    "x-token-id",
    "x-token-owner",
    "x-token-namespace",
    "x-token-scopes",
    "x-token-fence",
    "x-validation-id",
];

pub(crate) async fn an_allowed_request_is_told_whose_it_is(authority: Authority) {
    let (authority, forward) = forwarding(authority, TRUSTING).await;
    let mut root = authority.root().await;
    let asked = CreateRequest {
        owner: "Ann Ümit".into(),
        scopes: vec!["orders:read".into(), "orders:write".into()],
        rate_limits: vec![per_minute(60)],
        ..named("a")
    };
    let (token, secret) = create(&mut root, asked).await;
    let reply = held(
        &forward,
        "GET",
        "/orders?secret=canary",
        &[&bearing(&secret)],
    );
    assert_eq!((reply.status, reply.body.as_str()), (200, ""), "{reply:?}");
    assert_eq!(reply.header("x-token-id"), Some(token.token_id.as_str()));
    assert_eq!(reply.header("x-token-owner"), Some("Ann%20%C3%9Cmit"));
    assert_eq!(reply.header("x-token-namespace"), Some("default"));
    assert_eq!(
        reply.header("x-token-scopes"),
        Some("orders:read orders:write")
    );
    assert_eq!(
        reply.header("x-token-fence"),
        Some(""),
        "empty, to overwrite a spoofed one"
    );
    assert!(
        reply
            .header("x-validation-id")
            .is_some_and(|id| !id.is_empty())
    );
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("x-ratelimit-limit"), Some("60"));
    assert_eq!(reply.header("x-ratelimit-remaining"), Some("59"));
    assert!(
        reply
            .header("ratelimit")
            .is_some_and(|standing| standing.contains("r=59"))
    );
    let key = format!("x-api-key: {secret}");
    assert_eq!(held(&forward, "GET", "/", &[&key]).status, 200);
    let original = ["x-original-method: GET", "x-original-uri: /", &key];
    for method in ["GET", "POST", "HEAD", "DELETE"] {
        assert_eq!(
            send(&forward, method, "/auth", &original, "").status,
            200,
            "{method}"
        );
    }
    assert!(!authority.log().contains("canary"), "a query is logged");
}

fn per_minute(requests: u64) -> RateLimit {
    RateLimit {
        requests,
        period: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
        ..RateLimit::default()
    }
}

pub(crate) async fn every_refusal_has_its_status(authority: Authority) {
    let routes = format!(
        "{TRUSTING}[[ext_authz.route]]\nmethod = \"DELETE\"\nrequired_scopes = [\"orders:delete\"]\n\
         [[ext_authz.route]]\npath = \"/dear\"\ncost = 3\n"
    );
    let (authority, forward) = forwarding(authority, &routes).await;
    let mut root = authority.root().await;
    let asked = CreateRequest {
        allowed_endpoints: vec!["/orders/**".into(), "/dear".into()],
        allowed_cidrs: vec!["192.0.2.0/24".into()],
        rate_limits: vec![per_minute(2)],
        ..named("a")
    };
    let (_, secret) = create(&mut root, asked).await;
    let (gone, revoked) = create(&mut root, named("b")).await;
    let target = Some(revoke_request::Target::TokenId(gone.token_id));
    let revocation = RevokeRequest {
        target,
        ..RevokeRequest::default()
    };
    root.revoke(revocation).await.unwrap();
    let (own, near) = (bearing(&secret), "x-forwarded-for: 192.0.2.7");
    let refused = |reply: Reply, status: u16, error: &str| {
        assert_eq!(reply.status, status, "{reply:?}");
        assert_eq!(reply.json()["error"], error);
        assert_eq!(
            reply.header("x-refused-status"),
            Some(status.to_string().as_str())
        );
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        for name in IDENTITY {
            assert_eq!(reply.header(name), None, "{name}");
        }
        reply
    };
    let missing = refused(
        held(&forward, "GET", "/orders", &[]),
        401,
        "unauthenticated",
    );
    let challenge = missing.header("www-authenticate");
    assert_eq!(challenge, Some("Bearer realm=\"token-authority\""));
    let unknown = held(
        &forward,
        "GET",
        "/orders",
        &["authorization: Bearer ta_rubbish"],
    );
    let unknown = refused(unknown, 401, "invalid_token");
    assert!(
        unknown
            .header("www-authenticate")
            .unwrap()
            .contains("error=\"invalid_token\"")
    );
    let over = refused(
        held(&forward, "GET", "/orders", &[&bearing(&revoked)]),
        401,
        "invalid_token",
    );
    assert_eq!(
        over.body, unknown.body,
        "unknown and revoked are one answer"
    );
    let two = held(&forward, "GET", "/orders", &[&own, "x-api-key: other"]);
    refused(two, 400, "invalid_request");
    let lacking = refused(
        held(&forward, "DELETE", "/orders", &[&own, near]),
        403,
        "insufficient_scope",
    );
    assert!(
        lacking
            .header("www-authenticate")
            .unwrap()
            .contains("scope=\"orders:delete\"")
    );
    refused(
        held(&forward, "GET", "/other", &[&own, near]),
        403,
        "endpoint_denied",
    );
    refused(
        held(&forward, "GET", "/orders", &[&own]),
        403,
        "address_denied",
    );
    let far = "x-forwarded-for: 192.0.2.7, 198.51.100.7";
    refused(
        held(&forward, "GET", "/orders", &[&own, far]),
        403,
        "address_denied",
    );
    let odd = ["x-forwarded-for: me", &own];
    refused(
        held(&forward, "GET", "/orders", &odd),
        400,
        "invalid_request",
    );
    for tricky in ["/orders/../admin", "//orders", "/orders%2fx", "orders"] {
        refused(
            held(&forward, "GET", tricky, &[&own, near]),
            400,
            "invalid_request",
        );
    }
    refused(
        held(&forward, "delete", "/orders", &[&own, near]),
        400,
        "invalid_request",
    );
    assert_eq!(held(&forward, "GET", "/orders", &[&own, near]).status, 200);
    let dear = held(&forward, "GET", "/dear", &[&own, near]);
    let dear = refused(dear, 429, "rate_limited");
    assert_eq!(dear.header("x-ratelimit-remaining"), Some("1"));
    assert_eq!(held(&forward, "GET", "/orders", &[&own, near]).status, 200);
    let limited = refused(
        held(&forward, "GET", "/orders", &[&own, near]),
        429,
        "rate_limited",
    );
    let after: u64 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&after), "{after}");
}

pub(crate) async fn only_what_trusted_peers_tell_is_believed(authority: Authority) {
    let elsewhere = "[forward_auth]\ntrusted_peers = [\"192.0.2.1\", \"unix\"]\n";
    let (mut authority, forward) = forwarding(authority, elsewhere).await;
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("a")).await;
    let stranger = held(&forward, "GET", "/", &[&bearing(&secret)]);
    assert_eq!(stranger.status, 403);
    assert!(
        authority.log().contains("forward_auth.trusted_peers"),
        "{}",
        authority.log()
    );
    let forward = again(&mut authority, TRUSTING).await;
    let own = bearing(&secret);
    assert_eq!(held(&forward, "GET", "/", &[&own]).status, 200);
    // Nothing in the line of the request says anything, though clients write to it.
    let query = "/auth?x-forwarded-uri=/&x-forwarded-method=GET";
    assert_eq!(send(&forward, "GET", query, &[&own], "").status, 400);
    for wrong in [
        &["x-forwarded-uri: /"][..],
        &["x-original-uri: /", "x-forwarded-method: GET"],
        &[
            "x-original-uri: /",
            "x-original-method: GET",
            "x-forwarded-uri: /",
        ],
        &[
            "x-forwarded-uri: /",
            "x-forwarded-uri: /",
            "x-forwarded-method: GET",
        ],
    ] {
        let reply = send(&forward, "GET", "/auth", &[wrong, &[&own]].concat(), "");
        assert_eq!(reply.status, 400, "{wrong:?}");
    }
}

pub(crate) async fn a_proxy_asks_as_its_peers_may_or_shows_a_credential(authority: Authority) {
    let shop = format!("{TRUSTING}permissions = [\"validate@shop\"]\n");
    let (mut authority, forward) = forwarding(authority, &shop).await;
    let mut root = authority.root().await;
    let in_shop = CreateRequest {
        namespace: "shop".into(),
        ..named("a")
    };
    let (_, shopper) = create(&mut root, in_shop).await;
    let (_, other) = create(&mut root, named("b")).await;
    let judge = CreateRequest {
        scopes: vec!["authority:validate".into()],
        ..named("judge")
    };
    let (_, judge) = create(&mut root, judge).await;
    let status = |forward: &str, secret: &str, lines: &[&str]| {
        held(forward, "GET", "/", &[&[&*bearing(secret)], lines].concat()).status
    };
    let own = format!("x-authority-token: {judge}");
    assert_eq!(status(&forward, &shopper, &[]), 200);
    assert_eq!(status(&forward, &other, &[]), 401);
    assert_eq!(
        status(&forward, &other, &[&own]),
        401,
        "the header may be a client's"
    );
    let none = format!("{TRUSTING}permissions = []\n");
    let forward = again(&mut authority, &none).await;
    assert_eq!(status(&forward, &other, &[]), 403);
    assert_eq!(status(&forward, &other, &[&own]), 200);
    assert_eq!(status(&forward, &shopper, &[&own]), 401);
    let powerless = format!("x-authority-token: {other}");
    assert_eq!(status(&forward, &other, &[&powerless]), 403);
    assert_eq!(
        status(&forward, &other, &["x-authority-token: rubbish"]),
        403
    );
    assert_eq!(status(&forward, &other, &[&own, &own]), 403);
}

pub(crate) async fn limits_may_be_told_as_nginx_can_hear_them(authority: Authority) {
    let nginx = format!("{TRUSTING}limited_status = 403\n");
    let (authority, forward) = forwarding(authority, &nginx).await;
    let mut root = authority.root().await;
    let asked = CreateRequest {
        rate_limits: vec![per_minute(1)],
        ..named("a")
    };
    let (_, secret) = create(&mut root, asked).await;
    let ask = || held(&forward, "GET", "/", &[&bearing(&secret)]);
    assert_eq!(ask().status, 200);
    let limited = ask();
    assert_eq!(
        (limited.status, limited.header("x-refused-status")),
        (403, Some("429"))
    );
    assert!(limited.header("retry-after").is_some());
}

pub(crate) async fn pages_and_methods_that_there_are_not_are_told(authority: Authority) {
    let (authority, forward) = forwarding(authority, TRUSTING).await;
    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/auth/", 404),
        ("GET", "/metrics", 404),
        ("GET", "/oauth2/introspect", 405),
        ("PUT", "/oauth2/revoke", 405),
    ] {
        let reply = send(&forward, method, path, &[], "");
        assert_eq!(reply.status, status, "{method} {path}");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("allow"), (status == 405).then_some("POST"));
    }
    let named = send(&forward, "GET", "/", &["x-request-id: mine"], "");
    assert_eq!(named.header("x-request-id"), Some("mine"));
    let long = format!("x-forwarded-uri: /{}", "a".repeat(20_000));
    assert_eq!(send(&forward, "GET", "/auth", &[&long], "").status, 431);
    // What does not belong there is not there.
    assert_eq!(
        send(&authority.address, "GET", "/auth", &[], "").status,
        404
    );
}

pub(crate) async fn it_is_asked_over_http2_and_a_unix_socket_too(mut authority: Authority) {
    let path = authority.folder.path().join("forward.sock");
    let place = format!("forward_auth.listen=127.0.0.1:0,unix:{}", path.display());
    authority.stop("TERM");
    let mut authority = authority.with(&[
        "--set",
        &place,
        "--set",
        "forward_auth.trusted_peers=[\"127.0.0.1\", \"unix\"]",
    ]);
    authority.start();
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("a")).await;
    let told = [
        "x-original-method: GET",
        "x-original-uri: /",
        &bearing(&secret),
    ];
    let socket = UnixStream::connect(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(over(socket, "GET", "/auth", &told, "").status, 200);
    let said = authority.stdout();
    let mut lines = said
        .lines()
        .filter_map(|line| line.strip_prefix("forward-auth on "));
    let forward = lines.find(|place| !place.starts_with("unix:")).unwrap();
    let mut channel = Endpoint::from_shared(format!("http://{forward}"))
        .unwrap()
        .connect_lazy();
    for _ in 0..3 {
        let request = http::Request::get("/auth")
            .header("x-forwarded-method", "GET")
            .header("x-forwarded-uri", "/")
            .header("authorization", format!("Bearer {secret}"));
        std::future::poll_fn(|context| channel.poll_ready(context))
            .await
            .unwrap();
        let reply = channel
            .call(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(reply.status(), 200);
        assert_eq!(reply.headers()["x-token-namespace"], "default");
    }
}

pub(crate) async fn it_leaves_with_idle_connections_when_told_to(authority: Authority) {
    let (mut authority, forward) = forwarding(authority, TRUSTING).await;
    let idle = std::net::TcpStream::connect(&forward).unwrap();
    assert_eq!(held(&forward, "GET", "/", &[]).status, 401);
    let (code, took) = authority.stop("TERM");
    assert_eq!(code, Some(0), "{}", authority.log());
    assert!(took < Duration::from_secs(8), "{took:?}");
    drop(idle);
    assert!(std::net::TcpStream::connect(&forward).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_never_a_verdict() {
    let authority = Authority::on_redis();
    // What memory knows it may answer for a moment longer.
    let forgetful = format!("{TRUSTING}[cache]\nmax_entries = 0\n");
    let (mut authority, forward) = forwarding(authority, &forgetful).await;
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("a")).await;
    assert_eq!(held(&forward, "GET", "/", &[&bearing(&secret)]).status, 200);
    authority.redis = None;
    authority.serving(false).await;
    let credential = format!("authorization: Bearer {}", crate::harness::ROOT_TOKEN);
    for reply in [
        held(&forward, "GET", "/", &[&bearing(&secret)]),
        post(
            &forward,
            "/oauth2/introspect",
            &[&credential],
            &format!("token={secret}"),
        ),
        post(&forward, "/oauth2/revoke", &[], &format!("token={secret}")),
    ] {
        assert_eq!(reply.status, 503, "{reply:?}");
        assert!(reply.header("retry-after").is_some(), "{reply:?}");
        assert_eq!(reply.header("www-authenticate"), None, "{reply:?}");
    }
}
