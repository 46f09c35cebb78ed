//! A stream of messages, each with an answer of its own: read as fast as answers are taken.
//!
//! Whoever sends the answers drives it, so nothing is read while answers wait for a peer that does not
//! read. What is decided at once is answered where it was read, without a task or a queue.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::task::coop;
use tokio_stream::Stream;
use tonic::{Code, Status, Streaming};

use crate::authority::call::CallId;
use crate::authority::error::Error;

use super::eager::Eager;
use super::{call, status};

/// Over when the stream is to end, and how.
type Lost = Pin<Box<dyn Future<Output = Error> + Send>>;

/// Bounds of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamBounds {
    /// Most messages that are under way at once; no more are read then.
    pub(super) at_once: usize,
    /// Longest message that is accepted, in bytes.
    pub(super) message_bytes: usize,
}

/// What is answered to a message; an error ends the stream.
pub(super) enum Answer<A, F> {
    Now(Result<A, Status>),
    Later(F),
}

/// Messages, and what makes an answer of each.
pub(super) struct Conversation<Q, F: Future, M> {
    call: CallId,
    messages: Streaming<Q>,
    answer: M,
    under_way: Eager<F>,
    lost: Lost,
    bounds: StreamBounds,
    /// There are no more messages.
    heard_all: bool,
    over: bool,
}

impl<Q, A, F, M> Conversation<Q, F, M>
where
    A: Send + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
    M: Fn(Q) -> Answer<A, F>,
{
    pub(super) fn new(
        call: CallId,
        messages: Streaming<Q>,
        answer: M,
        lost: impl Future<Output = Error> + Send + 'static,
        bounds: StreamBounds,
    ) -> Self {
        Self {
            under_way: Eager::of(call.clone()),
            call,
            messages,
            answer,
            lost: Box::pin(lost),
            bounds,
            heard_all: false,
            over: false,
        }
    }

    fn step(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<A, Status>>> {
        // What took its time goes out first.
        if let Poll::Ready(Some(answer)) = self.poll_under_way(context) {
            return Poll::Ready(Some(answer));
        }
        while !self.heard_all && self.under_way.len() < self.bounds.at_once {
            // A peer that never pauses must not keep others from being served.
            let proceeding = ready!(coop::poll_proceed(context));
            let message = match Pin::new(&mut self.messages).poll_next(context) {
                Poll::Pending => break,
                Poll::Ready(message) => message,
            };
            proceeding.made_progress();
            match message {
                None => self.heard_all = true,
                Some(Err(broken)) => return Poll::Ready(Some(Err(self.explained(&broken)))),
                Some(Ok(message)) => match (self.answer)(message) {
                    Answer::Now(answer) => return Poll::Ready(Some(answer)),
                    Answer::Later(answer) => {
                        if let Poll::Ready(answer) = self.under_way.begin(answer, context) {
                            return Poll::Ready(Some(answer));
                        }
                    }
                },
            }
        }
        // Once more, so that what began just now wakes this when it is over.
        match self.poll_under_way(context) {
            Poll::Ready(Some(answer)) => return Poll::Ready(Some(answer)),
            Poll::Ready(None) if self.heard_all => return Poll::Ready(None),
            Poll::Ready(None) | Poll::Pending => {}
        }
        let lost = ready!(self.lost.as_mut().poll(context));
        Poll::Ready(Some(Err(lost.into())))
    }

    /// The next answer of those that took their time; `None` where none is under way.
    fn poll_under_way(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<A, Status>>> {
        let over = ready!(self.under_way.poll_next(context));
        Poll::Ready(over.map(|answer| {
            answer.unwrap_or_else(|panic| Err(Error::Internal(panic.to_string()).into()))
        }))
    }

    /// Explains why the messages broke off.
    fn explained(&self, broken: &Status) -> Status {
        match broken.code() {
            Code::OutOfRange => status::too_large(self.bounds.message_bytes),
            Code::Internal | Code::InvalidArgument => status::undecodable(broken.message()),
            _ => status::with_request_id(broken.clone()),
        }
    }
}

impl<Q, A, F, M> Stream for Conversation<Q, F, M>
where
    A: Send + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
    M: Fn(Q) -> Answer<A, F> + Unpin,
{
    type Item = Result<A, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let call = self.call.clone();
        let next = ready!(call::naming(call, || self.step(context)));
        self.over = !matches!(next, Some(Ok(_)));
        Poll::Ready(next)
    }
}
