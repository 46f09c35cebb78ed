//! Paths that mean one thing to whoever judges and another to whoever serves.

use token_authority::transport::grpc::pb::CreateRequest;

use crate::client::{self, bearer};
use crate::harness::{Authority, named};
use crate::kinds::kinds;
use crate::scene::Scene;

/// Each of them may be read as a path outside `/products`.
const TRICKS: [&str; 14] = [
    "/products/../admin-only",
    "/products/%2e%2e/admin-only",
    "/products/.%2E/admin-only",
    "/products/./../admin-only",
    "/products/..%2fadmin-only",
    "/products/..%2Fadmin-only",
    "/products%2f..%2fadmin-only",
    "/products/%252e%252e/admin-only",
    "/products/..;/admin-only",
    "/products/..%5cadmin-only",
    "/products//../admin-only",
    "//admin-only",
    "/products/%c0%ae%c0%ae/admin-only",
    "/products/..%00/admin-only",
];

/// A token for `/products` and all below it.
fn restricted() -> CreateRequest {
    CreateRequest {
        allowed_endpoints: vec!["/products/**".to_owned()],
        ..named("restricted")
    }
}

/// Whether a service may read such a path as one outside of `/products`.
fn leads_out(target: &str) -> bool {
    !target.starts_with("/products/") || target.contains("..") || target.contains("%2e")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_can_be_read_in_two_ways_is_refused() {
    for kind in kinds() {
        let mut mesh = Scene::of(&kind).await;
        let (_, secret) = mesh.token(restricted()).await;
        for trick in TRICKS {
            let told = client::ask(mesh.ingress(), "GET", trick, &[bearer(&secret)]).await;
            // Envoy may have made a plain path of it, which is then judged and served alike.
            let refused = [400, 403].contains(&told.status);
            let plain = mesh.shop.asked().iter().all(|target| !leads_out(target));
            assert!(
                (refused || told.status == 200) && plain,
                "{trick} of {kind:?}: {told:?}"
            );
        }
        assert_eq!(mesh.get("/products/1", &secret).await.status, 200);
        // Below a route that needs no token there is no way to one that does.
        for trick in [
            "/healthz/../orders",
            "/healthz/%2e%2e/orders",
            "//healthz/../orders",
        ] {
            let told = client::ask(mesh.ingress(), "GET", trick, &[]).await;
            assert_eq!(told.status, 401, "{trick} of {kind:?}: {told:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_refuses_it_where_envoy_hands_it_on_as_it_came() {
    for kind in kinds() {
        let authority = Authority::before_sqlite_start();
        let mut mesh = Scene::with(&kind, authority, |changes| {
            changes.add("normalize_path: true", "normalize_path: false");
            changes.add("merge_slashes: true", "merge_slashes: false");
            changes.add(
                "slashes_action: REJECT_REQUEST",
                "slashes_action: KEEP_UNCHANGED",
            );
        })
        .await;
        let (_, secret) = mesh.token(restricted()).await;
        for trick in TRICKS {
            let told = client::ask(mesh.ingress(), "GET", trick, &[bearer(&secret)]).await;
            assert!(
                [400, 403].contains(&told.status),
                "{trick} of {kind:?}: {told:?}"
            );
        }
        assert_eq!(mesh.shop.asked(), [""; 0], "{kind:?}");
    }
}
