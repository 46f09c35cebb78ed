//! Audit lines: one for each management call and each refusal, whatever becomes of the call.

use std::fmt::Display;

use crate::domain::token::TokenId;

use super::error::Error;

/// `tracing` target of audit lines.
pub const TARGET: &str = "audit";

/// The audit line of one call; written when it is concluded, or, if it never is, when dropped.
#[derive(Debug)]
pub(super) struct Audit {
    rpc: &'static str,
    caller: String,
    subject: Option<TokenId>,
    outcome: Option<&'static str>,
}

impl Audit {
    /// Opens the line of a permitted call. `audited` is false for calls that leave no line.
    pub(super) fn open(rpc: &'static str, caller: &dyn Display, audited: bool) -> Option<Self> {
        audited.then(|| Self {
            rpc,
            caller: caller.to_string(),
            subject: None,
            outcome: None,
        })
    }

    pub(super) fn about(&mut self, subject: TokenId) {
        self.subject = Some(subject);
    }

    pub(super) fn conclude<T>(mut self, result: &Result<T, Error>) {
        self.outcome = Some(result.as_ref().map_or_else(Error::label, |_| "done"));
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        // A call that was cut off, by its deadline or its client, is seen as such.
        let outcome = self.outcome.unwrap_or("abandoned");
        write(self.rpc, &self.caller, self.subject, outcome);
    }
}

fn write(rpc: &str, caller: &dyn Display, subject: Option<TokenId>, outcome: &str) {
    let token_id = subject.map(|id| id.to_string()).unwrap_or_default();
    tracing::info!(target: TARGET, %rpc, %caller, %token_id, %outcome);
}

/// Writes the line of a refused call.
pub(super) fn refused(rpc: &'static str, caller: &dyn Display, error: &Error) {
    write(rpc, caller, None, error.label());
}

/// Writes the line of a call that named a token by its secret. What became of it is known only to
/// this line: to the caller, `done`, `kept`, `refused` and `malformed` look alike.
pub(super) fn surrendered(id: Option<TokenId>, result: &Result<&'static str, Error>) {
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => error.label(),
    };
    write("Revoke", &"secret", id, outcome);
}
