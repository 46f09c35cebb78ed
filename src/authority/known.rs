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

    /// Remembers a token if it has limits: others need no guess.
    ///
    /// Nor one of which nothing tells the taker that it may be gone sooner than was seen: who holds it
    /// may give it back early, which changes no record, and its life counts from there.
    pub(super) fn remember(&self, token: &Arc<Token>) {
        if !token.is_limited() || may_be_cut(token) {
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

/// Whether a token lives until a time after a lease that may still be ended before.
fn may_be_cut(token: &Token) -> bool {
    token.tenure.as_ref().is_some_and(|tenure| {
        let last = tenure.leases.first();
        tenure.deadline.is_some() && last.is_some_and(|lease| lease.ended.is_none())
    })
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
    use crate::domain::lease::{Holder, LeaseEnd, LeaseMark};
    use crate::domain::limit::Quota;
    use crate::domain::name::PoolName;
    use crate::domain::profile::Profile;
    use crate::domain::tenure::{Grant, Tenure};
    use crate::domain::token::Draft;
    use crate::domain::token::tests::{at, draft};
    use crate::entropy;
    use std::time::Duration;

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
    fn a_leased_token_is_not_remembered_whose_life_may_be_cut() {
        let known = Known::default();
        let profile = Profile {
            quota: Quota::new(1, None).ok(),
            pool: PoolName::parse("gpu").ok(),
            keep_alive_ttl: Some(Duration::from_secs(300)),
            ..Profile::default()
        };
        let draft = Draft { profile, ..draft() };
        let free = draft.issue(at(1)).unwrap();
        let grant = Grant {
            mark: LeaseMark::parse(&"m".repeat(22)).unwrap(),
            holder: Holder::default(),
            duration: Duration::from_secs(3600),
            origin: None,
            digest: draft.digest.clone(),
        };
        let holding = |act: &dyn Fn(&mut Tenure)| {
            let mut tenure = free.tenure.clone().unwrap();
            tenure.grant(&free, at(2), grant.clone());
            act(&mut tenure);
            let tenure = Some(tenure);
            Arc::new(Token {
                tenure,
                ..free.clone()
            })
        };
        let (leased, released) = (
            holding(&|_| ()),
            holding(&|tenure| tenure.release(&free, at(3), LeaseEnd::Released)),
        );
        known.remember(&Arc::new(free.clone()));
        assert!(known.guess(free.id).is_some());
        known.remember(&leased);
        assert!(known.guess(free.id).is_none());
        known.remember(&released);
        assert!(known.guess(free.id).is_some());
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
