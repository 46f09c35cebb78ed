//! Tokens on the wire: whole for those who manage them, public facts for those who validate.

use crate::authority::seen::Seen;
use crate::domain::address::Network;
use crate::domain::brief::Brief;
use crate::domain::endpoint::Pattern;
use crate::domain::lease::LeaseMark;
use crate::domain::profile::Profile;
use crate::domain::rotation::SecretVersion;
use crate::domain::time::Timestamp;
use crate::domain::token::{State, Token};
use crate::domain::usage::Summary;
use crate::transport::grpc::pb;

use super::leases::wire_lease;
use super::limits::wire_limits;
use super::time::{duration, timestamp};

/// Everything about a token that an answer may say.
pub(in crate::transport) fn whole_token(seen: &Seen) -> pb::Token {
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
        secrets,
        allowance: _,
        origin: _,
        tenure,
        revision,
    } = token;
    let revocation = revoked.as_ref();
    let (rate_limits, quota) = wire_limits(seen);
    let now = seen.left.now;
    let last = tenure.as_ref().and_then(|tenure| tenure.last(now));
    let used = seen.used.as_ref();
    let secret_info = |version| secret_info(version, used);
    pb::Token {
        state: wire_state(seen.state()).into(),
        description: profile.description.as_str().to_owned(),
        allowed_endpoints: profile.endpoints.iter().map(Pattern::to_string).collect(),
        allowed_cidrs: profile.networks.iter().map(Network::to_string).collect(),
        rate_limits,
        quota,
        disabled: profile.disabled,
        create_time: Some(timestamp(*create_time)),
        update_time: Some(timestamp(*update_time)),
        revoke_time: revocation.map(|revocation| timestamp(revocation.time)),
        revoke_reason: revocation
            .map(|revocation| revocation.reason.as_str().to_owned())
            .unwrap_or_default(),
        secret_hint: token.secret_hint(),
        secrets: secrets.versions().map(secret_info).collect(),
        secret_version: secrets.current.version,
        revision: *revision,
        keep_alive_ttl: profile.keep_alive_ttl.map(duration),
        keep_alive_deadline: token.keep_alive_deadline(now).map(timestamp),
        last_used_time: used.and_then(Summary::last_used_time).map(timestamp),
        last_lease: last.map(|lease| wire_lease(lease, None, now)),
        ..public_facts(token, None, now)
    }
}

pub(in crate::transport) fn wire_state(state: State) -> pb::State {
    match state {
        State::Active => pb::State::Active,
        State::Disabled => pb::State::Disabled,
        State::Revoked => pb::State::Revoked,
        State::Expired => pb::State::Expired,
    }
}

fn secret_info(
    (secret, until): (&SecretVersion, Option<Timestamp>),
    used: Option<&Summary>,
) -> pb::SecretInfo {
    let SecretVersion {
        version,
        create_time,
        digests: _,
        origin: _,
    } = secret;
    pb::SecretInfo {
        version: *version,
        create_time: Some(timestamp(*create_time)),
        expire_time: until.map(timestamp),
        last_used_time: used
            .and_then(|used| used.last_used.get(version).copied())
            .map(timestamp),
    }
}

/// The public facts of a token as it was `now`, when it was judged by the secret of the lease of
/// that mark, if of one: then that lease is shown, in force or not, else the one in force.
pub(super) fn public_facts(token: &Token, judged: Option<LeaseMark>, now: Timestamp) -> pb::Token {
    let Profile {
        name,
        description: _,
        owner: _,
        pool: _,
        scopes,
        endpoints: _,
        networks: _,
        rate_limits: _,
        quota: _,
        labels,
        disabled: _,
        keep_alive_ttl: _,
    } = &token.profile;
    let lease = token.tenure.as_ref().and_then(|tenure| match judged {
        Some(mark) => tenure.leases.iter().find(|lease| lease.mark == mark),
        None => tenure.live(now),
    });
    pb::Token {
        token_id: token.id.as_str().to_owned(),
        namespace: token.namespace.as_str().to_owned(),
        name: name.as_str().to_owned(),
        owner: token.profile.owner_text().to_owned(),
        pool: token.profile.pool_text().to_owned(),
        scopes: scopes
            .iter()
            .map(|scope| scope.as_str().to_owned())
            .collect(),
        labels: labels.to_map(),
        expire_time: token.expire_time.map(timestamp),
        lease: lease.map(|lease| wire_lease(lease, None, now)),
        ..pb::Token::default()
    }
}

/// The same of a token that nobody can lease, by its brief.
pub(super) fn brief_facts(brief: &Brief) -> pb::Token {
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    pb::Token {
        token_id: brief.id.as_str().to_owned(),
        namespace: brief.namespace().to_owned(),
        name: brief.name().to_owned(),
        owner: brief.owner().to_owned(),
        scopes: brief.scopes().map(str::to_owned).collect(),
        labels: brief.labels().map(owned).collect(),
        expire_time: brief.expire_time.map(timestamp),
        ..pb::Token::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::name::{Labels, Owner, TokenName};
    use crate::domain::scope::Scope;
    use crate::domain::token::tests::{at, draft};
    use crate::domain::token::{Draft, Expiration};
    use std::sync::Arc;

    #[test]
    fn an_answer_says_the_same_whether_by_a_token_or_by_its_brief() {
        let said = Profile {
            name: TokenName::parse("shop 7").unwrap(),
            owner: Owner::parse("team-7").ok(),
            scopes: vec![Scope::parse("orders:*").unwrap()],
            labels: Labels::parse([("env", "prod"), ("note", "a=b")].into_iter()).unwrap(),
            ..Profile::default()
        };
        for (profile, expiration) in [
            (said, Expiration::At(at(60))),
            (Profile::default(), Expiration::Never),
        ] {
            let draft = Draft {
                profile,
                expiration,
                ..draft()
            };
            let token = Arc::new(draft.issue(at(1)).unwrap());
            let brief = Brief::of(&token).unwrap();
            assert_eq!(brief_facts(&brief), public_facts(&token, None, at(2)));
        }
    }
}
