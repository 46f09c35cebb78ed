//! Exit codes and words of failures.

use super::*;
use std::time::Duration;
use tonic_types::ErrorDetails;

fn call(status: Status) -> Failure {
    Failure::Call {
        status: Box::new(status),
        hint: None,
    }
}

#[test]
fn every_grpc_code_has_its_exit_code() {
    let codes: Vec<u8> = (0..=16)
        .map(|number| call(Status::new(Code::from_i32(number), "")).exit_code())
        .collect();
    // OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS,
    // PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE,
    // UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, UNAUTHENTICATED.
    assert_eq!(codes, [0, 7, 7, 5, 6, 3, 5, 4, 7, 5, 8, 7, 7, 7, 6, 7, 4]);
}

#[test]
fn failures_without_a_call_have_exit_codes_too() {
    let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
    let lost = |version| Failure::SecretLost {
        token_id: "7f".to_owned(),
        version,
        why: closed(),
    };
    assert_eq!(Failure::Usage(String::new()).exit_code(), 2);
    assert_eq!(Failure::Output(closed()).exit_code(), 0);
    assert!(Failure::Output(closed()).lines().is_empty());
    assert_eq!(lost(1).exit_code(), 7);
    assert!(lost(1).lines()[0].contains("7f was created"));
    assert!(lost(2).lines()[0].contains("rotate it again"));
    let filled = Failure::SecretsLost {
        pool: "gpu".to_owned(),
        why: closed(),
    };
    assert_eq!(filled.exit_code(), 7);
    assert!(filled.lines()[0].contains("the pool gpu was filled"));
}

#[test]
fn an_error_tells_violations_reason_and_when_to_try_again() {
    let mut details = ErrorDetails::with_bad_request_violation("name", "too long");
    details.add_bad_request_violation("scopes[0]", "empty");
    details.set_error_info("ERROR_REASON_INVALID_REQUEST", "tokenauthority", []);
    details.set_retry_info(Some(Duration::from_nanos(499_000_001)));
    let message = "invalid request: name: too long; scopes[0]: empty";
    let status = Status::with_error_details(Code::InvalidArgument, message, details);
    assert_eq!(
        call(status).lines(),
        [
            "error: invalid request",
            "  name: too long",
            "  scopes[0]: empty",
            "  reason: ERROR_REASON_INVALID_REQUEST",
            "  try again in 500ms",
        ]
    );
}

#[test]
fn a_refused_change_is_told_with_what_to_do() {
    let refused = |code, reason: ErrorReason| {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason.as_str_name(), "tokenauthority", []);
        let failure = call(Status::with_error_details(code, "no", details));
        let hint = failure.lines().pop().filter(|line| line.contains("hint:"));
        (failure.exit_code(), hint.unwrap_or_default())
    };
    let moved = refused(Code::Aborted, ErrorReason::RevisionMoved);
    assert_eq!(moved.0, 8);
    assert!(moved.1.contains("its revision"), "{}", moved.1);
    let grace = refused(Code::FailedPrecondition, ErrorReason::StillInGrace);
    assert_eq!(grace.0, 5);
    assert!(grace.1.contains("grace is over"), "{}", grace.1);
    // The server says itself that this is final.
    let over = refused(Code::FailedPrecondition, ErrorReason::TokenOver);
    assert_eq!(over, (5, String::new()));
}

#[test]
fn an_error_without_details_tells_its_code() {
    let lines = call(Status::new(Code::Unimplemented, "no such method")).lines();
    assert_eq!(lines, ["error: no such method", "  code: Unimplemented"]);
}

#[test]
fn a_secret_given_for_a_file_is_not_repeated() {
    let lines = Failure::Usage(format!("ta_{}: no such file", "k".repeat(71))).lines();
    assert_eq!(lines, ["error: ta_(withheld): no such file"]);
}

#[test]
fn an_error_repeats_neither_secrets_nor_control_characters() {
    let run = "k".repeat(71);
    let status = Status::new(Code::Internal, format!("what is ta_{run}?\u{1b}[2J"));
    let lines = call(status).lines();
    assert_eq!(lines[0], "error: what is ta_(withheld)?\\u{1b}[2J");
}
