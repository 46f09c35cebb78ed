//! Tokens on the wire: whole for those who manage them, public facts for those who validate.

use crate::authority::tokens::Seen;
use crate::domain::address::Network;
use crate::domain::name::{Owner, PoolName};
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
    let Token {
        id,
        namespace,
        name,
        description,
        owner,
        pool,
        scopes,
        endpoints,
        networks,
        labels,
        disabled,
        create_time,
        update_time,
        expire_time,
        revoked,
        brand: _,
        secret,
        origin: _,
        revision,
    } = seen.token.as_ref();
    pb::Token {
        token_id: id.to_string(),
        namespace: namespace.to_string(),
        name: name.as_str().to_owned(),
        owner: owner
            .as_ref()
            .map(Owner::as_str)
            .unwrap_or_default()
            .to_owned(),
        pool: pool
            .as_ref()
            .map(PoolName::as_str)
            .unwrap_or_default()
            .to_owned(),
        scopes: scopes.iter().map(Scope::to_string).collect(),
        labels: labels
            .iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        expire_time: expire_time.map(timestamp),
        state: state.into(),
        description: description.as_str().to_owned(),
        allowed_endpoints: endpoints
            .iter()
            .map(|pattern| pattern.as_str().to_owned())
            .collect(),
        allowed_cidrs: networks.iter().map(Network::to_string).collect(),
        disabled: *disabled,
        create_time: Some(timestamp(*create_time)),
        update_time: Some(timestamp(*update_time)),
        revoke_time: revoked.as_ref().map(|revoked| timestamp(revoked.time)),
        revoke_reason: revoked
            .as_ref()
            .map(|revoked| revoked.reason.as_str().to_owned())
            .unwrap_or_default(),
        secret_hint: seen.token.secret_hint(),
        secret_version: secret.version,
        revision: *revision,
    }
}

/// The public facts of a judged token.
pub(super) fn public_facts(token: &Token) -> pb::Token {
    pb::Token {
        token_id: token.id.to_string(),
        namespace: token.namespace.to_string(),
        name: token.name.as_str().to_owned(),
        owner: token
            .owner
            .as_ref()
            .map(Owner::as_str)
            .unwrap_or_default()
            .to_owned(),
        pool: token
            .pool
            .as_ref()
            .map(PoolName::as_str)
            .unwrap_or_default()
            .to_owned(),
        scopes: token.scopes.iter().map(Scope::to_string).collect(),
        labels: token
            .labels
            .iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        expire_time: token.expire_time.map(timestamp),
        ..pb::Token::default()
    }
}
