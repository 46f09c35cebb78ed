//! Limited tokens as they were seen last, so that a judgement and its taking are one round trip.
//!
//! What is known here is a guess. It is acted upon only where the store, in the same step in which it
//! takes a use, finds the token unchanged; so it may be as old as it likes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::token::{Token, TokenId};

/// Most tokens that are remembered: some 10 MB where each has a page of scopes and patterns.
const TOKENS_MAX: usize = 8192;

/// A bounded table; where it is full, any token makes room.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<TokenId, Arc<Token>>>);

impl Known {
    pub(super) fn guess(&self, id: TokenId) -> Option<Arc<Token>> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(&id).cloned()
    }

    /// Remembers a token if it has limits: others need no guess.
    pub(super) fn remember(&self, token: &Arc<Token>) {
        if !token.is_limited() {
            return;
        }
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= TOKENS_MAX
            && !tokens.contains_key(&token.id)
            && let Some(any) = tokens.keys().next().copied()
        {
            tokens.remove(&any);
        }
        tokens.insert(token.id, token.clone());
    }

    pub(super) fn forget(&self, id: TokenId) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limit::Quota;
    use crate::domain::profile::Profile;
    use crate::domain::token::Draft;
    use crate::domain::token::tests::{at, draft};
    use crate::entropy;

    fn token(quota: Option<Quota>) -> Arc<Token> {
        let profile = Profile {
            quota,
            ..Profile::default()
        };
        let id = entropy::token_id().unwrap();
        Arc::new(
            Draft {
                id,
                profile,
                ..draft()
            }
            .issue(at(1))
            .unwrap(),
        )
    }

    #[test]
    fn only_limited_tokens_are_remembered_and_not_too_many() {
        let known = Known::default();
        let plain = token(None);
        known.remember(&plain);
        assert!(known.guess(plain.id).is_none());
        let mut last = plain;
        for _ in 0..TOKENS_MAX + 10 {
            last = token(Quota::new(1, None).ok());
            known.remember(&last);
        }
        assert!(known.guess(last.id).is_some());
        assert!(known.0.lock().unwrap().len() <= TOKENS_MAX);
        known.forget(last.id);
        assert!(known.guess(last.id).is_none());
    }
}
