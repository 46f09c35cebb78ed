//! Creating tokens: index first, then the record, so that no record is ever missed by a listing or
//! a sweep.
//! Each attempt adds and removes entries of its own only; one that dies leaves entries that no
//! record bears out, which listings pass over.
//!
//! Where a namespace may hold so many tokens only, an attempt goes on if it finds fewer entries that
//! are older than its own. Entries get ever later times, and each is there before it is counted for:
//! so of all that go on, the last one has counted the others, and they are never too many, however
//! many attempt it at once and from wherever. The first ones are not in each other's way.
//!
//! A request key makes one token whatever its id: the record at the key's own id, or a claim in the
//! same slot that names another id, which a pool's tokens have.

use super::RedisStore;
use super::error::{micros, read, unexpected};
use super::events::Act;
use super::in_force::Out;
use super::index::Entry;
use super::keys::SeriesName;
use super::line::Line;
use super::scripts::{CLAIM_REQUEST, CREATE_POOLED, CREATE_TOKEN, Call, READ_REQUEST};
use super::series::At;
use super::standing::{Claim, Standing, remembered};
use super::tenancy::placing;
use super::tokens::root_of;
use crate::domain::event::EventKind;
use crate::domain::pool::Pool;
use crate::domain::time::Timestamp;
use crate::domain::token::{Draft, Expiration, REPLAY_WINDOW, Refusal, Token, TokenId};
use crate::store::{Creation, StoreError, record};

impl RedisStore {
    /// Carries out [`crate::store::TokenStore::create`].
    pub(super) async fn create_token(&self, draft: &Draft) -> Result<Creation, StoreError> {
        let line = &self.access.changing().await?;
        line.keeps_pepper(draft.digest.key_id)?;
        let root = draft.origin.as_ref().map(root_of);
        if let Some(root) = root
            && let Some(earlier) = self.earlier(line, draft, root).await?
        {
            return Ok(earlier);
        }
        if let Expiration::At(_) = draft.expiration {
            // Looked at before anything is written: a namespace exists by its tokens.
            let reading = self.read(line, draft.id, self.access.write_timeout).await?;
            if let Err(refusal) = draft.expire_time(reading.now) {
                return Ok(Creation::Refused(refusal));
            }
        }
        self.series.register(line, &draft.namespace).await?;
        if let Some(name) = &draft.profile.pool {
            let (namespace, name) = (draft.namespace.clone(), name.clone());
            self.series
                .register_pool(line, &Pool { namespace, name })
                .await?;
        }
        let name = SeriesName::namespace(&draft.namespace);
        let (time, bucket) = self
            .series
            .place(line, &name, draft.id.as_str(), At::Next)
            .await?;
        let time = Timestamp::from_micros(time);
        let token = match draft.issue(time) {
            Ok(token) => token,
            Err(refusal) => {
                let entry = Entry::lasting(name, draft.id, time);
                self.unindex(line, &[entry]).await;
                return Ok(Creation::Refused(refusal));
            }
        };
        if token.tenure.is_some() {
            // From now on somebody has to have been seen.
            self.absences(line, time).await?;
        }
        if draft.bounds.tokens_max.is_some() {
            let others = self.older(line, &name, bucket, time).await?;
            if let Err(refusal) = draft.find_room(others) {
                let entry = Entry::lasting(name, draft.id, time);
                self.unindex(line, &[entry]).await;
                return self.turned_away(line, draft, root, refusal).await;
            }
        }
        self.index_beside(line, &token).await?;
        let creation = self.write(line, draft, &token, root).await?;
        if !matches!(creation, Creation::Created(_)) {
            self.unindex(line, &Entry::all_of(&token)).await;
        }
        Ok(creation)
    }

    /// Refuses a draft that found no room, unless its token came to be meanwhile: then it is that.
    async fn turned_away(
        &self,
        line: &Line<'_>,
        draft: &Draft,
        root: Option<TokenId>,
        refusal: Refusal,
    ) -> Result<Creation, StoreError> {
        let earlier = match root {
            Some(root) => self.earlier(line, draft, root).await?,
            None => {
                let limit = self.access.write_timeout;
                let reading = self.read(line, draft.id, limit).await?;
                reading.standing.earlier(reading.now)
            }
        };
        Ok(earlier.unwrap_or(Creation::Refused(refusal)))
    }

    /// What the request of `draft`, whose own id is `root`, made earlier; so that a replay leaves
    /// the indexes alone.
    async fn earlier(
        &self,
        line: &Line<'_>,
        draft: &Draft,
        root: TokenId,
    ) -> Result<Option<Creation>, StoreError> {
        let keys = &self.access.keys;
        let call = READ_REQUEST
            .call([keys.record(root), keys.claim(root)])
            .arg(self.access.now());
        let limit = self.access.write_timeout;
        let answer = line.script(limit, &call).await?;
        let (value, claim, now): (Option<Vec<u8>>, Option<Vec<u8>>, String) = read(answer)?;
        let now = Timestamp::from_micros(micros(&now)?);
        match Standing::read(root, value.as_deref())?.earlier(now) {
            Some(Creation::Taken(token)) => {
                let token = self.whole(line, token).await?;
                return Ok(Some(Creation::Taken(token)));
            }
            Some(earlier) => return Ok(Some(earlier)),
            None => {}
        }
        let claim = claim.as_deref().map(Claim::read).transpose()?;
        match claim {
            None => Ok(None),
            Some(Claim {
                deleted: Some(revision),
                ..
            }) => Ok(remembered(revision, now).then_some(Creation::Gone)),
            Some(claim) => self.claimed(line, draft, &claim).await,
        }
    }

