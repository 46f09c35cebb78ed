//! Limited tokens as they were seen last, so that a judgement and its taking are one round trip.
//!
//! What is known here is a guess. It is acted upon only where the store, in the same step in which it
//! takes a use, finds the token unchanged; so it may be as old as it likes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::token::{Token, TokenId};

/// Tokens of one generation: two of them take some 10 MB where each token has a page of scopes and
/// patterns.
const GENERATION_MAX: usize = 4096;

/// Two generations of tokens: what is used moves into the younger one, and when that is full, the
/// older one goes.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<TokenId, Arc<Token>>,
    old: HashMap<TokenId, Arc<Token>>,
}

impl Known {
    pub(super) fn guess(&self, id: TokenId) -> Option<Arc<Token>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = known.young.get(&id) {
            return Some(token.clone());
        }
        let token = known.old.remove(&id)?;
        known.insert(token.clone());
        Some(token)
    }

    /// Remembers a token if it has limits: others need no guess. Nor one in a pool: how it is held,
    /// and so how long it lives, changes without its record, so that whoever takes would not notice.
    pub(super) fn remember(&self, token: &Arc<Token>) {
        if !token.is_limited() || token.profile.pool.is_some() {
            return self.forget(token.id);
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(token.clone());
    }

    pub(super) fn forget(&self, id: TokenId) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.young.remove(&id);
        known.old.remove(&id);
    }
}

impl Generations {
    fn insert(&mut self, token: Arc<Token>) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(token.id, token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limit::Quota;
    use crate::domain::name::PoolName;
    use crate::domain::profile::Profile;
    use crate::domain::token::Draft;
    use crate::domain::token::tests::{at, draft};
    use crate::entropy;

    fn token(quota: Option<Quota>) -> Arc<Token> {
        in_pool(quota, None)
    }

    fn in_pool(quota: Option<Quota>, pool: Option<PoolName>) -> Arc<Token> {
        let profile = Profile {
            quota,
            pool,
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
    fn a_token_that_may_be_leased_is_not_remembered() {
        let known = Known::default();
        let pooled = in_pool(Quota::new(1, None).ok(), PoolName::parse("gpu").ok());
        known.remember(&pooled);
        assert!(known.guess(pooled.id).is_none());
    }

    #[test]
    fn only_limited_tokens_are_remembered_and_not_too_many() {
        let known = Known::default();
        let plain = token(None);
        known.remember(&plain);
        assert!(known.guess(plain.id).is_none());
        let busy = token(Quota::new(1, None).ok());
        known.remember(&busy);
        let mut last = busy.clone();
        for _ in 0..3 * GENERATION_MAX {
            last = token(Quota::new(1, None).ok());
            known.remember(&last);
            assert!(known.guess(busy.id).is_some(), "what is used stays");
        }
        assert!(known.guess(last.id).is_some());
        let kept = known.0.lock().unwrap();
        assert!(kept.young.len() + kept.old.len() <= 2 * GENERATION_MAX);
        drop(kept);
        known.forget(last.id);
        assert!(known.guess(last.id).is_none());
    }
}
