//! What is told of tokens by time alone: that their end is near, and that it has come.
//!
//! Whoever has the turn looks at those whose time has come, tells what was due since then, and only then
//! notes the next time: so where it dies, the next one tells it again. A token that was changed meanwhile
//! is looked at again, since a time that is noted is another one.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use redis::cmd;

use super::log::Item;
use super::stored;
use crate::domain::event::{Event, EventKind};
use crate::domain::pool::Pool;
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenId};
use crate::store::events::Told;
use crate::store::redis::RedisStore;
use crate::store::redis::due::{Due, SHARD_MAX};
use crate::store::redis::error::{read, unexpected};
use crate::store::redis::keys::{DueShard, Look};
use crate::store::redis::leases::pool_of;
use crate::store::redis::line::Line;
use crate::store::redis::scripts::Call;
use crate::store::redis::standing::{Standing, remembered};
use crate::store::{StoreError, UNREADABLE_POSTPONED};

/// What becomes of an entry whose time has come.
enum Fate {
    /// It stays: a token may be written there.
    Wait,
    /// Its time is later; never where that is `None`.
    Settle(Option<Timestamp>),
    Tell(Box<Token>),
}

impl RedisStore {
    /// Takes the step for some of the tokens whose time has come.
    pub(in crate::store::redis) async fn tell_alarms(
        &self,
        line: &Line<'_>,
        now: Timestamp,
    ) -> Result<Told, StoreError> {
        let passed = self.walked().passed.clone();
        let shards = DueShard::all().map(|shard| (shard, passed[shard.number()]));
        let (due, full) = self.due(line, Look::Alarm, shards.collect(), now).await?;
        let fates = self.judge_alarms(line, &due, now).await?;
        let mut told = Vec::new();
        let mut settled: Vec<Call> = Vec::new();
        let mut found = [0; DueShard::COUNT as usize];
        let mut waiting = [0; DueShard::COUNT as usize];
        for (due, fate) in due.iter().zip(fates) {
            found[due.shard.number()] += 1;
            match fate {
                Fate::Wait => waiting[due.shard.number()] += 1,
                Fate::Settle(later) => settled.push(self.settle(due, later)),
                Fate::Tell(token) => told.push((due, token)),
            }
        }
        let count = self.append_alarms(line, told, &mut settled, now).await?;
        let done = settled.len();
        self.carry_out(line, settled).await?;
        let mut walked = self.walked();
        for (at, passed) in walked.passed.iter_mut().enumerate() {
            // Those who wait must not stand before all others; nor be passed over for ever.
            *passed = match found[at] == SHARD_MAX {
                true => *passed + waiting[at],
                false => 0,
            };
        }
        Ok(Told {
            told: count,
            more: full && done > 0,
        })
    }

    /// Tells what is due of tokens, and adds to `settled` what notes it; but for those of which
    /// something that was done before is not told yet: they are looked at again. Answers how many
    /// events it told.
    async fn append_alarms(
        &self,
        line: &Line<'_>,
        tokens: Vec<(&Due, Box<Token>)>,
        settled: &mut Vec<Call>,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let pools: BTreeSet<Pool> = tokens
            .iter()
            .filter_map(|(_, token)| pool_of(token))
            .collect();
        if !pools.is_empty() {
            let moved = self.access.move_outboxes(line, pools.into_iter().collect());
            moved
                .await?
                .left
                .into_iter()
                .for_each(|pool| self.teller.poke(Some(pool)));
        }
        let mut items = Vec::new();
        let mut ranges = Vec::with_capacity(tokens.len());
        for (due, token) in &tokens {
            let from = items.len();
            items.extend(self.alarms_of(token, due.time, now));
            ranges.push(from..items.len());
        }
        let done = self.access.append(line, &items).await?;
        for ((due, token), range) in tokens.iter().zip(ranges) {
            if done[range].iter().all(|done| *done) {
                settled.extend(self.note_next(due, token, now));
            }
        }
        Ok(done.into_iter().filter(|done| *done).count())
    }

