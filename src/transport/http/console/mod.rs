//! The console: the web page for operators, over the same use cases and rights as gRPC.
//!
//! A page asks the authority as any call does, by the secret that was shown when its session began;
//! so nothing is decided here, and a session ends at once with its token.

mod actions;
mod assets;
mod bulk;
mod chart;
mod create;
mod edit;
#[allow(unreachable_pub, reason = "what the macro of filters makes is public")]
mod filters;
mod flaws;
mod guard;
mod lists;
mod overview;
mod page;
mod pools;
mod problem;
mod reply;
mod routes;
mod sessions;
mod shown;
mod sign_in;
mod token;
mod token_form;
mod tokens;
mod totals;
mod visitor;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{Request, Response};
use tonic::body::Body;
use tower::service_fn;
use tracing::Instrument;

use crate::authority::Authority;
use crate::authority::call::Call;
use crate::metrics::Now;
use crate::transport::connections::{Connection, Door, Keeper};
use crate::transport::gate::{Gate, Pass};

use reply::Reply;
use sessions::Sessions;
pub use sessions::Terms;

/// What the console shows, and for how long.
pub struct Setup {
    pub authority: Arc<Authority>,
    pub gate: Arc<Gate>,
    /// Longest time of a request.
    pub deadline: Duration,
    pub terms: Terms,
    /// Whether TLS is spoken, but on Unix sockets.
    pub tls: bool,
    /// The kind of the store, for people.
    pub store: &'static str,
    /// How this server stands.
    pub look: Box<dyn Fn() -> Now + Send + Sync>,
}

/// What answers; all connections share one.
#[derive(Clone)]
pub struct Console(Arc<Desk>);

struct Desk {
    setup: Setup,
    sessions: Sessions,
}

/// A request on its way, without its body.
struct Asked {
    head: Parts,
    call: Call,
    /// Whether it came over TLS.
    secure: bool,
    /// Keeps it counted as in hand.
    pass: Arc<Pass>,
}

impl Console {
    pub fn new(setup: Setup) -> Self {
        let sessions = Sessions::new(setup.terms);
        Self(Arc::new(Desk { setup, sessions }))
    }

    /// Serves until `stop` is over and every connection has gone.
    pub async fn serve(self, door: Door, stop: impl Future<Output = ()>) {
        let answer = move |request: Request<Body>| {
            let desk = self.0.clone();
            async move { Ok::<_, Infallible>(desk.answer(request).await) }
        };
        door.serve(move || service_fn(answer.clone()), stop).await;
    }
}

impl Desk {
    async fn answer(&self, mut request: Request<Body>) -> Response<Body> {
        let connection = request.extensions().get::<Arc<Connection>>().cloned();
        let call = Call {
            id: self.setup.authority.call_id(None),
            peer: connection.as_ref().and_then(|own| own.address),
        };
        let neighbours = connection.as_ref().and_then(|own| own.neighbours.as_ref());
        let Ok(pass) = self.setup.gate.enter(neighbours) else {
            return Reply::busy().response();
        };
        let pass = Arc::new(pass);
        Keeper::keep(&mut request, pass.clone());
        let span = tracing::debug_span!("page", request_id = %call.id, path = request.uri().path());
        let (head, body) = request.into_parts();
        let asked = Asked {
            secure: self.setup.tls && call.peer.is_some(),
            head,
            call,
            pass,
        };
        let reply = self.routed(asked, body).instrument(span);
        let reply = tokio::time::timeout(self.setup.deadline, reply).await;
        self.setup.authority.recorded().await;
        reply.unwrap_or_else(|_| Reply::late()).response()
    }
}
