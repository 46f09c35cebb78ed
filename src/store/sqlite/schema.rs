//! Whose database a file is, its migrations, and the row that says what the store is.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::GeneratedRoot;
use super::error::{Fault, OpenError};
use super::pools::{self, Place, Stand};
use super::seen::{self, Seen};
use super::tokens::{columns, end_of, pool_of, read_token};
use super::usage;
use crate::domain::absence::Absences;
use crate::domain::tenure::Tenure;
use crate::domain::time::Timestamp;
use crate::entropy;
use crate::store::{StoreError, StoreId, tenure};

/// `taut`, in SQLite's header: whose database this is.
pub(super) const APPLICATION_ID: i32 = 0x7461_7574;

/// The migrations in order; `user_version` is the number of the last one that a database has seen.
/// What was released is never edited.
const MIGRATIONS: [(u32, &str); 4] = [
    (1, include_str!("migrations/0001_tokens.sql")),
    (2, include_str!("migrations/0002_leases.sql")),
    (3, include_str!("migrations/0003_events.sql")),
    (4, include_str!("migrations/0004_usage.sql")),
];

/// Version of the tables that this release writes.
const SCHEMA: u32 = 4;
/// Oldest release by its schema that may write to them: an older one would change tokens without
/// telling it, make some whose ends nobody would find, and not write down from when on a token is not in
/// force.
const MIN_READER: u32 = 4;

/// Tokens that a migration reads before it writes.
const MIGRATED_AT_ONCE: usize = 1000;

/// What the store says about itself.
#[derive(Debug)]
pub(super) struct Meta {
    pub(super) id: StoreId,
    pub(super) mark: Timestamp,
    pub(super) min_reader: u32,
}

/// What a file turned out to be, before anything was written to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing was ever stored in it.
    Empty,
    /// A database of a token authority that this release understands.
    Own,
}

/// Looks at the file without changing it; a foreign or newer database is an error.
pub(super) fn inspect(connection: &Connection, path: &Path) -> Result<Kind, OpenError> {
    let flawed = |error: rusqlite::Error| OpenError::of_fault(path, &Fault::from(error));
    let foreign = |reason: String| OpenError::Foreign {
        path: path.to_owned(),
        reason,
    };
    let entries: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(flawed)?;
    let application: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(flawed)?;
    if application == 0 && entries == 0 {
        return Ok(Kind::Empty);
    }
    if application != APPLICATION_ID {
        return Err(foreign(format!(
            "its application_id is {application:#x} instead of {APPLICATION_ID:#x}"
        )));
    }
    match read_meta(connection) {
        Ok(meta) if meta.min_reader > SCHEMA => Err(OpenError::Newer {
            path: path.to_owned(),
            min_reader: meta.min_reader,
            known: SCHEMA,
        }),
        Ok(_) => Ok(Kind::Own),
        // The file says that it is ours, so this is a damage.
        Err(Fault::Store(StoreError::Unacceptable(reason))) => Err(OpenError::Io {
            path: path.to_owned(),
            reason: format!("it is damaged: {reason}"),
        }),
        Err(fault) => Err(OpenError::of_fault(path, &fault)),
    }
}

/// Applies the migrations that are missing, all or none, and answers what the store is.
pub(super) fn migrate(connection: &mut Connection) -> Result<Meta, Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let seen: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let missing = MIGRATIONS.iter().filter(|(number, _)| *number > seen);
    let mut last = seen;
    for (number, sql) in missing {
        transaction.execute_batch(sql)?;
        last = *number;
    }
    if seen == 0 {
        let id = entropy::digits(22).map_err(|error| StoreError::Unreachable(error.to_string()))?;
        transaction.execute(
            "INSERT INTO meta (one, store_id, schema, min_reader, mark) VALUES (1, ?1, 0, 0, 0)",
            [id.as_str()],
        )?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    if seen == 1 {
        place_all(&transaction)?;
    }
    if (1..3).contains(&seen) {
        note_ends(&transaction)?;
    }
    if (1..4).contains(&seen) {
        usage::note_inactive(&transaction)?;
    }
    if seen < last {
        transaction.execute(
            "UPDATE meta SET schema = max(schema, ?1), min_reader = max(min_reader, ?2)",
            [SCHEMA, MIN_READER],
        )?;
        transaction.pragma_update(None, "user_version", last)?;
    }
    let meta = read_meta(&transaction)?;
    transaction.commit()?;
    Ok(meta)
}

pub(super) fn read_meta(connection: &Connection) -> Result<Meta, Fault> {
    let row = connection
        .prepare_cached("SELECT store_id, min_reader, mark FROM meta WHERE one = 1")
        .and_then(|mut statement| {
            statement
                .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()
        });
    let (id, min_reader, mark): (String, u32, i64) = row.map_err(unmarked)?.ok_or_else(bare)?;
    let id = StoreId::parse(&id).map_err(|flaw| {
        StoreError::Unacceptable(format!("the id in its identity marker {flaw}"))
    })?;
    Ok(Meta {
        id,
        mark: Timestamp::from_micros(mark.cast_unsigned()),
        min_reader,
    })
}

