//! Reading what is kept of a subject: its ledger, its days, and the hours of the days that it has.
//!
//! Days and hours are read some at a time, and behind each the ledger again. Where that still begins with what
//! was read of it first, it was not folded meanwhile: so no hour was read both in the ledger and beside
//! it, and none in neither.

use redis::cmd;

use super::super::RedisStore;
use super::super::error::{read, unexpected};
use super::super::line::Line;
use super::super::tokens::{ATTEMPTS_MAX, pause_before};
use crate::domain::token::TokenId;
use crate::domain::usage::{Book, Day, Hour, Subject, Summary};
use crate::store::StoreError;
use crate::store::usage::{decode_days, decode_hours, decode_ledger};

/// Days whose hours are read at once.
const DAYS_AT_ONCE: usize = 4;
/// Ledgers that are read at once.
const LEDGERS_AT_ONCE: usize = 32;

impl RedisStore {
    /// Carries out [`crate::store::UsageStore::usage`].
    pub(super) async fn read_book(
        &self,
        subject: &Subject,
        from: Hour,
    ) -> Result<Book, StoreError> {
        let line = &self.access.links.line()?;
        for attempt in 0..ATTEMPTS_MAX {
            pause_before(attempt).await;
            if let Some(book) = self.try_read_book(line, subject, from).await? {
                return Ok(book);
            }
        }
        Err(StoreError::Contended(ATTEMPTS_MAX))
    }

    /// What is kept of a subject; nothing where its ledger was folded, or went, meanwhile.
    async fn try_read_book(
        &self,
        line: &Line<'_>,
        subject: &Subject,
        from: Hour,
    ) -> Result<Option<Book>, StoreError> {
        let limit = self.access.write_timeout;
        let keys = &self.access.keys;
        let get = |key: String| {
            let mut get = cmd("GET");
            get.arg(key);
            get
        };
        let again = || get(keys.ledger(subject));
        let commands = vec![again(), get(keys.days(subject)), again()];
        let mut answers = line.commands(limit, commands).await?.into_iter();
        let mut next = || read::<Option<Vec<u8>>>(answers.next().unwrap_or_default());
        let Some(mut ledger) = next()? else {
            // What is absent is absent from this very store.
            line.confirm(limit).await?;
            return Ok(Some(Book::default()));
        };
        let days = decode_days(&next()?.unwrap_or_default())?;
        if next()?.is_none_or(|latest| !latest.starts_with(&ledger)) {
            return Ok(None);
        }
        let some: Vec<Day> = days.range(from.day()..).map(|(day, _)| *day).collect();
        let mut book = Book {
            days,
            ..Book::default()
        };
        for some in some.chunks(DAYS_AT_ONCE) {
            let mut hours = cmd("MGET");
            some.iter().for_each(|day| {
                hours.arg(keys.hours(subject, *day));
            });
            let mut answers = line.commands(limit, vec![hours, again()]).await?;
            let latest: Option<Vec<u8>> = read(answers.pop().unwrap_or_default())?;
            match latest.filter(|latest| latest.starts_with(&ledger)) {
                Some(latest) => ledger = latest,
                None => return Ok(None),
            }
            let hours: Vec<Option<Vec<u8>>> = read(answers.pop().unwrap_or_default())?;
            for frames in hours.into_iter().flatten() {
                book.closed.append(&mut decode_hours(&frames)?);
            }
        }
        book.closed = book.closed.split_off(&from);
        book.ledger = decode_ledger(&ledger)?;
        Ok(Some(book))
    }

    /// Carries out [`crate::store::UsageStore::summaries`].
    pub(super) async fn read_summaries(
        &self,
        tokens: &[TokenId],
        now: Hour,
    ) -> Result<Vec<Summary>, StoreError> {
        let line = &self.access.links.line()?;
        let limit = self.access.write_timeout;
        let mut summaries = Vec::with_capacity(tokens.len());
        for some in tokens.chunks(LEDGERS_AT_ONCE) {
            let subjects: Vec<_> = some.iter().map(|id| Subject::Token(*id)).collect();
            let commands = subjects.iter().map(|subject| {
                let mut get = cmd("GET");
                get.arg(self.access.keys.ledger(subject));
                get
            });
            let mut commands: Vec<_> = commands.collect();
            commands.push(line.marker());
            let mut answers = line.raw_commands(limit, commands).await?;
            let marker = answers.pop().ok_or_else(|| unexpected("no marker"))?;
            line.check_marker(limit, marker)?;
            for (subject, answer) in subjects.iter().zip(answers) {
                let ledger = line.accept(limit, answer).and_then(|answer| {
                    let frames: Option<Vec<u8>> = read(answer)?;
                    decode_ledger(&frames.unwrap_or_default())
                });
                summaries.push(match ledger {
                    Ok(ledger) => ledger.summary(now),
                    // One that cannot be read must not hide all others; whoever asks for it gets the error.
                    Err(error @ StoreError::Corrupt(_)) => {
                        self.ledgers.note_unreadable(subject, &error);
                        Summary::default()
                    }
                    Err(error) => return Err(error),
                });
            }
        }
        Ok(summaries)
    }
}
