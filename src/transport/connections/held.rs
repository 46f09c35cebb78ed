//! The answer to a call, which keeps the call in hand until the last of its bytes has left.

use std::any::Any;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::{Buf, Bytes};
use tonic::body::Body;

use super::calls::Hold;

/// Put into the extensions of an answer which is a stream that lasts as long as both sides want.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endless;

/// A call, and what is kept for as long as it is in hand.
pub(super) struct Answering {
    hold: Hold,
    kept: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Answering {
    pub(super) fn new(hold: Hold) -> Arc<Self> {
        let kept = OnceLock::new();
        Arc::new(Self { hold, kept })
    }

    pub(super) fn hold(&self) -> &Hold {
        &self.hold
    }
}

/// In the extensions of a request: keeps one thing until the answer has left.
#[derive(Clone)]
pub(crate) struct Keeper(pub(super) Arc<Answering>);

impl Keeper {
    /// Takes it out of a request and has it keep `kept`; nothing where the request came over no
    /// connection of ours.
    pub(crate) fn keep<B>(request: &mut Request<B>, kept: Arc<dyn Any + Send + Sync>) {
        if let Some(Self(answering)) = request.extensions_mut().remove() {
            let _ = answering.kept.set(kept);
        }
    }
}

/// In the extensions of a request whose answer may have to be waited for.
#[derive(Clone)]
pub(crate) struct Lasting(Arc<Answering>);

impl Lasting {
    /// Puts it there; nothing where the request came over no connection of ours.
    pub(crate) fn note<B>(request: &mut Request<B>) {
        let keeper = request.extensions().get::<Keeper>().cloned();
        if let Some(Keeper(answering)) = keeper {
            request.extensions_mut().insert(Self(answering));
        }
    }

    /// Begins a wait; until it is over the call is in hand, and not overdue.
    pub(crate) fn begin(&self) -> LongWait<'_> {
        self.0.hold.endless();
        LongWait(&self.0)
    }
}

/// A call that waits.
pub(crate) struct LongWait<'a>(&'a Answering);

impl Drop for LongWait<'_> {
    fn drop(&mut self) {
        self.0.hold.soon_over();
    }
}

/// A body, and the call whose answer it is.
pub(super) struct Held {
    body: Body,
    answering: Arc<Answering>,
}

impl Held {
    pub(super) fn answer(answer: Response<Body>, answering: Arc<Answering>) -> Response<Self> {
        if answer.extensions().get::<Endless>().is_some() {
            answering.hold.endless();
        }
        answer.map(|body| {
            let held = Self { body, answering };
            held.look();
            held
        })
    }

    /// Notes the end, after which nobody asks any more.
    fn look(&self) {
        if self.body.is_end_stream() {
            self.answering.hold.end();
        }
    }
}

impl http_body::Body for Held {
    type Data = Piece;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            None => self.answering.hold.end(),
            Some(Ok(frame)) if frame.is_trailers() => self.answering.hold.end(),
            Some(_) => self.look(),
        }
        let piece = |bytes| Piece {
            bytes,
            _answering: self.answering.clone(),
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A part of an answer. HTTP/2 takes all of it as soon as the peer's window has room for one byte,
/// is done with the body then, and keeps what is left for as long as the peer likes: so the part
/// itself holds the call.
pub(super) struct Piece {
    bytes: Bytes,
    _answering: Arc<Answering>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(slices)
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        self.bytes.copy_to_bytes(count)
    }
}
