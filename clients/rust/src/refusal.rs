//! Why a call is refused, as the status that its client gets: the table that stands at `Verdict`.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::{ErrorDetails, StatusExt};

use crate::pb::{ErrorReason, ValidateResponse, Verdict};

/// The domain of `google.rpc.ErrorInfo` in refusals.
pub const DOMAIN: &str = "tokenauthority";

/// The reason of refusals for want of an answer; the authority itself never gives it.
pub const AUTHORITY_UNAVAILABLE: &str = "AUTHORITY_UNAVAILABLE";

pub(crate) const PUSHBACK: &str = "grpc-retry-pushback-ms";

const TOLD: &str = "the token does not allow this call";

/// Lets an answer of `VERDICT_VALID` pass, and none else. Verdicts that are yet to come refuse with
/// `PERMISSION_DENIED`.
pub(crate) fn unless(answer: ValidateResponse) -> Result<ValidateResponse, Status> {
    let verdict = Verdict::try_from(answer.verdict);
    if answer.valid && verdict == Ok(Verdict::Valid) {
        return Ok(answer);
    }
    let reason = verdict.map_or_else(
        |_| format!("VERDICT_{}", answer.verdict),
        |verdict| verdict.as_str_name().to_owned(),
    );
    let code = match verdict {
        Ok(
            Verdict::Malformed
            | Verdict::NotFound
            | Verdict::Revoked
            | Verdict::Disabled
            | Verdict::Expired
            | Verdict::Superseded
            | Verdict::LeaseEnded,
        ) => Code::Unauthenticated,
        Ok(Verdict::RateLimited | Verdict::QuotaExhausted) => Code::ResourceExhausted,
        _ => Code::PermissionDenied,
    };
    let limited = verdict == Ok(Verdict::RateLimited);
    let retry_after = limited.then(|| longest_wait(&answer)).flatten();
    Err(status(code, TOLD, &reason, retry_after, limited))
}

/// Why a call is refused that the authority did not judge.
///
/// Never because of what the authority says about the guard itself: that its credential is not in force, or that it asks
/// too much, is no news for the client, who may try again.
pub(crate) fn of_error(error: &Status) -> Status {
    let guessed = ErrorReason::FailuresLimited.as_str_name();
    let retry_after = error.get_details_retry_info();
    let retry_after = retry_after.and_then(|info| info.retry_delay);
    let limited = error
        .get_details_error_info()
        .is_some_and(|info| info.domain == DOMAIN && info.reason == guessed);
    if limited {
        let told = "too many unknown secrets came from this address";
        let pushback = retry_after.is_some();
        status(
            Code::ResourceExhausted,
            told,
            guessed,
            retry_after,
            pushback,
        )
    } else {
        let told = "the call could not be judged";
        let reason = AUTHORITY_UNAVAILABLE;
        status(Code::Unavailable, told, reason, retry_after, false)
    }
}

/// None was presented, or two different ones.
pub(crate) fn no_credential() -> Status {
    let told = "present one token, in `authorization` (`Bearer <secret>`) or in `x-api-key`";
    let reason = ErrorReason::CredentialInvalid.as_str_name();
    status(Code::Unauthenticated, told, reason, None, false)
}

/// Longer than any secret.
pub(crate) fn malformed() -> Status {
    let reason = Verdict::Malformed.as_str_name();
    status(Code::Unauthenticated, TOLD, reason, None, false)
}

/// The policy gives the method to nobody.
pub(crate) fn scope_denied() -> Status {
    let reason = Verdict::ScopeDenied.as_str_name();
    let told = "no token allows this call";
    status(Code::PermissionDenied, told, reason, None, false)
}

/// A status with `google.rpc` details, and how long gRPC's own retries have to wait.
fn status(
    code: Code,
    told: &str,
    reason: &str,
    retry_after: Option<Duration>,
    pushback: bool,
) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    let mut metadata = MetadataMap::new();
    if let Some(wait) = retry_after {
        details.set_retry_info(Some(wait));
    }
    if pushback {
        // -1: no attempt will ever pass.
        let millis = retry_after.map(|wait| wait.as_nanos().div_ceil(1_000_000).to_string());
        let millis = millis.as_deref().unwrap_or("-1");
        if let Ok(millis) = millis.parse() {
            metadata.insert(PUSHBACK, millis);
        }
    }
    Status::with_error_details_and_metadata(code, told, details, metadata)
}

fn longest_wait(answer: &ValidateResponse) -> Option<Duration> {
    let waits = answer.rate_limits.iter().filter_map(|it| it.retry_after);
    waits.filter_map(|wait| wait.try_into().ok()).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_that_is_yet_to_come_refuses() {
        let odd = ValidateResponse {
            valid: true,
            verdict: 99,
            ..ValidateResponse::default()
        };
        let refused = unless(odd).expect_err("unknown");
        assert_eq!(refused.code(), Code::PermissionDenied);
    }

    #[test]
    fn a_limit_that_no_use_will_ever_pass_ends_the_attempts() {
        let never = ValidateResponse {
            verdict: Verdict::RateLimited.into(),
            ..ValidateResponse::default()
        };
        let refused = unless(never).expect_err("limited");
        let pushback = refused.metadata().get(PUSHBACK).expect("told");
        assert_eq!(pushback, "-1");
    }
}
