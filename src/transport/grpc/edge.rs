//! The layer around all services: the gate, the deadline, and statuses that say what is wrong.

use std::convert::Infallible;
use std::future::{Future, pending, poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Response};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument, Span};

use crate::authority::Authority;
use crate::authority::act::{self, Act};
use crate::metrics::{Metrics, Rpc};
use crate::transport::connections::{Connection, Keeper, Lasting};
use crate::transport::gate::{Closed, Gate};

use super::call::{Begun, Leaving, REQUEST_ID};
use super::on_hold::Heard;
use super::{access_log, deadline, known, status};

/// Health must be told while draining and under load, too.
const ALWAYS_ANSWERED: &str = "/grpc.health.v1.Health/Check";

/// Methods that answer with a stream which lasts as long as both sides want.
const ENDLESS: [&str; 5] = [
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.",
    "/tokenauthority.v1.TokenService/KeepAliveStream",
    "/tokenauthority.v1.TokenService/ValidateStream",
    "/tokenauthority.v1.TokenService/Watch",
];

/// Methods that judge secrets, which leave no audit lines as a rule.
const JUDGING: [&str; 4] = [
    act::Validate::RPC,
    act::Check::RPC,
    act::BatchValidate::RPC,
    act::ValidateStream::RPC,
];

/// Methods that listen for as long as both sides want, and then answer.
const LISTEN: [&str; 2] = ["/tokenauthority.v1.TokenService/Report", access_log::PATH];

/// The method whose calls may wait longer than others may take.
const WAITS: &str = "/tokenauthority.v1.TokenService/Acquire";

/// Wraps the services of a server.
#[derive(Clone)]
pub(super) struct EdgeLayer(pub(super) Arc<Settings>);

/// What the edge needs to know.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) authority: Arc<Authority>,
    pub(super) metrics: Arc<Metrics>,
    /// For calls, which the drain waits for.
    pub(super) gate: Arc<Gate>,
    /// For streams, which it ends.
    pub(super) streams: Arc<Gate>,
    /// For what is answered all the same.
    pub(super) asides: Arc<Gate>,
    pub(super) call_deadline: Duration,
    pub(super) message_bytes_max: usize,
}

impl Settings {
    fn begin(self: &Arc<Self>, request: &Request<Body>) -> Begun {
        let own = request.headers().get(REQUEST_ID);
        Begun {
            id: self.authority.call_id(own.map(|id| id.as_bytes())),
            asked: own.is_some(),
            rpc: self.metrics.rpcs.named(known(request.uri().path())),
            settings: self.clone(),
            since: Instant::now(),
            told: false,
        }
    }

    /// Whether calls of `rpc` leave audit lines as a rule, and may take a little longer.
    fn manages(&self, rpc: Rpc) -> bool {
        let rpcs = &self.metrics.rpcs;
        rpc != rpcs.other() && !JUDGING.contains(&rpcs.name(rpc))
    }

    /// The status of a call that was not answered. Where a proxy asks, it is an outage whatever it is.
    pub(super) fn trouble(&self, rpc: Rpc, status: Status) -> Status {
        match self.metrics.rpcs.name(rpc) == act::Check::RPC {
            true => status::unavailable(status),
            false => status,
        }
    }

    /// What log lines of the call stand in; for Validate only where somebody looks closely.
    fn span(&self, begun: &Begun) -> Span {
        let (rpc, request_id) = (self.metrics.rpcs.name(begun.rpc), &begun.id);
        if self.manages(begun.rpc) {
            tracing::info_span!("call", %request_id, rpc)
        } else {
            tracing::debug_span!("call", %request_id, rpc)
        }
    }
}

impl<S> Layer<S> for EdgeLayer {
    type Service = Edge<S>;

    fn layer(&self, inner: S) -> Edge<S> {
        Edge {
            inner,
            settings: self.0.clone(),
        }
    }
}

