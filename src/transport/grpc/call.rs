//! One call from its headers to its last trailer: its request id, and how long it took.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::authority::call::CallId;
use crate::metrics::Rpc;
use crate::transport::connections::Endless;

use super::edge::Settings;
use super::status;

/// Carries a call's request id, both ways.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    /// The id of the call whose answer is being made.
    static CURRENT: CallId;
}

/// The id of the call whose answer is being made here; none in a task that outlives its call.
pub(super) fn current() -> Option<CallId> {
    CURRENT.try_with(CallId::clone).ok()
}

/// The same for what is made in a task of its own on behalf of the call `id`.
pub(super) fn within<F: Future>(id: CallId, make: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(id, make)
}

/// The same for what is made at once.
pub(super) fn naming<T>(id: CallId, make: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(id, make)
}

/// A call that has begun. Its duration is counted when its status goes out, or, as cancelled, when
/// this is dropped before.
pub(super) struct Begun {
    pub(super) id: CallId,
    /// The caller sent an id, a sound one or not.
    pub(super) asked: bool,
    pub(super) rpc: Rpc,
    pub(super) settings: Arc<Settings>,
    pub(super) since: Instant,
    /// Counted already.
    pub(super) told: bool,
}

/// Over when the connection takes no more calls, which ends the streams on it; says whether it ends
/// alone, while the server goes on.
pub(super) type Leaving = Pin<Box<dyn Future<Output = bool> + Send>>;

impl Begun {
    /// Makes an answer; statuses that come about meanwhile carry the id.
    pub(super) fn naming<T>(&self, make: impl FnOnce() -> T) -> T {
        naming(self.id.clone(), make)
    }

    /// The same of the status of a call that was not answered.
    pub(super) fn trouble(&self, make: impl FnOnce() -> Status) -> Status {
        self.settings.trouble(self.rpc, self.naming(make))
    }

    /// The same for what takes its time.
    pub(super) fn scope<F: Future>(&self, make: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(self.id.clone(), make)
    }

    /// Lets the answer go. An error is the whole answer; else the status comes in the trailers. A
    /// stream that lasts as long as both sides want ends when `leaving` is over.
    pub(super) fn answer(
        mut self,
        mut response: Response<Body>,
        leaving: Option<Leaving>,
    ) -> Response<Body> {
        let code = code_of(response.headers());
        if self.asked {
            self.name(response.headers_mut());
        }
        let Some(code) = code else {
            if leaving.is_some() {
                response.extensions_mut().insert(Endless);
            }
            let tail = |body| Tail {
                body,
                begun: self,
                leaving,
                over: None,
                ended: false,
            };
            return response.map(|body| Body::new(tail(body)));
        };
        self.end(code, response.headers_mut());
        response
    }

    /// Counts the call, before its caller sees the status. Every error carries the id.
    fn end(&mut self, code: Code, headers: &mut HeaderMap) {
        self.count(code);
        if code != Code::Ok {
            self.name(headers);
        }
    }

    fn count(&mut self, code: Code) {
        if !std::mem::replace(&mut self.told, true) {
            let code = usize::try_from(i32::from(code)).unwrap_or_default();
            let span = self.since.elapsed();
            self.settings.metrics.rpcs.took(self.rpc, code, span);
        }
    }

    fn name(&self, headers: &mut HeaderMap) {
        // Ids are visible ASCII.
        if let Ok(id) = HeaderValue::try_from(self.id.to_string()) {
            headers.insert(REQUEST_ID, id);
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.count(Code::Cancelled);
    }
}

fn code_of(headers: &HeaderMap) -> Option<Code> {
    let status = headers.get(Status::GRPC_STATUS)?;
    Some(Code::from_bytes(status.as_bytes()))
}

/// The body of an answer, which ends with its status.
struct Tail {
    body: Body,
    begun: Begun,
    leaving: Option<Leaving>,
    /// `leaving` is over, and what it said.
    over: Option<bool>,
    ended: bool,
}

impl Tail {
    /// The last frame of a stream that ends because its connection does.
    fn farewell(&mut self, alone: bool) -> Frame<<Body as http_body::Body>::Data> {
        self.ended = true;
        let mut trailers = HeaderMap::new();
        let why = match alone {
            true => status::connection_ends,
            false => status::draining,
        };
        let status = self.begun.naming(why);
        // What is in the status was made here, and is sound.
        let _ = status.add_header(&mut trailers);
        self.begun.end(status.code(), &mut trailers);
        Frame::trailers(trailers)
    }
}

impl http_body::Body for Tail {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(alone) = self.over {
            return Poll::Ready(Some(Ok(self.farewell(alone))));
        }
        if let Some(leaving) = &mut self.leaving
            && let Poll::Ready(alone) = leaving.as_mut().poll(context)
        {
            self.over = Some(alone);
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Some(alone) = self.over
            && frame.is_pending()
        {
            return Poll::Ready(Some(Ok(self.farewell(alone))));
        }
        // What is there already still goes out, once: it may be the last status of health.
        let mut frame = ready!(frame);
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            if let Some(code) = code_of(trailers) {
                self.begun.end(code, trailers);
            }
            self.ended = true;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
