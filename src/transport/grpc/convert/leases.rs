//! Acquire, Release and KeepAlive on the wire.

use std::time::Duration;

use crate::authority::error::Error;
use crate::authority::leases::{AcquireOrder, Ended, Kept, Leased};
use crate::domain::flaw::{Flaw, Violations};
use crate::domain::lease::{Holder, Lease, LeaseEnd, LeaseId};
use crate::domain::name::{Namespace, PoolName, RequestId};
use crate::domain::pool::LeaseTerms;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenId;
use crate::transport::grpc::pb::{self, keep_alive_request, release_request};

use super::time::{duration, span, timestamp};
use super::{given, sound, whole_token};

/// What an AcquireRequest asks for.
pub(in crate::transport) fn acquire_order(
    request: pb::AcquireRequest,
    terms: LeaseTerms,
) -> Result<AcquireOrder, Error> {
    let pb::AcquireRequest {
        namespace,
        pool,
        holder,
        lease_duration,
        wait,
        request_id,
    } = request;
    let mut flaws = Violations::default();
    let v = &mut flaws;
    let namespace = given(v, "namespace", &namespace, Namespace::parse);
    let pool = v.take("pool", PoolName::parse(&pool));
    let holder = v.take("holder", Holder::parse(&holder));
    let lasts = lease_duration.as_ref().map(span).transpose();
    let lasts = v.take(
        "lease_duration",
        lasts.and_then(|span| terms.duration(span)),
    );
    let waits = wait.as_ref().map(span).transpose();
    let waits = waits.and_then(|span| terms.wait(span.unwrap_or_default()));
    let waits = v.take("wait", waits);
    let request_id = given(v, "request_id", &request_id, RequestId::parse);
    let order = (|| {
        Some(AcquireOrder {
            namespace,
            pool: pool?,
            holder: holder?,
            duration: lasts?,
            wait: waits?,
            request_id,
        })
    })();
    sound(order, flaws)
}

pub(in crate::transport) fn acquired(leased: &Leased) -> pb::AcquireResponse {
    let Leased {
        seen,
        lease,
        secret,
    } = leased;
    let id = LeaseId {
        token: seen.token.id,
        mark: lease.mark,
    };
    pb::AcquireResponse {
        token: Some(whole_token(seen)),
        lease: Some(wire_lease(lease, Some(id), seen.left.now)),
        secret: secret.expose().to_owned(),
    }
}

/// The lease that a ReleaseRequest names.
pub(in crate::transport) fn release_order(request: pb::ReleaseRequest) -> Result<LeaseId, Error> {
    let pb::ReleaseRequest { target, force } = request;
    let mut flaws = Violations::default();
    let v = &mut flaws;
    let id = match target {
        Some(release_request::Target::LeaseId(id)) => v.take("lease_id", LeaseId::parse(&id)),
        Some(release_request::Target::TokenId(_)) | None => {
            v.add("target", Flaw::new("must be lease_id or token_id"));
            None
        }
    };
    if force {
        let flaw = "must be left out: whoever names a lease ends it without force";
        v.add("force", Flaw::new(flaw));
    }
    sound(id, flaws)
}

/// The token that a ReleaseRequest takes from its holder.
pub(in crate::transport) fn forced_release_order(
    request: pb::ReleaseRequest,
) -> Result<TokenId, Error> {
    let pb::ReleaseRequest { target, force } = request;
    let mut flaws = Violations::default();
    let id = match target {
        Some(release_request::Target::TokenId(id)) => flaws.take("token_id", TokenId::parse(&id)),
        Some(release_request::Target::LeaseId(_)) | None => None,
    };
    if !force {
        let flaw = "must be set: by token_id the lease is taken from whoever holds it";
        flaws.add("force", Flaw::new(flaw));
    }
    sound(id, flaws)
}

pub(in crate::transport) fn released(ended: &Ended) -> pb::ReleaseResponse {
    let Ended { lease, now } = ended;
    pb::ReleaseResponse {
        lease: Some(wire_lease(lease, None, *now)),
    }
}