    /// Reads the tokens, at last the marker, and decides.
    async fn judge_alarms(
        &self,
        line: &Line<'_>,
        due: &[Due],
        now: Timestamp,
    ) -> Result<Vec<Fate>, StoreError> {
        let keys = &self.access.keys;
        let limit = self.access.write_timeout;
        let ids: Vec<Option<TokenId>> = due.iter().map(Due::id).collect();
        let ask = |id: &TokenId| {
            let mut both = cmd("MGET");
            both.arg(keys.record(*id)).arg(keys.tenure(*id));
            both
        };
        let asked = ids.iter().flatten().map(ask);
        let asked = asked.chain([line.marker()]).collect();
        let mut answers = line.commands(limit, asked).await?;
        let marker = answers.pop().ok_or_else(|| unexpected("no marker"))?;
        line.check_marker(limit, marker)?;
        let mut answers = answers.into_iter();
        let mut fates = Vec::with_capacity(due.len());
        for (due, id) in due.iter().zip(ids) {
            let Some(id) = id else {
                fates.push(Fate::Settle(None));
                continue;
            };
            let kept: (Option<Vec<u8>>, Option<Vec<u8>>) =
                read(answers.next().unwrap_or_default())?;
            let fate = match self.fate_of(line, due, id, kept, now).await {
                Err(StoreError::Corrupt(error)) => {
                    tracing::error!(%id, error, "a due record cannot be read; nothing is told of it");
                    Fate::Settle(Some(now.saturating_add(UNREADABLE_POSTPONED)))
                }
                fate => fate?,
            };
            fates.push(fate);
        }
        Ok(fates)
    }

    async fn fate_of(
        &self,
        line: &Line<'_>,
        due: &Due,
        id: TokenId,
        (record, stored): (Option<Vec<u8>>, Option<Vec<u8>>),
        now: Timestamp,
    ) -> Result<Fate, StoreError> {
        let stored = stored.unwrap_or_default();
        Ok(match Standing::read(id, record.as_deref())? {
            Standing::Token(token) => {
                let token = self.holding(line, token, &stored, now).await?;
                match token.lapsed(now) {
                    true => Fate::Settle(None),
                    false => Fate::Tell(Box::new(token)),
                }
            }
            // Nothing can be written there meanwhile.
            Standing::Deletion(revision) if remembered(revision, now) => Fate::Settle(None),
            Standing::Nothing | Standing::Deletion(_) => match due.may_begin(now) {
                true => Fate::Wait,
                false => Fate::Settle(None),
            },
        })
    }

    /// What is to be told of a token since `since`.
    fn alarms_of(&self, token: &Token, since: Timestamp, now: Timestamp) -> Vec<Item> {
        let due = self.access.alarms.due(token, since, now);
        let item = |(time, kind, left)| {
            let event = stored::event(kind, time, token.clone());
            let detail = match kind {
                EventKind::Expiring => stored::away(left),
                _ => event.detail,
            };
            let event = Event { detail, ..event };
            Item::behind(token.id, stored::encode(&event))
        };
        due.into_iter().map(item).collect()
    }

    /// What notes when something is to be told next; and when the token vanishes, where that is earlier,
    /// since the time that is settled stood for both.
    fn note_next(&self, due: &Due, token: &Token, now: Timestamp) -> Vec<Call> {
        let next = self.access.alarms.next(token, now);
        let vanishes = token.may_vanish(&self.access.retention, now);
        let vanishes = vanishes.filter(|time| next.is_none_or(|next| *time < next));
        let note = vanishes.map(|time| self.note(Look::End, token.id, time.micros()));
        note.into_iter().chain([self.settle(due, next)]).collect()
    }

    pub(super) fn walked(&self) -> std::sync::MutexGuard<'_, super::Walked> {
        self.walked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
