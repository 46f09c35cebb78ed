//! What goes wrong on the command line, in words for people and in exit codes for scripts.

use std::error::Error;
use std::io;

use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt;

use crate::serve::ServeError;
use crate::transport::grpc::pb::ErrorReason;

use super::span;
use super::table::printable;

/// What the process answers to its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Done,
    Refused,
    Usage,
    NotFound,
    Denied,
    Rejected,
    Unavailable,
    Other,
    Overtaken,
    /// What a command answered that was run while a lease was held, or why it could not.
    Ran(u8),
}

impl Exit {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Denied => 4,
            Self::Rejected => 5,
            Self::Unavailable => 6,
            Self::Other => 7,
            Self::Overtaken => 8,
            Self::Ran(code) => code,
        }
    }
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
    /// A token has a new secret that could not be printed: nobody will ever know it.
    SecretLost {
        token_id: String,
        /// Which of the token's secrets it is.
        version: u32,
        why: io::Error,
    },
    /// Tokens of a pool have secrets that could not be printed.
    SecretsLost {
        pool: String,
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
            Self::Output(_)
            | Self::SecretLost { .. }
            | Self::SecretsLost { .. }
            | Self::Broken(_) => Exit::Other,
        };
        exit.code()
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
            Self::SecretLost {
                token_id,
                version: 0 | 1,
                why,
            } => format!(
                "token {token_id} was created but its secret could not be written ({why}); delete it"
            ),
            Self::SecretLost {
                token_id,
                version,
                why,
            } => format!(
                "token {token_id} has a new secret, version {version}, that could not be written \
                 ({why}); rotate it again"
            ),
            Self::SecretsLost { pool, why } => format!(
                "the pool {pool} was filled but the secrets could not be written ({why}); leases \
                 need none of them"
            ),
        };
        vec![format!("error: {}", safe(&message))]
    }
}

impl Failure {
    /// Whether the server, or the connection, had to go before it could answer.
    pub(super) fn is_draining(&self) -> bool {
        let Self::Call { status, .. } = self else {
            return false;
        };
        let info = status.get_details_error_info();
        info.is_some_and(|info| info.reason == ErrorReason::Draining.as_str_name())
    }

    /// Whether the same call may succeed later, though nobody mends anything here.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Call { status, .. } => !matches!(
                status.code(),
                Code::Unauthenticated
                    | Code::PermissionDenied
                    | Code::InvalidArgument
                    | Code::FailedPrecondition
                    | Code::OutOfRange
                    | Code::NotFound
                    | Code::Unimplemented
            ),
            _ => false,
        }
    }

    /// What a failed call's lines say, in one, for whoever reads only one.
    pub(super) fn in_one_line(&self) -> String {
        let lines = self.lines();
        let lines = lines.iter().map(|line| line.trim_start());
        let line = lines.collect::<Vec<_>>().join("; ");
        line.strip_prefix("error: ").unwrap_or(&line).to_owned()
    }
}

fn exit_of(code: Code) -> Exit {
    match code {
        Code::Ok => Exit::Done,
        Code::NotFound => Exit::NotFound,
        Code::Unauthenticated | Code::PermissionDenied => Exit::Denied,
        Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists => Exit::Rejected,
        Code::Unavailable | Code::DeadlineExceeded => Exit::Unavailable,
        Code::Aborted => Exit::Overtaken,
        Code::Cancelled
        | Code::Unknown
        | Code::ResourceExhausted
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
        add(format!("try again in {}", span::wait(delay)));
    }
    let advice = details.error_info().and_then(|info| advice(&info.reason));
    if let Some(hint) = hint.or(advice) {
        add(format!("hint: {hint}"));
    }
    lines
}

/// What a person can do about a refused change, where the server's words do not say it.
fn advice(reason: &str) -> Option<&'static str> {
    match ErrorReason::from_str_name(reason)? {
        ErrorReason::RevisionMoved => {
            Some("look at the token as it is now, then repeat with its revision, or without one")
        }
        ErrorReason::StillInGrace => {
            Some("rotate once that grace is over; a grace that was given cannot be cut short")
        }
        _ => None,
    }
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
mod tests;
