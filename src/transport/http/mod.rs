//! Plain HTTP: the pages, and how they stand on a listener of their own or beside gRPC.

mod beside;
mod metrics;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::metrics::Exposition;

pub(super) use beside::BesideGrpc;

/// Where the metrics stand.
const METRICS: &str = "/metrics";

/// What is answered to plain HTTP.
#[derive(Clone)]
pub struct Pages(Router);

impl Pages {
    /// None: every path is unknown.
    pub fn none() -> Self {
        let unknown = || async { (StatusCode::NOT_FOUND, "there is no such page\n") };
        Self(Router::new().fallback(unknown))
    }

    /// The same, and the metrics.
    pub fn with_metrics(self, exposition: Arc<Exposition>) -> Self {
        let page = get(metrics::page).with_state(exposition);
        Self(self.0.route(METRICS, page))
    }

    /// Serves them on a listener of their own until `stop` is over.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = Server::builder().accept_http1(true);
        Ok(server
            .serve_with_incoming_shutdown(self.0, incoming, stop)
            .await?)
    }
}
