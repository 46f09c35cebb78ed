//! Get, List, Revoke and Delete on the wire.

use zeroize::Zeroizing;

use crate::authority::error::Error;
use crate::authority::seen::Seen;
use crate::authority::tokens::{ListQuery, Listed};
use crate::domain::flaw::{Flaw, Violations};
use crate::domain::name::Reason;
use crate::domain::page::PageSize;
use crate::domain::secret::PRESENTED_BYTES_MAX;
use crate::domain::token::{State, TokenId};
use crate::domain::usage::Summary;
use crate::transport::grpc::pb::{self, revoke_request};

use super::create::labels;
use super::limits::limits_as_they_stand;
use super::{namespaces, owner, pool, sound, whole_token};

/// The id that a request names in `token_id`.
pub(in crate::transport) fn token_id(text: &str) -> Result<TokenId, Error> {
    TokenId::parse(text).map_err(|flaw| Error::Invalid(Violations::one("token_id", flaw)))
}

/// The token that a RevokeRequest names by its id.
pub(in crate::transport) fn revoke_order(
    request: pb::RevokeRequest,
) -> Result<(TokenId, Reason), Error> {
    let pb::RevokeRequest { target, reason } = request;
    let mut violations = Violations::default();
    let id = match target {
        Some(revoke_request::Target::TokenId(id)) => {
            violations.take("token_id", TokenId::parse(&id))
        }
        Some(revoke_request::Target::Secret(_)) | None => {
            violations.add("target", Flaw::new("must be token_id or secret"));
            None
        }
    };
    let reason = violations.take("reason", Reason::parse(&reason));
    sound(id.zip(reason), violations)
}

/// The secret that a RevokeRequest names a token by.
pub(in crate::transport) fn surrender_order(
    secret: String,
    reason: &str,
) -> Result<(Zeroizing<String>, Reason), Error> {
    let secret = Zeroizing::new(secret);
    let mut violations = Violations::default();
    let short = violations.take("secret", presented(&secret));
    let reason = violations.take("reason", Reason::parse(reason));
    sound(short.and(reason).map(|reason| (secret, reason)), violations)
}

/// Whether a presented secret is short enough to be judged.
pub(super) fn presented(secret: &str) -> Result<(), Flaw> {
    if secret.len() > PRESENTED_BYTES_MAX {
        let flaw = format!(
            "has {} bytes; at most {PRESENTED_BYTES_MAX} are judged",
            secret.len()
        );
        return Err(Flaw::new(flaw));
    }
    Ok(())
}

pub(in crate::transport) fn got(seen: &Seen) -> pb::GetResponse {
    let (rate_limits, quota_remaining) = limits_as_they_stand(seen);
    pb::GetResponse {
        token: Some(whole_token(seen)),
        rate_limits,
        quota_remaining,
    }
}

pub(in crate::transport) fn list_query(request: pb::ListRequest) -> Result<ListQuery, Error> {
    let pb::ListRequest {
        namespace,
        owner: asked_owner,
        pool: asked_pool,
        states,
        labels: asked_labels,
        page_size,
        page_token,
        with_usage,
    } = request;
    let mut flaws = Violations::default();
    let v = &mut flaws;
    let namespaces = namespaces(v, &namespace);
    let owner = owner(v, &asked_owner);
    let pool = pool(v, &asked_pool);
    if states.len() > STATES_MAX {
        v.add(
            "states",
            Flaw::new(format!(
                "has {} entries; at most {STATES_MAX} are allowed",
                states.len()
            )),
        );
    }
    let mut wanted = Vec::new();
    for (at, number) in states.iter().take(STATES_MAX).enumerate() {
        wanted.extend(v.take(format!("states[{at}]"), state(*number)));
    }
    let labels = labels(v, "labels", &asked_labels);
    let parsed = (|| {
        Some(ListQuery {
            namespaces: namespaces?,
            owner,
            pool,
            states: wanted,
            labels: labels?,
            page_size: PageSize::asked(page_size),
            page_token,
            with_usage,
        })
    })();
    sound(parsed, flaws)
}

fn wire_counts(summary: &Summary) -> pb::UsageCounts {
    let Summary {
        last_used: _,
        requests_24h,
        requests_7d,
        requests_total,
    } = summary;
    pb::UsageCounts {
        requests_24h: *requests_24h,
        requests_7d: *requests_7d,
        requests_total: *requests_total,
    }
}

const STATES_MAX: usize = 16;

fn state(number: i32) -> Result<State, Flaw> {
    match pb::State::try_from(number) {
        Ok(pb::State::Active) => Ok(State::Active),
        Ok(pb::State::Disabled) => Ok(State::Disabled),
        Ok(pb::State::Revoked) => Ok(State::Revoked),
        Ok(pb::State::Expired) => Ok(State::Expired),
        Ok(pb::State::Unspecified) | Err(_) => Err(Flaw::new(format!(
            "must be a known state other than STATE_UNSPECIFIED; got {number}"
        ))),
    }
}

pub(in crate::transport) fn listed(listed: Listed) -> pb::ListResponse {
    let Listed {
        tokens,
        with_usage,
        next_page_token,
    } = listed;
    let told = |seen: &Seen| pb::Token {
        usage: seen.used.as_ref().filter(|_| with_usage).map(wire_counts),
        ..whole_token(seen)
    };
    pb::ListResponse {
        tokens: tokens.iter().map(told).collect(),
        next_page_token,
    }
}
