//! How many tokens are in force: all of a namespace, but for those that an index says are not.
//!
//! The index knows of each token that is out of force, or will be by itself, since when: so nothing is
//! done when a token expires, and counting takes as long however many are in force. It stands in another
//! slot than the records. Who changes a record so that its entry changes writes the entry behind it, in
//! the same exchange, and reads the record behind that: where it says something else than was written, it
//! is written again by what stands there, until both agree. So whoever writes an entry last has seen, after
//! that, the record that it is of; and of those who change a record at once, however late each comes, the
//! last one leaves its entry right. One that dies between leaves it wrong, until another change of the
//! entry, the token's end, or somebody who finds the entry among those that expire next.
//!
//! A pooled token that nobody kept alive counts until it is swept: that it is gone follows from no record.

use redis::{Cmd, Value, cmd};

use super::RedisStore;
use super::error::{micros, read, unexpected};
use super::line::{Line, PIPELINE_MAX};
use super::namespaces::Namespaces;
use super::scripts::NOTE_OUT;
use super::standing::Standing;
use super::tokens::ATTEMPTS_MAX;
use crate::domain::name::Namespace;
use crate::domain::page::Cursor;
use crate::domain::time::Timestamp;
use crate::domain::token::{State, Token, TokenId};
use crate::store::StoreError;
use crate::store::usage::InForce;

/// How often those that expire next are looked for, where entries were found wrong and mended.
const LOOKS_MAX: usize = 8;

/// Since when a token is out of force, as its entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Out<'a> {
    namespace: &'a Namespace,
    id: TokenId,
    since: Option<Timestamp>,
}

impl<'a> Out<'a> {
    /// Of a token as it stands; it has no entry where it is never out of force by itself.
    fn of(token: &'a Token) -> Self {
        let off = token.revoked.is_some() || token.profile.disabled;
        Self {
            namespace: &token.namespace,
            id: token.id,
            since: match off {
                true => Some(Timestamp::from_micros(0)),
                false => token.expire_time,
            },
        }
    }

    /// What is to be noted of a new token.
    pub(super) fn of_beginning(token: &'a Token) -> Option<Self> {
        Some(Self::of(token)).filter(|out| out.since.is_some())
    }

    /// What is to be noted when `changed` takes the place of `token`.
    pub(super) fn of_change(token: &Token, changed: &'a Token) -> Option<Self> {
        Some(Self::of(changed)).filter(|out| out.since != Out::of(token).since)
    }

    /// What is to be noted when `token` goes.
    pub(super) fn of_end(token: &'a Token) -> Option<Self> {
        let out = Self::of_beginning(token)?;
        Some(Self { since: None, ..out })
    }
}

/// One that expires next, as its entry says.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Next {
    time: u64,
    id: TokenId,
    namespace: Namespace,
}

impl RedisStore {
    /// The commands that note `out`, and read what it should be of; to be answered to [`Self::see_out`].
    pub(super) fn note_out(&self, out: &Out<'_>) -> Vec<Cmd> {
        let keys = &self.access.keys;
        let since = out.since.map(|since| since.micros().to_string());
        let note = NOTE_OUT
            .call([keys.out_of_force(out.namespace)])
            .arg(out.id.as_str())
            .arg(since.unwrap_or_default());
        let mut record = cmd("GET");
        record.arg(keys.record(out.id));
        vec![note.whole(), record]
    }

    /// Notes again what stands, until what was noted last is what stands there; answers whether that was
    /// needed. It never fails whoever changes the token: that is done.
    pub(super) async fn see_out(&self, line: &Line<'_>, out: Out<'_>, answers: Vec<Value>) -> bool {
        let (namespace, id) = (out.namespace, out.id);
        let seen = self.try_see_out(line, out, answers).await;
        seen.unwrap_or_else(|error| {
            tracing::debug!(%id, %namespace, %error, "it may be counted wrongly among those in force");
            false
        })
    }

    async fn try_see_out(
        &self,
        line: &Line<'_>,
        mut out: Out<'_>,
        mut answers: Vec<Value>,
    ) -> Result<bool, StoreError> {
        let limit = self.access.write_timeout;
        for attempt in 0..ATTEMPTS_MAX {
            let record = answers.pop().ok_or_else(|| unexpected("no record"))?;
            for note in answers {
                line.accept(limit, note)?;
            }
            let record: Option<Vec<u8>> = read(line.accept(limit, record)?)?;
            let token = Standing::read(out.id, record.as_deref())?.token();
            let token = token.filter(|token| token.namespace == *out.namespace);
            let since = token.and_then(|token| Out::of(&token).since);
            if since == out.since {
                return Ok(attempt > 0);
            }
            out.since = since;
            answers = line.raw_commands(limit, self.note_out(&out)).await?;
        }
        Err(StoreError::Contended(ATTEMPTS_MAX))
    }

    /// Removes what was noted of tokens that are gone.
    pub(super) async fn end_outs(
        &self,
        line: &Line<'_>,
        tokens: &[Token],
    ) -> Result<(), StoreError> {
        let outs: Vec<_> = tokens.iter().filter_map(Out::of_end).collect();
        let commands = outs.iter().flat_map(|out| self.note_out(out)).collect();
        let limit = self.access.write_timeout;
        let mut answers = line.raw_commands(limit, commands).await?.into_iter();
        for out in outs {
            let own = answers.by_ref().take(2).collect();
            self.try_see_out(line, out, own).await?;
        }
        Ok(())
    }

