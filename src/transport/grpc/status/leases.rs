//! The statuses of leases and pools; none of them repeats the name of a lease.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::ErrorDetails;

use crate::domain::lease::LeaseEnd;
use crate::domain::pool::Pool;
use crate::domain::token::TokenId;
use crate::transport::grpc::convert::wire_end;
use crate::transport::grpc::pb::ErrorReason;

use super::{precondition, retry_later, status, with};

fn place(pool: &Pool) -> [(&'static str, String); 2] {
    [
        ("namespace", pool.namespace.to_string()),
        ("pool", pool.name.as_str().to_owned()),
    ]
}

fn name(pool: &Pool) -> String {
    format!("{}/{}", pool.namespace, pool.name.as_str())
}

/// When the soonest lease ends, one may try again.
pub(super) fn pool_exhausted(pool: &Pool, retry_after: Duration, message: String) -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(retry_after));
    let subject = format!("pool:{}", name(pool));
    details.add_quota_failure_violation(subject, "no token in force is free for this call");
    let (code, reason) = (Code::ResourceExhausted, ErrorReason::PoolExhausted);
    with(details, code, reason, &place(pool), message)
}

pub(super) fn pool_not_found(pool: &Pool, message: String) -> Status {
    let kind = "tokenauthority.v1.Pool";
    let details = ErrorDetails::with_resource_info(kind, name(pool), "", message.clone());
    let (code, reason) = (Code::NotFound, ErrorReason::PoolNotFound);
    with(details, code, reason, &place(pool), message)
}

pub(super) fn request_used(pool: &Pool, message: String) -> Status {
    let (code, reason) = (Code::AlreadyExists, ErrorReason::RequestIdUsed);
    status(code, reason, &place(pool), message)
}

pub(super) fn lease_not_found(id: TokenId, message: String) -> Status {
    let kind = "tokenauthority.v1.Lease";
    let details = ErrorDetails::with_resource_info(kind, id.as_str(), "", message.clone());
    let metadata = [("token_id", id.to_string())];
    let (code, reason) = (Code::NotFound, ErrorReason::LeaseNotFound);
    with(details, code, reason, &metadata, message)
}

pub(super) fn lease_over(id: TokenId, end: LeaseEnd, message: String) -> Status {
    let metadata = ("end_reason", wire_end(end).as_str_name().to_owned());
    precondition(ErrorReason::LeaseOver, id, Some(metadata), message)
}

pub(super) fn too_many_waiting(limit: usize, message: String) -> Status {
    let (code, reason) = (Code::ResourceExhausted, ErrorReason::TooManyWaiting);
    retry_later(code, reason, &[("limit", limit.to_string())], message)
}
