//! What the configuration says of proxies, as their transports take it.

use std::sync::Arc;

use http::StatusCode;

use crate::authority::Authority;
use crate::config::{Config, ExtAuthzConfig, ForwardAuthConfig, Limited, Listen, Reset};
use crate::transport::connections::{Door, Listener, Place};
use crate::transport::gate::Gate;
use crate::transport::grpc::ExtAuthzTerms;
use crate::transport::http::sidecar::{ForwardAuth, Setup};
use crate::transport::sidecar::limit_headers;
use crate::transport::sidecar::refusal::Manner;
use crate::transport::sidecar::terms::Terms;

use super::{ServeError, listening};

/// How held requests are read and answered.
pub(super) fn held(config: &ExtAuthzConfig) -> Terms {
    let manner = Manner {
        realm: config.realm.clone(),
        reset: match config.reset {
            Reset::Seconds => limit_headers::Reset::Seconds,
            Reset::Rfc3339 => limit_headers::Reset::Rfc3339,
        },
    };
    Terms::new(
        config.credential_headers.clone(),
        config.routes.clone(),
        manner,
    )
}

pub(super) fn ext_authz(config: &ExtAuthzConfig) -> ExtAuthzTerms {
    ExtAuthzTerms {
        held: held(config),
        trusted_hops: config.trusted_hops,
        certificate_peers: config.certificate_peers.clone(),
    }
}

/// Listeners beside those of gRPC, bound; `None` where there are none.
pub(super) struct SideDoor {
    listeners: Vec<Listener>,
}

impl SideDoor {
    pub(super) async fn bind(config: &Config, at: &[Listen]) -> Result<Option<Self>, ServeError> {
        let listeners = listening::bind_places(at, config.server.unix_mode).await?;
        Ok((!listeners.is_empty()).then_some(Self { listeners }))
    }

    pub(super) fn places(&self) -> Result<Vec<Place>, ServeError> {
        listening::places(&self.listeners)
    }

    /// The same door as `grpc`, on these listeners.
    pub(super) fn beside(self, grpc: &Door) -> Door {
        Door {
            listeners: self.listeners,
            tls: grpc.tls.clone(),
            bounds: grpc.bounds,
            metrics: grpc.metrics.clone(),
            homes: grpc.homes.clone(),
        }
    }
}

/// What answers forward-auth, introspection and revocation.
pub(super) fn forward_auth(
    config: &Config,
    authority: &Arc<Authority>,
    gate: &Arc<Gate>,
) -> ForwardAuth {
    let ForwardAuthConfig {
        listen: _,
        trusted_peers,
        permissions,
        trusted_hops,
        limited,
    } = config.forward_auth.clone();
    ForwardAuth::new(Setup {
        authority: authority.clone(),
        gate: gate.clone(),
        deadline: config.limits.call_deadline,
        terms: held(&config.ext_authz),
        trusted_peers,
        permissions,
        trusted_hops,
        limited: match limited {
            Limited::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Limited::Forbidden => StatusCode::FORBIDDEN,
        },
    })
}

/// Answers at that door until `stop` is over; nothing where there is none.
pub(super) async fn serve(
    forward_auth: ForwardAuth,
    door: Option<Door>,
    stop: impl Future<Output = ()>,
) {
    if let Some(door) = door {
        forward_auth.serve(door, stop).await;
    }
}
