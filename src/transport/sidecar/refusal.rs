//! What the client of a held request is told that is refused: the one table for ext_authz and forward-auth.

use std::time::Duration;

use http::StatusCode;
use tonic::Code;

use crate::authority::error::Error;
use crate::authority::validate::{Question, Validation};
use crate::domain::flaw::Flaw;
use crate::domain::verdict::Verdict;
use crate::transport::grpc::pb::ErrorReason;

use super::limit_headers::{Reset, Standing, seconds};

/// How refusals are worded.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Of `www-authenticate` (RFC 9110, section 11.5).
    pub realm: String,
    pub reset: Reset,
}

/// A refusal of a held request: an answer to its client, never an error of ours.
///
/// It says what the client can act upon. Why its credential is not in force it does not say, nor
/// whether it ever was.
#[derive(Clone, Debug)]
pub(in crate::transport) struct Refusal {
    pub(in crate::transport) status: StatusCode,
    /// What a client of gRPC is told instead.
    pub(in crate::transport) code: Code,
    pub(in crate::transport) reason: ErrorReason,
    pub(in crate::transport) message: String,
    /// Until the same request would pass, where waiting helps.
    pub(in crate::transport) retry_after: Option<Duration>,
    /// What the token does not grant, parted by spaces.
    pub(in crate::transport) missing_scopes: Option<String>,
    error: &'static str,
    challenge: Challenge,
    /// Apart, as most have none.
    standing: Option<Box<Standing>>,
}

/// Whether `www-authenticate` is sent, and what it says besides the realm (RFC 6750, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Challenge {
    None,
    /// No credential came, so nothing is wrong with it.
    Plain,
    Error,
}

/// What a verdict means to HTTP and gRPC, as the comments of `Verdict` promise it.
fn meaning(verdict: Verdict) -> (StatusCode, Code) {
    match verdict {
        Verdict::Valid => (StatusCode::OK, Code::Ok),
        Verdict::Malformed
        | Verdict::NotFound
        | Verdict::Revoked
        | Verdict::Disabled
        | Verdict::Expired
        | Verdict::Superseded
        | Verdict::LeaseEnded => (StatusCode::UNAUTHORIZED, Code::Unauthenticated),
        Verdict::OwnerMismatch
        | Verdict::ScopeDenied
        | Verdict::EndpointDenied
        | Verdict::AddressDenied => (StatusCode::FORBIDDEN, Code::PermissionDenied),
        Verdict::RateLimited | Verdict::QuotaExhausted => {
            (StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted)
        }
    }
}

/// The name of a refusing verdict for programs and for people, and the reason for gRPC.
fn words(verdict: Verdict) -> (&'static str, &'static str, ErrorReason) {
    match verdict {
        Verdict::OwnerMismatch => (
            "owner_mismatch",
            "the credential is another owner's",
            ErrorReason::OwnerMismatch,
        ),
        Verdict::ScopeDenied => (
            "insufficient_scope",
            "the credential does not grant what is needed here",
            ErrorReason::ScopeDenied,
        ),
        Verdict::EndpointDenied => (
            "endpoint_denied",
            "the credential does not allow this method and path",
            ErrorReason::EndpointDenied,
        ),
        Verdict::AddressDenied => (
            "address_denied",
            "the credential may not be used from this address",
            ErrorReason::AddressDenied,
        ),
        Verdict::RateLimited => (
            "rate_limited",
            "too many requests with this credential",
            ErrorReason::RateLimited,
        ),
        Verdict::QuotaExhausted => (
            "quota_exhausted",
            "more than is left of this credential's quota",
            ErrorReason::QuotaExhausted,
        ),
        // One answer to all of them.
        Verdict::Valid
        | Verdict::Malformed
        | Verdict::NotFound
        | Verdict::Revoked
        | Verdict::Disabled
        | Verdict::Expired
        | Verdict::Superseded
        | Verdict::LeaseEnded => (
            "invalid_token",
            "the credential is not in force",
            ErrorReason::CredentialInvalid,
        ),
    }
}

impl Refusal {
    /// `None` where the verdict is that the request may go on.
    pub(in crate::transport) fn of(validation: &Validation, question: &Question) -> Option<Self> {
        let verdict = validation.verdict;
        if verdict == Verdict::Valid {
            return None;
        }
        let (status, code) = meaning(verdict);
        let (error, message, reason) = words(verdict);
        let standing = Standing::of(validation).map(Box::new);
        let scopes = question.request.required_scopes.iter();
        let scopes = scopes.map(|scope| scope.as_str()).collect::<Vec<_>>();
        let missing = verdict == Verdict::ScopeDenied;
        Some(Self {
            retry_after: standing.as_ref().and_then(|standing| standing.retry_after),
            missing_scopes: missing.then(|| scopes.join(" ")),
            challenge: match status {
                StatusCode::UNAUTHORIZED => Challenge::Error,
                _ if missing => Challenge::Error,
                _ => Challenge::None,
            },
            standing,
            ..Self::plain(status, code, reason, error, message)
        })
    }

    /// No credential came.
    pub(in crate::transport) fn without_credential() -> Self {
        let message = "a credential is needed: \"authorization: Bearer <secret>\"";
        Self {
            challenge: Challenge::Plain,
            ..Self::plain(
                StatusCode::UNAUTHORIZED,
                Code::Unauthenticated,
                ErrorReason::CredentialInvalid,
                "unauthenticated",
                message,
            )
        }
    }