/// An error unless the database still carries the marker of `id`.
pub(super) fn confirm(connection: &Connection, id: &StoreId) -> Result<(), Fault> {
    let found = connection
        .prepare_cached("SELECT store_id = ?1 FROM meta WHERE one = 1")
        .and_then(|mut statement| {
            statement
                .query_row([id.as_str()], |row| row.get(0))
                .optional()
        });
    match found.map_err(unmarked)? {
        Some(true) => Ok(()),
        Some(false) => {
            let reason = "it carries the identity marker of another store";
            Err(StoreError::Unacceptable(reason.to_owned()).into())
        }
        None => Err(bare()),
    }
}

/// Gives the pooled tokens of the first schema, which nobody could lease, a tenure and a place.
fn place_all(connection: &Connection) -> Result<(), Fault> {
    let now = read_meta(connection)?.mark;
    let sql = concat!("SELECT ", columns!(), " FROM tokens WHERE pool IS NOT NULL");
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((row.get::<_, i64>(4)?, read_token(row)?));
    }
    for (row, mut token) in found {
        token.tenure = Some(Tenure::begin(&token, now));
        let tenure = tenure::encode(&token);
        let pool = pool_of(&token);
        if let (Some(pool), Some((place, due))) = (pool, Place::of(&token, now)) {
            let pool = pools::opened(connection, &pool)?;
            let to = Stand { pool, place, due };
            pools::put(connection, row, None, to, tenure.as_deref())?;
        }
    }
    Ok(())
}

/// Writes down when the tokens of earlier schemas end.
fn note_ends(connection: &Connection) -> Result<(), Fault> {
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM tokens WHERE rowid > ?1 ORDER BY rowid LIMIT ?2"
    );
    let mut update = connection.prepare("UPDATE tokens SET expire_time = ?2 WHERE rowid = ?1")?;
    let mut statement = connection.prepare(sql)?;
    let mut last = i64::MIN;
    loop {
        let mut rows = statement.query((last, MIGRATED_AT_ONCE as i64))?;
        let (mut count, mut ends) = (0, Vec::new());
        while let Some(row) = rows.next()? {
            (last, count) = (row.get(4)?, count + 1);
            match read_token(row) {
                Ok(token) => ends.extend(end_of(&token).map(|end| (last, end))),
                // It may be mended; then its next change says when it ends.
                Err(Fault::Store(StoreError::Corrupt(reason))) => {
                    tracing::error!(reason, "a record cannot be read, and is passed over");
                }
                Err(fault) => return Err(fault),
            }
        }
        drop(rows);
        for (row, end) in ends {
            update.execute((row, end))?;
        }
        if count < MIGRATED_AT_ONCE {
            return Ok(());
        }
    }
}

/// Records that decisions were made as late as `mark`, and when the authority was seen.
pub(super) fn keep_mark(
    connection: &Connection,
    mark: Timestamp,
    seen: &Seen,
) -> Result<(), Fault> {
    let changed = connection
        .prepare_cached("UPDATE meta SET mark = max(mark, ?1), absences = ?2 WHERE one = 1")?
        .execute((mark.micros().cast_signed(), seen.encode()))?;
    if changed == 1 { Ok(()) } else { Err(bare()) }
}

/// When the authority was seen, and was not; nothing in a store that it was never seen by.
pub(super) fn absences(connection: &Connection) -> Result<Option<Absences>, Fault> {
    let kept: Option<Vec<u8>> =
        connection.query_row("SELECT absences FROM meta WHERE one = 1", [], |row| {
            row.get(0)
        })?;
    seen::decode(&kept.unwrap_or_default())
}

/// What is kept of the generated root token.
pub(super) fn generated_root(connection: &Connection) -> Result<GeneratedRoot, Fault> {
    let kept: Option<Vec<u8>> =
        connection.query_row("SELECT root FROM meta WHERE one = 1", [], |row| row.get(0))?;
    match kept.as_deref() {
        None => Ok(GeneratedRoot::None),
        Some([]) => Ok(GeneratedRoot::Replaced),
        Some(digest) => match digest.try_into() {
            Ok(digest) => Ok(GeneratedRoot::InForce(digest)),
            Err(_) => {
                let reason = format!("the digest of its root token has {} bytes", digest.len());
                Err(StoreError::Corrupt(reason).into())
            }
        },
    }
}

pub(super) fn keep_generated_root(
    connection: &Connection,
    root: GeneratedRoot,
) -> Result<(), Fault> {
    let kept: Option<&[u8]> = match &root {
        GeneratedRoot::None => None,
        GeneratedRoot::InForce(digest) => Some(digest),
        GeneratedRoot::Replaced => Some(&[]),
    };
    connection.execute("UPDATE meta SET root = ?1 WHERE one = 1", [kept])?;
    Ok(())
}

fn bare() -> Fault {
    Fault::Store(StoreError::Unacceptable(
        "it carries no identity marker".to_owned(),
    ))
}

/// A database without the marker's table is one without marker.
fn unmarked(error: rusqlite::Error) -> Fault {
    match StoreError::from(Fault::from(error)) {
        StoreError::Unacceptable(reason) => Fault::Store(StoreError::Unacceptable(format!(
            "it carries no identity marker: {reason}"
        ))),
        other => Fault::Store(other),
    }
}
