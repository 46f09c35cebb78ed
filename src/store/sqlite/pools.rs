//! Where the tokens of each pool stand: free, held, or out; and how many stand where.
//!
//! That is an index, written when something was noticed. What decides is always the token as it is
//! at the time. Every token that enters a place, or leaves one, does so by [`put`] or [`remove`],
//! which keep the counts right and the free ones numbered without a gap.

use rusqlite::{Connection, OptionalExtension, Row};

use super::error::Fault;
use crate::domain::pool::Pool;
use crate::domain::time::Timestamp;
use crate::domain::token::Token;
use crate::store::StoreError;

/// One of the three places of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In force, and nobody's.
    Free,
    Held,
    /// Revoked, switched off, or expired.
    Out,
}

impl Place {
    const ALL: [Self; 3] = [Self::Free, Self::Held, Self::Out];

    /// As it stands in the database.
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Free => 0,
            Self::Held => 1,
            Self::Out => 2,
        }
    }

    fn read(number: i64) -> Result<Self, Fault> {
        let known = Self::ALL.into_iter().find(|one| one.number() == number);
        known.ok_or_else(|| corrupt(format!("a token stands in place {number} of its pool")))
    }

    /// Where a pooled token belongs `now`, and the first instant at which it may belong elsewhere;
    /// nowhere once nobody kept it alive.
    pub(super) fn of(token: &Token, now: Timestamp) -> Option<(Self, Option<Timestamp>)> {
        let tenure = token.tenure.as_ref()?;
        if token.lapsed(now) {
            return None;
        }
        let end = token.expire_time;
        // A token that is over when its deadline comes does not go by it.
        let lapse = tenure.deadline.filter(|at| end.is_none_or(|end| *at < end));
        let lapse = lapse.filter(|_| token.revoked.is_none());
        if let Some(lease) = tenure.live(now) {
            return Some((Self::Held, Some(lease.over_at())));
        }
        if token.revoked.is_some() || token.profile.disabled || token.expired(now) {
            return Some((Self::Out, lapse));
        }
        let due = [end, lapse].into_iter().flatten().min();
        Some((Self::Free, due))
    }
}

/// Where a token was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) pool: i64,
    pub(super) place: Place,
    /// Its number among the free ones; 0 elsewhere.
    position: i64,
}

impl Spot {
    /// Reads three columns of a row from the given one on: `pool_id, place, position`.
    pub(super) fn read(row: &Row<'_>, from: usize) -> Result<Option<Self>, Fault> {
        let Some(pool) = row.get(from)? else {
            return Ok(None);
        };
        let position: Option<i64> = row.get(from + 2)?;
        Ok(Some(Self {
            pool,
            place: Place::read(row.get(from + 1)?)?,
            position: position.unwrap_or(0),
        }))
    }
}

/// How many tokens of a pool stand where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) free: u64,
    pub(super) held: u64,
    pub(super) out: u64,
}

impl Counts {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let count = |at| row.get(at).map(i64::cast_unsigned);
        Ok(Self {
            free: count(0)?,
            held: count(1)?,
            out: count(2)?,
        })
    }

    pub(super) fn all(self) -> u64 {
        self.free + self.held + self.out
    }
}

/// The number of a pool that holds tokens.
pub(super) fn known(connection: &Connection, pool: &Pool) -> Result<Option<i64>, Fault> {
    let id = connection
        .prepare_cached("SELECT id FROM pools WHERE namespace = ?1 AND name = ?2")?
        .query_row((pool.namespace.as_str(), pool.name.as_str()), |row| {
            row.get(0)
        })
        .optional()?;
    Ok(id)
}

/// The number of a pool that is about to hold a token.
pub(super) fn opened(connection: &Connection, pool: &Pool) -> Result<i64, Fault> {
    if let Some(id) = known(connection, pool)? {
        return Ok(id);
    }
    connection
        .prepare_cached("INSERT INTO pools (namespace, name) VALUES (?1, ?2)")?
        .execute((pool.namespace.as_str(), pool.name.as_str()))?;
    Ok(connection.last_insert_rowid())
}

/// How a pool's tokens stand; nothing where it holds none.
pub(super) fn counts(connection: &Connection, pool: i64) -> Result<Option<Counts>, Fault> {
    let counts = connection
        .prepare_cached("SELECT free, held, out FROM pools WHERE id = ?1")?
        .query_row([pool], Counts::read)
        .optional()?;
    Ok(counts)
}

