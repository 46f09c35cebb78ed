//! The acts on single tokens, each within a transaction that the caller holds.

use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, Row};

use super::census::population;
use super::error::Fault;
use super::events::Log;
use super::peppers::Peppers;
use super::pools::{self, Place, Spot, Stand};
use super::queue::Queues;
use super::schema;
use super::seen::Seen;
use super::time::StoreTime;
use super::usage::{Unfolded, inactive_from};
use crate::domain::name::{Namespace, Owner, PoolName};
use crate::domain::pool::Pool;
use crate::domain::retention::Retention;
use crate::domain::tenure::Tenure;
use crate::domain::time::Timestamp;
use crate::domain::token::{Draft, REPLAY_WINDOW, RequestKey, Ruling, Token, TokenId};
use crate::store::{Change, Creation, Deletion, Rule, StoreError, StoreId, record, tenure};

/// Outdated markers that one Create or Delete removes: more than it may add, so that they dwindle.
pub(super) const PURGED_AT_ONCE: u32 = 8;

/// A transaction's view of the store.
pub(super) struct Acts<'a> {
    pub(super) connection: &'a Connection,
    pub(super) id: &'a StoreId,
    pub(super) time: &'a StoreTime,
    pub(super) retention: Retention,
    pub(super) peppers: &'a Peppers,
    pub(super) seen: &'a Seen,
    pub(super) queues: &'a Queues,
    pub(super) log: &'a Log,
    pub(super) unfolded: &'a Unfolded,
}

/// A token's row, as it was written; its time may have come since.
pub(super) struct Kept {
    row: i64,
    spot: Option<Spot>,
    token: Token,
    tenure: Option<Tenure>,
}

/// A token as it stands, where its row is, and where it stood in its pool when that was noticed last.
pub(super) struct Entry {
    pub(super) row: i64,
    pub(super) spot: Option<Spot>,
    pub(super) token: Token,
}

impl Kept {
    /// As it is `now`.
    pub(super) fn at(self, now: Timestamp, seen: &Seen) -> Entry {
        let Self {
            row,
            spot,
            token,
            tenure,
        } = self;
        let token = match tenure {
            Some(tenure) => token.holding(tenure, now, &seen.until(now)),
            None => token,
        };
        if token.lapsed(now) {
            // Whoever says so was there: no absence that is noticed later can have begun before.
            seen.see(now);
        }
        Entry { row, spot, token }
    }
}

/// What [`read_kept`] reads, in its order.
macro_rules! columns {
    () => {
        "id, revision, record, tenure, rowid, pool_id, place, position"
    };
}
pub(super) use columns;

