//! What Envoy logs of requests is their use, without a line of code anywhere.

use std::time::Duration;

use token_authority::transport::grpc::pb::{Token, UsageRequest, UsageResponse, UsageTotals};

use crate::client::{self, bearer};
use crate::grpc_clients::health_through;
use crate::harness::{Client, PATIENCE, named};
use crate::kinds::kinds;
use crate::scene::Scene;
use crate::scrape::Scrape;

async fn usage_once(
    client: &mut Client,
    token: &Token,
    wanted: impl Fn(&UsageTotals) -> bool,
) -> UsageResponse {
    let patience = std::time::Instant::now() + PATIENCE;
    loop {
        let request = UsageRequest {
            token_id: token.token_id.clone(),
            window: None,
        };
        let told = client.usage(request).await.expect("usage").into_inner();
        if wanted(told.totals.as_ref().expect("totals")) {
            return told;
        }
        assert!(std::time::Instant::now() < patience, "never: {told:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_through_envoy_are_counted_with_how_they_ended() {
    for kind in kinds() {
        let mut mesh = Scene::of(&kind).await;
        let (token, secret) = mesh.token(named("client")).await;
        let (victim, _) = mesh.token(named("victim")).await;
        let mut received = 0;
        for _ in 0..5 {
            let asked = [bearer(&secret), "user-agent: shop-app/7".to_owned()];
            let told = client::ask(mesh.ingress(), "GET", "/orders?page=2", &asked).await;
            received += told.body.len() as u64;
        }
        // Refused, with a token that is known; and what names no token, with the name of another's judgement.
        let lacking = mesh.get("/admin", &secret).await;
        assert_eq!(lacking.status, 403);
        let forged = format!("x-validation-id: {}10123456789abcdefghij", victim.token_id);
        for (target, status) in [("/orders", 401), ("/healthz", 200)] {
            let told =
                client::ask(mesh.ingress(), "GET", target, std::slice::from_ref(&forged)).await;
            assert_eq!(told.status, status, "{kind:?}: {told:?}");
        }
        health_through(mesh.ingress(), &secret).await.unwrap();
        let told = usage_once(&mut mesh.root, &token, |totals| totals.completed == 7).await;
        let totals = told.totals.as_ref().expect("totals");
        assert_eq!(totals.requests, 7, "{kind:?}: {told:?}");
        assert_eq!((totals.successful, totals.failed), (6, 1));
        assert!(totals.response_bytes >= received, "{totals:?}");
        assert!(totals.average_latency.is_some() && totals.p99_latency.is_some());
        let classes: Vec<_> = totals
            .status_classes
            .iter()
            .map(|one| (one.class, one.requests))
            .collect();
        assert_eq!(classes, [(2, 6), (4, 1)]);
        let refused = told.recent.iter().find(|one| one.endpoint == "/admin");
        let refused = refused.expect("the refused request");
        assert_eq!(refused.status_code, Some(403));
        assert_eq!(refused.client_ip, "127.0.0.1");
        let passed = told.recent.iter().find(|one| one.endpoint == "/orders");
        let passed = passed.expect("one that passed");
        assert_eq!(
            (passed.status_code, passed.method.as_str()),
            (Some(200), "GET")
        );
        assert!(passed.latency.is_some() && passed.response_bytes > 0);
        assert_eq!(passed.user_agent, "shop-app/7");
        let none = usage_once(&mut mesh.root, &victim, |_| true).await;
        assert_eq!(none.totals.expect("totals").completed, 0, "{kind:?}");
        let scrape = Scrape::of(&mesh.authority);
        let counted = scrape.value("access_log_entries_total{outcome=\"counted\"}");
        assert_eq!(counted, 7.0, "{kind:?}");
        assert_eq!(
            scrape.value("access_log_entries_total{outcome=\"lost\"}"),
            0.0
        );
    }
}
