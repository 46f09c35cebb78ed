//! A token together with the instant at which it was seen, and what was left of its limits then.

use std::sync::Arc;

use crate::domain::spending::{Left, Spending};
use crate::domain::time::Timestamp;
use crate::domain::token::{State, Token, TokenId};
use crate::domain::usage::{Hour, Summary};

use super::Authority;
use super::error::Error;

/// A token as it was at an instant of the store's time.
#[derive(Clone, Debug)]
pub struct Seen {
    pub token: Arc<Token>,
    pub left: Left,
    /// How it was used; nothing where that was not asked for.
    pub used: Option<Summary>,
}

impl Seen {
    pub fn state(&self) -> State {
        self.token.state(self.left.now)
    }

    /// The token of which nothing was spent yet.
    pub(super) fn unspent(token: Arc<Token>, now: Timestamp) -> Self {
        let left = Left::of(&token, &Spending::default(), now);
        Self {
            token,
            left,
            used: None,
        }
    }
}

impl Authority {
    /// Sees one token at `now`.
    pub(super) async fn see(&self, token: Arc<Token>, now: Timestamp) -> Result<Seen, Error> {
        let spending = if token.is_limited() {
            let asked = std::slice::from_ref(&token);
            self.store.spending(asked).await?.into_iter().next()
        } else {
            None
        };
        let left = Left::of(&token, &spending.unwrap_or_default(), now);
        Ok(Seen {
            token,
            left,
            used: None,
        })
    }

    /// The same, and how it was used.
    pub(super) async fn see_used(&self, token: Arc<Token>, now: Timestamp) -> Result<Seen, Error> {
        let mut seen = [self.see(token, now).await?];
        self.see_use(&mut seen, now).await?;
        let [seen] = seen;
        Ok(seen)
    }

    /// Adds how tokens were used, where that is kept, to what was seen of them.
    pub(super) async fn see_use(&self, seen: &mut [Seen], now: Timestamp) -> Result<(), Error> {
        if !self.usage.enabled || seen.is_empty() {
            return Ok(());
        }
        let ids: Vec<TokenId> = seen.iter().map(|seen| seen.token.id).collect();
        let summaries = self.store.summaries(&ids, Hour::of(now)).await?;
        for (seen, summary) in seen.iter_mut().zip(summaries) {
            seen.used = Some(summary);
        }
        Ok(())
    }

    /// Sees some tokens at `now`; those with a quota, of which much may have been spent, are asked
    /// about together.
    pub(super) async fn see_all(
        &self,
        tokens: Vec<Token>,
        now: Timestamp,
    ) -> Result<Vec<Seen>, Error> {
        let tokens: Vec<Arc<Token>> = tokens.into_iter().map(Arc::new).collect();
        let with_quota = |token: &&Arc<Token>| token.profile.quota.is_some();
        let asked: Vec<_> = tokens.iter().filter(with_quota).cloned().collect();
        let mut answered = if asked.is_empty() {
            Vec::new()
        } else {
            self.store.spending(&asked).await?
        }
        .into_iter();
        let seen = tokens.into_iter().map(|token| {
            let spending = if with_quota(&&token) {
                answered.next()
            } else {
                None
            };
            let left = Left::of(&token, &spending.unwrap_or_default(), now);
            Seen {
                token,
                left,
                used: None,
            }
        });
        Ok(seen.collect())
    }
}