impl Acts<'_> {
    /// The token as it was written, or `None` once the store has shown its identity marker.
    pub(super) fn find(&self, id: TokenId) -> Result<Option<Kept>, Fault> {
        let sql = concat!("SELECT ", columns!(), " FROM tokens WHERE id = ?1");
        let kept = self.select(sql, &[&id.as_str()])?;
        if kept.is_none() {
            schema::confirm(self.connection, self.id)?;
        }
        Ok(kept)
    }

    /// Whether the token has this revision.
    pub(super) fn stands(&self, id: TokenId, revision: u64) -> Result<bool, Fault> {
        let sql = "SELECT 1 FROM tokens WHERE id = ?1 AND revision = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.exists((id.as_str(), revision.cast_signed()))?)
    }

    /// What was found as it stands `now`; nothing, once the store has shown its identity marker,
    /// where nobody kept it alive.
    pub(super) fn present(
        &self,
        kept: Option<Kept>,
        now: Timestamp,
    ) -> Result<Option<Entry>, Fault> {
        let entry = kept.map(|kept| kept.at(now, self.seen));
        match entry {
            Some(entry) if entry.token.lapsed(now) => {
                schema::confirm(self.connection, self.id)?;
                Ok(None)
            }
            other => Ok(other),
        }
    }

    /// The token of that row.
    pub(super) fn by_row(&self, row: i64) -> Result<Option<Kept>, Fault> {
        let sql = concat!("SELECT ", columns!(), " FROM tokens WHERE rowid = ?1");
        self.select(sql, &[&row])
    }

    pub(super) fn create(&self, draft: &Draft) -> Result<Creation, Fault> {
        let now = self.time.now();
        let key = draft.origin.as_ref().map(|origin| origin.key);
        if let Some(kept) = self.made_by(draft.id, key)? {
            return Ok(Creation::Taken(kept.at(now, self.seen).token));
        }
        let marker = self.marker(draft.id, key)?;
        if marker.as_ref().is_some_and(|marker| now < marker.until) {
            return Ok(Creation::Gone);
        }
        let start = match self.newest(&draft.namespace)? {
            Some(newest) => now.max(Timestamp::from_micros(newest.micros() + 1)),
            None => now,
        };
        let mut token = match draft.issue(start) {
            Ok(token) => token,
            Err(refusal) => return Ok(Creation::Refused(refusal)),
        };
        if draft.bounds.tokens_max.is_some() {
            let others = population(self.connection, &draft.namespace)?;
            if let Err(refusal) = draft.find_room(others) {
                return Ok(Creation::Refused(refusal));
            }
        }
        let last = marker.map_or(0, |marker| marker.revision);
        token.revision = start.micros().max(last + 1);
        let digests = token.secrets.digests();
        self.peppers.keep_those_of(self.connection, digests)?;
        let row = self.insert(&token)?;
        self.note_change(None, Some(&token), start)?;
        if token.tenure.is_some() {
            token = self.stand(row, None, token, start)?;
        }
        self.purge(now, PURGED_AT_ONCE)?;
        Ok(Creation::Created(token))
    }

    pub(super) fn change(&self, id: TokenId, rule: &Rule) -> Result<Change, Fault> {
        let now = self.time.now();
        let Some(entry) = self.present(self.find(id)?, now)? else {
            return Ok(Change::Absent);
        };
        let Entry { row, spot, token } = entry;
        let mut changed = match rule(&token, now) {
            Ruling::Keep => return Ok(Change::Kept(token, now)),
            Ruling::Refuse(refusal) => return Ok(Change::Refused(refusal)),
            Ruling::Replace(changed) => *changed,
        };
        changed.revision = now.micros().max(token.revision + 1);
        changed.tenure = match &token.tenure {
            _ if changed.profile.pool.is_none() => None,
            Some(tenure) => Some(tenure.changed(&token, &changed, now)),
            None => Some(Tenure::begin(&changed, now)),
        };
        let digests = changed.secrets.digests();
        self.peppers.keep_those_of(self.connection, digests)?;
        if changed.expire_time != token.expire_time || changed.revoked != token.revoked {
            self.note_overdue(&token, row, now)?;
        }
        self.connection
            .prepare_cached(
                "UPDATE tokens SET owner = ?2, pool = ?3, revision = ?4, vanish_time = ?5, \
                 inactive_from = ?6, record = ?7, expire_time = ?8 WHERE rowid = ?1",
            )?
            .execute((
                row,
                changed.profile.owner.as_ref().map(Owner::as_str),
                changed.profile.pool.as_ref().map(PoolName::as_str),
                changed.revision.cast_signed(),
                self.vanish_time(&changed, now),
                inactive_from(&changed),
                record::encode(&changed),
                end_of(&changed),
            ))?;
        self.note_change(Some(&token), Some(&changed), now)?;
        if spot.is_some() || changed.tenure.is_some() {
            changed = self.stand(row, spot, changed, now)?;
        }
        Ok(Change::Changed(changed))
    }

    pub(super) fn delete(&self, id: TokenId, rule: &Rule) -> Result<Deletion, Fault> {
        let now = self.time.now();
        let Some(entry) = self.present(self.find(id)?, now)? else {
            return Ok(Deletion::Absent);
        };
        if let Ruling::Refuse(refusal) = rule(&entry.token, now) {
            return Ok(Deletion::Refused(refusal));
        }
        self.note_last(&entry, now)?;
        self.note_change(Some(&entry.token), None, now)?;
        self.remove(&entry)?;
        self.mark_deleted(&entry.token, now)?;
        self.purge(now, PURGED_AT_ONCE)?;
        Ok(Deletion::Deleted)
    }

    /// Removes a token and all that is kept about it; answers whether it was there.
    pub(super) fn remove(&self, entry: &Entry) -> Result<bool, Fault> {
        self.unfolded.gone(entry.token.id);
        pools::remove(self.connection, entry.row)
    }

    /// Remembers that the token is gone until no repetition of its request can come any more.
    fn mark_deleted(&self, token: &Token, now: Timestamp) -> Result<(), Fault> {
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO deleted (id, request_key, revision, until) \
                 VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((
                token.id.as_str(),
                token.origin.as_ref().map(|origin| origin.key.0),
                token.revision.cast_signed(),
                now.saturating_add(REPLAY_WINDOW).micros().cast_signed(),
            ))?;
        Ok(())
    }

    /// Writes down how a token is held, and where it stands in its pool; answers it as it is then.
    /// Where it is free, the calls that wait ask again.
    pub(super) fn stand(
        &self,
        row: i64,
        spot: Option<Spot>,
        mut token: Token,
        now: Timestamp,
    ) -> Result<Token, Fault> {
        if let Some(tenure) = &mut token.tenure {
            tenure.leases = tenure.remembered(now).cloned().collect();
        }
        let tenure = tenure::encode(&token);
        let place = self.put(row, spot, &token, now, tenure.as_deref())?;
        if place.is_none() {
            self.connection
                .prepare_cached("UPDATE tokens SET tenure = ?2 WHERE rowid = ?1")?
                .execute((row, tenure))?;
        }
        if place == Some(Place::Free)
            && let Some(pool) = pool_of(&token)
        {
            self.call(&pool, now)?;
        }
        Ok(token)
    }

    /// Puts a token where it belongs `now`.
    pub(super) fn notice(&self, entry: &Entry, now: Timestamp) -> Result<(), Fault> {
        let Entry { row, spot, token } = entry;
        self.put(*row, *spot, token, now, None)?;
        Ok(())
    }

    /// Puts a token where it belongs `now`, which is answered, with its tenure if that is given.
    fn put(
        &self,
        row: i64,
        spot: Option<Spot>,
        token: &Token,
        now: Timestamp,
        tenure: Option<&[u8]>,
    ) -> Result<Option<Place>, Fault> {
        match (pool_of(token), Place::of(token, now), spot) {
            (Some(pool), Some((place, due)), _) => {
                let to = Stand {
                    pool: pools::opened(self.connection, &pool)?,
                    place,
                    due,
                };
                pools::put(self.connection, row, spot, to, tenure)?;
                self.note_move(token, spot.map(|spot| spot.place), Some(place), now)?;
                Ok(Some(place))
            }
            (_, _, Some(spot)) => {
                pools::leave(self.connection, row, spot)?;
                self.note_move(token, Some(spot.place), None, now)?;
                Ok(None)
            }
            (_, _, None) => Ok(None),
        }
    }

    /// The token that has the id, or else the one that the request made.
    fn made_by(&self, id: TokenId, key: Option<RequestKey>) -> Result<Option<Kept>, Fault> {
        let by_id = self.find(id)?;
        match key {
            Some(key) if by_id.is_none() => self.select(
                concat!("SELECT ", columns!(), " FROM tokens WHERE request_key = ?1"),
                &[&key.0],
            ),
            _ => Ok(by_id),
        }
    }

    /// What is remembered of deleted tokens of that id or request: the longest `until`, the
    /// highest revision.
    fn marker(&self, id: TokenId, key: Option<RequestKey>) -> Result<Option<Marker>, Fault> {
        let by_id = self.marker_where(
            "SELECT max(until), max(revision) FROM deleted WHERE id = ?1",
            &id.as_str(),
        )?;
        let by_key = match key {
            Some(key) => self.marker_where(
                "SELECT max(until), max(revision) FROM deleted WHERE request_key = ?1",
                &key.0,
            )?,
            None => None,
        };
        Ok(match (by_id, by_key) {
            (Some(one), Some(other)) => Some(Marker {
                until: one.until.max(other.until),
                revision: one.revision.max(other.revision),
            }),
            (one, other) => one.or(other),
        })
    }

    fn marker_where(&self, sql: &str, value: &dyn ToSql) -> Result<Option<Marker>, Fault> {
        let (until, revision): (Option<i64>, Option<i64>) = self
            .connection
            .prepare_cached(sql)?
            .query_row([value], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(until.zip(revision).map(|(until, revision)| Marker {
            until: Timestamp::from_micros(until.cast_unsigned()),
            revision: revision.cast_unsigned(),
        }))
    }

    /// The latest `create_time` in the namespace.
    fn newest(&self, namespace: &Namespace) -> Result<Option<Timestamp>, Fault> {
        let newest: Option<i64> = self
            .connection
            .prepare_cached("SELECT max(create_time) FROM tokens WHERE namespace = ?1")?
            .query_row([namespace.as_str()], |row| row.get(0))?;
        Ok(newest.map(|micros| Timestamp::from_micros(micros.cast_unsigned())))
    }

    /// Answers the row.
    fn insert(&self, token: &Token) -> Result<i64, Fault> {
        self.connection
            .prepare_cached(
                "INSERT INTO tokens \
                 (id, namespace, owner, pool, create_time, revision, request_key, vanish_time, \
                 inactive_from, record, expire_time) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute((
                token.id.as_str(),
                token.namespace.as_str(),
                token.profile.owner.as_ref().map(Owner::as_str),
                token.profile.pool.as_ref().map(PoolName::as_str),
                token.create_time.micros().cast_signed(),
                token.revision.cast_signed(),
                token.origin.as_ref().map(|origin| origin.key.0),
                self.vanish_time(token, token.create_time),
                inactive_from(token),
                record::encode(token),
                end_of(token),
            ))?;
        Ok(self.connection.last_insert_rowid())
    }

    /// The column that says when a sweep looks at the token.
    fn vanish_time(&self, token: &Token, now: Timestamp) -> Option<i64> {
        let time = token.may_vanish(&self.retention, now)?;
        Some(time.micros().cast_signed())
    }

    /// Removes at most `most` outdated markers, and as many requests that may not be repeated any
    /// more; answers how many of that kind of which there were more.
    pub(super) fn purge(&self, now: Timestamp, most: u32) -> Result<usize, Fault> {
        let purge = |sql| {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.execute((now.micros().cast_signed(), most))
        };
        let markers = purge(
            "DELETE FROM deleted WHERE rowid IN \
             (SELECT rowid FROM deleted WHERE until <= ?1 ORDER BY until LIMIT ?2)",
        )?;
        let requests = purge(
            "DELETE FROM acquired WHERE request_key IN \
             (SELECT request_key FROM acquired WHERE until <= ?1 ORDER BY until LIMIT ?2)",
        )?;
        Ok(markers.max(requests))
    }

    pub(super) fn select(&self, sql: &str, values: &[&dyn ToSql]) -> Result<Option<Kept>, Fault> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let row = statement
            .query_row(values, |row| Ok(read_kept(row)))
            .optional()?;
        row.transpose()
    }
}

