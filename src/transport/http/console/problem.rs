//! Every error in plain words, once.

use std::time::Duration;

use axum::http::StatusCode;

use crate::authority::error::Error;
use crate::domain::flaw::Violations;

use super::flaws::Flaws;

/// Why something was not done, for a person.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) title: &'static str,
    pub(super) text: String,
    /// What is wrong with which field.
    pub(super) flaws: Flaws,
    /// Seconds after which it may be tried again.
    pub(super) retry_after: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, title: &'static str, text: impl Into<String>) -> Self {
        Self {
            status,
            title,
            text: text.into(),
            flaws: Flaws::default(),
            retry_after: None,
        }
    }

    pub(super) fn no_page() -> Self {
        let text = "There is no such page.";
        Self::new(StatusCode::NOT_FOUND, "Not found", text)
    }

    /// A form that did not come from a page of this console.
    pub(super) fn foreign() -> Self {
        let text = "The form was not sent by a page of this session, so nothing was done. Open the \
                    page again and send it from there.";
        Self::new(StatusCode::FORBIDDEN, "Not accepted", text)
    }

    pub(super) fn unreadable(why: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "Not understood",
            format!("The form cannot be read: {why}."),
        )
    }

    pub(super) fn invalid(flaws: Flaws) -> Self {
        let text = "Nothing was done, because some of it cannot be so:";
        Self {
            flaws,
            ..Self::new(StatusCode::BAD_REQUEST, "Please correct", text)
        }
    }

    pub(super) fn stale() -> Self {
        let text = "Somebody else changed this token since you opened the form, so nothing was done. \
                    Open it again to see how it is by now.";
        Self::new(StatusCode::CONFLICT, "Changed meanwhile", text)
    }

    fn after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let seconds = seconds.max(1);
        Self {
            text: format!("{} Try again in {seconds} s.", self.text),
            retry_after: Some(seconds),
            ..self
        }
    }
}

impl From<Violations> for Problem {
    fn from(violations: Violations) -> Self {
        Self::invalid(Flaws::of(&violations))
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let said = sentence(&error.to_string());
        let refused = |title| Self::new(StatusCode::CONFLICT, title, said.clone());
        match error {
            Error::Unauthenticated(_) => {
                Self::new(StatusCode::UNAUTHORIZED, "Not signed in", "Sign in again.")
            }
            Error::PermissionMissing { .. } | Error::GrantExceedsCaller { .. } => {
                Self::new(StatusCode::FORBIDDEN, "Not permitted", said)
            }
            Error::Invalid(violations) => violations.into(),
            Error::TokenNotFound(_) | Error::PoolNotFound(_) | Error::LeaseNotFound(_) => {
                Self::new(StatusCode::NOT_FOUND, "Not found", said)
            }
            Error::RevisionMoved { .. } => Self::stale(),
            Error::UsageOff => refused("No usage is kept"),
            Error::CallerLimited { retry_after, .. }
            | Error::PeerLimited { retry_after }
            | Error::FailuresLimited { retry_after, .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests", said)
                    .after(retry_after)
            }
            Error::StoreUnavailable(why) => {
                tracing::warn!(%why, "the store cannot answer");
                let text = "The store cannot answer. If you were changing something, it is not known \
                            whether that was done.";
                Self::outage(text)
            }
            Error::AuditUnavailable => Self::outage(&said),
            Error::Internal(why) => {
                tracing::error!(%why, "a page met a bug");
                let text = "Something went wrong here; the server's log says what.";
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "An error of this server",
                    text,
                )
            }
            _ => refused("Not done"),
        }
    }
}

impl Problem {
    fn outage(text: &str) -> Self {
        let outage = Self::new(StatusCode::SERVICE_UNAVAILABLE, "Not available now", text);
        outage.after(Duration::from_secs(1))
    }
}

/// Begins with a capital and ends with a full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    let dot = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{dot}", letters.as_str())
}
