//! The life of a connection: its greeting, its calls, its end.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tonic::body::Body;

use crate::metrics::{Ended, Metrics};
use crate::tls::ServerTls;

use super::asked::Asked;
use super::connection::{Connection, Greeting, Order};
use super::held::{Answering, Held, Keeper};
use super::refusals::Refusals;
use super::socket::{Bytes, Socket};
use super::watched::Watched;
use super::{Answers, Bounds};

/// Dead peers are found within the sum of both.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest list of headers, in bytes as RFC 9113 counts them (section 6.5.2).
const HEADER_LIST_BYTES: u32 = 16 << 10;
/// Longest head of a request of HTTP/1, in bytes, and most bytes of answers that wait for one
/// another there: hyper would keep 400 KiB of each, for every stranger.
const HTTP1_BYTES: usize = 16 << 10;

/// What a peer may send before it is read, on a connection, for each call that it may have in hand.
/// From this h2 also derives how many small frames may wait to be read (half of it, at up to 256
/// bytes each), and takes more of them for a flood: so each call may have two.
const WINDOW_OF_CALL: u32 = 1024;
const WINDOW_MIN: u32 = 256 << 10;
const WINDOW_MAX: u32 = i32::MAX as u32;
/// What it may send before it is read of one call; a longer message is read as it comes. Many clients
/// send each message of a stream in a frame of its own, and a stream whose answers are not taken is not
/// read: so many small frames as this holds must not be taken for a flood.
const WINDOW_OF_STREAM: u32 = 64 << 10;

/// What all connections of a door have in common.
pub(super) struct Life<F> {
    /// Makes what answers on one connection.
    pub(super) service: F,
    pub(super) tls: Option<Arc<ServerTls>>,
    pub(super) bounds: Bounds,
    pub(super) metrics: Arc<Metrics>,
    pub(super) refusals: Refusals,
}

impl<F> Life<F> {
    /// Counts a connection that this side ended or did not take, and sees to it that it leaves a trace.
    pub(super) fn ended(&self, why: Ended) {
        self.metrics.connections.ended(why);
        self.refusals.note(why, Instant::now());
    }
}

impl<S: Answers, F: Fn() -> S> Life<F> {
    /// Lives a connection to its end.
    pub(super) async fn live(&self, socket: Socket, connection: Arc<Connection>) {
        let _open = self.metrics.connections.begun();
        if let Some((bytes, greeting)) = self.greeted(socket, &connection).await {
            connection.greeted(greeting);
            if bytes.is_http2() {
                self.speak_http2(bytes, &connection).await;
            } else {
                self.speak_http1(bytes, &connection).await;
            }
        }
        if let Some(why) = connection.reason() {
            self.ended(why);
        }
    }

    /// Greets in time, unless the connection is told to go before.
    async fn greeted(
        &self,
        socket: Socket,
        connection: &Arc<Connection>,
    ) -> Option<(Watched, Greeting)> {
        let greeting = self.greet(socket, connection);
        let greeted = tokio::select! {
            greeted = tokio::time::timeout(self.bounds.handshake, greeting) => greeted,
            // Nothing is in hand yet.
            () = connection.told(Order::Leave) => return None,
        };
        match greeted {
            Ok(Ok(greeted)) => return Some(greeted),
            Ok(Err(error)) => {
                tracing::debug!(peer = ?connection.address, %error, "no connection came about");
                connection.because(Ended::Handshake);
            }
            Err(_) => connection.because(Ended::Silent),
        }
        None
    }

    async fn greet(
        &self,
        socket: Socket,
        connection: &Arc<Connection>,
    ) -> io::Result<(Watched, Greeting)> {
        let (bytes, greeting) = match (socket, &self.tls) {
            (Socket::Unix(stream), _) => (Bytes::Unix(stream), Greeting::default()),
            (Socket::Tcp(stream, _), None) => (Bytes::Tcp(stream), Greeting::default()),
            (Socket::Tcp(stream, _), Some(tls)) => {
                let (stream, shown) = tls.accept(stream).await?;
                (Bytes::Tls(Box::new(stream)), Greeting { shown })
            }
        };
        let watched = Watched::greet(bytes, self.bounds.stall, connection.clone()).await?;
        Ok((watched, greeting))
    }

