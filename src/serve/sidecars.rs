//! What the configuration says of proxies, as their transports take it.

use crate::config::{ExtAuthzConfig, Reset};
use crate::transport::grpc::ExtAuthzTerms;
use crate::transport::sidecar::limit_headers;
use crate::transport::sidecar::refusal::Manner;
use crate::transport::sidecar::terms::Terms;

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
