//! Local shares of rate limits: what this process admits by itself while the store, which counts what all
//! admit, cannot be asked.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::sync::Cache;

use crate::domain::permits::Ahead;
use crate::domain::spending::{Demand, Exceeded, Left, Spending};
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenId};

use super::decide::Use;

/// Most tokens whose shares are counted. Of more, those that are used least have theirs anew.
const TOKENS_MAX: usize = 16_384;

/// What was spent of the share of each token.
pub(super) struct Shares(Cache<TokenId, Arc<Mutex<Spending>>>);

/// A use that was taken from a share, or refused by it.
pub(super) struct TakenShare {
    pub(super) admitted: Result<(), Exceeded>,
    /// What is left of the share.
    pub(super) left: Left,
    /// The token as if its rate limits were the share.
    pub(super) token: Arc<Token>,
}

impl Default for Shares {
    fn default() -> Self {
        Self(Cache::new(TOKENS_MAX))
    }
}

impl Shares {
    /// Takes a use from what is left of the rate limits of `token` where `members` share them.
    pub(super) fn take(
        &self,
        token: &Token,
        members: u64,
        use_: Use,
        now: Timestamp,
    ) -> TakenShare {
        let mut token = token.clone();
        token.profile.rate_limits = token.profile.rate_limits.share(members);
        let unspent = || Ok::<_, Infallible>(Arc::default());
        let Ok(spending) = self.0.get_or_insert_with(&token.id, unspent);
        let mut spending = spending.lock().unwrap_or_else(PoisonError::into_inner);
        let demand = Demand {
            cost: use_.cost,
            scope: use_.scope,
            dry_run: use_.dry_run,
            ahead: Ahead::default(),
        };
        let outcome = spending.take(&token, demand, now);
        if let Some(kept) = outcome.kept {
            *spending = kept;
        }
        TakenShare {
            admitted: outcome.verdict.map(|_| ()),
            left: outcome.left,
            token: Arc::new(token),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::limit::{LimitName, RateLimit, RateLimits};
    use crate::domain::spending::Scope;
    use crate::domain::token::Draft;
    use crate::domain::token::tests::{at, draft};
    use crate::entropy;

    const ONE: Use = Use {
        cost: 1,
        scope: Scope::All,
        dry_run: false,
    };

    /// A token that may be used ten times at once, and once more each second.
    fn limited() -> Token {
        let name = LimitName::parse("").unwrap();
        let limit = RateLimit::new(name, 10, Some(Duration::from_secs(10)), 0).unwrap();
        let mut draft = Draft {
            id: entropy::token_id().unwrap(),
            ..draft()
        };
        draft.profile.rate_limits = RateLimits::new(vec![limit]).unwrap();
        draft.issue(at(0)).unwrap()
    }

    fn admitted(shares: &Shares, token: &Token, members: u64, seconds: u64) -> usize {
        let pass = |_: &i32| {
            let taken = shares.take(token, members, ONE, at(seconds));
            taken.admitted.is_ok()
        };
        (0..100).filter(pass).count()
    }

    #[test]
    fn a_share_is_the_limit_divided_by_those_who_answer() {
        for (members, share) in [(0, 10), (1, 10), (2, 5), (3, 3), (100, 1)] {
            let (shares, token) = (Shares::default(), limited());
            assert_eq!(admitted(&shares, &token, members, 1), share, "{members}");
        }
    }

    #[test]
    fn a_share_comes_back_at_its_own_pace() {
        let (shares, token) = (Shares::default(), limited());
        assert_eq!(admitted(&shares, &token, 2, 1), 5);
        assert_eq!(admitted(&shares, &token, 2, 1), 0);
        assert_eq!(admitted(&shares, &token, 2, 5), 2);
        assert_eq!(admitted(&shares, &limited(), 2, 5), 5, "of another token");
    }

    #[test]
    fn a_dry_run_takes_nothing_and_what_is_told_is_the_share() {
        let (shares, token) = (Shares::default(), limited());
        let asked = Use {
            dry_run: true,
            ..ONE
        };
        for _ in 0..20 {
            assert!(shares.take(&token, 2, asked, at(1)).admitted.is_ok());
        }
        let taken = shares.take(&token, 2, ONE, at(1));
        let told = &taken.left.statuses(&taken.token, None)[0];
        assert_eq!((told.limit, told.remaining), (5, 4));
    }
}
