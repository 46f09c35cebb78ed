//! The acts on tokens: finding, changing and deleting; creating and listing have their own files.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::{Value, cmd};

use super::RedisStore;
use super::error::{micros, read, unexpected};
use super::events::{Act, kind_of_change, number};
use super::in_force::Out;
use super::index::Entry;
use super::joint::Sheet;
use super::keys::Look;
use super::line::Line;
use super::scripts::{
    Call, DELETE_POOLED, DELETE_TOKEN, END_CLAIM, READ_TOKEN, REPLACE_POOLED, REPLACE_TOKEN,
};
use super::standing;
use super::tenancy::{Reading, placing, pool_text, time_text};
use crate::domain::event::EventKind;
use crate::domain::page::{Cursor, Filter, PageSize};
use crate::domain::time::Timestamp;
use crate::domain::token::{Draft, Origin, REPLAY_WINDOW, Ruling, Token, TokenId};
use crate::domain::usage::Subject;
use crate::entropy::jittered;
use crate::store::{Change, Creation, Deletion, Found, Page, Rule, StoreError, TokenStore, record};

/// How often a change that others came before is judged again.
pub(super) const ATTEMPTS_MAX: usize = 16;
/// Unit of the pause before that.
const PAUSE: Duration = Duration::from_millis(2);
/// How long marks of deletions take memory; what they mean is judged by time.
pub(super) const DELETION_KEPT: Duration = REPLAY_WINDOW.saturating_add(Duration::from_secs(60));

/// What a script answers that put something in the place of a record.
struct Swapped {
    revision: u64,
    /// The days of use of a token that was deleted; empty where there are none.
    days: Vec<u8>,
}

#[async_trait]
impl TokenStore for RedisStore {
    async fn find(&self, id: TokenId) -> Result<Found, StoreError> {
        let sheet = self.joint.read(&self.access, id).await?;
        self.found(id, sheet).await
    }

    async fn find_again(&self, known: &Arc<Token>) -> Result<Found, StoreError> {
        let sheet = self.joint.read(&self.access, known.id).await?;
        let record = sheet.record.as_deref();
        if record.is_some_and(|record| standing::has_revision(record, known.revision)) {
            let (now, token) = (sheet.now, Some(known.clone()));
            return Ok(Found { now, token });
        }
        self.found(known.id, sheet).await
    }

