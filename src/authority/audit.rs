//! Audit lines: one for each management call and each refusal, whatever becomes of the call.

use std::fmt::Display;
use std::sync::{Arc, OnceLock};

use crate::domain::name::Namespace;
use crate::domain::token::TokenId;
use crate::trail::{Line, Trail, Weight};

use super::call::Call;
use super::error::Error;

/// The audit line of one call; written when it is concluded, or, if it never is, when dropped.
#[derive(Debug)]
pub(super) struct Audit {
    trail: Arc<Trail>,
    call: Call,
    rpc: &'static str,
    caller: String,
    namespace: OnceLock<Namespace>,
    subject: Option<TokenId>,
    outcome: Option<&'static str>,
}

impl Audit {
    /// Opens the line of a permitted call, or refuses the call since no line can be written.
    pub(super) fn open(
        trail: &Arc<Trail>,
        call: &Call,
        rpc: &'static str,
        caller: &dyn Display,
    ) -> Result<Self, Error> {
        available(trail)?;
        Ok(Self {
            trail: trail.clone(),
            call: call.clone(),
            rpc,
            caller: caller.to_string(),
            namespace: OnceLock::new(),
            subject: None,
            outcome: None,
        })
    }

    pub(super) fn about(&mut self, subject: TokenId) {
        self.subject = Some(subject);
    }

    /// Names the namespace that the call turned out to be about; the first one stays.
    pub(super) fn within(&self, namespace: &Namespace) {
        self.namespace.get_or_init(|| namespace.clone());
    }

    pub(super) fn conclude<T>(mut self, result: &Result<T, Error>) {
        self.outcome = Some(result.as_ref().map_or_else(Error::label, |_| "done"));
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        let line = Line {
            request_id: &self.call.id,
            rpc: self.rpc,
            caller: &self.caller,
            token_id: self.subject.as_ref().map_or("", TokenId::as_str),
            namespace: self.namespace.get().map_or("", Namespace::as_str),
            peer: self.call.peer,
            // A call that was cut off, by its deadline or its client, is seen as such.
            outcome: self.outcome.unwrap_or("abandoned"),
        };
        self.trail.record(Weight::Act, &line);
    }
}

/// Refuses what would need a line while none can be written. Of that refusal there is no line.
pub(super) fn available(trail: &Trail) -> Result<(), Error> {
    trail
        .available()
        .then_some(())
        .ok_or(Error::AuditUnavailable)
}

/// Writes the line of a refused call.
pub(super) fn refused(
    trail: &Trail,
    call: &Call,
    rpc: &'static str,
    caller: &dyn Display,
    error: &Error,
) {
    let line = Line {
        request_id: &call.id,
        rpc,
        caller,
        token_id: "",
        namespace: "",
        peer: call.peer,
        outcome: error.label(),
    };
    trail.record(Weight::Refusal, &line);
}

/// Writes the line of a call that named a token by its secret. What became of it is known only to
/// this line: to the caller, `done`, `kept`, `refused` and `malformed` look alike.
pub(super) fn surrendered(
    trail: &Trail,
    call: &Call,
    id: Option<TokenId>,
    result: &Result<&'static str, Error>,
) {
    let weight = match id {
        Some(_) => Weight::Act,
        None => Weight::Refusal,
    };
    let line = Line {
        request_id: &call.id,
        rpc: "Revoke",
        caller: &"secret",
        token_id: id.as_ref().map_or("", TokenId::as_str),
        namespace: "",
        peer: call.peer,
        outcome: result.as_ref().copied().unwrap_or_else(Error::label),
    };
    trail.record(weight, &line);
}
