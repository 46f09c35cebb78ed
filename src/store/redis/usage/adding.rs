//! Adding gains: each is appended to its subject's ledger, some hundreds in one exchange.
//!
//! Where a ledger is new then, its token is looked for: it may be gone, and would leave its use for ever.
//! Only a process that dies just then leaves it.

use std::iter::Peekable;
use std::slice;
use std::sync::atomic::Ordering;

use redis::{Cmd, Value, cmd};

use super::super::RedisStore;
use super::super::error::{read, unexpected};
use super::super::line::{Line, PIPELINE_MAX};
use super::super::scripts::DROP_STRAY;
use super::BYTES_AT_ONCE;
use super::folding::Grown;
use crate::domain::usage::{Gain, Mark, Subject};
use crate::store::StoreError;
use crate::store::usage::{Flush, encode_gain};

/// Gains that are still to be added.
type Gains<'a> = Peekable<slice::Iter<'a, (Subject, Gain)>>;

impl RedisStore {
    /// Carries out [`crate::store::UsageStore::add_usage`].
    pub(super) async fn add_gains(&self, flush: &Flush) -> Result<(), StoreError> {
        let line = &self.access.links.line()?;
        // What is given up below leaves it so, too.
        let doubtful = self.ledgers.doubtful.swap(true, Ordering::AcqRel);
        let mut due = Vec::new();
        let mut gains: Gains<'_> = flush.gains.iter().peekable();
        while gains.peek().is_some() {
            let grown = self.append_some(line, flush.mark, &mut gains).await?;
            let is_new = |grown: &&Grown<'_>| doubtful || grown.is_new();
            let new = grown.iter().filter(is_new);
            self.drop_strays(line, new.map(|grown| grown.subject))
                .await?;
            let is_due = |grown: &Grown<'_>| self.ledgers.is_due(grown, flush.mark);
            due.extend(grown.into_iter().filter(is_due));
            // Others who use the same link, or thread, come in between.
            tokio::task::yield_now().await;
        }
        self.ledgers.doubtful.store(false, Ordering::Release);
        self.fold(line, due, flush.gains.len()).await;
        Ok(())
    }

    /// Appends as many gains as are sent at once.
    async fn append_some<'a>(
        &self,
        line: &Line<'_>,
        mark: Mark,
        gains: &mut Gains<'a>,
    ) -> Result<Vec<Grown<'a>>, StoreError> {
        let mut commands: Vec<Cmd> = Vec::with_capacity(PIPELINE_MAX);
        let mut appended = Vec::with_capacity(PIPELINE_MAX);
        let mut bytes = 0;
        while bytes < BYTES_AT_ONCE
            && commands.len() < PIPELINE_MAX - 1
            && let Some((subject, gain)) = gains.next()
        {
            let frame = encode_gain(mark, gain);
            let mut append = cmd("APPEND");
            append.arg(self.access.keys.ledger(subject)).arg(&frame);
            commands.push(append);
            appended.push((subject, frame.len()));
            bytes += frame.len();
        }
        commands.push(line.marker());
        let limit = self.access.write_timeout;
        let mut answers = line.raw_commands(limit, commands).await?;
        let marker = answers.pop().ok_or_else(|| unexpected("no marker"))?;
        line.check_marker(limit, marker)?;
        let mut grown = Vec::with_capacity(appended.len());
        for ((subject, by), answer) in appended.into_iter().zip(answers) {
            match length(line.accept(limit, answer)) {
                Ok(to) => grown.push(Grown { subject, by, to }),
                // One that holds something else must not keep all others from being added.
                Err(error @ StoreError::Corrupt(_)) => {
                    self.ledgers.note_unreadable(subject, &error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(grown)
    }

    /// Drops the ledgers of those tokens among some subjects that are gone.
    async fn drop_strays(
        &self,
        line: &Line<'_>,
        subjects: impl Iterator<Item = &Subject>,
    ) -> Result<(), StoreError> {
        let keys = &self.access.keys;
        let calls = subjects.filter_map(|subject| {
            let Subject::Token(id) = subject else {
                return None;
            };
            let days = keys.days(subject);
            Some(DROP_STRAY.call([keys.record(*id), keys.ledger(subject), days]))
        });
        let calls: Vec<_> = calls.collect();
        if !calls.is_empty() {
            line.scripts(self.access.write_timeout, &calls).await?;
        }
        Ok(())
    }
}

fn length(answer: Result<Value, StoreError>) -> Result<usize, StoreError> {
    read(answer?)
}
