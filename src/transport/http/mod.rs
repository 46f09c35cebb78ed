//! Plain HTTP: the pages, and how they stand on a listener of their own or beside gRPC.

mod beside;
pub mod console;
mod form;
mod metrics;
mod probes;
pub mod sidecar;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::http::{Request, Response, StatusCode};
use axum::routing::get;
use tonic::body::Body;
use tower::{Service, service_fn};

use crate::metrics::Exposition;
use crate::transport::connections::{Connection, Door, Keeper};
use crate::transport::gate::Gate;

pub(super) use beside::BesideGrpc;
pub use probes::Probes;

/// Where what stands.
const METRICS: &str = "/metrics";
const LIVE: &str = "/livez";
const READY: &str = "/readyz";

/// What is answered to plain HTTP.
#[derive(Clone)]
pub struct Pages {
    router: Router,
    /// Lets so many be in hand at once: whoever asks for pages and does not read them leaves them
    /// with us.
    asides: Arc<Gate>,
}

impl Pages {
    /// Those that tell whether the server lives and is ready; every other path is unknown.
    pub fn of_probes(probes: Probes) -> Self {
        let unknown = || async { (StatusCode::NOT_FOUND, "there is no such page\n") };
        let ready = get(probes::ready).with_state(probes);
        let pages = Router::new().route(LIVE, get(probes::live));
        Self {
            router: pages.route(READY, ready).fallback(unknown),
            asides: Gate::of_asides(),
        }
    }

    /// The same, and the metrics.
    pub fn with_metrics(self, exposition: Arc<Exposition>) -> Self {
        let page = get(metrics::page).with_state(exposition);
        let router = self.router.route(METRICS, page);
        Self { router, ..self }
    }

    /// The gate that pages pass, with whatever else is answered beside calls.
    pub(super) fn asides(&self) -> &Arc<Gate> {
        &self.asides
    }

    fn answer(
        &self,
        mut request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send + use<> {
        let connection = request.extensions().get::<Arc<Connection>>();
        let neighbours = connection.and_then(|connection| connection.neighbours.as_ref());
        let pass = self.asides.enter(neighbours).ok();
        let page = pass.map(|pass| {
            Keeper::keep(&mut request, Arc::new(pass));
            self.router.clone().call(request)
        });
        async move {
            let Some(page) = page else {
                let mut refused = Response::new(Body::empty());
                *refused.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                return Ok(refused);
            };
            Ok(page.await?.map(Body::new))
        }
    }

    /// Serves them on listeners of their own until `stop` is over.
    pub async fn serve(self, door: Door, stop: impl Future<Output = ()>) {
        let page = move |request: Request<Body>| self.answer(request);
        door.serve(move || service_fn(page.clone()), stop).await;
    }
}
