//! gRPC: the listener's services in a named order, and their bounds; and HTTP beside them.

mod call;
pub mod codec;
mod convert;
mod credential;
mod deadline;
mod edge;
pub mod gate;
mod health;
pub mod pb;
mod status;
mod token_service;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::authority::Authority;
use crate::authority::readiness::Readiness;
use crate::metrics::Metrics;
use crate::transport::http::{BesideGrpc, Pages};

use edge::{EdgeLayer, Settings};
use gate::Gate;
use pb::token_service_server::TokenServiceServer;
use token_service::TokenServiceHandler;

/// Bounds on what a peer may ask.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub message_bytes: usize,
    pub calls_per_connection: u32,
    pub call_deadline: Duration,
}

/// Dead peers are found within the sum of both.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// What is served, and by whom.
pub struct Setup {
    pub authority: Arc<Authority>,
    pub metrics: Arc<Metrics>,
    pub gate: Arc<Gate>,
    pub bounds: Bounds,
    /// What is answered to plain HTTP on the same listener.
    pub http: Pages,
}

/// Serves until `stop` is over and every connection has gone; whoever calls bounds that wait.
///
/// Health is reported from `readiness` until `draining` turns true.
pub async fn serve(
    listener: TcpListener,
    setup: Setup,
    readiness: watch::Receiver<Readiness>,
    draining: watch::Receiver<bool>,
    stop: impl Future<Output = ()>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let Setup {
        authority,
        metrics,
        gate,
        bounds,
        http,
    } = setup;
    let (reporter, health) = tonic_health::server::health_reporter();
    health::begin(&reporter).await;
    let reporting = tokio::spawn(health::follow(reporter, readiness, draining));
    let tokens = TokenServiceServer::new(TokenServiceHandler::new(authority.clone()))
        .max_decoding_message_size(bounds.message_bytes);
    let edge = EdgeLayer(Arc::new(Settings {
        authority,
        metrics,
        gate,
        call_deadline: bounds.call_deadline,
        message_bytes_max: bounds.message_bytes,
    }));
    let served = Server::builder()
        .accept_http1(true)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .tcp_keepalive(Some(PING_EVERY))
        .max_concurrent_streams(bounds.calls_per_connection)
        .layer(BesideGrpc(http))
        .layer(edge)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(tokens)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), stop)
        .await;
    reporting.abort();
    Ok(served?)
}

/// All that clients may want described: our API, health, and the types of error details.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
