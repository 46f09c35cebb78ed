//! The body of a request, which notes that it broke off.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use hyper::body::{Bytes, Incoming};

use super::calls::{Calls, Hold};

/// A body, and where to count that it broke off. Whoever reads it answers such a call like any other,
/// so that the answer does not show it.
pub(super) struct Asked {
    body: Incoming,
    calls: Arc<Calls>,
}

impl Asked {
    pub(super) fn new(body: Incoming, hold: &Hold) -> Self {
        let calls = hold.calls().clone();
        Self { body, calls }
    }
}

impl Body for Asked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Err(_)) = frame {
            self.calls.break_off();
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