    async fn unchanged(&self, asked: &[(TokenId, u64)]) -> Result<Vec<bool>, StoreError> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let line = self.access.links.line()?;
        let mut records = cmd("MGET");
        for (id, _) in asked {
            records.arg(self.access.keys.record(*id));
        }
        let answer = line.command(self.access.read_timeout, &records).await?;
        let records: Vec<Option<Vec<u8>>> = read(answer)?;
        if records.len() != asked.len() {
            return Err(unexpected("not as many records as keys"));
        }
        let stands = |(record, (_, revision)): (Option<Vec<u8>>, &(TokenId, u64))| {
            record.is_some_and(|record| standing::has_revision(&record, *revision))
        };
        Ok(records.into_iter().zip(asked).map(stands).collect())
    }

    async fn create(&self, draft: Draft) -> Result<Creation, StoreError> {
        self.create_token(&draft).await
    }

    async fn change(&self, id: TokenId, rule: Rule) -> Result<Change, StoreError> {
        for attempt in 0..ATTEMPTS_MAX {
            pause_before(attempt).await;
            let line = self.access.changing().await?;
            let Some((token, stored, now)) = self.read_surely(&line, id).await? else {
                return Ok(Change::Absent);
            };
            let mut changed = match rule(&token, now) {
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
            let tenure = token.tenure.as_ref();
            changed.tenure = tenure.map(|tenure| tenure.changed(&token, &changed, now));
            let kind = kind_of_change(&token, &changed);
            let call = self.replacing(&token, &stored, &changed, kind, now);
            let notice = self.notice(&token, Act::change, now)?;
            let mut before = self.note_change(&token, &changed, now);
            before.extend(self.announcing(&notice));
            let out = Out::of_change(&token, &changed);
            if let Some(Swapped { revision, .. }) = self.swap(&line, &before, call, out).await? {
                changed.revision = revision;
                self.done(notice, kind, Timestamp::from_micros(revision), &changed);
                if moved {
                    self.unindex(&line, left.as_slice()).await;
                }
                return Ok(Change::Changed(changed));
            }
            self.undone(notice);
            // What was added for the owner remains: it may be just what the winner added, too.
        }
        Err(StoreError::Contended(ATTEMPTS_MAX))
    }

    async fn delete(&self, id: TokenId, rule: Rule) -> Result<Deletion, StoreError> {
        for attempt in 0..ATTEMPTS_MAX {
            pause_before(attempt).await;
            let line = self.access.changing().await?;
            let Some((token, _, now)) = self.read_surely(&line, id).await? else {
                return Ok(Deletion::Absent);
            };
            if let Ruling::Refuse(refusal) = rule(&token, now) {
                return Ok(Deletion::Refused(refusal));
            }
            let call = self.deleting(&token);
            let notice = self.notice(&token, Act::deletion, now)?;
            let before: Vec<Call> = self.announcing(&notice).into_iter().collect();
            let out = Out::of_end(&token);
            if let Some(swapped) = self.swap(&line, &before, call, out).await? {
                let time = Timestamp::from_micros(swapped.revision);
                self.done(notice, EventKind::Deleted, time, &token);
                self.forget(&line, &token, swapped).await;
                return Ok(Deletion::Deleted);
            }
            self.undone(notice);
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
    /// The token of which this was read.
    async fn found(&self, id: TokenId, sheet: Sheet) -> Result<Found, StoreError> {
        let Sheet {
            record,
            tenure,
            now,
            link,
        } = sheet;
        let line = Line::new(&self.access.links, link);
        let reading = self.reading(&line, id, record, tenure, now).await?;
        if let Some(token) = reading.present() {
            let token = Some(Arc::new(token));
            return Ok(Found { now, token });
        }
        // Beside the marker, and by a command that minds what is no record.
        let mut again = cmd("GET");
        again.arg(self.access.keys.record(id));
        let limit = self.access.read_timeout;
        line.marked_command(limit, again).await?;
        Ok(Found { now, token: None })
    }

    /// Reads what stands at `id`, and the time.
    pub(super) async fn read(
        &self,
        line: &Line<'_>,
        id: TokenId,
        limit: Duration,
    ) -> Result<Reading, StoreError> {
        let answer = line.script(limit, &self.reading_call(id)).await?;
        self.read_alone(line, id, answer).await
    }

    fn reading_call(&self, id: TokenId) -> Call {
        let keys = &self.access.keys;
        READ_TOKEN
            .call([keys.record(id), keys.tenure(id)])
            .arg(self.access.now())
    }

    /// Reads what [`READ_TOKEN`] answered.
    async fn read_alone(
        &self,
        line: &Line<'_>,
        id: TokenId,
        answer: Value,
    ) -> Result<Reading, StoreError> {
        let (record, now, tenure): (_, String, _) = read(answer)?;
        let now = Timestamp::from_micros(micros(&now)?);
        self.reading(line, id, record, tenure, now).await
    }

    /// Reads a token that shall be changed, its tenure as it stands, and the time; `None` where it is
    /// absent for certain.
    async fn read_surely(
        &self,
        line: &Line<'_>,
        id: TokenId,
    ) -> Result<Option<(Token, Vec<u8>, Timestamp)>, StoreError> {
        let limit = self.access.write_timeout;
        let mut reading = self.read(line, id, limit).await?;
        let stored = std::mem::take(&mut reading.tenure);
        let now = reading.now;
        let Some(token) = reading.present() else {
            line.confirm(limit).await?;
            return Ok(None);
        };
        Ok(Some((token, stored, now)))
    }

    /// What puts `changed` in the place of `token`; where that is pooled, with the tenure that it
    /// carries in the place of `stored`.
    fn replacing(
        &self,
        token: &Token,
        stored: &[u8],
        changed: &Token,
        kind: EventKind,
        now: Timestamp,
    ) -> Call {
        let (keys, id) = (&self.access.keys, token.id);
        let (revision, blob) = (token.revision.to_be_bytes(), record::encode(changed));
        if token.tenure.is_none() {
            let call = REPLACE_TOKEN.call([keys.record(id)]);
            return call.arg(revision).arg(blob);
        }
        let call = REPLACE_POOLED
            .call([keys.base(id), keys.record(id), keys.tenure(id)])
            .arg(revision)
            .arg(blob)
            .arg(stored);
        placing(call, changed, now)
            .arg(keys.wake_channel())
            .arg(time_text(token.lapse_time()))
            .arg(number(kind).to_string())
    }

    fn deleting(&self, token: &Token) -> Call {
        let (keys, id) = (&self.access.keys, token.id);
        let (record, batches) = (keys.record(id), keys.batches(id));
        let (rates, quota) = (keys.rates(id), keys.quota(id));
        let subject = Subject::Token(id);
        let (ledger, days) = (keys.ledger(&subject), keys.days(&subject));
        let revision = token.revision.to_be_bytes();
        let kept = DELETION_KEPT.as_millis().to_string();
        if token.tenure.is_none() {
            let call = DELETE_TOKEN.call([record, rates, quota, batches, ledger, days]);
            return call.arg(revision).arg(kept);
        }
        DELETE_POOLED
            .call([
                keys.base(id),
                record,
                rates,
                quota,
                batches,
                keys.tenure(id),
                ledger,
                days,
            ])
            .arg(revision)
            .arg(kept)
            .arg(id.after_tag())
            .arg(pool_text(token))
    }

    /// Runs a script that puts something in the place of the judged revision, behind what must be
    /// noted before; `None` if another change came before. Then `out` is noted, where that changes.
    async fn swap(
        &self,
        line: &Line<'_>,
        before: &[Call],
        call: Call,
        out: Option<Out<'_>>,
    ) -> Result<Option<Swapped>, StoreError> {
        let call = call.arg(self.access.now());
        let limit = self.access.write_timeout;
        let behind = out.as_ref().map_or(Vec::new(), |out| self.note_out(out));
        let answers = line.script_between(limit, before, &call, &behind);
        let (answer, behind) = answers.await?;
        if let Some(out) = out {
            self.see_out(line, out, behind).await;
        }
        let answer = line.accept(limit, answer)?;
        let parts: Vec<Option<Vec<u8>>> = read(answer)?;
        let mut parts = parts.into_iter().map(Option::unwrap_or_default);
        if parts.next().is_none_or(|outcome| outcome != b"done") {
            return Ok(None);
        }
        let revision = parts.next().and_then(|text| String::from_utf8(text).ok());
        let revision = micros(&revision.unwrap_or_default())?;
        let days = parts.next().unwrap_or_default();
        Ok(Some(Swapped { revision, days }))
    }

    /// Clears away what is kept about a token that was deleted.
    async fn forget(&self, line: &Line<'_>, token: &Token, swapped: Swapped) {
        let Swapped { revision, days } = swapped;
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
            let gone = Timestamp::from_micros(revision);
            let notes = self.note_gone(token, gone, &[Look::End, Look::Alarm]);
            if let Err(error) = line.scripts(limit, &notes).await {
                tracing::debug!(id = %token.id, %error, "a due entry remains until its time");
            }
        };
        let entries = Entry::all_of(token);
        let hours = self.forget_hours(line, vec![(token.id, days)]);
        tokio::join!(self.unindex(line, &entries), note, hours);
    }
}

/// Lets those pass who came before an earlier attempt, so that not all meet again.
pub(super) async fn pause_before(attempt: usize) {
    if let Ok(attempts @ 1..) = u32::try_from(attempt) {
        tokio::time::sleep(jittered(PAUSE.saturating_mul(attempts))).await;
    }
}

/// The id that follows from the request key alone; where it differs from the token's, a claim
/// stands for it.
pub(super) fn root_of(origin: &Origin) -> TokenId {
    TokenId::derived(&origin.key)
}
