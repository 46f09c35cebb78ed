//! One step of a sweep: tokens that were kept long enough go, with all that is kept about them.
//!
//! A token goes in stages, each for all tokens of the step together: its record is put aside, its
//! entries and its claim are removed, what was put aside is, and at last the entry of what is due.
//! That entry leads the next sweep to whatever a sweep that died has left, and what was put aside
//! says which index entries that may be.

use async_trait::async_trait;
use redis::{Value, cmd};

use super::RedisStore;
use super::due::Due;
use super::error::{read, unexpected};
use super::index::Entry;
use super::keys::{DueShard, Look};
use super::leases::pool_of;
use super::line::Line;
use super::scripts::{CLEAR_REMAINS, Call, END_CLAIM, VANISH_POOLED, VANISH_TOKEN};
use super::standing::Standing;
use super::tenancy::pool_text;
use super::tokens::root_of;
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenId};
use crate::domain::usage::Subject;
use crate::store::{StoreError, Sweeping, Swept, UNREADABLE_POSTPONED};

/// Parts of a step that are carried out beside each other.
const PARTS: usize = 4;

/// What stands of a token: its record, what remains of it, its tenure, the days of its use.
type Kept = [Option<Vec<u8>>; 4];

/// What becomes of a due entry.
enum Fate {
    /// It stays as it is, to be looked at again.
    Wait,
    /// Its time is later; never where that is `None`.
    Settle(Option<Timestamp>),
    /// It goes, if its tenure still is as it was read, where it is pooled.
    Vanish(Vanishing),
    /// A sweep died before it had removed all that was kept about this token.
    Clear(Token),
}

struct Vanishing {
    token: Token,
    tenure: Vec<u8>,
    days: Vec<u8>,
}

#[async_trait]
impl Sweeping for RedisStore {
    async fn sweep(&self) -> Result<Swept, StoreError> {
        let line = &self.access.links.line()?;
        let now = self.time(line).await?;
        // Those whose end was not told yet come to what is swept by being told.
        let told = self.in_turn(line, self.tell_alarms(line, now)).await?;
        // Redis works for one part while we do for another.
        let part = |number| self.sweep_part(line, number, now);
        let parts = tokio::try_join!(part(0), part(1), part(2), part(3))?;
        let parts: [Swept; PARTS] = parts.into();
        Ok(Swept {
            removed: parts.iter().map(|part| part.removed).sum(),
            more: told.more || parts.iter().any(|part| part.more),
        })
    }
}

impl RedisStore {
    /// Takes the step in some of the shards.
    async fn sweep_part(
        &self,
        line: &Line<'_>,
        number: usize,
        now: Timestamp,
    ) -> Result<Swept, StoreError> {
        let shards = DueShard::all().skip(number).step_by(PARTS);
        let shards = shards.map(|shard| (shard, 0)).collect();
        let (due, full) = self.due(line, Look::End, shards, now).await?;
        let fates = self.judge(line, &due, now).await?;

        let mut settled = Vec::new();
        let mut vanishing = Vec::new();
        let mut cleared = Vec::new();
        for (due, fate) in due.iter().zip(fates) {
            match fate {
                Fate::Wait => {}
                Fate::Settle(later) => settled.push(self.settle(due, later)),
                Fate::Vanish(token) => vanishing.push((due, token)),
                Fate::Clear(token) => cleared.push(token),
            }
        }
        let calls = vanishing
            .iter()
            .map(|(_, vanishing)| self.vanish(vanishing));
        let vanished = self.carry_out(line, calls.collect()).await?;
        let mut hours = Vec::new();
        for ((due, vanishing), vanished) in vanishing.into_iter().zip(vanished) {
            // Else it changed, and is judged again.
            if vanished {
                let Vanishing { token, days, .. } = vanishing;
                settled.extend(self.note_gone(&token, now, &[Look::Alarm]));
                hours.push((token.id, days));
                settled.push(self.settle(due, None));
                self.teller.poke(pool_of(&token));
                cleared.push(token);
            }
        }
        let removed = hours.len();
        self.forget_hours(line, hours).await;
        self.clear(line, &cleared).await?;
        let done = settled.len() + cleared.len();
        self.carry_out(line, settled).await?;
        Ok(Swept {
            removed,
            // What can only wait must not be looked at again and again.
            more: full && done > 0,
        })
    }

    /// The store's time.
    pub(super) async fn time(&self, line: &Line<'_>) -> Result<Timestamp, StoreError> {
        if let Some(clock) = &self.access.clock {
            return Ok(clock.now());
        }
        let answer = line
            .command(self.access.write_timeout, &cmd("TIME"))
            .await?;
        self.time_of(answer)
    }

    /// The time that `TIME` answered, or the given clock's.
    pub(super) fn time_of(&self, answer: Value) -> Result<Timestamp, StoreError> {
        if let Some(clock) = &self.access.clock {
            return Ok(clock.now());
        }
        let (seconds, micros): (u64, u64) = read(answer)?;
        Ok(Timestamp::from_micros(seconds * 1_000_000 + micros))
    }

