//! Tokens on the wire: whole for those who manage them, public facts for those who validate.

use crate::authority::seen::Seen;
use crate::domain::address::Network;
use crate::domain::endpoint::Pattern;
use crate::domain::profile::Profile;
use crate::domain::scope::Scope;
use crate::domain::token::{State, Token};
use crate::transport::grpc::pb;

use super::timestamp;

/// Everything about a token that an answer may say.
pub(in crate::transport::grpc) fn whole_token(seen: &Seen) -> pb::Token {
    let state = match seen.state() {
        State::Active => pb::State::Active,
        State::Disabled => pb::State::Disabled,
        State::Revoked => pb::State::Revoked,
        State::Expired => pb::State::Expired,
    };
    let token = seen.token.as_ref();
    let Token {
        id: _,
        namespace: _,
        profile,
        create_time,
        owner_since: _,
        update_time,
        expire_time: _,
        revoked,
        brand: _,
        secret,
        origin: _,
        revision,
    } = token;
    let revocation = revoked.as_ref();
    pb::Token {
        state: state.into(),
        description: profile.description.as_str().to_owned(),
        allowed_endpoints: profile.endpoints.iter().map(Pattern::to_string).collect(),
        allowed_cidrs: profile.networks.iter().map(Network::to_string).collect(),
        disabled: profile.disabled,
        create_time: Some(timestamp(*create_time)),
        update_time: Some(timestamp(*update_time)),
        revoke_time: revocation.map(|revocation| timestamp(revocation.time)),
        revoke_reason: revocation
            .map(|revocation| revocation.reason.as_str().to_owned())
            .unwrap_or_default(),
        secret_hint: token.secret_hint(),
        secret_version: secret.version,
        revision: *revision,
        ..public_facts(token)
    }
}

/// The public facts of a judged token.
pub(super) fn public_facts(token: &Token) -> pb::Token {
    let Profile {
        name,
        description: _,
        owner: _,
        pool: _,
        scopes,
        endpoints: _,
        networks: _,
        labels,
        disabled: _,
    } = &token.profile;
    pb::Token {
        token_id: token.id.to_string(),
        namespace: token.namespace.to_string(),
        name: name.as_str().to_owned(),
        owner: token.profile.owner_text().to_owned(),
        pool: token.profile.pool_text().to_owned(),
        scopes: scopes.iter().map(Scope::to_string).collect(),
        labels: labels.to_map(),
        expire_time: token.expire_time.map(timestamp),
        ..pb::Token::default()
    }
}
