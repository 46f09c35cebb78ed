//! `GET /livez` and `GET /readyz`: what load balancers and kubelets ask who speak no gRPC.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;

use crate::authority::readiness::Readiness;

/// What health is told from; the page and `grpc.health.v1` say the same.
#[derive(Clone)]
pub struct Probes {
    pub readiness: watch::Receiver<Readiness>,
    pub draining: watch::Receiver<bool>,
}

/// The process runs, and answers.
pub(super) async fn live() -> Response {
    told(StatusCode::OK, "ok\n")
}

/// Validate can answer, and calls are welcome.
pub(super) async fn ready(State(probes): State<Probes>) -> Response {
    if *probes.draining.borrow() {
        return told(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    if !probes.readiness.borrow().validate {
        return told(StatusCode::SERVICE_UNAVAILABLE, "not ready\n");
    }
    told(StatusCode::OK, "ok\n")
}

fn told(status: StatusCode, word: &'static str) -> Response {
    (status, [(CACHE_CONTROL, "no-store")], word).into_response()
}
