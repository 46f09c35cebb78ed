//! gRPC: the listener's services in a named order, and their bounds; and HTTP beside them.

mod access_log;
mod call;
mod caller;
pub mod codec;
mod conversation;
pub(in crate::transport) mod convert;
mod credential;
mod deadline;
mod dispatch;
mod eager;
mod edge;
pub mod envoy;
mod ext_authz;
mod health;
mod keep_alive_stream;
mod lease_calls;
mod on_hold;
pub mod pb;
mod standing;
mod status;
mod token_service;
mod usage_calls;
mod validate_calls;
mod watch_stream;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tonic::service::Routes;
use tower::Layer;

use crate::authority::Authority;
use crate::authority::act::{self, Act};
use crate::authority::readiness::Readiness;
use crate::metrics::Metrics;
use crate::transport::connections::Door;
use crate::transport::gate::Gate;
use crate::transport::http::{BesideGrpc, Pages};

pub use tonic_reflection::server::Error as ReflectionError;

use access_log::AccessLogHandler;
use dispatch::Dispatch;
use edge::{EdgeLayer, Settings};
use envoy::service::accesslog::v3::access_log_service_server as access_logs;
use ext_authz::ExtAuthz;
pub use ext_authz::ExtAuthzTerms;
use pb::token_service_server::{SERVICE_NAME, TokenServiceServer};
use token_service::TokenServiceHandler;

/// Longest message to health and reflection, in bytes: both are asked by name.
const NAMING_BYTES_MAX: usize = 4 << 10;

/// Bounds on what a peer may ask.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub message_bytes: usize,
    pub call_deadline: Duration,
    /// Most questions of one ValidateStream that are judged at once.
    pub stream_messages: usize,
}

/// What is served, and by whom.
pub struct Setup {
    pub authority: Arc<Authority>,
    pub metrics: Arc<Metrics>,
    pub gate: Arc<Gate>,
    pub streams: Arc<Gate>,
    pub bounds: Bounds,
    pub ext_authz: ExtAuthzTerms,
    /// What is answered to plain HTTP on the same listener.
    pub http: Pages,
}

/// Serves until `stop` is over and every connection has gone; whoever calls bounds that wait.
///
/// Health is reported from `readiness` until `draining` turns true.
pub async fn serve(
    door: Door,
    setup: Setup,
    readiness: watch::Receiver<Readiness>,
    draining: watch::Receiver<bool>,
    stop: impl Future<Output = ()>,
) -> Result<(), ReflectionError> {
    let Setup {
        authority,
        metrics,
        gate,
        streams,
        bounds,
        ext_authz,
        http,
    } = setup;
    let (reporter, health) = tonic_health::server::health_reporter();
    health::begin(&reporter).await;
    let mut reporting = tokio::spawn(health::follow(reporter, readiness, draining));
    let health = health.max_decoding_message_size(NAMING_BYTES_MAX);
    let v1 = reflection().build_v1()?;
    let v1alpha = reflection().build_v1alpha()?;
    let tokens = TokenServiceHandler {
        authority: authority.clone(),
        call_deadline: bounds.call_deadline,
        message_bytes: bounds.message_bytes,
        stream_messages: bounds.stream_messages,
    };
    let terms = Arc::new(ext_authz);
    // What a client says of itself is in an entry, as it is in what Check is asked.
    let log_bytes = bounds.message_bytes.max(ext_authz::MESSAGE_BYTES_LEAST);
    let logs = access_logs::AccessLogServiceServer::new(AccessLogHandler {
        authority: authority.clone(),
        metrics: metrics.clone(),
        call_deadline: bounds.call_deadline,
        message_bytes: log_bytes,
        terms: terms.clone(),
    });
    let ext_authz = ExtAuthz::new(authority.clone(), terms, bounds.message_bytes);
    let settings = Settings {
        authority,
        metrics,
        gate,
        streams,
        asides: http.asides().clone(),
        call_deadline: bounds.call_deadline,
        message_bytes_max: bounds.message_bytes,
    };
    let routes = Routes::new(health)
        .add_service(v1.max_decoding_message_size(NAMING_BYTES_MAX))
        .add_service(v1alpha.max_decoding_message_size(NAMING_BYTES_MAX))
        .add_service(logs.max_decoding_message_size(log_bytes))
        .prepare();
    let service = move || {
        let tokens = TokenServiceServer::new(tokens.clone());
        let dispatch = Dispatch {
            tokens: tokens.max_decoding_message_size(bounds.message_bytes),
            ext_authz: ext_authz.clone(),
            routes: Arc::new(routes.clone()),
        };
        let edge = EdgeLayer(Arc::new(settings.clone())).layer(dispatch);
        BesideGrpc(http.clone()).layer(edge)
    };
    let stop = async {
        stop.await;
        // Whoever watches health is told the last status before its stream ends.
        let _ = (&mut reporting).await;
    };
    door.serve(service, stop).await;
    reporting.abort();
    Ok(())
}

/// The method of `TokenService` that a path names, if any, whether or not there is such a one.
fn method(path: &str) -> Option<&str> {
    let path = path.strip_prefix('/')?.strip_prefix(SERVICE_NAME)?;
    path.strip_prefix('/')
}

/// The method that a path names, of all that are told apart.
fn known(path: &str) -> Option<&str> {
    match method(path) {
        // Whatever services beside it have.
        Some(name) => Some(name).filter(|name| act::BESIDE.iter().all(|(rpc, _)| rpc != name)),
        None if path == ext_authz::PATH => Some(act::Check::RPC),
        None => (path == access_log::PATH).then_some(act::AccessLogs::RPC),
    }
}

/// All that clients may want described: our API, what of Envoy's is served, health, and the types of error details.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(envoy::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
