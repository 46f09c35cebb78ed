//! Taking from limits: in memory for rate limits, in a transaction where a quota counts.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::OptionalExtension;

use super::SqliteStore;
use super::error::Fault;
use super::limiter::Limiter;
use super::tokens::Acts;
use crate::domain::spending::{Left, QuotaSpending, Scope, Spending};
use crate::domain::token::{Token, TokenId};
use crate::store::spending::{decode_quota, encode_quota};
use crate::store::{Found, LimitStore, StoreError, Take, Taken};

#[async_trait]
impl LimitStore for SqliteStore {
    async fn take(&self, take: &Take) -> Result<Taken, StoreError> {
        let limiter = &self.inner.limiter;
        if writes_quota(take) {
            let (take, limiter) = (take.clone(), Arc::clone(limiter));
            let act = move |acts: &Acts<'_>| acts.take(&take, &limiter);
            return self.inner.write(act).await;
        }
        // Inline, as a find is.
        self.inner.sound()?;
        self.inner
            .points
            .with(|connection| self.inner.acts(connection).take(take, limiter))
    }

    async fn spending(&self, tokens: &[Arc<Token>]) -> Result<Vec<Spending>, StoreError> {
        self.inner.sound()?;
        self.inner.points.with(|connection| {
            let acts = self.inner.acts(connection);
            let spending = |token: &Arc<Token>| acts.spending(token.id, &self.inner.limiter);
            tokens.iter().map(spending).collect()
        })
    }
}

fn writes_quota(take: &Take) -> bool {
    take.token.profile.quota.is_some() && take.scope == Scope::All && !take.dry_run
}

impl Acts<'_> {
    fn take(&self, take: &Take, limiter: &Limiter) -> Result<Taken, Fault> {
        let Take {
            token,
            until,
            cost,
            scope,
            dry_run,
            ahead: _,
        } = take;
        // Read while nobody else takes: a use of the token as it was before a change must not write
        // over what was taken from it since.
        let mut rates = limiter.lock(token.id);
        let now = self.time.now();
        let standing = self.find(token.id)?;
        let standing = self.present(standing, now)?.map(|entry| entry.token);
        let same = standing.as_ref().map(|standing| standing.revision) == Some(token.revision);
        if !same || until.is_some_and(|until| until <= now) {
            let token = standing.map(Arc::new);
            return Ok(Taken::Moved(Found { now, token }));
        }
        let before = Spending {
            rates: rates.read(self.connection)?,
            quota: self.quota_spending(token.id)?,
        };
        let left = Left::of(token, &before, now);
        if let Err(exceeded) = left.admits(token, *cost, *scope) {
            return Ok(Taken::Refused(exceeded, left));
        }
        if *dry_run {
            return Ok(Taken::Admitted(left, 0));
        }
        let left = left.after(token, *cost, *scope);
        let after = left.to_spending(token, &before);
        if let Some(quota) = after.quota.filter(|_| writes_quota(take)) {
            self.connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO quota_spending (id, spent) VALUES (?1, ?2)",
                )?
                .execute((token.id.as_str(), encode_quota(&quota)))?;
        }
        rates.write(&after);
        Ok(Taken::Admitted(left, 0))
    }

    fn spending(&self, id: TokenId, limiter: &Limiter) -> Result<Spending, Fault> {
        Ok(Spending {
            rates: limiter.lock(id).read(self.connection)?,
            quota: self.quota_spending(id)?,
        })
    }

    fn quota_spending(&self, id: TokenId) -> Result<Option<QuotaSpending>, Fault> {
        let text: Option<String> = self
            .connection
            .prepare_cached("SELECT spent FROM quota_spending WHERE id = ?1")?
            .query_row([id.as_str()], |row| row.get(0))
            .optional()?;
        let spent = text.map(|text| decode_quota(text.as_bytes())).transpose()?;
        Ok(spent)
    }
}
