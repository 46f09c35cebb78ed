//! The acts on tokens: finding, changing and deleting; creating and listing have their own files.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::RedisStore;
use super::error::{micros, read};
use super::index::Entry;
use super::line::Line;
use super::scripts::{Call, DELETE_TOKEN, END_CLAIM, READ_TOKEN, REPLACE_TOKEN};
use super::standing::Standing;
use crate::domain::page::{Cursor, Filter, PageSize};
use crate::domain::time::Timestamp;
use crate::domain::token::{Draft, Origin, REPLAY_WINDOW, Ruling, Token, TokenId};
use crate::entropy::jittered;
use crate::store::{Change, Creation, Deletion, Found, Page, Rule, StoreError, TokenStore, record};

/// How often a change that others came before is judged again.
const ATTEMPTS_MAX: usize = 16;
/// Unit of the pause before that.
const PAUSE: Duration = Duration::from_millis(2);
/// How long marks of deletions take memory; what they mean is judged by time.
const DELETION_KEPT: Duration = REPLAY_WINDOW.saturating_add(Duration::from_secs(60));

#[async_trait]
impl TokenStore for RedisStore {
    async fn find(&self, id: TokenId) -> Result<Found, StoreError> {
        let limit = self.access.read_timeout;
        let line = self.access.links.line()?;
        let (standing, now) = self.read(&line, id, limit).await?;
        let token = standing.token().map(Arc::new);
        if token.is_none() {
            line.confirm(limit).await?;
        }
        Ok(Found { now, token })
    }

    async fn create(&self, draft: Draft) -> Result<Creation, StoreError> {
        self.create_token(&draft).await
    }

    async fn change(&self, id: TokenId, rule: Rule) -> Result<Change, StoreError> {
        for attempt in 0..ATTEMPTS_MAX {
            pause_before(attempt).await;
            let line = self.access.links.line()?;
            let (token, now) = match self.read_surely(&line, id).await? {
                (Some(token), now) => (token, now),
                (None, _) => return Ok(Change::Absent),
            };
            let changed = match rule(&token, now) {
                Ruling::Keep => return Ok(Change::Kept(token, now)),
                Ruling::Refuse(refusal) => return Ok(Change::Refused(refusal)),
                Ruling::Replace(changed) => *changed,
            };
            for digest in changed.secrets.digests() {
                line.keeps_pepper(digest.key_id)?;
            }
            let (left, joined) = (Entry::of_owner(&token), Entry::of_owner(&changed));
            let moved = left != joined;
            if moved {
                self.index(&line, joined.as_ref()).await?;
            }
            let call = REPLACE_TOKEN
                .call([self.access.keys.record(id)])
                .arg(token.revision.to_be_bytes())
                .arg(record::encode(&changed));
            let end = self.note_end(Some(&token), &changed);
            if let Some(revision) = self.swap(&line, end, call).await? {
                if moved {
                    self.unindex(&line, left.as_slice()).await;
                }
                return Ok(Change::Changed(Token {
                    revision,
                    ..changed
                }));
            }
            // What was added for the owner remains: it may be just what the winner added, too.
        }
        Err(StoreError::Contended(ATTEMPTS_MAX))
    }

    async fn delete(&self, id: TokenId, rule: Rule) -> Result<Deletion, StoreError> {
        for attempt in 0..ATTEMPTS_MAX {
            pause_before(attempt).await;
            let line = self.access.links.line()?;
            let (token, now) = match self.read_surely(&line, id).await? {
                (Some(token), now) => (token, now),
                (None, _) => return Ok(Deletion::Absent),
            };
            if let Ruling::Refuse(refusal) = rule(&token, now) {
                return Ok(Deletion::Refused(refusal));
            }
            let keys = &self.access.keys;
            let call = DELETE_TOKEN
                .call([keys.record(id), keys.rates(id), keys.quota(id)])
                .arg(token.revision.to_be_bytes())
                .arg(DELETION_KEPT.as_millis().to_string());
            if let Some(revision) = self.swap(&line, None, call).await? {
                self.forget(&line, &token, revision).await;
                return Ok(Deletion::Deleted);
            }
        }
        Err(StoreError::Contended(ATTEMPTS_MAX))
    }

    async fn list(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<Page, StoreError> {
        self.list_tokens(filter, after, size).await
    }
}

impl RedisStore {
    /// Reads what stands at `id`, and the time.
    pub(super) async fn read(
        &self,
        line: &Line<'_>,
        id: TokenId,
        limit: Duration,
    ) -> Result<(Standing, Timestamp), StoreError> {
        let call = READ_TOKEN
            .call([self.access.keys.record(id)])
            .arg(self.access.now());
        let answer = line.script(limit, &call).await?;
        let (value, now): (Option<Vec<u8>>, String) = read(answer)?;
        let standing = Standing::read(id, value.as_deref())?;
        Ok((standing, Timestamp::from_micros(micros(&now)?)))
    }

    /// Reads a token that shall be changed. Its absence is certain.
    async fn read_surely(
        &self,
        line: &Line<'_>,
        id: TokenId,
    ) -> Result<(Option<Token>, Timestamp), StoreError> {
        let limit = self.access.write_timeout;
        let (standing, now) = self.read(line, id, limit).await?;
        let token = standing.token();
        if token.is_none() {
            line.confirm(limit).await?;
        }
        Ok((token, now))
    }

    /// Runs a script that puts something in the place of the judged revision, behind what must be
    /// noted before; `None` if another change came before.
    async fn swap(
        &self,
        line: &Line<'_>,
        note: Option<Call>,
        call: Call,
    ) -> Result<Option<u64>, StoreError> {
        let call = call.arg(self.access.now());
        let limit = self.access.write_timeout;
        let answer = line.script_behind(limit, note.as_ref(), &call).await?;
        let (outcome, revision): (String, Option<String>) = read(answer)?;
        match revision.filter(|_| outcome == "done") {
            Some(revision) => micros(&revision).map(Some),
            None => Ok(None),
        }
    }

    /// Clears away what is kept about a token that was deleted under `revision`.
    async fn forget(&self, line: &Line<'_>, token: &Token, revision: u64) {
        let limit = self.access.write_timeout;
        let root = token.origin.as_ref().map(root_of);
        if let Some(root) = root.filter(|root| *root != token.id) {
            let call = END_CLAIM
                .call([self.access.keys.claim(root)])
                .arg(token.id.as_str())
                .arg(revision.to_be_bytes())
                .arg(DELETION_KEPT.as_millis().to_string());
            if let Err(error) = line.script(limit, &call).await {
                tracing::debug!(id = %token.id, %error, "a claim remains");
            }
        }
        let note = async {
            if let Some(call) = self.note_deletion(token, revision)
                && let Err(error) = line.script(limit, &call).await
            {
                tracing::debug!(id = %token.id, %error, "a due entry remains until its time");
            }
        };
        let entries = Entry::all_of(token);
        tokio::join!(self.unindex(line, &entries), note);
    }
}

/// Lets those pass who came before an earlier attempt, so that not all meet again.
async fn pause_before(attempt: usize) {
    if let Ok(attempts @ 1..) = u32::try_from(attempt) {
        tokio::time::sleep(jittered(PAUSE.saturating_mul(attempts))).await;
    }
}

/// The id that follows from the request key alone; where it differs from the token's, a claim
/// stands for it.
pub(super) fn root_of(origin: &Origin) -> TokenId {
    TokenId::derived(&origin.key)
}