/// The column that says when a token ends.
pub(super) fn end_of(token: &Token) -> Option<i64> {
    token.expire_time.map(|end| end.micros().cast_signed())
}

struct Marker {
    until: Timestamp,
    revision: u64,
}

/// The pool that a token is in.
pub(super) fn pool_of(token: &Token) -> Option<Pool> {
    Some(Pool {
        namespace: token.namespace.clone(),
        name: token.profile.pool.clone()?,
    })
}

/// Reads a row that begins with [`columns`].
pub(super) fn read_kept(row: &Row<'_>) -> Result<Kept, Fault> {
    let token = read_token(row)?;
    let id = token.id;
    let tenure = row.get_ref(3)?.as_blob_or_null()?;
    let tenure = tenure.map(|bytes| tenure::decode(id, bytes)).transpose()?;
    if tenure.is_some() != token.profile.pool.is_some() {
        let reason =
            format!("token {id}: it is in a pool without a tenure, or the other way round");
        return Err(StoreError::Corrupt(reason).into());
    }
    Ok(Kept {
        row: row.get(4)?,
        spot: Spot::read(row, 5)?,
        token,
        tenure,
    })
}

/// Reads the record of a row that begins with [`columns`].
pub(super) fn read_token(row: &Row<'_>) -> Result<Token, Fault> {
    let id = read_id(row)?;
    let revision: i64 = row.get(1)?;
    let blob = row.get_ref(2)?.as_blob()?;
    Ok(record::decode(id, revision.cast_unsigned(), blob)?)
}

/// Reads the id that a row begins with.
pub(super) fn read_id(row: &Row<'_>) -> Result<TokenId, Fault> {
    let id = TokenId::parse(row.get_ref(0)?.as_str()?)
        .map_err(|flaw| StoreError::Corrupt(format!("the id of a token {flaw}")))?;
    Ok(id)
}
