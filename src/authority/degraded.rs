//! Degraded answers: what is decided by memory alone while the store cannot be asked, where the operator
//! allows it.
//!
//! Nobody promises then that it is still so. It was so when the last cache lease ran out, and no change
//! since is known here: whatever is changed, or may have been, is forgotten at once.

use crate::domain::caller::Reach;
use crate::domain::secret::Presented;
use crate::domain::spending::{Exceeded, Scope};
use crate::domain::time::Timestamp;
use crate::domain::token::Token;
use crate::domain::verdict::{Credential, Verdict};
use crate::store::StoreError;

use super::Authority;
use super::decide::{Decision, Use, counts};
use super::error::Error;
use super::look::Place;

/// Why nothing was decided by the store.
#[derive(Debug)]
pub(super) enum Undecided {
    /// It cannot be asked, or cannot be believed.
    Outage(StoreError),
    /// It was asked, and that is the answer.
    Failed(Error),
}

impl From<StoreError> for Undecided {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unreachable(_)
            | StoreError::Slow(_)
            | StoreError::Unacceptable(_)
            | StoreError::ReadOnly(_) => Self::Outage(error),
            StoreError::Contended(_)
            | StoreError::Corrupt(_)
            | StoreError::Unreplicated { .. }
            | StoreError::Closed => Self::Failed(error.into()),
        }
    }
}

impl From<Error> for Undecided {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Undecided> for Error {
    fn from(undecided: Undecided) -> Self {
        match undecided {
            Undecided::Outage(error) => error.into(),
            Undecided::Failed(error) => error,
        }
    }
}

impl Authority {
    /// Decides by what is remembered of a token; `None` where that may not be. What only the store
    /// may refuse, and what takes from a quota, is not decided.
    pub(super) fn decide_degraded(
        &self,
        presented: &Presented<'_>,
        reach: &Reach,
        judge: impl Fn(&Token, Credential, Timestamp) -> Verdict,
        use_: Use,
    ) -> Option<Decision> {
        let (token, lapse) = self.coherence.cache.last_known(presented.id)?;
        let freshness = self.policies.of(&token.namespace).freshness();
        if lapse.span > freshness.max_staleness()? {
            return None;
        }
        let credential = self.mint.guess(&token, presented, reach)?;
        let now = lapse.bound;
        let verdict = judge(&token, credential, now);
        if !Place::Memory.decides(verdict) {
            return None;
        }
        let decided = Decision {
            verdict,
            token,
            credential,
            now,
            left: None,
            degraded: true,
        };
        let token = &decided.token;
        if verdict != Verdict::Valid || !counts(token, use_.scope) {
            return Some(decided);
        }
        if use_.scope == Scope::All && token.profile.quota.is_some() {
            return None;
        }
        let taken = self.shares.take(token, lapse.members, use_, now);
        Some(Decision {
            verdict: match taken.admitted {
                Ok(()) => Verdict::Valid,
                Err(Exceeded::Rate) => Verdict::RateLimited,
                Err(Exceeded::Quota) => Verdict::QuotaExhausted,
            },
            left: Some(taken.left),
            token: taken.token,
            ..decided
        })
    }
}

#[cfg(test)]
mod tests;
