//! Usage: a ledger for each subject, that is appended to; closed hours and days beside it, in its slot.
//!
//! A gain is one `APPEND`, whose answer says how long the ledger is. From time to time, the more rarely
//! the longer it is, whoever appended folds it: what was read is added up, and a script puts the sum in
//! its place if it still stands there, behind which all that came since remains. So nothing is read when
//! something is added, and a ledger is some times as long as its folded form.
//!
//! Nothing counts twice, and nothing is lost: a ledger is told from its frames by one rule, which passes
//! over those it has seen; of two who fold at once one finds something else than it has read; and what is
//! taken out of a ledger stands beside it at the same instant.

mod adding;
mod folding;
mod forgetting;
mod reading;

use std::collections::HashSet;
use std::hash::RandomState;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::RedisStore;
use crate::domain::name::Namespace;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenId;
use crate::domain::usage::{Book, Hour, Subject, Summary};
use crate::store::StoreError;
use crate::store::usage::{Flush, InForce, UsageStore};

/// Bytes that are sent or read at once, about, so that the calls of others come between.
const BYTES_AT_ONCE: usize = 64 * 1024;
/// Ledgers that are remembered as such that cannot be read.
const UNREADABLE_MAX: usize = 10_000;

#[async_trait]
impl UsageStore for RedisStore {
    async fn add_usage(&self, flush: &Flush) -> Result<(), StoreError> {
        self.add_gains(flush).await
    }

    async fn usage(&self, subject: &Subject, from: Hour) -> Result<Book, StoreError> {
        self.read_book(subject, from).await
    }

    async fn summaries(&self, tokens: &[TokenId], now: Hour) -> Result<Vec<Summary>, StoreError> {
        self.read_summaries(tokens, now).await
    }

    async fn standing(
        &self,
        namespace: Option<&Namespace>,
        until: Timestamp,
        most: usize,
    ) -> Result<InForce, StoreError> {
        self.count_in_force(namespace, until, most).await
    }
}

/// What a process knows about ledgers.
pub(super) struct Ledgers {
    /// About how many bytes are appended before a short ledger is folded.
    fold_every: u64,
    /// What is folded follows from hashes with these keys, in place of random numbers.
    dice: RandomState,
    /// Whether a flush failed, or was given up: some of the next may be there already.
    doubtful: AtomicBool,
    /// Those that cannot be read; they were told, and are left as they are.
    unreadable: Mutex<HashSet<Subject>>,
}

impl Default for Ledgers {
    fn default() -> Self {
        Self {
            fold_every: folding::FOLD_EVERY,
            dice: RandomState::new(),
            doubtful: AtomicBool::new(false),
            unreadable: Mutex::default(),
        }
    }
}

impl Ledgers {
    pub(super) fn fold_every(&mut self, bytes: u64) {
        self.fold_every = bytes.max(1);
    }

    /// Notes that what is kept of a subject cannot be read, which is told once.
    fn note_unreadable(&self, subject: &Subject, error: &StoreError) {
        let mut unreadable = self
            .unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if unreadable.len() < UNREADABLE_MAX && unreadable.insert(subject.clone()) {
            let count = unreadable.len();
            tracing::error!(?subject, %error, count, "kept use cannot be read, and is left as it is");
        }
    }

    fn is_unreadable(&self, subject: &Subject) -> bool {
        let unreadable = self.unreadable.lock();
        unreadable
            .unwrap_or_else(PoisonError::into_inner)
            .contains(subject)
    }
}