/// The lease that a KeepAliveRequest names, and how long it shall last.
pub(in crate::transport) fn beat_order(
    request: pb::KeepAliveRequest,
    terms: LeaseTerms,
) -> Result<(LeaseId, Option<Duration>), Error> {
    let pb::KeepAliveRequest {
        target,
        lease_duration,
    } = request;
    let mut flaws = Violations::default();
    let v = &mut flaws;
    let id = match target {
        Some(keep_alive_request::Target::LeaseId(id)) => v.take("lease_id", LeaseId::parse(&id)),
        Some(keep_alive_request::Target::TokenId(_)) => {
            let flaw = "is for KeepAlive alone: a stream keeps leases alive, by lease_id";
            v.add("token_id", Flaw::new(flaw));
            None
        }
        None => {
            v.add("target", Flaw::new("must be lease_id or token_id"));
            None
        }
    };
    let lasts = lease_duration.as_ref().map(span).transpose();
    let lasts = lasts.and_then(|asked| asked.map(|span| terms.duration(Some(span))).transpose());
    let lasts = v.take("lease_duration", lasts);
    sound(id.zip(lasts), flaws)
}

/// The token that a KeepAliveRequest names.
pub(in crate::transport) fn token_beat_order(
    request: pb::KeepAliveRequest,
) -> Result<TokenId, Error> {
    let pb::KeepAliveRequest {
        target,
        lease_duration,
    } = request;
    let mut flaws = Violations::default();
    let id = match target {
        Some(keep_alive_request::Target::TokenId(id)) => {
            flaws.take("token_id", TokenId::parse(&id))
        }
        Some(keep_alive_request::Target::LeaseId(_)) | None => None,
    };
    if lease_duration.is_some() {
        let flaw = "must be left out: by token_id the lease is left as it is";
        flaws.add("lease_duration", Flaw::new(flaw));
    }
    sound(id, flaws)
}

/// What was kept alive; the lease has its name where the call named it.
pub(in crate::transport) fn kept(kept: &Kept, named: Option<LeaseId>) -> pb::KeepAliveResponse {
    let Kept { token, now } = kept;
    let tenure = token.tenure.as_ref();
    let live = tenure.and_then(|tenure| tenure.live(*now));
    let deadline = token.keep_alive_deadline(*now);
    // A beat by token leaves the lease as it is, and is not due with it.
    let extended = live.filter(|_| named.is_some());
    let soonest = extended.map(|lease| lease.expire_time).or(deadline);
    pb::KeepAliveResponse {
        lease: live.map(|lease| wire_lease(lease, named, *now)),
        keep_alive_deadline: deadline.map(timestamp),
        next_beat_after: soonest.map(|at| duration(at.saturating_since(*now) / 3)),
    }
}

pub(super) fn wire_lease(lease: &Lease, named: Option<LeaseId>, now: Timestamp) -> pb::Lease {
    let Lease {
        mark: _,
        holder,
        fence,
        acquire_time,
        expire_time,
        lapse: _,
        duration: _,
        ended: _,
        origin: _,
        digests: _,
    } = lease;
    let end = lease.end(now);
    let reason = end.map_or(pb::LeaseEnd::Unspecified, |(_, why)| wire_end(why));
    pb::Lease {
        lease_id: named.map(|id| id.expose()).unwrap_or_default(),
        holder: holder.as_str().to_owned(),
        fence: *fence,
        acquire_time: Some(timestamp(*acquire_time)),
        expire_time: Some(timestamp(*expire_time)),
        end_time: end.map(|(at, _)| timestamp(at)),
        end_reason: reason.into(),
    }
}

pub(in crate::transport) fn wire_end(end: LeaseEnd) -> pb::LeaseEnd {
    match end {
        LeaseEnd::Released => pb::LeaseEnd::Released,
        LeaseEnd::Expired => pb::LeaseEnd::Expired,
        LeaseEnd::Revoked => pb::LeaseEnd::Revoked,
        LeaseEnd::Forced => pb::LeaseEnd::Forced,
    }
}