    /// What stands behind a claim that holds; `None` if it is `draft`'s own and its token is still
    /// to be made.
    async fn claimed(
        &self,
        line: &Line<'_>,
        draft: &Draft,
        claim: &Claim,
    ) -> Result<Option<Creation>, StoreError> {
        if claim.deleted.is_some() {
            return Ok(Some(Creation::Gone));
        }
        let limit = self.access.write_timeout;
        let reading = self.read(line, claim.id, limit).await?;
        if let Some(earlier) = reading.standing.earlier(reading.now) {
            return Ok(Some(earlier));
        }
        if claim.id == draft.id {
            return Ok(None);
        }
        // The request began to make a token elsewhere, and may yet; it cannot make another.
        line.confirm(limit).await?;
        Ok(Some(Creation::Refused(Refusal::RequestDiffers)))
    }

    /// Claims the request for the token where its id is not the request's own, and writes the
    /// record.
    async fn write(
        &self,
        line: &Line<'_>,
        draft: &Draft,
        token: &Token,
        root: Option<TokenId>,
    ) -> Result<Creation, StoreError> {
        let keys = &self.access.keys;
        let limit = self.access.write_timeout;
        let window = REPLAY_WINDOW.as_micros().to_string();
        if let Some(root) = root.filter(|root| *root != token.id) {
            let call = CLAIM_REQUEST
                .call([keys.record(root), keys.claim(root)])
                .arg(token.id.as_str())
                .arg(window.as_str())
                .arg(self.access.now());
            let answer = line.script(limit, &call).await?;
            if let Some(earlier) = self.outcome(line, draft, root, read(answer)?).await? {
                return Ok(earlier);
            }
        }
        let mut value = token.revision.to_be_bytes().to_vec();
        value.extend(record::encode(token));
        let call = self.creating(token, value, window);
        let notice = self.notice(token, |_| Act::Creation, token.create_time)?;
        let mut before = self.note_beginning(token);
        before.extend(self.announcing(&notice));
        let out = Out::of_beginning(token);
        let mut behind = out.as_ref().map_or(Vec::new(), |out| self.note_out(out));
        behind.push(line.marker());
        let answers = line.script_between(limit, &before, &call, &behind);
        let (answer, mut behind) = answers.await?;
        line.check_marker(limit, behind.pop().unwrap_or_default())?;
        if let Some(out) = out {
            self.see_out(line, out, behind).await;
        }
        let answer = line.accept(limit, answer)?;
        match self.outcome(line, draft, token.id, read(answer)?).await? {
            Some(earlier) => {
                self.undone(notice);
                Ok(earlier)
            }
            None => {
                self.done(notice, EventKind::Created, token.create_time, token);
                Ok(Creation::Created(token.clone()))
            }
        }
    }

    fn creating(&self, token: &Token, value: Vec<u8>, window: String) -> Call {
        let (keys, id) = (&self.access.keys, token.id);
        let (record, claim) = (keys.record(id), keys.claim(id));
        let call = match token.tenure {
            None => CREATE_TOKEN.call([record, claim]),
            Some(_) => CREATE_POOLED.call([keys.base(id), record, claim, keys.tenure(id)]),
        };
        let call = call.arg(value).arg(window).arg(self.access.now());
        match token.tenure {
            None => call,
            Some(_) => placing(call, token, token.create_time).arg(keys.wake_channel()),
        }
    }

    /// Reads what the scripts of a creation answer about `id`; `None` if nothing was in the way.
    async fn outcome(
        &self,
        line: &Line<'_>,
        draft: &Draft,
        id: TokenId,
        answer: (String, Option<Vec<u8>>),
    ) -> Result<Option<Creation>, StoreError> {
        let (outcome, value) = answer;
        match (outcome.as_str(), value) {
            ("created", None) => Ok(None),
            ("gone", None) => Ok(Some(Creation::Gone)),
            ("taken", Some(value)) => {
                let Some(token) = Standing::read(id, Some(&value))?.token() else {
                    return Ok(None);
                };
                Ok(Some(Creation::Taken(self.whole(line, token).await?)))
            }
            ("claimed", Some(value)) => {
                let claim = Claim::read(&value)?;
                if claim.deleted.is_none() && claim.id == draft.id {
                    return Ok(None);
                }
                self.claimed(line, draft, &claim).await
            }
            (other, _) => Err(unexpected(other)),
        }
    }
}
