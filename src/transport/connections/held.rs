//! The body of an answer, which keeps its call in hand until it has left.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::{Body as _, Frame, SizeHint};
use tonic::body::Body;

use super::calls::Hold;

/// Put into the extensions of an answer which is a stream that lasts as long as both sides want.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endless;

/// Put into the extensions of an answer: kept until the answer has left.
#[derive(Clone)]
pub(crate) struct Kept(
    #[expect(dead_code, reason = "it is there to be dropped")] pub(crate) Arc<dyn Any + Send + Sync>,
);

/// A body, and the call whose answer it is.
pub(super) struct Held {
    body: Body,
    hold: Hold,
    _kept: Option<Kept>,
}

impl Held {
    pub(super) fn answer(mut answer: Response<Body>, mut hold: Hold) -> Response<Self> {
        let kept = answer.extensions_mut().remove::<Kept>();
        if answer.extensions().get::<Endless>().is_some() {
            hold.endless();
        }
        answer.map(|body| {
            let mut held = Self {
                body,
                hold,
                _kept: kept,
            };
            held.look();
            held
        })
    }

    /// Notes the end, after which nobody asks any more.
    fn look(&mut self) {
        if self.body.is_end_stream() {
            self.hold.end();
        }
    }
}

impl http_body::Body for Held {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            None => self.hold.end(),
            Some(Ok(frame)) if frame.is_trailers() => self.hold.end(),
            Some(_) => self.look(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
