//! Update, Rotate and ResetLimits on the wire.

use crate::authority::changes::RotateOrder;
use crate::authority::error::Error;
use crate::authority::seen::Seen;
use crate::authority::tokens::Issued;
use crate::domain::address::Network;
use crate::domain::endpoint::{Endpoints, Pattern};
use crate::domain::flaw::{Flaw, Violations, quoted};
use crate::domain::limit::Quota;
use crate::domain::name::{Description, Owner, RequestId, TokenName};
use crate::domain::pool::LeaseTerms;
use crate::domain::profile::Profile;
use crate::domain::rotation::Grace;
use crate::domain::scope::Scope;
use crate::domain::token::TokenId;
use crate::domain::update::{Patch, QuotaPatch};
use crate::transport::grpc::pb;

use super::create::labels;
use super::limits::{limits_as_they_stand, quota, rate_limits};
use super::time::{instant, span};
use super::{given, items, sound, whole_token};

/// The paths that an update mask may name.
const PATHS: [&str; 15] = [
    "name",
    "description",
    "owner",
    "scopes",
    "allowed_endpoints",
    "allowed_cidrs",
    "rate_limits",
    "quota",
    "quota.limit",
    "quota.period",
    "quota.remaining",
    "labels",
    "disabled",
    "expire_time",
    "keep_alive_ttl",
];

/// Most paths of a mask: each once, and room for those that cover one another.
const MASK_MAX: usize = 64;

/// What an UpdateRequest asks for.
pub(in crate::transport) fn patch(
    request: pb::UpdateRequest,
    terms: LeaseTerms,
) -> Result<(TokenId, Patch), Error> {
    let pb::UpdateRequest {
        token,
        update_mask,
        revision,
    } = request;
    let mut flaws = Violations::default();
    let v = &mut flaws;
    let mask = update_mask.map(|mask| mask.paths).unwrap_or_default();
    let Some(token) = token else {
        v.add("token", Flaw::new("must be given"));
        check_mask(v, &mask);
        return Err(Error::Invalid(flaws));
    };
    let id = v.take("token.token_id", TokenId::parse(&token.token_id));
    check_mask(v, &mask);
    let mut patch = Patch {
        revision,
        ..Patch::default()
    };
    // Each path once, however often it is named.
    for path in PATHS.iter().filter(|path| names(&mask, path)) {
        put(v, &mut patch, path, &token, terms);
    }
    patch.quota = quota_patch(v, &mask, token.quota.as_ref());
    sound(id.map(|id| (id, patch)), flaws)
}

fn check_mask(v: &mut Violations, mask: &[String]) {
    if mask.is_empty() {
        v.add("update_mask", Flaw::new("must name what to change"));
    }
    if mask.len() > MASK_MAX {
        let flaw = format!("has {} paths; at most {MASK_MAX} are allowed", mask.len());
        v.add("update_mask", Flaw::new(flaw));
    }
    for (at, path) in mask.iter().take(MASK_MAX).enumerate() {
        if !PATHS.contains(&path.as_str()) {
            let flaw = format!("must be one of {}; got {}", PATHS.join(", "), quoted(path));
            v.add(format!("update_mask.paths[{at}]"), Flaw::new(flaw));
        }
    }
}

fn names(mask: &[String], path: &str) -> bool {
    mask.iter().any(|named| named == path)
}

