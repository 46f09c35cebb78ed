//! Rate limits and quotas on the wire.

use crate::authority::seen::Seen;
use crate::domain::flaw::Violations;
use crate::domain::limit::{LimitName, Quota, RateLimit, RateLimits};
use crate::domain::spending::RateStatus;
use crate::transport::grpc::pb;

use super::time::{duration, span};

/// Parses rate limits; flaws are named `field[index].part`.
pub(super) fn rate_limits(v: &mut Violations, field: &str, limits: &[pb::RateLimit]) -> RateLimits {
    if limits.len() > RateLimits::COUNT_MAX {
        // Of a list that is too long only its length is said.
        v.add(field, RateLimits::too_many(limits.len()));
        return RateLimits::default();
    }
    let mut parsed = Vec::new();
    for (at, limit) in limits.iter().enumerate() {
        let pb::RateLimit {
            name,
            requests,
            period,
            burst,
        } = limit;
        let field = format!("{field}[{at}]");
        let name = v.take(format!("{field}.name"), LimitName::parse(name));
        let period = match period.as_ref().map(span) {
            None => Some(None),
            Some(given) => v.take(format!("{field}.period"), given).map(Some),
        };
        let (Some(name), Some(period)) = (name, period) else {
            continue;
        };
        match RateLimit::new(name, *requests, period, *burst) {
            Ok(limit) => parsed.push(limit),
            Err((part, flaw)) => v.add(format!("{field}.{part}"), flaw),
        }
    }
    let sound = parsed.len() == limits.len();
    RateLimits::new(parsed).unwrap_or_else(|(at, flaw)| {
        match at {
            None => v.add(field, flaw),
            // Places are those of the request only where all before were sound.
            Some(at) if sound => v.add(format!("{field}[{at}].name"), flaw),
            Some(_) => v.add(format!("{field}.name"), flaw),
        }
        RateLimits::default()
    })
}

/// Parses a quota, and what shall be left of it; `None` where there is a flaw, named `field.part`.
pub(super) fn quota(
    v: &mut Violations,
    field: &str,
    quota: &pb::Quota,
) -> Option<(Quota, Option<u64>)> {
    let pb::Quota {
        limit,
        remaining,
        period,
    } = quota;
    let period = match period.as_ref().map(span) {
        None => None,
        Some(given) => Some(v.take(format!("{field}.period"), given)?),
    };
    match Quota::new(*limit, period) {
        Ok(quota) => Some((quota, Some(*remaining).filter(|left| *left > 0))),
        Err((part, flaw)) => {
            v.add(format!("{field}.{part}"), flaw);
            None
        }
    }
}

/// The limits of a token, for its message.
pub(super) fn wire_limits(seen: &Seen) -> (Vec<pb::RateLimit>, Option<pb::Quota>) {
    let profile = &seen.token.profile;
    let limit = |limit: &RateLimit| pb::RateLimit {
        name: limit.name().to_string(),
        requests: limit.requests(),
        period: Some(duration(limit.period())),
        burst: limit.burst(),
    };
    let quota = profile.quota.map(|quota| pb::Quota {
        limit: quota.limit(),
        remaining: seen.left.quota.unwrap_or_default(),
        period: quota.period().map(duration),
    });
    (profile.rate_limits.iter().map(limit).collect(), quota)
}

/// The rate limits of a seen token as they stand, and what is left of its quota.
pub(in crate::transport) fn limits_as_they_stand(
    seen: &Seen,
) -> (Vec<pb::RateLimitStatus>, Option<u64>) {
    let statuses = seen.left.statuses(&seen.token, Some(1));
    (
        statuses.into_iter().map(wire_status).collect(),
        seen.left.quota,
    )
}

pub(super) fn wire_status(status: RateStatus) -> pb::RateLimitStatus {
    let RateStatus {
        name,
        limit,
        remaining,
        reset_after,
        retry_after,
    } = status;
    pb::RateLimitStatus {
        name: name.to_string(),
        limit,
        remaining,
        reset_after: Some(duration(reset_after)),
        retry_after: retry_after.map(duration),
    }
}
