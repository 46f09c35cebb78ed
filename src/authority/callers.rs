//! Callers as their tokens make them, worked out once for each token as it was read.

use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::caller::{Caller, Grants, Identity};
use crate::domain::token::Token;
use crate::sharded::Sharded;

/// Callers that each place keeps at hand. Those that call all the time are few: gateways.
const KEPT: usize = 8;

/// The callers of lately. Whether one still may call is none of this; it is asked with each call.
#[derive(Debug, Default)]
pub(super) struct Callers(Sharded<Mutex<[Option<Known>; KEPT]>>);

/// A token as it was read, and its caller. While the token is kept here, its place in memory is that of
/// no other, so that one look tells whether it is this very one.
#[derive(Debug)]
struct Known {
    token: Arc<Token>,
    caller: Arc<Caller>,
}

impl Callers {
    /// The caller whose own token this is.
    pub(super) fn of(&self, token: &Arc<Token>) -> Arc<Caller> {
        let (_, kept) = self.0.own();
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let digit = token.id.as_str().bytes().next_back().unwrap_or_default();
        let place = usize::from(digit) % KEPT;
        match &kept[place] {
            Some(known) if Arc::ptr_eq(&known.token, token) => known.caller.clone(),
            _ => {
                let caller = Arc::new(caller_of(token));
                kept[place] = Some(Known {
                    token: token.clone(),
                    caller: caller.clone(),
                });
                caller
            }
        }
    }
}

fn caller_of(token: &Token) -> Caller {
    Caller {
        identity: Identity::of(token),
        grants: Grants::of(&token.profile.scopes, &token.namespace),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::caller::Permission;
    use crate::domain::scope::Scope;
    use crate::domain::token::Draft;
    use crate::domain::token::tests::{at, draft};
    use crate::entropy;

    fn token(scope: &str) -> Token {
        let id = entropy::token_id().unwrap();
        let mut token = Draft { id, ..draft() }.issue(at(1)).unwrap();
        token.profile.scopes = vec![Scope::parse(scope).unwrap()];
        token
    }

    fn may_read(caller: &Caller) -> bool {
        caller.grants.reach(Permission::Read).is_some()
    }

    #[test]
    fn a_caller_is_worked_out_once_while_its_token_is_the_same() {
        let callers = Callers::default();
        let token = Arc::new(token("authority:read"));
        let (first, second) = (callers.of(&token), callers.of(&token));
        assert!(Arc::ptr_eq(&first, &second) && may_read(&first));
        assert_eq!(first.identity, Identity::of(&token));
    }

    #[test]
    fn a_changed_token_makes_another_caller_and_so_does_another_token() {
        let callers = Callers::default();
        let before = token("authority:read");
        let mut after = before.clone();
        after.profile.scopes.clear();
        assert!(may_read(&callers.of(&Arc::new(before))));
        assert!(!may_read(&callers.of(&Arc::new(after))));
        for _ in 0..10 * KEPT {
            let token = Arc::new(token("authority:read"));
            assert_eq!(callers.of(&token).identity, Identity::of(&token));
        }
    }
}
