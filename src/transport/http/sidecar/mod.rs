//! Forward-auth, introspection and revocation: HTTP for proxies that hold a request, and for OAuth.

mod answer;
mod auth;
mod credential;
mod held;
mod introspection;
mod revocation;
mod strangers;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{Method, Request, Response, StatusCode};
use tonic::body::Body;
use tower::service_fn;
use tracing::Instrument;

use crate::authority::Authority;
use crate::authority::access::{Proof, Session};
use crate::authority::call::Call;
use crate::authority::error::Error;
use crate::domain::caller::{Caller, Grants, Identity};
use crate::domain::peers::Peers;
use crate::transport::connections::{Connection, Door, Keeper};
use crate::transport::gate::{Closed, Gate, Pass};
use crate::transport::sidecar::terms::Terms;

use answer::Answer;
use credential::Malformed;
use strangers::Strangers;

const AUTH: &str = "/auth";
const INTROSPECT: &str = "/oauth2/introspect";
const REVOKE: &str = "/oauth2/revoke";
const REQUEST_ID: &str = "x-request-id";

/// How peers are named in audit lines that are known by their address.
const PEER_NAME: &str = "forward_auth";

/// Who may ask, and how the answers are given.
pub struct Setup {
    pub authority: Arc<Authority>,
    pub gate: Arc<Gate>,
    /// Longest time of a request.
    pub deadline: Duration,
    pub terms: Terms,
    pub trusted_peers: Peers,
    /// What trusted peers may do that show no credential; `None` where they must show one.
    pub permissions: Option<Grants>,
    /// How many entries from the right of x-forwarded-for the client is, at least 1.
    pub trusted_hops: usize,
    /// What is answered where a limit is exceeded.
    pub limited: StatusCode,
}

/// What answers; all connections share one.
#[derive(Clone)]
pub struct ForwardAuth(Arc<Desk>);

struct Desk {
    setup: Setup,
    /// Whom trusted peers are taken for.
    peer: Option<Arc<Caller>>,
    strangers: Strangers,
}

/// A request on its way, without its body, and what came with its connection.
struct Asked {
    head: Parts,
    call: Call,
    connection: Option<Arc<Connection>>,
    /// Keeps it counted as in hand.
    pass: Arc<Pass>,
}

impl ForwardAuth {
    pub fn new(setup: Setup) -> Self {
        let identity = || Identity::Peer {
            name: PEER_NAME.to_owned(),
        };
        let peer = setup.permissions.clone().map(|grants| {
            Arc::new(Caller {
                identity: identity(),
                grants,
            })
        });
        Self(Arc::new(Desk {
            setup,
            peer,
            strangers: Strangers::default(),
        }))
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
        let own_id = request.headers().get(REQUEST_ID).map(|id| id.as_bytes());
        let call = Call {
            id: self.setup.authority.call_id(own_id),
            peer: connection.as_ref().and_then(|own| own.address),
        };
        let id = call.id.clone();
        let neighbours = connection.as_ref().and_then(|own| own.neighbours.as_ref());
        let pass = match self.setup.gate.enter(neighbours) {
            Ok(pass) => Arc::new(pass),
            Err(Closed::Draining) => return Answer::outage("the server is stopping").response(&id),
            Err(Closed::Full { .. }) => return Answer::outage("the server is full").response(&id),
        };
        Keeper::keep(&mut request, pass.clone());
        let span = tracing::debug_span!("request", request_id = %id, path = request.uri().path());
        let (head, body) = request.into_parts();
        let asked = Asked {
            head,
            call,
            connection,
            pass,
        };
        let answer = self.routed(asked, body).instrument(span);
        let answer = tokio::time::timeout(self.setup.deadline, answer).await;
        let late = |_| Answer::outage("the answer did not come in time");
        answer.unwrap_or_else(late).response(&id)
    }

    async fn routed(&self, asked: Asked, body: Body) -> Answer {
        let posted = asked.head.method == Method::POST;
        match asked.head.uri.path() {
            AUTH => self.auth(asked).await,
            INTROSPECT | REVOKE if !posted => Answer::not_posted(),
            INTROSPECT => self.introspect(asked, body).await,
            REVOKE => self.revoke(asked, body).await,
            _ => Answer::unknown_page(),
        }
    }

    /// Finds out who asks for `rpc`, by what is shown.
    async fn session(
        &self,
        rpc: &'static str,
        asked: &Asked,
        secret: Result<Option<&str>, Malformed>,
    ) -> Result<Session, Error> {
        let authority = &self.setup.authority;
        let secret = secret.map_err(|Malformed| {
            let why = "the credential cannot be read, or there are two";
            authority.unknown_caller(rpc, &asked.call, Error::Unauthenticated(why.into()))
        })?;
        let proof = Proof {
            secret,
            certificate: asked.connection.as_ref().and_then(|own| own.names()),
        };
        authority.authenticate(rpc, proof, asked.call.clone()).await
    }
}

/// An error of the authority that is nobody's fault who asks.
fn outage(error: &Error) -> Answer {
    match error {
        Error::StoreUnavailable(why) => {
            tracing::warn!(%why, "the store cannot answer");
            Answer::outage("the store of the authority cannot answer")
        }
        Error::Internal(why) => {
            tracing::error!(%why, "a request met a bug");
            Answer::outage("the authority cannot answer")
        }
        other => Answer::outage(&other.to_string()),
    }
}
