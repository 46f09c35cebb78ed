//! Forward-auth: may the request that the proxy holds go on?
//!
//! Nothing in the request's own line says anything: Caddy appends the query of its client to it.

use axum::http::StatusCode;
use axum::http::header::USER_AGENT;

use crate::authority::access::Session;
use crate::authority::act::{Act, Check};
use crate::authority::error::Error;
use crate::authority::validate::Validation;
use crate::domain::caller::{Namespaces, Permission, Reach};
use crate::domain::route::Demand;
use crate::transport::sidecar::credential::credential;
use crate::transport::sidecar::identity::{self, Identity};
use crate::transport::sidecar::limit_headers::Standing;
use crate::transport::sidecar::question::HeldRequest;
use crate::transport::sidecar::refusal::Refusal;

use super::answer::Answer;
use super::{Asked, Desk, credential as shown, held, outage};

/// Says which status is meant, to proxies that hand on few.
const REFUSED_STATUS: &str = "x-refused-status";

/// Why a request does not go on.
enum Stop {
    Refused(Box<Refusal>),
    Outage(Error),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match Refusal::instead_of(error) {
            Ok(refusal) => refusal.into(),
            Err(error) => Self::Outage(error),
        }
    }
}

impl Desk {
    pub(super) async fn auth(&self, asked: Asked) -> Answer {
        match self.judged(&asked).await {
            Ok(validation) => self.allowed(&validation),
            Err(Stop::Refused(refusal)) => self.refused(&refusal),
            Err(Stop::Outage(error)) => {
                outage(&error).with(REFUSED_STATUS, StatusCode::SERVICE_UNAVAILABLE.as_str())
            }
        }
    }

    async fn judged(&self, asked: &Asked) -> Result<Validation, Stop> {
        if !self.setup.trusted_peers.include(asked.call.peer) {
            self.strangers.note(asked.call.peer);
            return Err(Refusal::stranger().into());
        }
        let terms = &self.setup.terms;
        let headers = &asked.head.headers;
        let told = held::read(headers, self.setup.trusted_hops).map_err(|flaw| {
            tracing::warn!(%flaw, "a proxy does not tell of the request that it holds as it should");
            Refusal::invalid(flaw.to_string())
        })?;
        let user_agent = headers.get(USER_AGENT);
        let request = HeldRequest {
            method: told.method,
            target: told.target,
            host: told.host,
            client: told.client,
            credential: credential(headers, &terms.credential_headers),
            user_agent: user_agent.map(|agent| agent.as_bytes()).unwrap_or_default(),
        };
        let secret = request.secret()?;
        let demand = request.demand(&terms.routes)?.cloned().unwrap_or_default();
        let demand = self.at_home(demand);
        let question = request.question(&demand)?;
        let authority = &self.setup.authority;
        let session = self.proxy(asked).await?;
        let right = authority.permit::<Check>(&session)?;
        let validation = authority.validate(&right, secret, &question).await;
        let validation = right.conclude(validation)?;
        tracing::debug!(
            validation_id = validation.id,
            verdict = ?validation.verdict,
            "judged for a proxy"
        );
        match Refusal::of(&validation, &question) {
            None => Ok(validation),
            Some(refusal) => Err(refusal.into()),
        }
    }

    /// Who the proxy is. Where trusted peers have permissions, they are known by their address alone:
    /// x-authority-token may be their clients'. For the same reason it does not count beside a
    /// certificate.
    async fn proxy(&self, asked: &Asked) -> Result<Session, Error> {
        if let Some(peer) = &self.peer {
            return Ok(self.setup.authority.peer_session(peer, asked.call.clone()));
        }
        let certified = asked
            .connection
            .as_ref()
            .is_some_and(|own| own.names().is_some());
        if certified {
            return self.session(Check::RPC, asked, Ok(None)).await;
        }
        let secret = shown::of_proxy(&asked.head.headers);
        let secret = match &secret {
            Ok(secret) => Ok(secret.as_ref().map(|secret| secret.as_str())),
            Err(shown::Malformed) => Err(shown::Malformed),
        };
        self.session(Check::RPC, asked, secret).await
    }

    /// Where a demand names no namespace: that of the peers' permission, if that is for one only.
    fn at_home(&self, demand: Demand) -> Demand {
        let reach = self.peer.as_ref();
        let reach = reach.and_then(|peer| peer.grants.reach(Permission::Validate));
        match (&demand.namespace, reach.map(|reach| &**reach)) {
            (Namespaces::Own, Some(Reach::Only(only))) if only.len() == 1 => Demand {
                namespace: only
                    .first()
                    .cloned()
                    .map_or(Namespaces::Own, Namespaces::Named),
                ..demand
            },
            _ => demand,
        }
    }

    /// Identity headers that are not set are there, and empty: a proxy that copies them puts them in the
    /// place of what its client sent.
    fn allowed(&self, validation: &Validation) -> Answer {
        let mut answer = Answer::bare(StatusCode::OK);
        answer.headers = Identity::of(validation).headers();
        let unset: Vec<&str> = identity::unset(&answer.headers).collect();
        let unset = unset.into_iter().map(|name| (name, String::new()));
        answer.headers.extend(unset);
        if let Some(standing) = Standing::of(validation) {
            answer
                .headers
                .extend(standing.headers(self.setup.terms.manner.reset));
        }
        answer
    }

    fn refused(&self, refusal: &Refusal) -> Answer {
        let status = match refusal.status {
            StatusCode::TOO_MANY_REQUESTS => self.setup.limited,
            status => status,
        };
        Answer {
            status,
            headers: refusal.headers(&self.setup.terms.manner),
            body: refusal.body(),
        }
        .with(REFUSED_STATUS, refusal.status.as_str())
    }
}
