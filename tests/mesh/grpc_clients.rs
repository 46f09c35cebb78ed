//! gRPC clients behind Envoy: refusals in gRPC's own words.

use std::net::SocketAddr;
use std::time::Duration;

use token_authority::transport::grpc::pb::{CreateRequest, RateLimit};
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use crate::harness::{named, span};
use crate::kinds::kinds;
use crate::scene::Scene;

/// Calls the gRPC service behind Envoy with this secret; without one where it is empty.
pub(crate) async fn health_through(ingress: SocketAddr, secret: &str) -> Result<(), Status> {
    let channel = Endpoint::try_from(format!("http://{ingress}"))
        .expect("an address")
        .connect_lazy();
    let mut request = Request::new(HealthCheckRequest::default());
    if !secret.is_empty() {
        let bearer = format!("Bearer {secret}").parse().expect("visible ASCII");
        request.metadata_mut().insert("authorization", bearer);
    }
    HealthClient::new(channel).check(request).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_client_sees_the_codes_that_are_meant_with_their_details() {
    for kind in kinds() {
        let mut mesh = Scene::of(&kind).await;
        let (_, secret) = mesh.token(named("client")).await;
        let passed = health_through(mesh.ingress(), &secret).await;
        passed.unwrap_or_else(|error| panic!("{kind:?}: {error:?}"));
        let seen = mesh.shop_grpc.asked();
        let [seen] = seen.as_slice() else {
            panic!("one call: {seen:?}")
        };
        assert_eq!(seen.get("authorization"), None, "the credential stays here");
        assert_eq!(seen.get("x-token-namespace").unwrap(), "default");

        for secret in ["", "rubbish"] {
            let told = health_through(mesh.ingress(), secret).await.unwrap_err();
            assert_eq!(told.code(), Code::Unauthenticated, "{kind:?}: {told:?}");
            assert!(told.metadata().contains_key("www-authenticate"));
        }
        let elsewhere = CreateRequest {
            allowed_endpoints: vec!["/shop.Orders/*".to_owned()],
            ..named("elsewhere")
        };
        let (_, secret) = mesh.token(elsewhere).await;
        let told = health_through(mesh.ingress(), &secret).await.unwrap_err();
        assert_eq!(told.code(), Code::PermissionDenied, "{kind:?}: {told:?}");
        let once = CreateRequest {
            rate_limits: vec![RateLimit {
                requests: 1,
                period: Some(span(Duration::from_secs(3600))),
                ..RateLimit::default()
            }],
            ..named("once")
        };
        let (_, secret) = mesh.token(once).await;
        health_through(mesh.ingress(), &secret).await.unwrap();
        let told = health_through(mesh.ingress(), &secret).await.unwrap_err();
        assert_eq!(told.code(), Code::ResourceExhausted, "{kind:?}: {told:?}");
        let retry = told.get_details_retry_info().expect("RetryInfo");
        let delay = retry.retry_delay.expect("a delay");
        let whole = Duration::from_secs(3600);
        assert!(delay > whole / 2 && delay <= whole, "{delay:?}");
        assert_eq!(mesh.shop_grpc.asked().len(), 2, "no refused call came");
    }
}
