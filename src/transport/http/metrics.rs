//! `GET /metrics`: all metrics, in the form that the reader asks for.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::metrics::{Exposition, Format};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn page(
    State(exposition): State<Arc<Exposition>>,
    headers: HeaderMap,
) -> Response {
    let mut accepted = headers.get_all(ACCEPT).iter();
    let names = |value: &str| value.contains("application/openmetrics-text");
    let open = accepted.any(|value| value.to_str().is_ok_and(names));
    let (format, content_type) = if open {
        (Format::OpenMetrics, OPEN_METRICS)
    } else {
        (Format::Plain, PLAIN)
    };
    match exposition.text(format) {
        Ok(text) => ([(CONTENT_TYPE, content_type)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be put in words");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
