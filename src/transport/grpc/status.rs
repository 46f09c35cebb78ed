//! Every error becomes a gRPC status here, once: canonical code, reason, details.

mod leases;

use std::collections::HashMap;
use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};
use tonic_types::pb::Status as WireStatus;
use tonic_types::{ErrorDetails, PreconditionViolation, StatusExt};

use crate::authority::error::Error;
use crate::domain::caller::Permission;
use crate::domain::event::EventCursor;
use crate::domain::flaw::{Violations, quoted};
use crate::domain::name::Namespace;
use crate::domain::token::TokenId;

use super::call;
use super::convert::wire_state;
use super::pb::ErrorReason;

/// `ErrorInfo.domain` of every error.
const DOMAIN: &str = "tokenauthority";

/// When to try again after an outage, or an overload.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// When to look again whether a full namespace has room: tokens vanish slowly.
const ROOM_DELAY: Duration = Duration::from_secs(60);

/// A status with `ErrorInfo`.
fn status(code: Code, reason: ErrorReason, metadata: &[(&str, String)], message: String) -> Status {
    with(ErrorDetails::new(), code, reason, metadata, message)
}

fn with(
    mut details: ErrorDetails,
    code: Code,
    reason: ErrorReason,
    metadata: &[(&str, String)],
    message: String,
) -> Status {
    let metadata = metadata
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()));
    details.set_error_info(
        reason.as_str_name(),
        DOMAIN,
        metadata.collect::<HashMap<_, _>>(),
    );
    with_own_id(&mut details);
    Status::with_error_details(code, message, details)
}

/// Adds the request id of the call that is being answered.
fn with_own_id(details: &mut ErrorDetails) {
    if let Some(id) = call::current() {
        details.set_request_info(id.to_string(), "");
    }
}

/// A status that came without details, with the request id as the only one.
pub(super) fn with_request_id(bare: Status) -> Status {
    let mut details = ErrorDetails::new();
    with_own_id(&mut details);
    let (code, metadata) = (bare.code(), bare.metadata().clone());
    Status::with_error_details_and_metadata(code, cut(bare.message()), details, metadata)
}

fn retry_later(
    code: Code,
    reason: ErrorReason,
    metadata: &[(&str, String)],
    message: String,
) -> Status {
    with(
        ErrorDetails::with_retry_info(Some(RETRY_DELAY)),
        code,
        reason,
        metadata,
        message,
    )
}

/// A message that is not protobuf of the expected type.
pub(super) fn undecodable(why: &str) -> Status {
    let message = format!("the message cannot be decoded: {why}");
    status(
        Code::InvalidArgument,
        ErrorReason::UndecodableMessage,
        &[],
        message,
    )
}

/// A message beyond the accepted size.
pub(super) fn too_large(limit_bytes: usize) -> Status {
    let message = format!("the message is larger than {limit_bytes} bytes (limits.message_bytes)");
    let metadata = [("limit_bytes", limit_bytes.to_string())];
    status(
        Code::ResourceExhausted,
        ErrorReason::MessageTooLarge,
        &metadata,
        message,
    )
}

/// The deadline passed before the answer was there.
pub(super) fn deadline_exceeded() -> Status {
    let message =
        "the deadline passed; the outcome of a change is unknown, repeating it is safe".to_owned();
    status(
        Code::DeadlineExceeded,
        ErrorReason::DeadlineExceeded,
        &[],
        message,
    )
}

/// The server is stopping.
pub(super) fn draining() -> Status {
    retry_later(
        Code::Unavailable,
        ErrorReason::Draining,
        &[],
        "the server is stopping".to_owned(),
    )
}

/// A stream ends since its connection does, which grew old or lost its certificate; the server goes on.
pub(super) fn connection_ends() -> Status {
    retry_later(
        Code::Unavailable,
        ErrorReason::Draining,
        &[],
        "the connection ends; begin again".to_owned(),
    )
}

