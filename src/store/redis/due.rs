//! The index of what is due: which tokens a sweep looks at, and when.
//!
//! Of each token that has an end, the index knows a time no later than that at which it vanishes. It
//! is noted before the record is written, and only ever becomes earlier; only a sweep, which has
//! read the record, notes a later time or none. So no end is missed; what is looked at too early, or
//! in vain, costs one look.

use std::time::Duration;

use redis::{Value, cmd};

use super::RedisStore;
use super::error::{micros, read};
use super::keys::DueShard;
use super::line::Line;
use super::scripts::{Call, NOTE_DUE, SETTLE_DUE};
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenId};
use crate::store::{SWEPT_MAX, StoreError};

/// How long an entry must have been due before a token that is not there counts as gone: whoever
/// creates it may have noted its time and not written its record yet.
pub(super) const CREATION_TAKES_MAX: Duration = Duration::from_secs(60);
/// Most entries of a shard that are looked at together.
const SHARD_MAX: usize = SWEPT_MAX as usize / DueShard::COUNT as usize;

/// An entry whose time has come.
pub(super) struct Due {
    shard: DueShard,
    /// The id of a token, unless somebody else wrote it.
    pub(super) text: Vec<u8>,
    pub(super) time: Timestamp,
}

impl Due {
    pub(super) fn id(&self) -> Option<TokenId> {
        TokenId::parse(std::str::from_utf8(&self.text).ok()?).ok()
    }
}

impl RedisStore {
    /// What notes the end of `token`, to be carried out before its record takes the place of
    /// `standing`; nothing where it vanishes no earlier than was noted for that.
    pub(super) fn note_end(
        &self,
        standing: Option<&Token>,
        token: &Token,
        now: Timestamp,
    ) -> Option<Call> {
        let vanishes = |token: &Token| token.may_vanish(&self.access.retention, now);
        let time = vanishes(token)?;
        let noted = standing.and_then(vanishes);
        let earlier = noted.is_none_or(|noted| time < noted);
        earlier.then(|| self.note(token.id, time.micros()))
    }

    /// What lets the next sweep find that `token` was deleted under `revision`, rather than the one
    /// at its end.
    pub(super) fn note_deletion(&self, token: &Token, revision: u64) -> Option<Call> {
        token.vanish_time(&self.access.retention)?;
        let taken = CREATION_TAKES_MAX.as_micros();
        let ago = u64::try_from(taken).unwrap_or_default();
        Some(self.note(token.id, revision.saturating_sub(ago)))
    }

    fn note(&self, id: TokenId, time: u64) -> Call {
        NOTE_DUE
            .call([self.access.keys.due(DueShard::of(id))])
            .arg(id.as_str())
            .arg(time.to_string())
    }

    /// Some of what is due in `shards` at `now`, and whether there may be more.
    pub(super) async fn due(
        &self,
        line: &Line<'_>,
        shards: Vec<DueShard>,
        now: Timestamp,
    ) -> Result<(Vec<Due>, bool), StoreError> {
        let ask = |shard: &DueShard| {
            let mut command = cmd("ZRANGE");
            command.arg(self.access.keys.due(*shard)).arg("-inf");
            command.arg(now.micros()).arg("BYSCORE");
            command.arg("LIMIT").arg(0).arg(SHARD_MAX);
            command.arg("WITHSCORES");
            command
        };
        let commands = shards.iter().map(ask).collect();
        let answers = line.commands(self.access.write_timeout, commands).await?;
        let mut due = Vec::new();
        let mut full = false;
        for (shard, answer) in shards.into_iter().zip(answers) {
            let entries = read_entries(shard, answer)?;
            full |= entries.len() == SHARD_MAX;
            due.extend(entries);
        }
        Ok((due, full))
    }

    /// What notes that `due` was judged: to be looked at later, or not any more.
    pub(super) fn settle(&self, due: &Due, later: Option<Timestamp>) -> Call {
        let later = later.map_or(String::new(), |later| later.micros().to_string());
        SETTLE_DUE
            .call([self.access.keys.due(due.shard)])
            .arg(due.text.as_slice())
            .arg(due.time.micros().to_string())
            .arg(later)
    }
}

fn read_entries(shard: DueShard, answer: Value) -> Result<Vec<Due>, StoreError> {
    let flat: Vec<(Vec<u8>, String)> = read(answer)?;
    let due = |(text, time): (Vec<u8>, String)| {
        let time = Timestamp::from_micros(micros(&time)?);
        Ok(Due { shard, text, time })
    };
    flat.into_iter().map(due).collect()
}
