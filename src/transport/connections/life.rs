//! The life of a connection: its greeting, its calls, its end.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tonic::body::Body;
use tower::{Service, ServiceExt};

use crate::metrics::{Ended, Metrics};
use crate::tls::ServerTls;

use super::Bounds;
use super::connection::{Connection, Greeting, Order};
use super::held::Held;
use super::socket::{Bytes, Socket};
use super::watched::Watched;

/// Dead peers are found within the sum of both.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest list of headers, in bytes as RFC 9113 counts them (section 6.5.2).
const HEADER_LIST_BYTES: u32 = 16 << 10;

/// What all connections of a door have in common.
pub(super) struct Life<S> {
    pub(super) service: S,
    pub(super) tls: Option<Arc<ServerTls>>,
    pub(super) bounds: Bounds,
    pub(super) metrics: Arc<Metrics>,
}

impl<S> Life<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    /// Lives a connection to its end.
    pub(super) async fn live(&self, socket: Socket, connection: Arc<Connection>) {
        let _open = self.metrics.connections.begun();
        let greeting = tokio::time::timeout(self.bounds.handshake, self.greet(socket));
        let greeted = tokio::select! {
            greeted = greeting => greeted,
            // Another one needs the room.
            () = connection.told(Order::Cut) => return self.metrics.connections.ended(Ended::Full),
        };
        let (bytes, greeting) = match greeted {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(error)) => {
                tracing::debug!(peer = ?connection.address, %error, "no connection came about");
                return self.metrics.connections.ended(Ended::Handshake);
            }
            Err(_) => return self.metrics.connections.ended(Ended::Silent),
        };
        connection.greeted(greeting);
        if bytes.is_http2() {
            self.speak_http2(bytes, connection).await;
        } else {
            self.speak_http1(bytes, connection).await;
        }
    }

    async fn greet(&self, socket: Socket) -> io::Result<(Watched, Greeting)> {
        let (bytes, greeting) = match (socket, &self.tls) {
            (Socket::Unix(stream), _) => (Bytes::Unix(stream), Greeting::default()),
            (Socket::Tcp(stream, _), None) => (Bytes::Tcp(stream), Greeting::default()),
            (Socket::Tcp(stream, _), Some(tls)) => {
                let (stream, shown) = tls.accept(stream).await?;
                (Bytes::Tls(Box::new(stream)), Greeting { shown })
            }
        };
        let watched = Watched::greet(bytes, self.bounds.stall, self.metrics.clone()).await?;
        Ok((watched, greeting))
    }

    async fn speak_http2(&self, bytes: Watched, connection: Arc<Connection>) {
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.bounds.calls_per_connection)
            .max_header_list_size(HEADER_LIST_BYTES)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .auto_date_header(false);
        let service = service_fn(|request| self.answer(request, &connection));
        let speaking = http2.serve_connection(TokioIo::new(bytes), service);
        drive(speaking, &connection, |speaking| {
            speaking.graceful_shutdown();
        })
        .await;
    }

    async fn speak_http1(&self, bytes: Watched, connection: Arc<Connection>) {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(self.bounds.handshake);
        let service = service_fn(|request| self.answer(request, &connection));
        let speaking = http1.serve_connection(TokioIo::new(bytes), service);
        drive(speaking, &connection, |speaking| {
            speaking.graceful_shutdown();
        })
        .await;
    }

    fn answer(
        &self,
        mut request: Request<Incoming>,
        connection: &Arc<Connection>,
    ) -> impl Future<Output = Result<Response<Held>, Infallible>> + Send + use<S> {
        let hold = connection.begin();
        request.extensions_mut().insert(connection.clone());
        let answer = self.service.clone().oneshot(request.map(Body::new));
        async move { Ok(Held::answer(answer.await?, hold)) }
    }
}

/// Speaks until the peer ends it or the connection is told to.
async fn drive<C, E>(speaking: C, connection: &Connection, leave: impl FnOnce(Pin<&mut C>))
where
    C: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let mut speaking = pin!(speaking);
    let ended = tokio::select! {
        biased;
        ended = &mut speaking => Some(ended),
        () = connection.told(Order::Leave) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            leave(speaking.as_mut());
            tokio::select! {
                biased;
                ended = speaking => ended,
                () = connection.told(Order::Cut) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = ?connection.address, %error, "a connection broke");
    }
}
