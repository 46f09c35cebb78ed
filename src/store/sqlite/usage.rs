//! Usage: what servers counted is journaled at once, and folded into ledgers later.
//!
//! A page of 4 KiB is written for each row that changes, so a second's gains of many thousand tokens
//! are appended to a journal, as a few rows, and kept in memory too until they are folded. Whoever
//! reads takes first what is in memory, then what is on disk: what was folded in between is met twice,
//! and counts once by its mark.
//!
//! A token that is gone takes with it what was counted; what comes later of it is dropped when it would
//! be folded, and told to nobody before.
//!
//! Measured, of a token with three endpoints and one address: about 150 bytes of disk for each hour in
//! which it was used, and at most 800 for its ledger with the last requests. A second with one request takes at
//! most 48 bytes of the journal, and 20 of memory until it is folded, beside 128 of its token. The longest
//! paths and agents that there may be make an hour 18 KB, and a second 29.

mod fold;
mod folder;
mod in_force;
mod items;
mod journal;
mod plain;
mod unfolded;

#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};

use super::error::Fault;
use super::{Inner, SqliteStore};
use crate::domain::flaw::Flaw;
use crate::domain::name::Namespace;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenId;
use crate::domain::usage::{Book, Hour, Ledger, Subject, Summary};
use crate::store::StoreError;
use crate::store::usage::{Flush, InForce, UsageStore, decode_days, decode_hours, decode_ledger};

pub(super) use folder::{Bench, Folder};
pub(super) use in_force::{inactive_from, note_inactive};
pub(super) use journal::replay;
pub(super) use unfolded::Unfolded;

use items::Items;
use journal::Row;

/// What the name of a namespace stands behind, where that is a subject.
const NAMESPACE: &str = "n:";
/// How long who adds waits for room in memory.
const PATIENCE: Duration = Duration::from_secs(5);
/// Gains that are encoded before other tasks have their turn.
const ENCODED_AT_ONCE: usize = 64;

const HOURS: &str = "SELECT used FROM usage_hours WHERE ledger = ?1 AND hour >= ?2";

#[async_trait]
impl UsageStore for SqliteStore {
    async fn add_usage(&self, flush: &Flush) -> Result<(), StoreError> {
        let mut row = Row::of(flush.mark);
        for (count, (subject, gain)) in flush.gains.iter().enumerate() {
            row.add(flush.mark, subject, gain);
            if row.is_full() {
                let full = std::mem::replace(&mut row, Row::of(flush.mark));
                self.journal(full).await?;
            } else if count % ENCODED_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
        }
        match row.is_empty() {
            true => Ok(()),
            false => self.journal(row).await,
        }
    }

    async fn usage(&self, subject: &Subject, from: Hour) -> Result<Book, StoreError> {
        let subject = subject.clone();
        self.in_a_list(move |inner| inner.book(&subject, from))
            .await
    }

    async fn summaries(&self, tokens: &[TokenId], now: Hour) -> Result<Vec<Summary>, StoreError> {
        let tokens = tokens.to_vec();
        self.in_a_list(move |inner| inner.summaries(&tokens, now))
            .await
    }

    async fn standing(
        &self,
        namespace: Option<&Namespace>,
        until: Timestamp,
        most: usize,
    ) -> Result<InForce, StoreError> {
        let namespace = namespace.cloned();
        self.in_a_list(move |inner| inner.standing(namespace.as_ref(), until, most))
            .await
    }
}

impl SqliteStore {
    /// Folds all that was added, at once. It happens by itself; tests do not wait for that.
    #[doc(hidden)]
    pub async fn fold_usage(&self) -> Result<(), StoreError> {
        self.inner.folder.fold_all().await
    }

    /// Appends a row to the journal, once there is room for it in memory.
    async fn journal(&self, row: Row) -> Result<(), StoreError> {
        let Inner {
            unfolded, folder, ..
        } = &*self.inner;
        let room = tokio::time::timeout(PATIENCE, unfolded.room()).await;
        room.map_err(|_| StoreError::Slow(PATIENCE))?;
        self.inner.write(move |acts| acts.journal(row)).await?;
        if unfolded.calls() {
            folder.call();
        }
        Ok(())
    }
}

impl Inner {
    fn book(&self, subject: &Subject, from: Hour) -> Result<Book, StoreError> {
        // Before what is on disk: what is folded meanwhile is then met twice, and not never.
        let items = self.unfolded.items(subject);
        self.snapshot(|connection| {
            let Some(kept) = fold::kept(connection, subject)? else {
                let ledger = first_ledger(connection, subject, &items)?;
                return Ok(Book {
                    ledger,
                    ..Book::default()
                });
            };
            Ok(Book {
                ledger: ledger(&kept.ledger, subject, &items)?,
                closed: decode_hours(&hours(connection, kept.id, from)?)?,
                days: decode_days(&kept.days)?,
            })
        })
    }

    fn summaries(&self, tokens: &[TokenId], now: Hour) -> Result<Vec<Summary>, StoreError> {
        let items = self.unfolded.items_of(tokens);
        self.snapshot(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT ledger FROM usage_ledgers WHERE subject = ?1")?;
            let mut summary = |(id, items): (&TokenId, [Items; 2])| {
                let kept: Option<Vec<u8>> = statement
                    .query_row([id.as_str()], |row| row.get(0))
                    .optional()?;
                let ledger = match kept {
                    Some(kept) => ledger(&kept, &Subject::Token(*id), &items)?,
                    None => first_ledger(connection, &Subject::Token(*id), &items)?,
                };
                Ok(ledger.summary(now))
            };
            tokens.iter().zip(items).map(&mut summary).collect()
        })
    }
}

/// The ledger of one that has none yet: of a token that is gone, nothing.
fn first_ledger(
    connection: &Connection,
    subject: &Subject,
    items: &[Items; 2],
) -> Result<Ledger, Fault> {
    match subject {
        _ if items.iter().all(|items| items.bytes.is_empty()) => Ok(Ledger::default()),
        Subject::Token(id) if !fold::has_token(connection, *id)? => Ok(Ledger::default()),
        _ => Ok(ledger(&[], subject, items)?),
    }
}

/// A ledger with what is not folded.
fn ledger(kept: &[u8], subject: &Subject, items: &[Items; 2]) -> Result<Ledger, StoreError> {
    let mut ledger = decode_ledger(kept)?;
    for items in items {
        items.add_to(subject, &mut ledger)?;
    }
    Ok(ledger)
}

/// What was put down of a ledger's closed hours from `from` on.
fn hours(connection: &Connection, ledger: i64, from: Hour) -> Result<Vec<u8>, Fault> {
    let mut statement = connection.prepare_cached(HOURS)?;
    let mut rows = statement.query((ledger, from.number()))?;
    let mut frames = Vec::new();
    while let Some(row) = rows.next()? {
        frames.extend_from_slice(row.get_ref(0)?.as_blob()?);
    }
    Ok(frames)
}

/// A subject, as it is named in the database.
fn key(subject: &Subject) -> String {
    match subject {
        Subject::Token(id) => id.to_string(),
        Subject::Namespace(namespace) => format!("{NAMESPACE}{namespace}"),
    }
}

/// The subject of that name.
fn subject(key: &str) -> Result<Subject, Flaw> {
    match key.strip_prefix(NAMESPACE) {
        Some(name) => Namespace::parse(name).map(Subject::Namespace),
        None => TokenId::parse(key).map(Subject::Token),
    }
}
