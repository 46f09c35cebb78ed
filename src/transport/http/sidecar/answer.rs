//! Answers to proxies and to those who speak OAuth: JSON that nobody may keep.

use std::time::Duration;

use axum::body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use tonic::body::Body;

use crate::authority::call::CallId;
use crate::transport::sidecar::limit_headers::seconds;

/// When to try again after an outage, or an overload.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// An answer, before it goes out.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(&'static str, String)>,
    /// JSON; empty for none.
    pub(super) body: String,
}

impl Answer {
    pub(super) fn bare(status: StatusCode) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    pub(super) fn of_json(status: StatusCode, body: &Value) -> Self {
        Self {
            body: body.to_string(),
            ..Self::bare(status)
        }
    }

    /// An error as OAuth words it (RFC 6749, section 5.2).
    pub(super) fn error(status: StatusCode, error: &str, why: &str) -> Self {
        Self::of_json(status, &json!({ "error": error, "error_description": why }))
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn after(self, span: Duration) -> Self {
        self.with("retry-after", seconds(span).max(1).to_string())
    }

    /// There is no answer: an outage on our side, which is never a verdict.
    pub(super) fn outage(why: &str) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::error(status, "temporarily_unavailable", why).after(RETRY_DELAY)
    }

    pub(super) fn unknown_page() -> Self {
        let why = "there are /auth, /oauth2/introspect and /oauth2/revoke";
        Self::error(StatusCode::NOT_FOUND, "not_found", why)
    }

    pub(super) fn not_posted() -> Self {
        let why = "the method must be POST";
        let refused = Self::error(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", why);
        refused.with("allow", "POST")
    }

    pub(super) fn response(self, id: &CallId) -> Response<Body> {
        let Self {
            status,
            headers,
            body,
        } = self;
        let has_body = !body.is_empty();
        let mut response = Response::new(Body::new(body::Body::from(body)));
        *response.status_mut() = status;
        let own = response.headers_mut();
        for (name, value) in headers {
            // Values are visible ASCII; one that were not would have no place in an answer.
            if let Ok(value) = HeaderValue::try_from(value) {
                own.insert(HeaderName::from_static(name), value);
            }
        }
        if has_body {
            own.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        own.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(id) = HeaderValue::try_from(id.to_string()) {
            own.insert("x-request-id", id);
        }
        response
    }
}
