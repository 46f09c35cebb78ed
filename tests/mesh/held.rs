//! Requests that Envoy holds until they are judged: what passes, what is refused, and what either side sees.

use std::time::Duration;

use token_authority::transport::grpc::pb::{CreateRequest, RateLimit};

use crate::client::{self, bearer};
use crate::harness::{named, span};
use crate::kinds::kinds;
use crate::scene::Scene;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_in_force_passes_and_the_service_learns_whose_it_is() {
    for kind in kinds() {
        let mut mesh = Scene::of(&kind).await;
        let request = CreateRequest {
            owner: "ada".to_owned(),
            scopes: vec!["orders:read".to_owned(), "shop:admin".to_owned()],
            ..named("client")
        };
        let (token, secret) = mesh.token(request).await;
        for (target, credential) in [
            ("/orders?page=2", bearer(&secret)),
            ("/orders", format!("Authorization: bearer {secret}")),
            ("/orders", format!("X-API-Key: {secret}")),
            ("/admin/users", bearer(&secret)),
        ] {
            let asked = [credential, "x-own: kept".to_owned()];
            let told = client::ask(mesh.ingress(), "GET", target, &asked).await;
            assert_eq!(told.status, 200, "{target} of {kind:?}: {told:?}");
            assert!(told.body.starts_with(&format!("GET {target}\n")));
            assert_eq!(told.seen("x-own"), ["kept"]);
            assert_eq!(told.seen("x-token-id"), [token.token_id.as_str()]);
            assert_eq!(told.seen("x-token-owner"), ["ada"]);
            assert_eq!(told.seen("x-token-namespace"), ["default"]);
            assert_eq!(told.seen("x-token-scopes"), ["orders:read shop:admin"]);
            assert_eq!(told.seen("x-token-fence"), [""; 0]);
            let [name] = told.seen("x-validation-id")[..] else {
                panic!("{told:?}")
            };
            assert!(name.starts_with(&token.token_id));
            // The credential stays between the client and Envoy.
            assert_eq!(told.seen("authorization"), [""; 0]);
            assert_eq!(told.seen("x-api-key"), [""; 0]);
            assert!(!told.body.contains(&secret), "{told:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_says_what_is_lacking_and_no_more() {
    for kind in kinds() {
        let mut mesh = Scene::of(&kind).await;
        let restricted = CreateRequest {
            allowed_endpoints: vec!["GET /products/**".to_owned()],
            ..named("restricted")
        };
        let (_, restricted) = mesh.token(restricted).await;
        let once = CreateRequest {
            rate_limits: vec![RateLimit {
                requests: 1,
                period: Some(span(Duration::from_secs(3600))),
                ..RateLimit::default()
            }],
            ..named("once")
        };
        let (_, once) = mesh.token(once).await;
        let (_, plain) = mesh.token(named("plain")).await;

        let nothing = client::ask(mesh.ingress(), "GET", "/orders", &[]).await;
        assert_eq!(nothing.status, 401, "{kind:?}: {nothing:?}");
        let challenge = nothing.header("www-authenticate").expect("a challenge");
        assert!(challenge.starts_with("Bearer realm=") && !challenge.contains("error"));
        let unknown = mesh.get("/orders", "rubbish").await;
        assert_eq!(unknown.status, 401);
        let challenge = unknown.header("www-authenticate").expect("a challenge");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        assert_eq!(unknown.header("content-type"), Some("application/json"));
        assert!(!unknown.body.contains("rubbish"));

        let two = [bearer(&plain), format!("x-api-key: {restricted}")];
        let two = client::ask(mesh.ingress(), "GET", "/orders", &two).await;
        assert!((400..=401).contains(&two.status), "{two:?}");

        let lacking = mesh.get("/admin", &plain).await;
        assert_eq!(lacking.status, 403);
        let challenge = lacking.header("www-authenticate").expect("a challenge");
        assert!(challenge.contains("insufficient_scope"), "{challenge}");
        assert!(challenge.contains("shop:admin"), "{challenge}");

        assert_eq!(mesh.get("/products/1", &restricted).await.status, 200);
        assert_eq!(mesh.get("/orders", &restricted).await.status, 403);
        let asked = [bearer(&restricted)];
        let posted = client::ask(mesh.ingress(), "POST", "/products/1", &asked).await;
        assert_eq!(posted.status, 403);

        let first = mesh.get("/orders", &once).await;
        assert_eq!(first.status, 200);
        assert_eq!(first.header("x-ratelimit-limit"), Some("1"));
        assert_eq!(first.header("x-ratelimit-remaining"), Some("0"));
        let second = mesh.get("/orders", &once).await;
        assert_eq!(second.status, 429);
        let after: u64 = second.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=3600).contains(&after));
        assert_eq!(second.header("x-ratelimit-remaining"), Some("0"));
        assert_eq!(mesh.shop.asked(), ["/products/1", "/orders"]);
    }
}