/// Puts into `patch` what `token` says about `path`; quotas have their own way.
fn put(v: &mut Violations, patch: &mut Patch, path: &str, token: &pb::Token, terms: LeaseTerms) {
    match path {
        "name" => patch.name = v.take("token.name", TokenName::parse(&token.name)),
        "description" => {
            let parsed = Description::parse(&token.description);
            patch.description = v.take("token.description", parsed);
        }
        "owner" => {
            let parse = Owner::parse;
            patch.owner = Some(given(v, "token.owner", &token.owner, parse));
        }
        "scopes" => {
            let (field, most) = ("token.scopes", Scope::COUNT_MAX);
            patch.scopes = Some(items(v, field, &token.scopes, most, Scope::parse));
        }
        "allowed_endpoints" => {
            let (field, most) = ("token.allowed_endpoints", Pattern::COUNT_MAX);
            let patterns = items(v, field, &token.allowed_endpoints, most, Pattern::parse);
            patch.endpoints = Some(Endpoints::new(patterns));
        }
        "allowed_cidrs" => {
            let (field, most) = ("token.allowed_cidrs", Profile::NETWORKS_MAX);
            let networks = items(v, field, &token.allowed_cidrs, most, Network::parse);
            patch.networks = Some(networks);
        }
        "rate_limits" => {
            let limits = rate_limits(v, "token.rate_limits", &token.rate_limits);
            patch.rate_limits = Some(limits);
        }
        "labels" => patch.labels = labels(v, "token.labels", &token.labels),
        "disabled" => patch.disabled = Some(token.disabled),
        "expire_time" => {
            let end = token.expire_time.as_ref().map(instant).transpose();
            patch.expire_time = v.take("token.expire_time", end);
        }
        "keep_alive_ttl" => {
            let asked = token.keep_alive_ttl.as_ref().map(span).transpose();
            // Cleared, it needs no beat any more.
            let asked = asked.map(Option::unwrap_or_default);
            let ttl = asked.and_then(|span| terms.keep_alive_ttl(Some(span)));
            patch.keep_alive_ttl = v.take("token.keep_alive_ttl", ttl);
        }
        // Of the quota, or refused already.
        _ => {}
    }
}

fn quota_patch(v: &mut Violations, mask: &[String], given: Option<&pb::Quota>) -> QuotaPatch {
    let named = |path: &str| names(mask, path);
    let (limit, period, remaining) = (
        named("quota.limit"),
        named("quota.period"),
        named("quota.remaining"),
    );
    let whole = named("quota");
    if !whole && !limit && !period && !remaining {
        return QuotaPatch::Keep;
    }
    let Some(given) = given else {
        if whole && !limit && !period && !remaining {
            return QuotaPatch::Remove;
        }
        v.add(
            "token.quota",
            Flaw::new("must be given: the mask names parts of it"),
        );
        return QuotaPatch::Keep;
    };
    if whole {
        let parsed = quota(v, "token.quota", given);
        return parsed.map_or(QuotaPatch::Keep, |(quota, left)| {
            let left = if remaining {
                Some(given.remaining)
            } else {
                left
            };
            QuotaPatch::Replace(quota, left)
        });
    }
    // Each part for itself: what the mask does not name is not looked at.
    let mut check = |limit: u64, period| {
        if let Err((part, flaw)) = Quota::new(limit, period) {
            v.add(format!("token.quota.{part}"), flaw);
        }
    };
    if limit {
        check(given.limit, None);
    }
    let spanned = given
        .period
        .as_ref()
        .filter(|_| period)
        .map(span)
        .transpose();
    match &spanned {
        Ok(Some(span)) => check(1, Some(*span)),
        Ok(None) => {}
        Err(flaw) => v.add("token.quota.period", flaw.clone()),
    }
    QuotaPatch::Adjust {
        limit: limit.then_some(given.limit),
        period: period.then(|| spanned.ok().flatten()),
        remaining: remaining.then_some(given.remaining),
    }
}

/// What a RotateRequest asks for.
pub(in crate::transport) fn rotate_order(request: pb::RotateRequest) -> Result<RotateOrder, Error> {
    let pb::RotateRequest {
        token_id,
        grace_period,
        revision,
        request_id,
    } = request;
    let mut flaws = Violations::default();
    let v = &mut flaws;
    let id = v.take("token_id", TokenId::parse(&token_id));
    let grace = grace_period.as_ref().map(span).transpose();
    let grace = grace.and_then(|span| Grace::new(span.unwrap_or_default()));
    let grace = v.take("grace_period", grace);
    let request_id = given(v, "request_id", &request_id, RequestId::parse);
    let order = id.zip(grace).map(|(id, grace)| RotateOrder {
        id,
        grace,
        revision,
        request_id,
    });
    sound(order, flaws)
}

pub(in crate::transport) fn rotated(issued: &Issued) -> pb::RotateResponse {
    pb::RotateResponse {
        token: Some(whole_token(&issued.seen)),
        secret: issued.secret.expose().to_owned(),
    }
}

pub(in crate::transport) fn limits_reset(seen: &Seen) -> pb::ResetLimitsResponse {
    let (rate_limits, quota_remaining) = limits_as_they_stand(seen);
    pb::ResetLimitsResponse {
        rate_limits,
        quota_remaining,
    }
}