/// More in hand than the server takes, in all or from one address.
pub(super) fn overloaded(limit: usize, key: &str) -> Status {
    let message =
        format!("the server has {limit} of them in hand already, the most that {key} allows");
    retry_later(
        Code::ResourceExhausted,
        ErrorReason::Overloaded,
        &[("limit", limit.to_string())],
        message,
    )
}

/// An answer to many questions that has no room for one more.
pub(super) fn answer_full(limit_bytes: usize) -> Status {
    let message = format!(
        "the answers before this one take {limit_bytes} bytes, as much as one message carries; ask again"
    );
    retry_later(
        Code::ResourceExhausted,
        ErrorReason::AnswerFull,
        &[("limit_bytes", limit_bytes.to_string())],
        message,
    )
}

/// A status as an answer to one of many carries it: with the details of a whole call's.
pub(super) fn in_band(status: &Status) -> WireStatus {
    WireStatus::decode(status.details()).unwrap_or_else(|_| WireStatus {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

/// What the client of a service behind a proxy is told that is refused.
pub(super) fn refused(
    code: Code,
    reason: ErrorReason,
    metadata: &[(&str, String)],
    message: String,
    retry_after: Option<Duration>,
) -> Status {
    let mut details = ErrorDetails::new();
    if let Some(after) = retry_after {
        details.set_retry_info(Some(after));
    }
    if let ErrorReason::RateLimited | ErrorReason::QuotaExhausted = reason {
        details.add_quota_failure_violation("token", message.clone());
    }
    with(details, code, reason, metadata, cut(&message).to_owned())
}

/// The same trouble as no answer at all, for those who take every other error for one.
pub(super) fn unavailable(trouble: Status) -> Status {
    if trouble.code() == Code::Unavailable {
        return trouble;
    }
    let (message, metadata) = (trouble.message().to_owned(), trouble.metadata().clone());
    let mut told = in_band(&trouble);
    told.code = Code::Unavailable.into();
    let details = told.encode_to_vec().into();
    Status::with_details_and_metadata(Code::Unavailable, message, details, metadata)
}

/// No such method.
pub(super) fn unknown_method(path: &str) -> Status {
    let message = format!("there is no method {}", quoted(path));
    status(
        Code::Unimplemented,
        ErrorReason::MethodUnknown,
        &[],
        message,
    )
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let plain = |code, reason| status(code, reason, &[], message.clone());
        match error {
            Error::Unauthenticated(_) => {
                plain(Code::Unauthenticated, ErrorReason::CredentialInvalid)
            }
            Error::PermissionMissing {
                permission,
                namespace,
            } => {
                let namespace = namespace.map_or("*".to_owned(), |namespace| namespace.to_string());
                permission_missing(permission, namespace, message)
            }
            Error::GrantExceedsCaller { scope } => {
                let (code, reason) = (Code::PermissionDenied, ErrorReason::GrantExceedsCaller);
                status(code, reason, &[("scope", scope.to_string())], message)
            }
            Error::Invalid(violations) => invalid(&violations),
            Error::TokenNotFound(id) => not_found(id, message),
            Error::RequestIdUsed(id) => {
                let (code, reason) = (Code::AlreadyExists, ErrorReason::RequestIdUsed);
                status(code, reason, &[("token_id", id.to_string())], message)
            }
            Error::NamespaceFull { namespace, limit } => namespace_full(&namespace, limit, message),
            Error::RevisionMoved { asked, current } => revision_moved(asked, current, message),
            Error::TokenOver { id, state } => {
                let metadata = ("state", wire_state(state).as_str_name().to_owned());
                precondition(ErrorReason::TokenOver, id, Some(metadata), message)
            }
            Error::StillInGrace { id, until } => {
                let metadata = ("until", until);
                precondition(ErrorReason::StillInGrace, id, Some(metadata), message)
            }
            Error::PoolExhausted { pool, retry_after } => {
                leases::pool_exhausted(&pool, retry_after, message)
            }
            Error::PoolNotFound(pool) => leases::pool_not_found(&pool, message),
            Error::AcquireUsed(pool) => leases::request_used(&pool, message),
            Error::LeaseNotFound(id) => leases::lease_not_found(id, message),
            Error::LeaseOver { id, end } => leases::lease_over(id, end, message),
            Error::NotLeased(id) => precondition(ErrorReason::NotLeased, id, None, message),
            Error::NotPooled(id) => precondition(ErrorReason::NotPooled, id, None, message),
            Error::TooManyWaiting { limit } => leases::too_many_waiting(limit, message),
            Error::EventsDropped => plain(Code::OutOfRange, ErrorReason::EventsDropped),
            Error::WatcherSlow { cursor, .. } => watcher_slow(cursor, message),
            Error::Leaving { alone: true } => connection_ends(),
            Error::Leaving { alone: false } => draining(),
            Error::UsageOff => plain(Code::FailedPrecondition, ErrorReason::UsageOff),
            // Nobody is there to read it.
            Error::CallerGone => deadline_exceeded(),
            Error::CallerLimited { retry_after, .. } => {
                limited(ErrorReason::CallerLimited, retry_after, message)
            }
            Error::Contended => plain(Code::Aborted, ErrorReason::Contended),
            Error::PeerLimited { retry_after } => {
                limited(ErrorReason::PeerLimited, retry_after, message)
            }
            Error::FailuresLimited {
                retry_after,
                per_minute,
                ..
            } => failures_limited(per_minute, retry_after, message),
            Error::StoreUnavailable(why) => store_unavailable(&why),
            Error::AuditUnavailable => retry_later(
                Code::Unavailable,
                ErrorReason::AuditUnavailable,
                &[],
                message,
            ),
            Error::Internal(why) => internal(&why),
        }
    }
}

fn revision_moved(asked: u64, current: u64, message: String) -> Status {
    let numbers = [("asked", asked), ("current", current)];
    let metadata = numbers.map(|(key, number)| (key, number.to_string()));
    let (code, reason) = (Code::Aborted, ErrorReason::RevisionMoved);
    status(code, reason, &metadata, message)
}

fn permission_missing(permission: Permission, namespace: String, message: String) -> Status {
    let metadata = [
        ("permission", permission.as_str().to_owned()),
        ("namespace", namespace),
    ];
    status(
        Code::PermissionDenied,
        ErrorReason::PermissionMissing,
        &metadata,
        message,
    )
}

/// Too many calls of one who may call again after a while.
fn limited(reason: ErrorReason, retry_after: Duration, message: String) -> Status {
    let details = ErrorDetails::with_retry_info(Some(retry_after));
    with(details, Code::ResourceExhausted, reason, &[], message)
}

/// It may go on at once, behind what it was sent last.
fn watcher_slow(cursor: EventCursor, message: String) -> Status {
    let (code, reason) = (Code::ResourceExhausted, ErrorReason::WatcherSlow);
    retry_later(code, reason, &[("cursor", cursor.to_string())], message)
}

fn failures_limited(limit: u32, retry_after: Duration, message: String) -> Status {
    let details = ErrorDetails::with_retry_info(Some(retry_after));
    let (code, reason) = (Code::ResourceExhausted, ErrorReason::FailuresLimited);
    let metadata = [("limit", limit.to_string())];
    with(details, code, reason, &metadata, message)
}

fn namespace_full(namespace: &Namespace, limit: u64, message: String) -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(ROOM_DELAY));
    let subject = format!("namespace:{namespace}");
    details.add_quota_failure_violation(subject, format!("max_tokens is {limit}"));
    let metadata = [
        ("namespace", namespace.to_string()),
        ("limit", limit.to_string()),
    ];
    with(
        details,
        Code::ResourceExhausted,
        ErrorReason::NamespaceFull,
        &metadata,
        message,
    )
}

