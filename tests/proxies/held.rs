//! What a client meets that comes to a service through a proxy, and what the service gets to see.

use token_authority::transport::grpc::pb::{CreateRequest, RateLimit};

use crate::forwarding::{Reply, TRUSTING, forwarding, send};
use crate::harness::{Authority, Client, create, named};
use crate::proxy::{Kind, Proxy};
use crate::upstream::Upstream;

/// A proxy with what it stands before and what it asks.
struct Scene {
    proxy: Proxy,
    upstream: Upstream,
    authority: Authority,
    root: Client,
}

impl Scene {
    async fn begin(kind: Kind) -> Self {
        let configuration = format!(
            "{TRUSTING}[[ext_authz.route]]\npath = \"/admin/**\"\nrequired_scopes = [\"admin\"]\n\
             [[ext_authz.route]]\nmethod = \"DELETE\"\nrequired_scopes = [\"delete\"]\n"
        );
        let (authority, forward) = forwarding(Authority::on_sqlite(), &configuration).await;
        let upstream = Upstream::start();
        let proxy = Proxy::start(kind, &forward, &upstream.address);
        let root = authority.root().await;
        Self {
            proxy,
            upstream,
            authority,
            root,
        }
    }

    fn ask(&self, method: &str, path: &str, lines: &[&str]) -> Reply {
        let host = ["host: shop.example.org"];
        send(
            &self.proxy.address,
            method,
            path,
            &[&host, lines].concat(),
            "",
        )
    }

    async fn token(&mut self, request: CreateRequest) -> (String, String) {
        let (token, secret) = create(&mut self.root, request).await;
        (token.token_id, format!("authorization: Bearer {secret}"))
    }
}

pub(crate) async fn an_allowed_request_reaches_the_service_as_its_owners_and_without_its_credential(
    kind: Kind,
) {
    let mut scene = Scene::begin(kind).await;
    let asked = CreateRequest {
        owner: "ann".into(),
        scopes: vec!["orders:read".into(), "orders:write".into()],
        ..named("a")
    };
    let (id, bearer) = scene.token(asked).await;
    let reply = send(
        &scene.proxy.address,
        "POST",
        "/orders?page=2",
        &["host: shop.example.org", &bearer, "x-mine: kept"],
        "a body",
    );
    assert_eq!(
        (reply.status, &*reply.body),
        (200, "serve"),
        "{}",
        scene.proxy.log()
    );
    let seen = scene.upstream.last();
    assert!(seen.starts_with("post /orders?page=2 "), "{seen}");
    for line in [
        format!("x-token-id: {}\r\n", id.to_ascii_lowercase()),
        "x-token-owner: ann\r\n".to_owned(),
        "x-token-namespace: default\r\n".to_owned(),
        "x-token-scopes: orders:read orders:write\r\n".to_owned(),
        "x-mine: kept\r\n".to_owned(),
    ] {
        assert!(seen.contains(&line), "{line}{seen}");
    }
    assert!(
        seen.contains("x-validation-id: ") && seen.ends_with("a body"),
        "{seen}"
    );
    assert!(!seen.contains("authorization"), "{seen}");
    let key = bearer.replace("authorization: Bearer", "x-api-key:");
    assert_eq!(scene.ask("GET", "/orders", &[&key]).status, 200);
    let seen = scene.upstream.last();
    assert!(!seen.contains("x-api-key"), "{seen}");
}

