//! Plain HTTP: the pages, and how they stand on a listener of their own or beside gRPC.

mod beside;
mod metrics;
mod probes;

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
pub use probes::Probes;

/// Where what stands.
const METRICS: &str = "/metrics";
const LIVE: &str = "/livez";
const READY: &str = "/readyz";

/// What is answered to plain HTTP.
#[derive(Clone)]
pub struct Pages(Router);

impl Pages {
    /// Those that tell whether the server lives and is ready; every other path is unknown.
    pub fn of_probes(probes: Probes) -> Self {
        let unknown = || async { (StatusCode::NOT_FOUND, "there is no such page\n") };
        let ready = get(probes::ready).with_state(probes);
        let pages = Router::new().route(LIVE, get(probes::live));
        Self(pages.route(READY, ready).fallback(unknown))
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
