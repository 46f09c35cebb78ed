//! Validate on the wire.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::authority::error::Error;
use crate::authority::validate::{About, Question, Subject, Validation};
use crate::domain::address::client_address;
use crate::domain::endpoint::{PATH_BYTES_MAX, parse_method};
use crate::domain::flaw::{Flaw, Violations};
use crate::domain::limit::COST_MAX;
use crate::domain::name::RequestId;
use crate::domain::scope::{RequiredScope, Scope};
use crate::domain::verdict::{Consistency, Credential, Request, Verdict};
use crate::transport::grpc::pb;

use super::inspect::presented;
use super::limits::wire_status;
use super::time::duration;
use super::token::{brief_facts, public_facts};
use super::{given, items, namespaces, owner, sound};

pub(super) const USER_AGENT_BYTES_MAX: usize = 512;

/// A ValidateRequest, taken apart.
pub(in crate::transport) struct Asked {
    pub(in crate::transport) secret: Zeroizing<String>,
    pub(in crate::transport) question: Question,
    pub(in crate::transport) trace: Trace,
}

/// What is traced and not judged.
#[derive(Debug)]
pub(in crate::transport) struct Trace {
    pub(in crate::transport) request_id: Option<String>,
}

pub(in crate::transport) fn question(request: pb::ValidateRequest) -> Result<Asked, Error> {
    let pb::ValidateRequest {
        secret,
        namespace,
        owner: asked_owner,
        required_scopes,
        method,
        path,
        client_ip,
        user_agent,
        request_id,
        cost,
        dry_run,
        consistency,
    } = request;
    let secret = Zeroizing::new(secret);
    let mut flaws = Violations::default();
    let v = &mut flaws;
    v.take("secret", presented(&secret));
    let namespaces = namespaces(v, &namespace);
    let owner = owner(v, &asked_owner);
    let required_scopes = items(
        v,
        "required_scopes",
        &required_scopes,
        Scope::COUNT_MAX,
        RequiredScope::parse,
    );
    let method = given(v, "method", &method, parse_method);
    v.take(
        "path",
        at_most(path.split('?').next().unwrap_or_default(), PATH_BYTES_MAX),
    );
    let client_ip = given(v, "client_ip", &client_ip, client_address);
    v.take("user_agent", at_most(&user_agent, USER_AGENT_BYTES_MAX));
    let request_id = given(v, "request_id", &request_id, RequestId::parse);
    let cost = v.take("cost", self::cost(cost));
    let consistency = v.take("consistency", self::consistency(consistency));
    let parsed = namespaces.zip(cost).zip(consistency);
    let parsed = parsed.map(|((namespaces, cost), consistency)| Asked {
        secret,
        question: Question {
            namespaces,
            request: Request {
                owner,
                required_scopes,
                method,
                path: (!path.is_empty()).then_some(path),
                client_ip,
            },
            cost,
            dry_run,
            consistency,
            user_agent,
        },
        trace: Trace {
            request_id: request_id.map(|id| id.as_str().to_owned()),
        },
    });
    sound(parsed, flaws)
}

fn cost(asked: Option<u64>) -> Result<u64, Flaw> {
    match asked.unwrap_or(1) {
        cost if cost <= COST_MAX => Ok(cost),
        cost => Err(Flaw::new(format!("must be 0 to {COST_MAX}; got {cost}"))),
    }
}

fn consistency(number: i32) -> Result<Consistency, Flaw> {
    match pb::Consistency::try_from(number) {
        Ok(pb::Consistency::Unspecified) => Ok(Consistency::Cached),
        Ok(pb::Consistency::Strong) => Ok(Consistency::Strong),
        Err(_) => Err(Flaw::new(format!(
            "must be a known consistency; got {number}"
        ))),
    }
}

pub(super) fn at_most(text: &str, bytes_max: usize) -> Result<(), Flaw> {
    if text.len() > bytes_max {
        return Err(Flaw::new(format!(
            "has {} bytes; at most {bytes_max} are allowed",
            text.len()
        )));
    }
    Ok(())
}

pub(in crate::transport) fn validation(validation: Validation) -> pb::ValidateResponse {
    let Validation {
        verdict,
        subject,
        cost,
        cache_ttl,
        degraded,
        id,
    } = validation;
    let unknown = pb::ValidateResponse {
        valid: verdict == Verdict::Valid,
        verdict: wire_verdict(verdict).into(),
        validation_id: id,
        cache_ttl: (cache_ttl > Duration::ZERO).then(|| duration(cache_ttl)),
        degraded,
        ..pb::ValidateResponse::default()
    };
    let Some(subject) = subject else {
        return unknown;
    };
    let Subject {
        about,
        credential,
        now,
        left,
    } = subject;
    let judged = match credential {
        Credential::Own { .. } => None,
        Credential::Lease { mark, until: _ } => Some(mark),
    };
    let (used, version) = match credential {
        Credential::Own {
            version,
            until: None,
        } => (pb::Credential::Current, version),
        Credential::Own {
            version,
            until: Some(_),
        } => (pb::Credential::Previous, version),
        Credential::Lease { .. } => (pb::Credential::Lease, 0),
    };
    let refused = (verdict == Verdict::RateLimited).then_some(cost);
    let statuses = left
        .as_ref()
        .map(|left| left.statuses(about.token(), refused));
    let statuses = statuses.unwrap_or_default().into_iter();
    pb::ValidateResponse {
        credential: used.into(),
        secret_version: version,
        revision: about.revision(),
        rate_limits: statuses.map(wire_status).collect(),
        quota_remaining: left.and_then(|left| left.quota),
        token: Some(match about {
            About::Brief(brief) => brief_facts(&brief),
            About::Token(token) => public_facts(&token, judged, now),
        }),
        ..unknown
    }
}

pub(in crate::transport) fn wire_verdict(verdict: Verdict) -> pb::Verdict {
    match verdict {
        Verdict::Valid => pb::Verdict::Valid,
        Verdict::Malformed => pb::Verdict::Malformed,
        Verdict::NotFound => pb::Verdict::NotFound,
        Verdict::Revoked => pb::Verdict::Revoked,
        Verdict::Disabled => pb::Verdict::Disabled,
        Verdict::Expired => pb::Verdict::Expired,
        Verdict::Superseded => pb::Verdict::Superseded,
        Verdict::LeaseEnded => pb::Verdict::LeaseEnded,
        Verdict::OwnerMismatch => pb::Verdict::OwnerMismatch,
        Verdict::ScopeDenied => pb::Verdict::ScopeDenied,
        Verdict::EndpointDenied => pb::Verdict::EndpointDenied,
        Verdict::AddressDenied => pb::Verdict::AddressDenied,
        Verdict::RateLimited => pb::Verdict::RateLimited,
        Verdict::QuotaExhausted => pb::Verdict::QuotaExhausted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_store_will_do_where_that_is_asked() {
        let asked = |consistency: pb::Consistency| {
            let request = pb::ValidateRequest {
                consistency: consistency.into(),
                ..pb::ValidateRequest::default()
            };
            question(request).unwrap().question.consistency
        };
        assert_eq!(asked(pb::Consistency::Unspecified), Consistency::Cached);
        assert_eq!(asked(pb::Consistency::Strong), Consistency::Strong);
    }
}
