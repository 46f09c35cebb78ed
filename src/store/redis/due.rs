//! The index of what is due: which tokens a sweep looks at, of which something is to be told by time
//! alone, and when.
//!
//! Of each token that has an end, the index knows a time no later than that at which it vanishes; and a
//! time no later than that of its next alarm. The latter stands for both while it is the earlier one, so
//! that a token has one entry, but for one that may go before it has expired. Times are noted before the
//! record is written, and only ever become earlier; only who looked, and has read the record, notes a
//! later time or none. So no end is missed; what is looked at too early, or in vain, costs one look.

use std::time::Duration;

use redis::{Value, cmd};

use super::RedisStore;
use super::error::{micros, read};
use super::keys::{DueShard, Look};
use super::line::Line;
use super::scripts::{Call, NOTE_DUE, SETTLE_DUE};
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenId};
use crate::store::{SWEPT_MAX, StoreError};

/// How long an entry must have been due before a token that is not there counts as gone: whoever
/// creates it may have noted its time and not written its record yet.
pub(super) const CREATION_TAKES_MAX: Duration = Duration::from_secs(60);
/// Most entries of a shard that are looked at together.
pub(super) const SHARD_MAX: usize = SWEPT_MAX as usize / DueShard::COUNT as usize;

/// An entry whose time has come.
pub(super) struct Due {
    look: Look,
    pub(super) shard: DueShard,
    /// The id of a token, unless somebody else wrote it.
    pub(super) text: Vec<u8>,
    pub(super) time: Timestamp,
}

impl Due {
    pub(super) fn id(&self) -> Option<TokenId> {
        TokenId::parse(std::str::from_utf8(&self.text).ok()?).ok()
    }

    /// Whether a token that is not there at `now` may still be written.
    pub(super) fn may_begin(&self, now: Timestamp) -> bool {
        self.time.saturating_add(CREATION_TAKES_MAX) > now
    }
}

impl RedisStore {
    /// What notes the times of a new token, to be carried out before its record is written.
    pub(super) fn note_beginning(&self, token: &Token) -> Vec<Call> {
        let now = token.create_time;
        let alarm = self.access.alarms.next(token, now);
        let vanishes = token.may_vanish(&self.access.retention, now);
        let vanishes = vanishes.filter(|time| alarm.is_none_or(|alarm| *time < alarm));
        let alarm = alarm.map(|time| self.note(Look::Alarm, token.id, time.micros()));
        let end = vanishes.map(|time| self.note(Look::End, token.id, time.micros()));
        alarm.into_iter().chain(end).collect()
    }

    /// What notes the times of `changed`, to be carried out before its record takes the place of
    /// `standing`; nothing where it vanishes no earlier than was noted for that, and ends as that does.
    pub(super) fn note_change(
        &self,
        standing: &Token,
        changed: &Token,
        now: Timestamp,
    ) -> Vec<Call> {
        // Compared by what alarms follow from: of its times, one may be told just now.
        let ends = |token: &Token| (token.expire_time, token.revoked.is_some());
        let alarm = self.access.alarms.next(changed, now);
        let alarm = alarm.filter(|_| ends(standing) != ends(changed));
        let vanishes = |token: &Token| token.may_vanish(&self.access.retention, now);
        let noted = vanishes(standing);
        let earlier = vanishes(changed).filter(|time| noted.is_none_or(|noted| *time < noted));
        let alarm = alarm.map(|time| self.note(Look::Alarm, changed.id, time.micros()));
        let end = earlier.map(|time| self.note(Look::End, changed.id, time.micros()));
        alarm.into_iter().chain(end).collect()
    }

    /// What lets those who look next find that `token` is gone since `time`, rather than at its end.
    pub(super) fn note_gone(&self, token: &Token, time: Timestamp, looks: &[Look]) -> Vec<Call> {
        let taken = CREATION_TAKES_MAX.as_micros();
        let ago = time
            .micros()
            .saturating_sub(u64::try_from(taken).unwrap_or_default());
        let pending = |look: &&Look| match look {
            Look::End => token.vanish_time(&self.access.retention).is_some(),
            Look::Alarm => self.access.alarms.next(token, time).is_some(),
        };
        let note = |look: &Look| self.note(*look, token.id, ago);
        looks.iter().filter(pending).map(note).collect()
    }

    /// What notes when to look at a token, at the latest.
    pub(super) fn note(&self, look: Look, id: TokenId, time: u64) -> Call {
        NOTE_DUE
            .call([self.shelf(look, DueShard::of(id))])
            .arg(id.as_str())
            .arg(time.to_string())
    }

    fn shelf(&self, look: Look, shard: DueShard) -> String {
        match look {
            Look::End => self.access.keys.due(shard),
            Look::Alarm => self.access.keys.alarms(shard),
        }
    }

    /// Some of what is due in each of `shards` at `now`, behind so many that are passed over; and
    /// whether there may be more.
    pub(super) async fn due(
        &self,
        line: &Line<'_>,
        look: Look,
        shards: Vec<(DueShard, usize)>,
        now: Timestamp,
    ) -> Result<(Vec<Due>, bool), StoreError> {
        let ask = |(shard, passed): &(DueShard, usize)| {
            let mut command = cmd("ZRANGE");
            command.arg(self.shelf(look, *shard)).arg("-inf");
            command.arg(now.micros()).arg("BYSCORE");
            command.arg("LIMIT").arg(*passed).arg(SHARD_MAX);
            command.arg("WITHSCORES");
            command
        };
        let commands = shards.iter().map(ask).collect();
        let answers = line.commands(self.access.write_timeout, commands).await?;
        let mut due = Vec::new();
        let mut full = false;
        for ((shard, _), answer) in shards.into_iter().zip(answers) {
            let entries = read_entries(look, shard, answer)?;
            full |= entries.len() == SHARD_MAX;
            due.extend(entries);
        }
        Ok((due, full))
    }

    /// What notes that `due` was judged: to be looked at later, or not any more.
    pub(super) fn settle(&self, due: &Due, later: Option<Timestamp>) -> Call {
        let later = later.map_or(String::new(), |later| later.micros().to_string());
        SETTLE_DUE
            .call([self.shelf(due.look, due.shard)])
            .arg(due.text.as_slice())
            .arg(due.time.micros().to_string())
            .arg(later)
    }
}

fn read_entries(look: Look, shard: DueShard, answer: Value) -> Result<Vec<Due>, StoreError> {
    let flat: Vec<(Vec<u8>, String)> = read(answer)?;
    let due = |(text, time): (Vec<u8>, String)| {
        let time = Timestamp::from_micros(micros(&time)?);
        Ok(Due {
            look,
            shard,
            text,
            time,
        })
    };
    flat.into_iter().map(due).collect()
}
