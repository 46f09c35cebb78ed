//! The peppers that a database was used with, known again by their check values.

use rusqlite::{Connection, OptionalExtension};

use super::error::Fault;
use crate::domain::pepper::PepperCheck;
use crate::domain::secret::SecretDigest;
use crate::store::{StoreError, peppers};

/// The peppers in use, as the database knows them.
#[derive(Debug)]
pub(super) struct Peppers {
    used: Vec<PepperCheck>,
    standing: Standing,
}

#[derive(Debug)]
enum Standing {
    /// The database keeps the check values of all.
    Kept,
    /// It could not be written when it was opened; whoever writes a digest writes the check value.
    Unkept,
    /// It was used with another pepper under one of the ids.
    Refused(StoreError),
}

impl Peppers {
    /// Compares the peppers in use with those that the database knows, and writes what it does not
    /// know yet. A pepper that is another, or a database that is full, is no error of opening: the
    /// one is an outage that health tells, and the other can still be read.
    pub(super) fn settle(
        connection: &mut Connection,
        used: Vec<PepperCheck>,
    ) -> Result<Self, Fault> {
        // A page that is damaged there stops nothing that needs no pepper.
        if let Ok(missing) = missing(connection, &used) {
            peppers::tell_missing(&missing);
        }
        let standing = match keep_unkept(connection, &used).map_err(StoreError::from) {
            Ok(()) => Standing::Kept,
            Err(why @ StoreError::Unacceptable(_)) => {
                tracing::error!(%why, "the database cannot be used until an operator acts");
                Standing::Refused(why)
            }
            Err(why @ (StoreError::ReadOnly(_) | StoreError::Slow(_))) => {
                tracing::warn!(%why, "the check values of peppers are written with the next token");
                Standing::Unkept
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { used, standing })
    }

    /// An error if one of the peppers in use is not the database's.
    pub(super) fn confirm(&self) -> Result<(), StoreError> {
        match &self.standing {
            Standing::Kept | Standing::Unkept => Ok(()),
            Standing::Refused(why) => Err(why.clone()),
        }
    }

    /// Makes sure that the check values of the digests' peppers are on disk with them, or before.
    pub(super) fn keep_those_of<'a>(
        &self,
        connection: &Connection,
        digests: impl IntoIterator<Item = &'a SecretDigest>,
    ) -> Result<(), Fault> {
        if let Standing::Kept = self.standing {
            return Ok(());
        }
        for digest in digests {
            let mut used = self.used.iter().filter(|check| check.id == digest.key_id);
            used.try_for_each(|check| keep(connection, check))?;
        }
        Ok(())
    }
}

/// Writes the check values that are not there yet; nothing where one differs.
fn keep_unkept(connection: &mut Connection, used: &[PepperCheck]) -> Result<(), Fault> {
    let unkept = unkept(connection, used)?;
    if unkept.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    for check in &unkept {
        keep(&transaction, check)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Those of the peppers in use that the database does not know yet; an error if one is another.
pub(super) fn unkept(
    connection: &Connection,
    used: &[PepperCheck],
) -> Result<Vec<PepperCheck>, Fault> {
    let kept = used
        .iter()
        .map(|check| {
            connection
                .query_row(
                    "SELECT check_value FROM peppers WHERE id = ?1",
                    [check.id],
                    |row| row.get(0),
                )
                .optional()
        })
        .collect::<Result<Vec<Option<Vec<u8>>>, _>>()?;
    Ok(peppers::unkept(used, &kept)?)
}

/// The peppers that the database was used with and that are not in use.
pub(super) fn missing(connection: &Connection, used: &[PepperCheck]) -> Result<Vec<u32>, Fault> {
    let mut statement = connection.prepare("SELECT id FROM peppers")?;
    let kept = statement.query_map([], |row| row.get(0))?;
    let kept = kept.collect::<Result<Vec<u32>, _>>()?;
    Ok(peppers::missing(used, kept))
}

/// Never overwrites: the database is held exclusively, so that what it knows was compared.
fn keep(connection: &Connection, check: &PepperCheck) -> Result<(), Fault> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO peppers (id, check_value) VALUES (?1, ?2)")?
        .execute((check.id, check.value))?;
    Ok(())
}