    /// Two different credentials came (RFC 6750, section 3.1).
    pub(in crate::transport) fn two_credentials() -> Self {
        Self {
            challenge: Challenge::Error,
            ..Self::invalid("two different credentials are given; give one")
        }
    }

    /// What the proxy tells of the request, or the client's part of it, cannot be judged.
    pub(in crate::transport) fn invalid(why: impl Into<String>) -> Self {
        Self::plain(
            StatusCode::BAD_REQUEST,
            Code::InvalidArgument,
            ErrorReason::InvalidRequest,
            "invalid_request",
            why,
        )
    }

    /// The same, and which part of it.
    pub(in crate::transport) fn flawed(part: &str, flaw: &Flaw) -> Self {
        Self::invalid(format!("{part}: {flaw}"))
    }

    /// The request takes more bytes than are read.
    pub(in crate::transport) fn too_large(bytes_max: usize) -> Self {
        Self::plain(
            StatusCode::PAYLOAD_TOO_LARGE,
            Code::ResourceExhausted,
            ErrorReason::MessageTooLarge,
            "too_large",
            format!("the request takes more than the {bytes_max} bytes that are judged"),
        )
    }

    /// The proxy is nobody who may ask; what it lacks stands in the log.
    pub(in crate::transport) fn stranger() -> Self {
        Self::plain(
            StatusCode::FORBIDDEN,
            Code::PermissionDenied,
            ErrorReason::PermissionMissing,
            "proxy_denied",
            "the proxy may not ask the authority about this",
        )
    }

    /// What the route of the request demands cannot be read: somebody has to mend a configuration.
    pub(in crate::transport) fn unreadable_demand() -> Self {
        Self::plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Internal,
            ErrorReason::DemandUnreadable,
            "demand_unreadable",
            "what is demanded here cannot be read",
        )
    }

    /// What becomes of a question that was not answered: a refusal where the client or the proxy
    /// asks too much, else the outage that it is.
    pub(in crate::transport) fn instead_of(error: Error) -> Result<Self, Error> {
        match error {
            Error::Unauthenticated(_) | Error::PermissionMissing { .. } => Ok(Self::stranger()),
            Error::FailuresLimited { retry_after, .. } => Ok(Self::shed(
                ErrorReason::FailuresLimited,
                "too_many_failures",
                "too many credentials that are not in force came from here",
                retry_after,
            )),
            Error::CallerLimited { retry_after, .. } => Ok(Self::shed(
                ErrorReason::CallerLimited,
                "proxy_limited",
                "the proxy asks the authority more often than it may",
                retry_after,
            )),
            Error::Invalid(violations) => Ok(match violations.iter().next() {
                Some((part, flaw)) => Self::flawed(part, flaw),
                None => Self::invalid("the request cannot be judged"),
            }),
            outage => Err(outage),
        }
    }

    fn shed(
        reason: ErrorReason,
        error: &'static str,
        message: &'static str,
        retry_after: Duration,
    ) -> Self {
        let (status, code) = (StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted);
        Self {
            retry_after: Some(retry_after),
            ..Self::plain(status, code, reason, error, message)
        }
    }

    fn plain(
        status: StatusCode,
        code: Code,
        reason: ErrorReason,
        error: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code,
            reason,
            message: message.into(),
            retry_after: None,
            missing_scopes: None,
            error,
            challenge: Challenge::None,
            standing: None,
        }
    }

    /// Headers of the answer, but for `content-type`.
    pub(in crate::transport) fn headers(&self, manner: &Manner) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if let Some(challenge) = self.challenge(&manner.realm) {
            headers.push(("www-authenticate", challenge));
        }
        if let Some(after) = self.retry_after {
            headers.push(("retry-after", seconds(after).max(1).to_string()));
        }
        if let Some(standing) = &self.standing {
            headers.extend(standing.headers(manner.reset));
        }
        headers.push(("cache-control", "no-store".to_owned()));
        headers
    }

    fn challenge(&self, realm: &str) -> Option<String> {
        let realm = realm.replace('\\', "\\\\").replace('"', "\\\"");
        let plain = format!("Bearer realm=\"{realm}\"");
        match (self.challenge, &self.missing_scopes) {
            (Challenge::None, _) => None,
            (Challenge::Plain, _) => Some(plain),
            (Challenge::Error, None) => Some(format!("{plain}, error=\"{}\"", self.error)),
            // Scopes have no quotes.
            (Challenge::Error, Some(scopes)) => Some(format!(
                "{plain}, error=\"{}\", scope=\"{scopes}\"",
                self.error
            )),
        }
    }

    /// The body of the answer: JSON, for programs and for people.
    pub(in crate::transport) fn body(&self) -> String {
        let mut body = serde_json::json!({ "error": self.error, "message": self.message });
        if let Some(after) = self.retry_after {
            body["retry_after"] = seconds(after).max(1).into();
        }
        if let Some(scopes) = &self.missing_scopes {
            body["scope"] = scopes.as_str().into();
        }
        body.to_string()
    }
}

#[cfg(test)]
mod tests;
