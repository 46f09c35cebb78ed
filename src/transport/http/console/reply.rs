//! What the console answers: pages that nobody may keep, frame or add to.

use askama::Template;
use axum::body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION, REFERRER_POLICY,
    RETRY_AFTER, SET_COOKIE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, Response, StatusCode};
use tonic::body::Body;
use zeroize::Zeroizing;

const HTML: &str = "text/html; charset=utf-8";
/// Only what this server serves, and no script or style within a page.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// With every answer. No other site learns where a link was followed; `no-referrer` would, by the Fetch
/// standard, have browsers call the origin of our own forms `null`, which could not be checked then.
const ALWAYS: [(HeaderName, &str); 7] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "same-origin"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), microphone=(), geolocation=()",
    ),
];

/// An answer, before it goes out.
pub(super) struct Reply {
    status: StatusCode,
    kind: &'static str,
    body: Zeroizing<String>,
    headers: Vec<(HeaderName, String)>,
    /// Whether browsers may keep it, for as long as they like.
    kept: bool,
}

impl Reply {
    pub(super) fn page(page: &impl Template) -> Self {
        Self::page_with(StatusCode::OK, page)
    }

    pub(super) fn page_with(status: StatusCode, page: &impl Template) -> Self {
        match page.render() {
            Ok(body) => Self::of(status, HTML, body),
            Err(error) => {
                tracing::error!(%error, "a page cannot be put in words");
                Self::plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "The page cannot be shown.\n",
                )
            }
        }
    }

    pub(super) fn plain(status: StatusCode, text: &str) -> Self {
        Self::of(status, "text/plain; charset=utf-8", text.to_owned())
    }

    /// What never changes under its address.
    pub(super) fn asset(kind: &'static str, body: &str) -> Self {
        Self {
            kept: true,
            ..Self::of(StatusCode::OK, kind, body.to_owned())
        }
    }

    /// Leads to another page; what was posted is not posted again.
    pub(super) fn see(place: &str) -> Self {
        Self::of(StatusCode::SEE_OTHER, HTML, String::new()).with(LOCATION, place.to_owned())
    }

    pub(super) fn with_cookie(self, cookie: String) -> Self {
        self.with(SET_COOKIE, cookie)
    }

    pub(super) fn after_seconds(self, seconds: u64) -> Self {
        self.with(RETRY_AFTER, seconds.to_string())
    }

    pub(super) fn busy() -> Self {
        let why =
            "The server is stopping, or has as much to do as it may. Try again in a moment.\n";
        Self::plain(StatusCode::SERVICE_UNAVAILABLE, why).after_seconds(1)
    }

    pub(super) fn late() -> Self {
        let why = "The answer did not come in time. If you were changing something, look whether it \
                   was changed before you try again.\n";
        Self::plain(StatusCode::GATEWAY_TIMEOUT, why).after_seconds(1)
    }

    fn of(status: StatusCode, kind: &'static str, body: String) -> Self {
        Self {
            status,
            kind,
            body: Zeroizing::new(body),
            headers: Vec::new(),
            kept: false,
        }
    }

    fn with(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn response(mut self) -> Response<Body> {
        let body = std::mem::take(&mut *self.body);
        let mut response = Response::new(Body::new(body::Body::from(body)));
        *response.status_mut() = self.status;
        let own = response.headers_mut();
        for (name, value) in ALWAYS {
            own.insert(name, HeaderValue::from_static(value));
        }
        let keeping = match self.kept {
            true => "public, max-age=31536000, immutable",
            false => "no-store",
        };
        own.insert(CACHE_CONTROL, HeaderValue::from_static(keeping));
        own.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        for (name, value) in self.headers {
            // What cannot stand in a header was never given out by us.
            if let Ok(value) = HeaderValue::try_from(value) {
                own.insert(name, value);
            }
        }
        response
    }
}