pub(crate) async fn nothing_that_a_client_writes_of_itself_is_believed(kind: Kind) {
    let mut scene = Scene::begin(kind).await;
    let (_, bearer) = scene.token(named("plain")).await;
    let spoofed = [
        &*bearer,
        "x-token-owner: evil",
        "x-token-id: evil",
        "X-Token-Scopes: evil",
        "x-token-fence: evil",
        "x-validation-id: evil",
        "x_token_owner: evil",
        "X-Token_Owner: evil",
        "x_token-fence: evil",
        "x_validation_id: evil",
    ];
    assert_eq!(
        scene.ask("GET", "/orders", &spoofed).status,
        200,
        "{}",
        scene.proxy.log()
    );
    let seen = scene.upstream.last();
    assert!(!seen.contains("evil"), "{seen}");
    let before = scene.upstream.requests().len();
    for family in [
        &["x-original-uri: /", "x-original-method: GET"][..],
        &[
            "x-forwarded-uri: /",
            "x-forwarded-method: GET",
            "x-forwarded-host: other",
        ],
        &["X-Original-URI: /orders", "X-Forwarded-Uri: /orders"],
        &["x-authority-token: evil"],
    ] {
        let lines = [&[&*bearer], family].concat();
        for (method, path) in [("GET", "/admin/users"), ("DELETE", "/orders")] {
            let reply = scene.ask(method, path, &lines);
            assert_eq!(reply.status, 403, "{family:?} {reply:?}");
        }
    }
    for tricky in [
        "/orders/../admin/users",
        "//admin/users",
        "/admin%2fusers",
        "/%61dmin/..%2fadmin",
    ] {
        let reply = scene.ask("GET", tricky, &[&bearer]);
        assert_eq!(reply.status, 400, "{tricky} {reply:?}");
    }
    let near = CreateRequest {
        allowed_cidrs: vec!["192.0.2.0/24".into()],
        ..named("near")
    };
    let (_, near) = scene.token(near).await;
    let address = [&*near, "x-forwarded-for: 192.0.2.7"];
    assert_eq!(scene.ask("GET", "/orders", &address).status, 403);
    assert_eq!(
        scene.upstream.requests().len(),
        before,
        "{:?}",
        scene.upstream.requests()
    );
    let here = CreateRequest {
        allowed_cidrs: vec!["127.0.0.0/8".into()],
        ..named("here")
    };
    let (_, here) = scene.token(here).await;
    let address = [&*here, "x-forwarded-for: 192.0.2.7"];
    assert_eq!(scene.ask("GET", "/orders", &address).status, 200);
}

pub(crate) async fn a_refused_request_reaches_nobody_and_says_why(kind: Kind) {
    let mut scene = Scene::begin(kind).await;
    let (_, bearer) = scene.token(named("plain")).await;
    let once = CreateRequest {
        rate_limits: vec![RateLimit {
            requests: 1,
            ..RateLimit::default()
        }],
        ..named("once")
    };
    let (_, once) = scene.token(once).await;
    let missing = scene.ask("GET", "/orders", &[]);
    assert_eq!(missing.status, 401, "{}", scene.proxy.log());
    assert_eq!(
        missing.header("www-authenticate"),
        Some("Bearer realm=\"token-authority\"")
    );
    let wrong = scene.ask("GET", "/orders", &["authorization: Bearer ta_rubbish"]);
    assert_eq!(wrong.status, 401);
    assert!(
        wrong
            .header("www-authenticate")
            .unwrap()
            .contains("error=\"invalid_token\"")
    );
    let two = scene.ask("GET", "/orders", &[&bearer, "x-api-key: other"]);
    assert_eq!(two.status, 400);
    let lacking = scene.ask("GET", "/admin/users", &[&bearer]);
    assert_eq!(lacking.status, 403);
    assert!(
        lacking
            .header("www-authenticate")
            .unwrap()
            .contains("scope=\"admin\"")
    );
    assert_eq!(scene.upstream.requests(), Vec::<String>::new());
    assert_eq!(scene.ask("GET", "/orders", &[&once]).status, 200);
    let limited = scene.ask("GET", "/orders", &[&once]);
    assert_eq!(limited.status, 429);
    let after: u64 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&after), "{after}");
    assert!(
        limited.header("ratelimit").unwrap().contains("r=0"),
        "{limited:?}"
    );
    assert_eq!(scene.upstream.requests().len(), 1);
}

pub(crate) async fn without_the_authority_nothing_goes_on(kind: Kind) {
    let mut scene = Scene::begin(kind).await;
    let (_, bearer) = scene.token(named("a")).await;
    assert_eq!(scene.ask("GET", "/orders", &[&bearer]).status, 200);
    scene.authority.kill();
    let down = scene.ask("GET", "/orders", &[&bearer]);
    assert_eq!(down.status, 503, "{}", scene.proxy.log());
    assert_eq!(scene.upstream.requests().len(), 1);
}

pub(crate) async fn what_the_service_answers_itself_stays_as_it_is(kind: Kind) {
    let mut scene = Scene::begin(kind).await;
    let (_, bearer) = scene.token(named("a")).await;
    for (path, status) in [("/teapot", 418), ("/forbidden", 403), ("/", 200)] {
        let reply = scene.ask("GET", path, &[&bearer]);
        assert_eq!((reply.status, &*reply.body), (status, "serve"));
    }
}