/// Where a token shall stand, and when it may belong elsewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stand {
    pub(super) pool: i64,
    pub(super) place: Place,
    pub(super) due: Option<Timestamp>,
}

/// Puts a token, which stood in `before`, where it shall stand, and writes its tenure if that is
/// given.
pub(super) fn put(
    connection: &Connection,
    row: i64,
    before: Option<Spot>,
    to: Stand,
    tenure: Option<&[u8]>,
) -> Result<(), Fault> {
    let Stand { pool, place, due } = to;
    let before = match before {
        Some(spot) if spot.pool != pool => {
            leave(connection, row, spot)?;
            None
        }
        other => other,
    };
    let from = before.map(|spot| spot.place);
    let position = match (before, place) {
        (Some(spot), _) if spot.place == place => spot.position,
        _ => {
            let counts = shift(connection, pool, from, Some(place))?;
            // Of the free ones, it is the last.
            counts.free.cast_signed() - 1
        }
    };
    connection
        .prepare_cached(
            "UPDATE tokens SET pool_id = ?2, place = ?3, position = ?4, due = ?5, \
             tenure = coalesce(?6, tenure) WHERE rowid = ?1",
        )?
        .execute((
            row,
            pool,
            place.number(),
            (place == Place::Free).then_some(position),
            due.map(|due| due.micros().cast_signed()),
            tenure,
        ))?;
    match before {
        Some(spot) if spot.place == Place::Free && place != Place::Free => close(connection, spot),
        _ => Ok(()),
    }
}

/// Takes a token out of its pool, where it stays as if it were not.
pub(super) fn leave(connection: &Connection, row: i64, spot: Spot) -> Result<(), Fault> {
    let counts = shift(connection, spot.pool, Some(spot.place), None)?;
    connection
        .prepare_cached(
            "UPDATE tokens SET pool_id = NULL, place = NULL, position = NULL, due = NULL \
             WHERE rowid = ?1",
        )?
        .execute([row])?;
    if spot.place == Place::Free {
        close(connection, spot)?;
    }
    if counts.all() == 0 {
        connection
            .prepare_cached("DELETE FROM pools WHERE id = ?1")?
            .execute([spot.pool])?;
    }
    Ok(())
}

/// Where a token stands.
pub(super) fn spot(connection: &Connection, row: i64) -> Result<Option<Spot>, Fault> {
    let spot = connection
        .prepare_cached("SELECT pool_id, place, position FROM tokens WHERE rowid = ?1")?
        .query_row([row], |row| Ok(Spot::read(row, 0)))
        .optional()?;
    Ok(spot.transpose()?.flatten())
}

/// Removes a token's row, and answers whether it was there. Nothing else does.
pub(super) fn remove(connection: &Connection, row: i64) -> Result<bool, Fault> {
    if let Some(spot) = spot(connection, row)? {
        leave(connection, row, spot)?;
    }
    let removed = connection
        .prepare_cached("DELETE FROM tokens WHERE rowid = ?1")?
        .execute([row])?;
    Ok(removed > 0)
}

/// Counts a token that goes from one place of a pool to another, and answers what is counted then.
fn shift(
    connection: &Connection,
    pool: i64,
    from: Option<Place>,
    to: Option<Place>,
) -> Result<Counts, Fault> {
    let change = |place| i64::from(to == Some(place)) - i64::from(from == Some(place));
    let [free, held, out] = Place::ALL.map(change);
    let counts = connection
        .prepare_cached(
            "UPDATE pools SET free = free + ?2, held = held + ?3, out = out + ?4 WHERE id = ?1 \
             RETURNING free, held, out",
        )?
        .query_row((pool, free, held, out), Counts::read)
        .optional()?;
    counts.ok_or_else(|| corrupt(format!("the row of pool {pool} is missing")))
}

/// Moves the last of the free ones to where one went from, which is counted already.
fn close(connection: &Connection, gap: Spot) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "UPDATE tokens SET position = ?2 WHERE pool_id = ?1 AND position = \
             (SELECT free FROM pools WHERE id = ?1)",
        )?
        .execute((gap.pool, gap.position))?;
    Ok(())
}

fn corrupt(reason: String) -> Fault {
    StoreError::Corrupt(reason).into()
}
