//! Taking from limits: in memory for rate limits and batches, in a transaction where a quota counts.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::OptionalExtension;

use super::SqliteStore;
use super::error::Fault;
use super::limiter::Limiter;
use super::tokens::Acts;
use crate::domain::spending::{Outcome, QuotaSpending, Scope, Spending};
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

/// Whether it may take from the quota, or give something back to it.
fn writes_quota(take: &Take) -> bool {
    let concerned = take.scope == Scope::All || take.ahead.back.is_some();
    take.token.profile.quota.is_some() && concerned && !take.dry_run
}

impl Acts<'_> {
    fn take(&self, take: &Take, limiter: &Limiter) -> Result<Taken, Fault> {
        let token = &take.token;
        // Read while nobody else takes: a use of the token as it was before a change must not write
        // over what was taken from it since.
        let mut spent = limiter.lock(token.id);
        let now = self.time.now();
        let standing = self.find(token.id)?;
        let standing = self.present(standing, now)?.map(|entry| entry.token);
        let same = standing.as_ref().map(|standing| standing.revision) == Some(token.revision);
        if !same || take.until.is_some_and(|until| until <= now) {
            let token = standing.map(Arc::new);
            return Ok(Taken::Moved(Found { now, token }));
        }
        let before = Spending {
            quota: self.quota_spending(token.id)?,
            ..spent.read(self.connection)?
        };
        let Outcome {
            verdict,
            left,
            kept,
        } = before.take(token, take.demand(), now);
        if let Some(kept) = kept {
            if let Some(quota) = kept.quota.filter(|_| kept.quota != before.quota) {
                self.connection
                    .prepare_cached(
                        "INSERT OR REPLACE INTO quota_spending (id, spent) VALUES (?1, ?2)",
                    )?
                    .execute((token.id.as_str(), encode_quota(&quota)))?;
                if verdict.is_ok_and(|granted| granted > 0) {
                    limiter.note_grant(token.id);
                }
            }
            spent.write(kept);
        }
        Ok(match verdict {
            Ok(granted) => Taken::Admitted(left, granted),
            Err(exceeded) => Taken::Refused(exceeded, left),
        })
    }

    fn spending(&self, id: TokenId, limiter: &Limiter) -> Result<Spending, Fault> {
        Ok(Spending {
            quota: self.quota_spending(id)?,
            ..limiter.lock(id).read(self.connection)?
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
