//! The layer around all services: the gate, the deadline, and statuses that say what is wrong.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::gate::{Closed, Gate};
use super::{deadline, status};

/// Health must be told while draining and under load, too.
const ALWAYS_ANSWERED: &str = "/grpc.health.v1.Health/";

/// Wraps the services of a server.
#[derive(Clone)]
pub(super) struct EdgeLayer {
    pub(super) gate: Arc<Gate>,
    pub(super) call_deadline: Duration,
    pub(super) message_bytes_max: usize,
}

impl<S> Layer<S> for EdgeLayer {
    type Service = Edge<S>;

    fn layer(&self, inner: S) -> Edge<S> {
        Edge {
            inner,
            settings: self.clone(),
        }
    }
}

/// What [`EdgeLayer`] makes of a service.
#[derive(Clone)]
pub(super) struct Edge<S> {
    inner: S,
    settings: EdgeLayer,
}

impl<S> Service<Request<Body>> for Edge<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let pass = match self.settings.gate.enter() {
            _ if request.uri().path().starts_with(ALWAYS_ANSWERED) => None,
            Ok(pass) => Some(Arc::new(pass)),
            Err(closed) => {
                let refused = match closed {
                    Closed::Draining => status::draining(),
                    Closed::Full(limit) => status::overloaded(limit),
                };
                return Box::pin(async move { Ok(refused.into_http()) });
            }
        };
        let longest = deadline::of_call(request.headers(), self.settings.call_deadline);
        let message_bytes_max = self.settings.message_bytes_max;
        let path = request.uri().path().to_owned();
        if let Some(pass) = &pass {
            // A change that outlives its call keeps its own hold of the pass.
            request.extensions_mut().insert(pass.clone());
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let _pass = pass;
            match tokio::time::timeout(longest, answer).await {
                Ok(Ok(response)) => Ok(explained(response, &path, message_bytes_max)),
                Err(_) => Ok(status::deadline_exceeded().into_http()),
            }
        })
    }
}

/// Replaces the two statuses that the transport itself answers, and that explain too little.
fn explained(response: Response<Body>, path: &str, message_bytes_max: usize) -> Response<Body> {
    match bare_status(response.headers()) {
        Some((Code::OutOfRange, _)) => status::too_large(message_bytes_max).into_http(),
        // The router's answer carries no message; that to an unknown compression does.
        Some((Code::Unimplemented, "")) => status::unknown_method(path).into_http(),
        _ => response,
    }
}

/// Code and message of a status without details that is the whole answer.
fn bare_status(headers: &HeaderMap<HeaderValue>) -> Option<(Code, &str)> {
    if headers.contains_key("grpc-status-details-bin") {
        return None;
    }
    let code = Code::from_bytes(headers.get(Status::GRPC_STATUS)?.as_bytes());
    let message = headers
        .get(Status::GRPC_MESSAGE)
        .and_then(|value| value.to_str().ok());
    Some((code, message.unwrap_or_default()))
}
