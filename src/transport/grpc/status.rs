//! Every error becomes a gRPC status here, once: canonical code, reason, details.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::authority::error::Error;
use crate::domain::flaw::Violations;

use super::pb::ErrorReason;

/// `ErrorInfo.domain` of every error.
const DOMAIN: &str = "tokenauthority";

/// When to try again after an outage, or an overload.
const RETRY_DELAY: Duration = Duration::from_millis(500);

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
    Status::with_error_details(code, message, details)
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

/// More calls in hand than the server takes.
pub(super) fn overloaded(limit: usize) -> Status {
    let message = format!("the server has {limit} calls in hand (limits.calls_in_flight)");
    retry_later(
        Code::ResourceExhausted,
        ErrorReason::Overloaded,
        &[("limit", limit.to_string())],
        message,
    )
}

/// No such method.
pub(super) fn unknown_method(path: &str) -> Status {
    let message = format!("there is no method {}", crate::domain::flaw::quoted(path));
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
        match error {
            Error::Unauthenticated(_) => status(
                Code::Unauthenticated,
                ErrorReason::CredentialInvalid,
                &[],
                message,
            ),
            Error::PermissionMissing {
                permission,
                namespace,
            } => {
                let namespace = namespace.map_or("*".to_owned(), |namespace| namespace.to_string());
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
            Error::GrantExceedsCaller { scope } => {
                let metadata = [("scope", scope.to_string())];
                status(
                    Code::PermissionDenied,
                    ErrorReason::GrantExceedsCaller,
                    &metadata,
                    message,
                )
            }
            Error::Invalid(violations) => invalid(&violations),
            Error::TokenNotFound(id) => {
                let details = ErrorDetails::with_resource_info(
                    "tokenauthority.v1.Token",
                    id.as_str(),
                    "",
                    message.clone(),
                );
                let metadata = [("token_id", id.to_string())];
                with(
                    details,
                    Code::NotFound,
                    ErrorReason::TokenNotFound,
                    &metadata,
                    message,
                )
            }
            Error::RequestIdUsed(id) => {
                let metadata = [("token_id", id.to_string())];
                status(
                    Code::AlreadyExists,
                    ErrorReason::RequestIdUsed,
                    &metadata,
                    message,
                )
            }
            Error::Contended => status(Code::Aborted, ErrorReason::Contended, &[], message),
            Error::Internal(why) => {
                tracing::error!(%why, "internal error");
                status(
                    Code::Internal,
                    ErrorReason::Internal,
                    &[],
                    "internal error".to_owned(),
                )
            }
            Error::PeerLimited { retry_after } => {
                let details = ErrorDetails::with_retry_info(Some(retry_after));
                with(
                    details,
                    Code::ResourceExhausted,
                    ErrorReason::PeerLimited,
                    &[],
                    message,
                )
            }
            // What exactly ails the store stands in the operator's log, not in every answer.
            Error::StoreUnavailable(why) => {
                tracing::debug!(%why, "call failed for want of the store");
                let message =
                    "the store cannot answer now; the outcome of a change is unknown".to_owned();
                retry_later(
                    Code::Unavailable,
                    ErrorReason::StoreUnavailable,
                    &[],
                    message,
                )
            }
        }
    }
}

fn invalid(violations: &Violations) -> Status {
    let mut details = ErrorDetails::new();
    let mut message = String::from("invalid request");
    for (at, (field, flaw)) in violations.iter().enumerate() {
        details.add_bad_request_violation(field, flaw.to_string());
        message.push_str(if at == 0 { ": " } else { "; " });
        message.push_str(&format!("{field}: {flaw}"));
    }
    // The message travels in a header; the details say everything.
    if let Some((cut, _)) = message.char_indices().nth(1000) {
        message.truncate(cut);
        message.push('…');
    }
    with(
        details,
        Code::InvalidArgument,
        ErrorReason::InvalidRequest,
        &[],
        message,
    )
}