/// What [`EdgeLayer`] makes of a service.
#[derive(Clone)]
pub(super) struct Edge<S> {
    inner: S,
    settings: Arc<Settings>,
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
        let settings = self.settings.clone();
        let begun = settings.begin(&request);
        let path = request.uri().path();
        let listens = LISTEN.contains(&path);
        let endless = listens || ENDLESS.iter().any(|method| path.starts_with(method));
        let gate = match endless {
            true => &settings.streams,
            false if path == ALWAYS_ANSWERED => &settings.asides,
            false => &settings.gate,
        };
        let connection = request.extensions().get::<Arc<Connection>>().cloned();
        let neighbours = connection.as_ref().and_then(|c| c.neighbours.as_ref());
        let pass = match gate.enter(neighbours) {
            Ok(pass) => Arc::new(pass),
            Err(closed) => {
                let refused = begun.trouble(|| match closed {
                    Closed::Draining => status::draining(),
                    Closed::Full { limit, key } => status::overloaded(limit, key),
                });
                return Box::pin(ready(Ok(begun.answer(refused.into_http(), None))));
            }
        };
        // Whoever listens looks after that itself.
        let leaving = connection
            .filter(|_| endless && !listens)
            .map(|connection| {
                let leaving: Leaving = Box::pin(connection.leaving());
                leaving
            });
        let mut longest = settings.call_deadline;
        let mut heard = None;
        if listens {
            longest = Duration::MAX;
            Lasting::note(&mut request);
        }
        if request.uri().path() == WAITS {
            longest += settings.authority.lease_terms().wait_max();
            Lasting::note(&mut request);
            request
                .extensions_mut()
                .insert(heard.insert(Heard::default()).clone());
        }
        let longest = deadline::of_call(request.headers(), longest);
        // All others are named by what they are counted as.
        let unknown = begun.rpc == settings.metrics.rpcs.other();
        let path = unknown.then(|| request.uri().path().to_owned());
        Keeper::keep(&mut request, pass.clone());
        if settings.manages(begun.rpc) {
            // A change that outlives its call keeps its own hold of the pass.
            request.extensions_mut().insert(pass);
        }
        let answer = begun.scope(self.inner.call(request));
        let answer = answer.instrument(settings.span(&begun));
        let unheard = unheard(heard, settings.call_deadline);
        Box::pin(async move {
            let response = match in_time(answer, longest, unheard).await {
                Some(Ok(response)) => match bare_status(&response) {
                    Some(bare) => begun
                        .trouble(|| explained(bare, path.as_deref(), &settings))
                        .into_http(),
                    None => response,
                },
                None => begun.trouble(status::deadline_exceeded).into_http(),
            };
            if settings.manages(begun.rpc) {
                settings.authority.recorded().await;
            }
            Ok(begun.answer(response, leaving))
        })
    }
}

/// The answer, if it comes within `longest`, and before `unheard` is over.
async fn in_time<T>(
    answer: impl Future<Output = T>,
    longest: Duration,
    unheard: impl Future<Output = ()>,
) -> Option<T> {
    let mut answer = pin!(answer);
    // Most answers come from memory and are there at once: they need no timer.
    let at_once = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context)));
    if let Poll::Ready(answer) = at_once.await {
        return Some(answer);
    }
    tokio::select! {
        answer = tokio::time::timeout(longest, answer) => answer.ok(),
        () = unheard => None,
    }
}

/// Over when a call that may wait has not said for `most` what it waits for; never for others.
async fn unheard(heard: Option<Heard>, most: Duration) {
    if let Some(heard) = heard {
        tokio::time::sleep(most).await;
        if !heard.is_noted() {
            return;
        }
    }
    pending().await
}

/// Explains a status that the transport, or a service that is not ours, made.
fn explained(bare: Status, unknown: Option<&str>, settings: &Settings) -> Status {
    match (bare.code(), bare.message()) {
        (Code::OutOfRange, _) => status::too_large(settings.message_bytes_max),
        // The transport's word for frames that are broken; what is our fault has details.
        (Code::Internal, why) => status::undecodable(why),
        // The router's answer carries no message; that to an unknown compression does.
        (Code::Unimplemented, "") => status::unknown_method(unknown.unwrap_or_default()),
        _ => status::with_request_id(bare),
    }
}

/// An error without details that is the whole answer.
fn bare_status(response: &Response<Body>) -> Option<Status> {
    let headers = response.headers();
    if headers.contains_key(Status::GRPC_STATUS_DETAILS) {
        return None;
    }
    Status::from_header_map(headers).filter(|status| status.code() != Code::Ok)
}