    /// Carries out [`crate::store::UsageStore::standing`].
    pub(super) async fn count_in_force(
        &self,
        namespace: Option<&Namespace>,
        until: Timestamp,
        most: usize,
    ) -> Result<InForce, StoreError> {
        let line = &self.access.links.line()?;
        let mut looks = 1;
        loop {
            let now = self.time(line).await?;
            let (active, next) = self.look(line, namespace, (now, until), most).await?;
            let expiring = self.tokens_of(line, &next).await?;
            let mended = expiring.len() < next.len() && self.mend(line, &next, &expiring).await?;
            if !mended || looks == LOOKS_MAX {
                // What is absent is absent from this very store.
                line.confirm(self.access.write_timeout).await?;
                return Ok(InForce { active, expiring });
            }
            looks += 1;
        }
    }

    /// Notes again what stands of those that their tokens do not bear out; answers whether any was wrong.
    async fn mend(
        &self,
        line: &Line<'_>,
        next: &[Next],
        expiring: &[Token],
    ) -> Result<bool, StoreError> {
        let mut mended = false;
        let shown = |id: TokenId| expiring.iter().any(|token| token.id == id);
        for next in next.iter().filter(|next| !shown(next.id)) {
            let mut record = cmd("GET");
            record.arg(self.access.keys.record(next.id));
            let answer = line.command(self.access.write_timeout, &record).await?;
            let out = Out {
                namespace: &next.namespace,
                id: next.id,
                since: Some(Timestamp::from_micros(next.time)),
            };
            mended |= self.see_out(line, out, vec![answer]).await;
        }
        Ok(mended)
    }

    /// How many are in force at the first of two times, and which expire next up to the second.
    async fn look(
        &self,
        line: &Line<'_>,
        namespace: Option<&Namespace>,
        times: (Timestamp, Timestamp),
        most: usize,
    ) -> Result<(u64, Vec<Next>), StoreError> {
        if let Some(namespace) = namespace {
            let namespaces = vec![namespace.clone()];
            return self.look_into(line, namespaces, times, most).await;
        }
        let (mut active, mut next) = (0, Vec::new());
        let mut names = Namespaces::after(&self.access, line, None);
        while let Some(some) = names.next(PIPELINE_MAX).await? {
            let (more, of_these) = self.look_into(line, some, times, most).await?;
            active += more;
            next.extend(of_these);
            next.sort_unstable();
            next.truncate(most);
        }
        Ok((active, next))
    }

    async fn look_into(
        &self,
        line: &Line<'_>,
        namespaces: Vec<Namespace>,
        (now, until): (Timestamp, Timestamp),
        most: usize,
    ) -> Result<(u64, Vec<Next>), StoreError> {
        let limit = self.access.write_timeout;
        let mut commands = Vec::with_capacity(2 * namespaces.len());
        for namespace in &namespaces {
            let key = self.access.keys.out_of_force(namespace);
            let mut out = cmd("ZCOUNT");
            out.arg(&key).arg("-inf").arg(now.micros());
            let mut next = cmd("ZRANGE");
            next.arg(&key).arg(format!("({}", now.micros()));
            next.arg(until.micros()).arg("BYSCORE");
            next.arg("LIMIT").arg(0).arg(most).arg("WITHSCORES");
            commands.extend([out, next]);
        }
        let mut answers = line.commands(limit, commands).await?.into_iter();
        let counted = self.count(line, namespaces, &mut u64::MAX.clone()).await?;
        let (mut active, mut all) = (0, Vec::new());
        for (namespace, tokens) in counted {
            let out: u64 = read(answers.next().unwrap_or_default())?;
            active += tokens.saturating_sub(out);
            let next: Vec<(String, String)> = read(answers.next().unwrap_or_default())?;
            for (id, time) in next {
                let Ok(id) = TokenId::parse(&id) else {
                    tracing::error!(%namespace, "what is no token is noted as one that expires");
                    continue;
                };
                all.push(Next {
                    time: micros(&time)?,
                    id,
                    namespace: namespace.clone(),
                });
            }
        }
        all.sort_unstable();
        all.truncate(most);
        Ok((active, all))
    }

    /// The tokens of some entries, where they bear them out.
    async fn tokens_of(&self, line: &Line<'_>, next: &[Next]) -> Result<Vec<Token>, StoreError> {
        if next.is_empty() {
            return Ok(Vec::new());
        }
        let entry = |next: &Next| Cursor {
            create_time: Timestamp::from_micros(0),
            id: next.id,
        };
        let entries: Vec<_> = next.iter().map(entry).collect();
        let (tokens, now) = self.read_all(line, &entries).await?;
        let borne_out = next.iter().zip(tokens).filter_map(|(next, token)| {
            let end = Some(Timestamp::from_micros(next.time));
            token.filter(|token| token.expire_time == end && token.state(now) == State::Active)
        });
        Ok(borne_out.collect())
    }
}
