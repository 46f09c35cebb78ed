//! Connections of Envoy's that come of age under load: no request notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use crate::client;
use crate::harness::{Authority, PATIENCE, named};
use crate::kinds::usual;
use crate::scene::Scene;
use crate::scrape::Scrape;

const CLIENTS: usize = 8;
const ROTATIONS: f64 = 4.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_envoys_connections_come_of_age() {
    let authority = Authority::before_sqlite_start().with(&["--set", "limits.connection_age=1s"]);
    let mut mesh = Scene::with(&usual(), authority, |_| {}).await;
    let (_, secret) = mesh.token(named("client")).await;
    let over = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    let ingress = mesh.ingress();
    let asking: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (over, asked, secret) = (over.clone(), asked.clone(), secret.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let told = client::get(ingress, "/orders", &secret).await;
                    assert_eq!(told.status, 200, "{told:?}");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let aged = || Scrape::of(&mesh.authority).value("connections_ended_total{reason=\"aged\"}");
    let patience = Instant::now() + 2 * PATIENCE;
    while aged() < ROTATIONS {
        assert!(Instant::now() < patience, "connections do not come of age");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    over.store(true, Ordering::Relaxed);
    for one in asking {
        one.await.expect("every request is answered");
    }
    assert!(asked.load(Ordering::Relaxed) > CLIENTS);
    let errors = mesh.envoy.counter("http.ingress.ext_authz.error").await;
    assert_eq!(errors, 0, "no check failed");
}
