//! What goes wrong on the command line, in words for people and in exit codes for scripts.

use std::error::Error;
use std::io;
use std::time::Duration;

use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt;

use crate::serve::ServeError;

use super::table::printable;

/// What the process answers to its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    Done = 0,
    Refused = 1,
    Usage = 2,
    NotFound = 3,
    Denied = 4,
    Rejected = 5,
    Unavailable = 6,
    Other = 7,
}

/// Why a command was not carried out.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command cannot be understood as given.
    Usage(String),
    Serve(ServeError),
    /// There is no connection to the server.
    Unreachable {
        server: String,
        why: String,
    },
    /// The call failed; `hint` says what a person could do, if more than the server says.
    Call {
        status: Box<Status>,
        hint: Option<String>,
    },
    /// The answer could not be printed.
    Output(io::Error),
    /// A token was created and its secret could not be printed: nobody will ever know it.
    SecretLost {
        token_id: String,
        why: io::Error,
    },
    /// The server, or this program, does what it should not.
    Broken(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Failure {
    pub(super) fn exit_code(&self) -> u8 {
        let exit = match self {
            Self::Usage(_) => Exit::Usage,
            Self::Serve(error) => return error.exit_code(),
            Self::Unreachable { .. } => Exit::Unavailable,
            Self::Call { status, .. } => exit_of(true_code(status)),
            // Whoever reads has read enough.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Output(_) | Self::SecretLost { .. } | Self::Broken(_) => Exit::Other,
        };
        exit as u8
    }

    /// Lines for standard error; none when there is nothing to say.
    pub(super) fn lines(&self) -> Vec<String> {
        let message = match self {
            // Not cut: it names files and settings, and keeps secrets to itself.
            Self::Serve(error) => return vec![format!("error: {error}")],
            Self::Usage(why) | Self::Broken(why) => why.clone(),
            Self::Unreachable { server, why } => format!("cannot reach {server}: {why}"),
            Self::Call { status, hint } => return call_lines(status, hint.as_deref()),
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return Vec::new(),
            Self::Output(error) => format!("cannot write the answer: {error}"),
            Self::SecretLost { token_id, why } => format!(
                "token {token_id} was created but its secret could not be written ({why}); delete it"
            ),
        };
        vec![format!("error: {}", safe(&message))]
    }
}

fn exit_of(code: Code) -> Exit {
    match code {
        Code::Ok => Exit::Done,
        Code::NotFound => Exit::NotFound,
        Code::Unauthenticated | Code::PermissionDenied => Exit::Denied,
        Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists => Exit::Rejected,
        Code::Unavailable | Code::DeadlineExceeded => Exit::Unavailable,
        Code::Cancelled
        | Code::Unknown
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => Exit::Other,
    }
}

/// The code that the status should have had. tonic calls its own timer's end a cancellation, and
/// has several names for a connection that breaks or speaks no HTTP/2.
fn true_code(status: &Status) -> Code {
    let causes = || std::iter::successors(status.source(), |error| (*error).source());
    match status.code() {
        Code::Cancelled if causes().any(|cause| cause.is::<TimeoutExpired>()) => {
            Code::DeadlineExceeded
        }
        Code::Cancelled | Code::Unknown | Code::Internal
            if causes().any(|cause| cause.is::<tonic::transport::Error>()) =>
        {
            Code::Unavailable
        }
        code => code,
    }
}

fn call_lines(status: &Status, hint: Option<&str>) -> Vec<String> {
    let code = true_code(status);
    let message = match (code, status.message()) {
        (code, _) if code != status.code() => match (code, status.source()) {
            (Code::Unavailable, Some(error)) => format!("connection lost: {}", root_cause(error)),
            _ => "the deadline passed; the outcome of a change is unknown".to_owned(),
        },
        (code, "") => code.description().to_owned(),
        (_, message) => message.to_owned(),
    };
    let details = status.get_error_details();
    let violations = details
        .bad_request()
        .map_or(&[][..], |request| &request.field_violations);
    let message = match violations.first() {
        Some(first) => without_list(&message, &first.field),
        None => &message,
    };
    let mut lines = vec![format!("error: {}", safe(message))];
    let mut add = |line: String| lines.push(format!("  {}", safe(&line)));
    for violation in violations {
        add(format!("{}: {}", violation.field, violation.description));
    }
    match details.error_info() {
        Some(info) => add(format!("reason: {}", info.reason)),
        None => add(format!("code: {code:?}")),
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        // Up, so that whoever waits no longer is not too early.
        let millis = delay.as_nanos().div_ceil(1_000_000);
        let delay = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
        let delay = humantime::format_duration(delay);
        add(format!("try again in {delay}"));
    }
    if let Some(hint) = hint {
        add(format!("hint: {hint}"));
    }
    lines
}

/// The message without the list of violations at its end, which follows line by line.
fn without_list<'a>(message: &'a str, first_field: &str) -> &'a str {
    let list = format!(": {first_field}: ");
    message.split_once(&list).map_or(message, |(what, _)| what)
}

/// The last cause, which is the one that says something.
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let last = std::iter::successors(Some(error), |error| (*error).source()).last();
    last.map_or_else(String::new, ToString::to_string)
}

/// Text from elsewhere, fit for a terminal and without secrets.
fn safe(text: &str) -> String {
    withheld(&printable(text))
}

/// A run of this many letters and digits may be a secret.
const SECRET_RUN_CHARS: usize = 32;

/// The text without whatever in it may be a secret that somebody put into the wrong place.
pub(super) fn withheld(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        let (before, run_on) = rest.split_at(start);
        let end = run_on
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(run_on.len());
        let (run, after) = run_on.split_at(end);
        kept.push_str(before);
        kept.push_str(if run.len() < SECRET_RUN_CHARS {
            run
        } else {
            "(withheld)"
        });
        rest = after;
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert_eq!(codes, [0, 7, 7, 5, 6, 3, 5, 4, 7, 5, 7, 7, 7, 7, 6, 7, 4]);
    }

    #[test]
    fn failures_without_a_call_have_exit_codes_too() {
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        let lost = Failure::SecretLost {
            token_id: "7f".to_owned(),
            why: closed(),
        };
        assert_eq!(Failure::Usage(String::new()).exit_code(), 2);
        assert_eq!(Failure::Output(closed()).exit_code(), 0);
        assert!(Failure::Output(closed()).lines().is_empty());
        assert_eq!(lost.exit_code(), 7);
        assert!(lost.lines()[0].contains("7f"));
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
}
