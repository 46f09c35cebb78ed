//! `envoy.service.auth.v3.Authorization/Check`: Validate, asked by a proxy about a request that it holds.
//!
//! A proxy may be told to let pass what is answered with an error (`failure_mode_allow`). So only an
//! outage is an error, and `UNAVAILABLE`; all that a client, or a proxy without the right to ask, can
//! bring about is a decision.

mod answer;
mod context;
mod held;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::Response as HttpResponse;
use tonic::body::Body;
use tonic::codec::Streaming;
use tonic::server::{ClientStreamingService, Grpc};
use tonic::{Code, Request, Response, Status};

use crate::authority::Authority;
use crate::authority::access::{Right, Session};
use crate::authority::act::{self, Act};
use crate::authority::error::Error;
use crate::authority::validate::{Question, Validation};
use crate::domain::flaw::quoted;
use crate::domain::route::Demand;
use crate::domain::usage::withheld;
use crate::transport::sidecar::peers::Peers;
use crate::transport::sidecar::question::HeldRequest;
use crate::transport::sidecar::refusal::Refusal;
use crate::transport::sidecar::terms::Terms;

use super::caller::{call_of, proof_behind};
use super::codec::EdgeCodec;
use super::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use super::status;
use held::Held;

/// The method's path.
pub(super) const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Least room for a message, in bytes: proxies accept requests with 60 KiB of headers as a rule, and
/// tell of them and of what is around them. What is larger is refused, since clients choose it.
pub(super) const MESSAGE_BYTES_LEAST: usize = 256 << 10;

/// What the configuration says of Check.
#[derive(Clone, Debug)]
pub struct ExtAuthzTerms {
    pub held: Terms,
    /// How many entries from the right of x-forwarded-for the client is; 0 for the proxy's own peer.
    pub trusted_hops: usize,
    /// Whose x-forwarded-client-cert says who calls.
    pub certificate_peers: Peers,
}

/// The service over one authority.
#[derive(Clone)]
pub(super) struct ExtAuthz {
    authority: Arc<Authority>,
    terms: Arc<ExtAuthzTerms>,
    message_bytes_max: usize,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<CheckResponse>, Status>> + Send>>;

impl ExtAuthz {
    pub(super) fn new(
        authority: Arc<Authority>,
        terms: Arc<ExtAuthzTerms>,
        message_bytes_max: usize,
    ) -> Self {
        Self {
            authority,
            terms,
            message_bytes_max: message_bytes_max.max(MESSAGE_BYTES_LEAST),
        }
    }

    /// Answers a call of [`PATH`].
    pub(super) async fn call(
        self,
        request: http::Request<Body>,
    ) -> Result<HttpResponse<Body>, Infallible> {
        let mut grpc = Grpc::new(EdgeCodec::<CheckResponse, CheckRequest>::default())
            .apply_max_message_size_config(Some(self.message_bytes_max), None);
        // The wire is that of a unary call; so what is wrong with the message is ours to answer.
        Ok(grpc.client_streaming(self, request).await)
    }

    async fn check(
        self,
        request: Request<Streaming<CheckRequest>>,
    ) -> Result<CheckResponse, Status> {
        let (metadata, extensions, mut messages) = request.into_parts();
        let read = match messages.message().await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(Refusal::invalid("the proxy asks nothing")),
            Err(status) if status.code() == Code::OutOfRange => {
                Err(Refusal::too_large(self.message_bytes_max))
            }
            Err(_) => Err(Refusal::invalid("what the proxy asks cannot be decoded")),
        };
        let asked = Request::from_parts(metadata, extensions, ());
        let session = self.session(&asked).await;
        let right = session.and_then(|session| self.authority.permit::<act::Check>(&session));
        let held = match read {
            Ok(message) => Held::of(message, &self.terms),
            Err(refusal) => return Ok(self.deny(&refusal, false, None)),
        };
        let decided = match right {
            Ok(right) => self.decide(right, &held).await,
            Err(error) => Err(error),
        };
        match decided.or_else(|error| Refusal::instead_of(error).map(Err)) {
            Ok(Ok((validation, question))) => Ok(match Refusal::of(&validation, &question) {
                None => answer::allow(&validation, &self.terms.held),
                Some(refusal) => self.deny(&refusal, held.is_grpc(), Some(&validation)),
            }),
            Ok(Err(refusal)) => Ok(self.deny(&refusal, held.is_grpc(), None)),
            Err(outage) => Err(status::unavailable(outage.into())),
        }
    }

    /// Who calls: whoever shows a secret, or whom a believed peer has seen a certificate of.
    async fn session(&self, asked: &Request<()>) -> Result<Session, Error> {
        let rpc = act::Check::RPC;
        let call = call_of(asked, &self.authority);
        let shown = proof_behind(
            rpc,
            asked,
            &call,
            &self.authority,
            &self.terms.certificate_peers,
        )?;
        self.authority.authenticate(rpc, shown.proof(), call).await
    }

    async fn decide(&self, right: Right<act::Check>, held: &Held<'_>) -> Result<Decision, Error> {
        let (secret, question) = match self.question(held) {
            Ok(asked) => asked,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let judged = self.authority.validate(&right, secret, &question).await;
        let validation = right.conclude(judged)?;
        let subject = validation.subject.as_ref();
        tracing::debug!(
            validation_id = validation.id,
            token_id = subject.map(|subject| tracing::field::display(subject.about.id())),
            verdict = ?validation.verdict,
            subject_request_id = held.request_id(),
            user_agent = &*withheld(&question.user_agent),
            "checked"
        );
        Ok(Ok((validation, question)))
    }

    fn question<'a>(&self, held: &'a Held<'_>) -> Result<(&'a str, Question), Refusal> {
        let request = held.request()?;
        let secret = request.secret()?;
        let question = match request.demand(&self.terms.held.routes)? {
            Some(demand) => request.question(demand),
            None => request.question(&self.demand(&request, held)?),
        };
        Ok((secret, question?))
    }

    /// What the proxy's own route says, where none of the configuration matches.
    fn demand(&self, request: &HeldRequest<'_>, held: &Held<'_>) -> Result<Demand, Refusal> {
        context::demand(held.extensions()).map_err(|(key, flaw)| {
            tracing::warn!(host = quoted(request.host), key, %flaw, "context_extensions cannot be read");
            Refusal::unreadable_demand()
        })
    }

    fn deny(&self, refusal: &Refusal, is_grpc: bool, judged: Option<&Validation>) -> CheckResponse {
        answer::deny(refusal, is_grpc, judged, &self.terms.held.manner)
    }
}

/// What was judged of which question, or a refusal where nothing was.
type Decision = Result<(Validation, Question), Refusal>;

impl ClientStreamingService<CheckRequest> for ExtAuthz {
    type Response = CheckResponse;
    type Future = Answer;

    fn call(&mut self, request: Request<Streaming<CheckRequest>>) -> Answer {
        let own = self.clone();
        Box::pin(async move { own.check(request).await.map(Response::new) })
    }
}
