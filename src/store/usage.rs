//! The contract of usage: what servers counted is added up, subject by subject, and read again.
//!
//! Statistics are no limits: what they need never holds up an act on tokens, and a server that dies
//! loses what it has not added yet.

mod stored;

use async_trait::async_trait;

use crate::domain::name::Namespace;
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenId};
use crate::domain::usage::{Book, Gain, Hour, Mark, Subject, Summary};

use super::StoreError;

pub use stored::{
    add_frames, decode_days, decode_hours, decode_ledger, encode_days, encode_gain, encode_hour,
    encode_ledger, write_gain,
};

/// The acts on usage.
#[async_trait]
pub trait UsageStore: Send + Sync {
    /// Adds what a process counted: all of it, or, after an error, perhaps some of its subjects. Then
    /// the same flush is to be added again; what is there already is not counted twice.
    ///
    /// A process sends its flushes one after the other, in the order of their numbers. A gain of a
    /// token that is gone is dropped.
    async fn add_usage(&self, flush: &Flush) -> Result<(), StoreError>;

    /// What is kept of a subject, with the closed hours from `from` on; nothing of one that was never
    /// used. All that was added before is in it.
    async fn usage(&self, subject: &Subject, from: Hour) -> Result<Book, StoreError>;

    /// What lists show of the use of each of these tokens at `now`.
    async fn summaries(&self, tokens: &[TokenId], now: Hour) -> Result<Vec<Summary>, StoreError>;

    /// How many tokens are in force at the store's time, of one namespace, or of all; and those of them
    /// that expire next, no later than `until`, the soonest first, at most `most`.
    ///
    /// The cost does not grow with the number of tokens in force.
    async fn standing(
        &self,
        namespace: Option<&Namespace>,
        until: Timestamp,
        most: usize,
    ) -> Result<InForce, StoreError>;
}

/// What a process counted since its flush before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flush {
    /// The process, by a random number, and how many flushes came before.
    pub mark: Mark,
    /// Each subject once.
    pub gains: Vec<(Subject, Gain)>,
}

/// Answer of [`UsageStore::standing`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    pub active: u64,
    pub expiring: Vec<Token>,
}
