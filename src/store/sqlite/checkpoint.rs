//! Folds the write-ahead log into the database, and tells when that fails.
//!
//! SQLite would fold by itself after a commit, but keeps the outcome to itself. The log is begun
//! anew over what was folded, so a flush of the database that failed unseen would lose it.

use std::time::Duration;

use rusqlite::Connection;

use super::error::{BUSY_TIMEOUT, Fault};

/// Pages in the log that are worth folding.
const DUE: i64 = 1_000;
/// Pages in the log that are too many: readers are then waited for. 64 MB.
const TOO_MANY: i64 = 16 * DUE;
/// How long they are waited for; ours need much less, and a foreign one may never end.
const PATIENCE: Duration = Duration::from_millis(200);

/// When the log is folded.
pub(super) struct Folding {
    due: i64,
    too_many: i64,
    /// Length of the log from which on readers are waited for.
    insist_at: i64,
    /// The last attempt left something behind.
    unfinished: bool,
}

/// The log in pages, as SQLite counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Log {
    pages: i64,
    folded: i64,
}

impl Default for Folding {
    fn default() -> Self {
        Self::at(DUE, TOO_MANY)
    }
}

impl Folding {
    fn at(due: i64, too_many: i64) -> Self {
        Self {
            due,
            too_many,
            insist_at: too_many,
            unfinished: false,
        }
    }

    /// Folds the log where it has grown, outside of any transaction.
    ///
    /// What a reader still needs stays in the log until the next commit. Readers that relieve each
    /// other would so keep it growing for ever; where it got too long, they are waited for.
    pub(super) fn after_commit(&mut self, connection: &Connection) -> Result<(), Fault> {
        let log = checkpoint(connection, "NOOP")?;
        if log.pages >= self.insist_at {
            self.insist(connection)
        } else if self.unfinished || log.pages - log.folded >= self.due {
            // Unless it ends well, there is more to do.
            self.unfinished = true;
            let log = checkpoint(connection, "PASSIVE")?;
            self.unfinished = log.folded < log.pages;
            Ok(())
        } else {
            Ok(())
        }
    }

    fn insist(&mut self, connection: &Connection) -> Result<(), Fault> {
        self.unfinished = true;
        connection.busy_timeout(PATIENCE)?;
        let log = checkpoint(connection, "RESTART");
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let log = log?;
        self.unfinished = log.folded < log.pages;
        // Not at each commit: everybody waits meanwhile.
        self.insist_at = log.pages + self.too_many;
        if log.pages > 0 {
            tracing::warn!(
                pages = log.pages,
                folded = log.folded,
                "the log keeps growing: somebody reads the database without end"
            );
        }
        Ok(())
    }
}

/// Folds everything and leaves an empty log, unless a foreign process still reads it.
pub(super) fn fold_all(connection: &Connection) -> Result<(), Fault> {
    let log = checkpoint(connection, "TRUNCATE")?;
    if log.pages > 0 {
        tracing::warn!("another process reads the database; its log is kept");
    }
    Ok(())
}

/// Being busy is no error: less is folded then.
fn checkpoint(connection: &Connection, mode: &str) -> Result<Log, Fault> {
    let log = connection
        .prepare_cached(&format!("PRAGMA main.wal_checkpoint({mode})"))?
        .query_row([], |row| {
            Ok(Log {
                pages: row.get(1)?,
                folded: row.get(2)?,
            })
        })?;
    Ok(log)
}

#[cfg(test)]
mod tests;
