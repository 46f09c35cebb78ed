//! The acts on single tokens, each within a transaction that the caller holds.

use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, Row};

use super::census::population;
use super::error::Fault;
use super::peppers::Peppers;
use super::schema;
use super::time::StoreTime;
use crate::domain::name::{Namespace, Owner, PoolName};
use crate::domain::retention::Retention;
use crate::domain::time::Timestamp;
use crate::domain::token::{Draft, REPLAY_WINDOW, RequestKey, Ruling, Token, TokenId};
use crate::store::{Change, Creation, Deletion, Rule, StoreError, StoreId, record};

/// Outdated markers that one Create or Delete removes: more than it may add, so that they dwindle.
const PURGED_AT_ONCE: u32 = 8;

/// A transaction's view of the store.
pub(super) struct Acts<'a> {
    pub(super) connection: &'a Connection,
    pub(super) id: &'a StoreId,
    pub(super) time: &'a StoreTime,
    pub(super) retention: Retention,
    pub(super) peppers: &'a Peppers,
}

impl Acts<'_> {
    /// The token, or `None` once the store has shown its identity marker.
    pub(super) fn find(&self, id: TokenId) -> Result<Option<Token>, Fault> {
        let sql = "SELECT id, revision, record FROM tokens WHERE id = ?1";
        let token = self.select(sql, &[&id.as_str()])?;
        if token.is_none() {
            schema::confirm(self.connection, self.id)?;
        }
        Ok(token)
    }

    pub(super) fn create(&self, draft: &Draft) -> Result<Creation, Fault> {
        let now = self.time.now();
        let key = draft.origin.as_ref().map(|origin| origin.key);
        if let Some(token) = self.made_by(draft.id, key)? {
            return Ok(Creation::Taken(token));
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
        self.peppers.keep_those_of(self.connection, &token)?;
        self.insert(&token)?;
        self.purge(now, PURGED_AT_ONCE)?;
        Ok(Creation::Created(token))
    }

    pub(super) fn change(&self, id: TokenId, rule: &Rule) -> Result<Change, Fault> {
        let now = self.time.now();
        let Some(token) = self.find(id)? else {
            return Ok(Change::Absent);
        };
        let mut changed = match rule(&token, now) {
            Ruling::Keep => return Ok(Change::Kept(token, now)),
            Ruling::Refuse(refusal) => return Ok(Change::Refused(refusal)),
            Ruling::Replace(changed) => *changed,
        };
        changed.revision = now.micros().max(token.revision + 1);
        self.peppers.keep_those_of(self.connection, &changed)?;
        self.connection
            .prepare_cached(
                "UPDATE tokens SET owner = ?2, pool = ?3, revision = ?4, vanish_time = ?5, \
                 record = ?6 WHERE id = ?1",
            )?
            .execute((
                id.as_str(),
                changed.profile.owner.as_ref().map(Owner::as_str),
                changed.profile.pool.as_ref().map(PoolName::as_str),
                changed.revision.cast_signed(),
                self.vanish_time(&changed),
                record::encode(&changed),
            ))?;
        Ok(Change::Changed(changed))
    }

    pub(super) fn delete(&self, id: TokenId, rule: &Rule) -> Result<Deletion, Fault> {
        let now = self.time.now();
        let Some(token) = self.find(id)? else {
            return Ok(Deletion::Absent);
        };
        if let Ruling::Refuse(refusal) = rule(&token, now) {
            return Ok(Deletion::Refused(refusal));
        }
        self.connection
            .prepare_cached("DELETE FROM tokens WHERE id = ?1")?
            .execute([id.as_str()])?;
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO deleted (id, request_key, revision, until) \
                 VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((
                id.as_str(),
                token.origin.as_ref().map(|origin| origin.key.0),
                token.revision.cast_signed(),
                now.saturating_add(REPLAY_WINDOW).micros().cast_signed(),
            ))?;
        self.purge(now, PURGED_AT_ONCE)?;
        Ok(Deletion::Deleted)
    }

    /// The token that has the id, or else the one that the request made.
    fn made_by(&self, id: TokenId, key: Option<RequestKey>) -> Result<Option<Token>, Fault> {
        let by_id = self.find(id)?;
        match key {
            Some(key) if by_id.is_none() => self.select(
                "SELECT id, revision, record FROM tokens WHERE request_key = ?1",
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

    fn insert(&self, token: &Token) -> Result<(), Fault> {
        self.connection
            .prepare_cached(
                "INSERT INTO tokens \
                 (id, namespace, owner, pool, create_time, revision, request_key, vanish_time, record) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute((
                token.id.as_str(),
                token.namespace.as_str(),
                token.profile.owner.as_ref().map(Owner::as_str),
                token.profile.pool.as_ref().map(PoolName::as_str),
                token.create_time.micros().cast_signed(),
                token.revision.cast_signed(),
                token.origin.as_ref().map(|origin| origin.key.0),
                self.vanish_time(token),
                record::encode(token),
            ))?;
        Ok(())
    }

    /// The column that says when a sweep looks at the token.
    fn vanish_time(&self, token: &Token) -> Option<i64> {
        let time = token.vanish_time(&self.retention)?;
        Some(time.micros().cast_signed())
    }

    /// Removes at most `most` outdated markers, and answers how many.
    pub(super) fn purge(&self, now: Timestamp, most: u32) -> Result<usize, Fault> {
        let purged = self
            .connection
            .prepare_cached(
                "DELETE FROM deleted WHERE rowid IN \
                 (SELECT rowid FROM deleted WHERE until <= ?1 ORDER BY until LIMIT ?2)",
            )?
            .execute((now.micros().cast_signed(), most))?;
        Ok(purged)
    }

    fn select(&self, sql: &str, values: &[&dyn ToSql]) -> Result<Option<Token>, Fault> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let row = statement
            .query_row(values, |row| Ok(read_token(row)))
            .optional()?;
        row.transpose()
    }
}

struct Marker {
    until: Timestamp,
    revision: u64,
}

/// Reads a row that begins with `id, revision, record`.
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