    async fn speak_http2(&self, bytes: Watched, connection: &Arc<Connection>) {
        let calls = self.bounds.calls_per_connection;
        let window = calls
            .saturating_mul(WINDOW_OF_CALL)
            .clamp(WINDOW_MIN, WINDOW_MAX);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(calls)
            // Calls that were reset before they were looked at: a client whose calls run out of time
            // while this machine is busy has many at once. `Calls::haste` bounds how often.
            .max_pending_accept_reset_streams(usize::try_from(calls).ok())
            .initial_connection_window_size(window)
            .initial_stream_window_size(WINDOW_OF_STREAM)
            .max_header_list_size(HEADER_LIST_BYTES)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .auto_date_header(false);
        let answers = (self.service)();
        let service = service_fn(|request| answer(&answers, request, connection));
        let speaking = http2.serve_connection(TokioIo::new(bytes), service);
        drive(speaking, connection, |speaking| {
            speaking.graceful_shutdown();
        })
        .await;
    }

    async fn speak_http1(&self, bytes: Watched, connection: &Arc<Connection>) {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .max_buf_size(HTTP1_BYTES)
            .header_read_timeout(self.bounds.handshake);
        let answers = (self.service)();
        let service = service_fn(|request| answer(&answers, request, connection));
        let speaking = http1.serve_connection(TokioIo::new(bytes), service);
        drive(speaking, connection, |speaking| {
            speaking.graceful_shutdown();
        })
        .await;
    }
}

fn answer<S: Answers>(
    answers: &S,
    mut request: Request<Incoming>,
    connection: &Arc<Connection>,
) -> impl Future<Output = Result<Response<Held>, Infallible>> + Send + use<S> {
    let answering = Answering::new(connection.begin());
    request.extensions_mut().insert(connection.clone());
    request.extensions_mut().insert(Keeper(answering.clone()));
    let request = request.map(|body| Body::new(Asked::new(body, answering.hold())));
    // Always ready, as `Answers` says: the request is handed on as it is, and not kept until then.
    let answer = answers.clone().call(request);
    async move { Ok(Held::answer(answer.await?, answering)) }
}

/// Speaks until the peer ends it or the connection is told to.
async fn drive<C>(speaking: C, connection: &Connection, leave: impl FnOnce(Pin<&mut C>))
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut speaking = pin!(speaking);
    let ended = tokio::select! {
        // Orders first: who speaks without end would spend the whole turn.
        biased;
        () = connection.told(Order::Leave) => None,
        ended = &mut speaking => Some(ended),
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            leave(speaking.as_mut());
            tokio::select! {
                biased;
                () = connection.told(Order::Cut) => return,
                ended = speaking => ended,
            }
        }
    };
    if let Err(error) = ended {
        if let Some(why) = reason(&error, connection) {
            connection.because(why);
        }
        tracing::debug!(peer = ?connection.address, %error, "a connection broke");
    }
}

/// Why this side ended a connection that broke, if it did.
fn reason(error: &hyper::Error, connection: &Connection) -> Option<Ended> {
    if error.is_timeout() {
        // No head of a request in time, or no answer to a ping.
        return Some(match connection.has_called() {
            true => Ended::Idle,
            false => Ended::Silent,
        });
    }
    let cause = std::error::Error::source(error)?;
    let cause = cause.downcast_ref::<h2::Error>()?;
    match cause.reason() {
        _ if cause.is_remote() || cause.is_io() => None,
        Some(h2::Reason::ENHANCE_YOUR_CALM) => Some(Ended::Flood),
        _ => Some(Ended::Protocol),
    }
}