/// A token that is not as the call needs it; the violation's type is the reason.
fn precondition(
    reason: ErrorReason,
    id: TokenId,
    metadata: Option<(&str, String)>,
    message: String,
) -> Status {
    let violation = PreconditionViolation::new(reason.as_str_name(), id.as_str(), message.clone());
    let details = ErrorDetails::with_precondition_failure(vec![violation]);
    let named = [("token_id", id.to_string())].into_iter();
    let metadata: Vec<_> = named.chain(metadata).collect();
    with(
        details,
        Code::FailedPrecondition,
        reason,
        &metadata,
        message,
    )
}

fn not_found(id: TokenId, message: String) -> Status {
    let kind = "tokenauthority.v1.Token";
    let details = ErrorDetails::with_resource_info(kind, id.as_str(), "", message.clone());
    let metadata = [("token_id", id.to_string())];
    with(
        details,
        Code::NotFound,
        ErrorReason::TokenNotFound,
        &metadata,
        message,
    )
}

/// What exactly ails the store stands in the operator's log, not in every answer.
fn store_unavailable(why: &str) -> Status {
    tracing::debug!(why, "call failed for want of the store");
    let message =
        "the store cannot answer now; if this call changes something, its outcome is unknown";
    retry_later(
        Code::Unavailable,
        ErrorReason::StoreUnavailable,
        &[],
        message.to_owned(),
    )
}

