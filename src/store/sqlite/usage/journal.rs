//! The journal of usage: rows of gains, written as they come and read again after an unclean stop.
//!
//! SQLite writes a page for each row that changes; so gains of thousands of subjects are one row.

use prost::Message;
use rusqlite::Connection;

use super::unfolded::{Frames, Unfolded};
use super::{key, subject};
use crate::domain::usage::Subject;
use crate::store::sqlite::error::Fault;
use crate::store::sqlite::tokens::Acts;

/// Bytes from which on a row is full: few enough that acts in the same commit hardly wait for it.
const ROW_BYTES: usize = 256 * 1024;
/// Rows that one step cuts off: 1 MB of pages.
const CUT_AT_ONCE: i64 = 4;

/// Gains of one subject in a row, which is a list of these, each behind its length. Field numbers are
/// for ever.
#[derive(Clone, PartialEq, Message)]
struct StoredGains {
    #[prost(string, tag = "1")]
    subject: String,
    #[prost(bytes = "vec", tag = "2")]
    frames: Vec<u8>,
}

/// A row that is not written yet.
#[derive(Debug, Default)]
pub(super) struct Row {
    gains: Vec<u8>,
    frames: Frames,
}

impl Row {
    pub(super) fn add(&mut self, subject: &Subject, frames: Vec<u8>) {
        let stored = StoredGains {
            subject: key(subject),
            frames,
        };
        // A vector has room for whatever there is memory for.
        stored
            .encode_length_delimited(&mut self.gains)
            .unwrap_or_default();
        self.frames.push((subject.clone(), stored.frames));
    }

    pub(super) fn is_full(&self) -> bool {
        self.gains.len() >= ROW_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

impl Acts<'_> {
    /// Appends a row.
    pub(super) fn journal(&self, row: Row) -> Result<(), Fault> {
        let Row { gains, frames } = row;
        let number = self.unfolded.number();
        self.connection
            .prepare_cached("INSERT INTO usage_journal (number, gains) VALUES (?1, ?2)")?
            .execute((number, gains))?;
        self.unfolded.added(number, frames);
        Ok(())
    }

    /// Cuts some rows off, the oldest first, none behind `until`; answers whether there may be more.
    pub(super) fn cut(&self, until: i64) -> Result<bool, Fault> {
        let cut = self
            .connection
            .prepare_cached(
                "DELETE FROM usage_journal WHERE number IN \
                 (SELECT number FROM usage_journal WHERE number <= ?1 ORDER BY number LIMIT ?2)",
            )?
            .execute((until, CUT_AT_ONCE))?;
        Ok(cut as i64 == CUT_AT_ONCE)
    }
}

/// What an earlier run has left unfolded. What cannot be read is told, and left out.
pub(in crate::store::sqlite) fn replay(connection: &Connection) -> Result<Unfolded, Fault> {
    let mut statement =
        connection.prepare("SELECT number, gains FROM usage_journal ORDER BY number")?;
    let mut rows = statement.query([])?;
    let mut unfolded = Unfolded::default();
    while let Some(row) = rows.next()? {
        let number = row.get(0)?;
        unfolded.resume(number, read(number, row.get_ref(1)?.as_blob()?));
    }
    Ok(unfolded)
}

fn read(number: i64, mut gains: &[u8]) -> Frames {
    let mut frames = Vec::new();
    while !gains.is_empty() {
        let read = StoredGains::decode_length_delimited(&mut gains);
        let read = read.map_err(|error| error.to_string());
        let read = read.and_then(
            |StoredGains {
                 subject: key,
                 frames,
             }| {
                let subject = subject(&key).map_err(|flaw| flaw.to_string())?;
                Ok((subject, frames))
            },
        );
        match read {
            Ok(read) => frames.push(read),
            Err(reason) => {
                tracing::error!(number, reason, "a row of the journal of usage is damaged");
                break;
            }
        }
    }
    frames
}
