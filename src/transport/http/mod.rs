//! Plain HTTP: the pages, and how they stand on a listener of their own or beside gRPC.

mod beside;
mod metrics;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::http::Request;
use axum::http::StatusCode;
use axum::routing::get;
use tonic::body::Body;
use tower::{Service, service_fn};

use crate::metrics::Exposition;
use crate::transport::connections::Door;

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

    /// Serves them on listeners of their own until `stop` is over.
    pub async fn serve(self, door: Door, stop: impl Future<Output = ()>) {
        let page = move |request: Request<Body>| {
            let page = self.0.clone().call(request);
            async move { Ok(page.await?.map(Body::new)) }
        };
        door.serve(service_fn(page), stop).await;
    }
}