/// What went wrong in here is nothing that a caller could act upon, and may tell too much.
fn internal(why: &str) -> Status {
    // Explicitly, since the span of a Validate is not there as a rule.
    let request_id = call::current().map(tracing::field::display);
    tracing::error!(request_id, %why, "internal error");
    let message = "internal error".to_owned();
    status(Code::Internal, ErrorReason::Internal, &[], message)
}

/// Message and details travel in headers, the details in base64, and common clients accept 8 KiB of
/// headers in all.
const VIOLATIONS_BYTES_MAX: usize = 2400;
const MESSAGE_BYTES_MAX: usize = 1000;

/// The beginning of a message that takes at most [`MESSAGE_BYTES_MAX`] in a header, where all but
/// plain ASCII is percent-encoded (gRPC over HTTP/2, section Responses).
fn cut(message: &str) -> &str {
    let mut bytes = 0;
    let beyond = message.char_indices().find(|(_, c)| {
        let plain = (' '..='~').contains(c) && *c != '%';
        bytes += if plain { 1 } else { 3 * c.len_utf8() };
        bytes > MESSAGE_BYTES_MAX
    });
    beyond.map_or(message, |(at, _)| &message[..at])
}

fn invalid(violations: &Violations) -> Status {
    let mut details = ErrorDetails::new();
    let mut message = String::from("invalid request");
    let mut bytes = 0;
    for (at, (field, flaw)) in violations.iter().enumerate() {
        let flaw = flaw.to_string();
        bytes += field.len() + flaw.len() + 8;
        if bytes > VIOLATIONS_BYTES_MAX {
            let left = violations.iter().count() - at;
            details.add_bad_request_violation("", format!("{left} more violations"));
            break;
        }
        message.push_str(if at == 0 { ": " } else { "; " });
        message.push_str(&format!("{field}: {flaw}"));
        details.add_bad_request_violation(field, flaw);
    }
    let message = cut(&message).to_owned();
    let (code, reason) = (Code::InvalidArgument, ErrorReason::InvalidRequest);
    with(details, code, reason, &[], message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_trouble_with_a_proxys_question_is_an_outage_that_says_what_it_was() {
        for (trouble, reason) in [
            (overloaded(1, "x"), ErrorReason::Overloaded),
            (deadline_exceeded(), ErrorReason::DeadlineExceeded),
            (internal("x"), ErrorReason::Internal),
            (draining(), ErrorReason::Draining),
        ] {
            let told = unavailable(trouble);
            assert_eq!(told.code(), Code::Unavailable);
            assert_eq!(in_band(&told).code, i32::from(Code::Unavailable));
            let info = told.get_details_error_info().map(|info| info.reason);
            assert_eq!(info.as_deref(), Some(reason.as_str_name()));
        }
        assert_eq!(unavailable(Status::internal("")).code(), Code::Unavailable);
    }
}
