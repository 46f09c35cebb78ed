//! The contract of limits: what a use takes from them, all together or not at all.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::permits::Ahead;
use crate::domain::spending::{Demand, Exceeded, Left, Scope, Spending};
use crate::domain::time::Timestamp;
use crate::domain::token::Token;

use super::{Found, StoreError};

/// The acts on what is spent of tokens' limits.
#[async_trait]
pub trait LimitStore: Send + Sync {
    /// Takes a use from all limits of a token, or from none of them; in one round trip.
    ///
    /// Nothing is taken unless the token is the one that was judged, and as it was judged: the same
    /// revision, and a store's time before `until`. Else it answers the token as it stands, and nothing
    /// is given back, either.
    ///
    /// The step is [`Spending::take`], by the store's time. What `ahead` gives back is given back first,
    /// and stays so where the use is refused; what it wishes for is granted after the use was taken. A
    /// batch that is unknown, or was given back before, gives nothing back.
    async fn take(&self, take: &Take) -> Result<Taken, StoreError>;

    /// What is kept about the limits of each of `tokens`, which need not be of one instant.
    async fn spending(&self, tokens: &[Arc<Token>]) -> Result<Vec<Spending>, StoreError>;
}

/// A use that shall be taken from the limits of a judged token.
#[derive(Clone, Debug)]
pub struct Take {
    pub token: Arc<Token>,
    /// The first instant at which the judgement would no longer hold.
    pub until: Option<Timestamp>,
    /// At most [`crate::domain::limit::COST_MAX`].
    pub cost: u64,
    pub scope: Scope,
    /// Only looks whether the use would pass.
    pub dry_run: bool,
    /// Batches that are given back and wished for with it; a dry run has none.
    pub ahead: Ahead,
}

impl Take {
    /// What it asks of the token's limits.
    pub fn demand(&self) -> Demand {
        Demand {
            cost: self.cost,
            scope: self.scope,
            dry_run: self.dry_run,
            ahead: self.ahead,
        }
    }
}

/// Answer of [`LimitStore::take`].
#[derive(Clone, Debug)]
pub enum Taken {
    /// The use passed; this is left after it, or, for a dry run, before it. So many uses were granted
    /// in the batch that was wished for, and count as spent in what is left.
    Admitted(Left, u64),
    /// Nothing was taken.
    Refused(Exceeded, Left),
    /// The token is not, or no longer, as it was judged.
    Moved(Found),
}

/// Most attempts to take from a token that changes between each judgement and its taking.
pub const TAKE_ATTEMPTS: usize = 16;