    /// Reads what stands at the ids that are due, at last the marker, and decides.
    async fn judge(
        &self,
        line: &Line<'_>,
        due: &[Due],
        now: Timestamp,
    ) -> Result<Vec<Fate>, StoreError> {
        let keys = &self.access.keys;
        let limit = self.access.write_timeout;
        let ids: Vec<Option<TokenId>> = due.iter().map(Due::id).collect();
        let mut commands = Vec::with_capacity(due.len() + 1);
        for id in ids.iter().flatten() {
            let mut all = cmd("MGET");
            all.arg(keys.record(*id)).arg(keys.remains(*id));
            all.arg(keys.tenure(*id));
            all.arg(keys.days(&Subject::Token(*id)));
            commands.push(all);
        }
        commands.push(line.marker());
        let mut answers = line.raw_commands(limit, commands).await?;
        let marker = answers.pop().ok_or_else(|| unexpected("no marker"))?;
        line.check_marker(limit, marker)?;
        let accept = |answer| line.accept(limit, answer);
        let answers = answers.into_iter().map(accept);
        let mut answers = answers.collect::<Result<Vec<_>, _>>()?.into_iter();
        let mut fates = Vec::with_capacity(due.len());
        for (due, id) in due.iter().zip(ids) {
            let fate = match id {
                Some(id) => {
                    let answer = answers.next().unwrap_or_default();
                    let kept: Vec<Option<Vec<u8>>> = read(answer)?;
                    let kept = Kept::try_from(kept);
                    let kept = kept.map_err(|_| unexpected("not as many values as keys"))?;
                    self.fate(line, due, id, kept, now).await?
                }
                None => {
                    let text = String::from_utf8_lossy(&due.text);
                    tracing::error!(?text, "what is no token was due, and is not any more");
                    Fate::Settle(None)
                }
            };
            fates.push(fate);
        }
        Ok(fates)
    }

    /// Decides by a token's record, its remains, and its tenure.
    async fn fate(
        &self,
        line: &Line<'_>,
        due: &Due,
        id: TokenId,
        [record, remains, stored, days]: Kept,
        now: Timestamp,
    ) -> Result<Fate, StoreError> {
        let read = |value: Option<Vec<u8>>| Standing::read(id, value.as_deref());
        let stored = stored.unwrap_or_default();
        let mut record = read(record).map(Standing::token);
        if let Ok(Some(token)) = record {
            record = match self.holding(line, token, &stored, now).await {
                Err(error @ StoreError::Corrupt(_)) => Err(error),
                held => Ok(Some(held?)),
            };
        }
        Ok(match (read(remains).map(Standing::token), record) {
            (Ok(Some(token)), Ok(None)) => Fate::Clear(token),
            // Its request was repeated and made this id anew: the claim is that token's by now.
            (Ok(Some(token)), _) => Fate::Clear(Token {
                origin: None,
                ..token
            }),
            (Ok(None), Ok(Some(token))) => match token.vanish_time(&self.access.retention) {
                Some(time) if time <= now => Fate::Vanish(Vanishing {
                    token,
                    tenure: stored,
                    days: days.unwrap_or_default(),
                }),
                _ => Fate::Settle(token.may_vanish(&self.access.retention, now)),
            },
            (Ok(None), Ok(None)) => match due.may_begin(now) {
                true => Fate::Wait,
                false => Fate::Settle(None),
            },
            // It may be mended, so it is kept; and must not stand before all others.
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%id, %error, "a due record cannot be read, and is kept");
                Fate::Settle(Some(now.saturating_add(UNREADABLE_POSTPONED)))
            }
        })
    }

    fn vanish(&self, vanishing: &Vanishing) -> Call {
        let Vanishing { token, tenure, .. } = vanishing;
        let stored = tenure.as_slice();
        let (keys, id) = (&self.access.keys, token.id);
        let (record, remains) = (keys.record(id), keys.remains(id));
        let (rates, quota, batches) = (keys.rates(id), keys.quota(id), keys.batches(id));
        let subject = Subject::Token(id);
        let (ledger, days) = (keys.ledger(&subject), keys.days(&subject));
        let revision = token.revision.to_be_bytes();
        if token.tenure.is_none() {
            let call = VANISH_TOKEN.call([record, remains, rates, quota, batches, ledger, days]);
            return call.arg(revision);
        }
        let (base, tenure) = (keys.base(id), keys.tenure(id));
        VANISH_POOLED
            .call([
                base, record, remains, rates, quota, batches, tenure, ledger, days,
            ])
            .arg(revision)
            .arg(stored)
            .arg(id.after_tag())
            .arg(pool_text(token))
    }

    /// Removes all that is kept about tokens whose records were put aside, and those records last.
    async fn clear(&self, line: &Line<'_>, tokens: &[Token]) -> Result<(), StoreError> {
        let keys = &self.access.keys;
        let entries: Vec<Entry> = tokens.iter().flat_map(Entry::all_of).collect();
        self.series.remove_all(line, &entries).await?;
        self.end_outs(line, tokens).await?;
        let claims = tokens.iter().filter_map(|token| {
            let root = token.origin.as_ref().map(root_of);
            let root = root.filter(|root| *root != token.id)?;
            let call = END_CLAIM.call([keys.claim(root)]).arg(token.id.as_str());
            Some(call.arg("").arg(""))
        });
        self.carry_out(line, claims.collect()).await?;
        let remains = tokens.iter().map(|token| {
            CLEAR_REMAINS
                .call([keys.remains(token.id)])
                .arg(token.revision.to_be_bytes())
        });
        self.carry_out(line, remains.collect()).await?;
        Ok(())
    }

    /// Runs scripts that answer whether they did something.
    pub(super) async fn carry_out(
        &self,
        line: &Line<'_>,
        calls: Vec<Call>,
    ) -> Result<Vec<bool>, StoreError> {
        let answers = line.scripts(self.access.write_timeout, &calls).await?;
        let done = |answer| read::<u64>(answer).map(|done| done > 0);
        answers.into_iter().map(done).collect()
    }
}
