//! Outages on our side: refused or let pass as the operator said, and never a verdict.

use std::time::Instant;

use crate::client;
use crate::harness::{Authority, PATIENCE, named};
use crate::kinds::{Kind, kinds, usual};
use crate::scene::Scene;

/// What clients see of an outage.
async fn told(mesh: &Scene, secret: &str, letting_pass: bool) {
    for secret in [secret, "rubbish"] {
        let told = mesh.get("/orders", secret).await;
        match letting_pass {
            true => {
                assert_eq!(told.status, 200, "{told:?}");
                assert_eq!(told.seen("x-token-id"), [""; 0], "nobody knows whose it is");
            }
            false => assert_eq!((told.status, told.body.as_str()), (503, ""), "{told:?}"),
        }
    }
    // Also then nobody says of himself what only the authority may say.
    let spoofed = [client::bearer(secret), "x-token-id: spoofed".to_owned()];
    let told = client::ask(mesh.ingress(), "GET", "/orders", &spoofed).await;
    assert!(!told.body.contains("spoofed"), "{told:?}");
}

async fn with(authority: Authority, kind: &Kind, letting_pass: bool) -> Scene {
    Scene::with(kind, authority, |changes| {
        if letting_pass {
            changes.add("failure_mode_allow: false", "failure_mode_allow: true");
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_authority_refuses_or_passes_all_as_the_operator_said() {
    for kind in kinds() {
        for letting_pass in [false, true] {
            let authority = Authority::before_sqlite_start();
            let mut mesh = with(authority, &kind, letting_pass).await;
            let (_, secret) = mesh.token(named("client")).await;
            assert_eq!(mesh.get("/orders", &secret).await.status, 200);
            mesh.authority.kill();
            told(&mesh, &secret, letting_pass).await;
            mesh.envoy.finds_authority(false).await;
            told(&mesh, &secret, letting_pass).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_redis_refuses_or_passes_all_as_the_operator_said() {
    for kind in kinds() {
        for letting_pass in [false, true] {
            let authority = Authority::before_redis_start();
            let mut mesh = with(authority, &kind, letting_pass).await;
            let (_, secret) = mesh.token(named("client")).await;
            assert_eq!(mesh.get("/orders", &secret).await.status, 200);
            let redis = mesh.authority.redis.as_mut().expect("a Redis");
            redis.kill();
            // Until the cache lease is over, what is remembered is true.
            mesh.authority.serving(false).await;
            let errors = "http.ingress.ext_authz.error";
            let before = mesh.envoy.counter(errors).await;
            // What is no secret is refused for what it is, as long as it is known who asks.
            let outage = if letting_pass { 200 } else { 503 };
            let rubbish = mesh.get("/orders", "rubbish").await;
            assert!([401, outage].contains(&rubbish.status), "{rubbish:?}");
            let patience = Instant::now() + PATIENCE;
            loop {
                let told = mesh.get("/orders", &secret).await;
                let judged = told.seen("x-token-id").len();
                if told.status == outage && judged == 0 {
                    break;
                }
                assert!([200, 503].contains(&told.status), "a verdict: {told:?}");
                assert!(Instant::now() < patience, "{told:?}");
            }
            let after = mesh.envoy.counter(errors).await;
            assert!(after > before, "{kind:?}: an error, and no denial");
            mesh.authority.redis.as_mut().expect("a Redis").restart();
            mesh.authority.serving(true).await;
            mesh.envoy.finds_authority(true).await;
            let told = mesh.get("/orders", &secret).await;
            assert_eq!(told.status, 200);
            assert_eq!(told.seen("x-token-id").len(), 1, "{told:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_drains_is_asked_no_more_and_one_that_returns_is_asked_again() {
    let kind = usual();
    let mut mesh = Scene::of(&kind).await;
    let (_, secret) = mesh.token(named("client")).await;
    let place = mesh.authority.address.clone();
    assert_eq!(mesh.authority.stop("TERM").0, Some(0));
    mesh.envoy.finds_authority(false).await;
    assert_eq!(mesh.get("/orders", &secret).await.status, 503);
    let stopped = Authority::before_sqlite_start();
    mesh.authority = std::mem::replace(&mut mesh.authority, stopped).listening_on(&place);
    mesh.authority.start();
    mesh.envoy.finds_authority(true).await;
    assert_eq!(mesh.get("/orders", &secret).await.status, 200);
}
