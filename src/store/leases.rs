//! The contract of leases: who gets a token of a pool, for how long, and in which order.
//!
//! One clock decides about all leases of a pool: the store's, read within each act. Nothing else
//! ends a lease, no sweeper and no message; what is over is over at that instant for every act.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::caller::Reach;
use crate::domain::lease::{Lease, LeaseId, LeaseMark, WaiterId};
use crate::domain::page::PageSize;
use crate::domain::pool::{Pool, Standing};
use crate::domain::tenure::Grant;
use crate::domain::time::Timestamp;
use crate::domain::token::{Refusal, Token, TokenId};

use super::StoreError;
use super::bells::Bells;

/// The acts on leases.
#[async_trait]
pub trait LeaseStore: Send + Sync {
    /// Leases one of the pool's available tokens, each of which is as likely as every other, unless
    /// as many calls wait before this one as there are such tokens.
    ///
    /// A call that waits asks again: when its bell rings, at the instant that the answer names, and
    /// at least once in [`ASK_AGAIN`], lest its place be given to those behind it. It keeps the place
    /// it took with its first question until it is granted a lease or leaves.
    ///
    /// A request that acquired a lease within [`crate::domain::token::REPLAY_WINDOW`] is answered
    /// that lease, with one more secret, or is refused.
    async fn acquire(&self, asking: &Asking) -> Result<Acquired, StoreError>;

    /// Gives up the place of a call that waits no longer. Nothing where it has none.
    async fn leave(&self, pool: &Pool, waiter: WaiterId) -> Result<(), StoreError>;

    /// Ends a lease within reach. Ending it again answers how it ended.
    async fn release(&self, target: LeaseTarget, reach: &Reach) -> Result<Released, StoreError>;

    /// Shows that a token is alive, and extends its lease where that is named; never shortens it.
    async fn keep_alive(&self, beat: &Beat) -> Result<KeptAlive, StoreError>;

    /// Lists the pools of `reach` that hold tokens, in their order, those behind `after` only, each as
    /// it stands at one instant. A page may be short, or empty, and still have a successor; at most
    /// [`super::listing::EXAMINED_MAX`] pools are examined.
    async fn pools(
        &self,
        reach: &Reach,
        after: Option<&Pool>,
        size: PageSize,
    ) -> Result<Pools, StoreError>;

    /// Shows the store that the authority is there: the clocks of tokens' lives stand still while
    /// nobody does for longer than [`crate::domain::absence::UNSEEN_MAX`].
    async fn be_seen(&self) -> Result<(), StoreError>;

    /// What rings where a call that waits should ask again.
    fn bells(&self) -> &Bells;
}

/// How often a call that waits asks again though nothing rang.
pub const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long after its last question a call that waits counts as gone.
pub const GONE_AFTER: Duration = Duration::from_secs(3);

/// What is asked of [`LeaseStore::acquire`].
#[derive(Clone, Debug)]
pub struct Asking {
    pub pool: Pool,
    pub grant: Grant,
    /// The place in the queue of a call that waits; one without is refused where it would have to.
    pub waiter: Option<WaiterId>,
}

/// Answer of [`LeaseStore::acquire`].
#[derive(Clone, Debug, PartialEq)]
pub enum Acquired {
    /// The token, whose lease this is; one that was granted now, or earlier to the same request.
    Granted {
        token: Box<Token>,
        lease: Box<Lease>,
        now: Timestamp,
        replayed: bool,
    },
    /// Every token that is in force is leased, or is for those who wait before.
    Busy {
        now: Timestamp,
        /// When, as things stand, it may be this call's turn; `None` where no end of a lease would
        /// make it so.
        turn: Option<Timestamp>,
    },
    /// The pool has no token.
    Empty,
    /// The request acquired a lease with other arguments, or one that cannot be answered any more.
    Refused(Refusal),
}

/// What a lease is named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseTarget {
    Lease(LeaseId),
    /// Whatever lease the token is held by.
    Token(TokenId),
}

impl LeaseTarget {
    pub fn token(self) -> TokenId {
        match self {
            Self::Lease(id) => id.token,
            Self::Token(id) => id,
        }
    }

    pub fn mark(self) -> Option<LeaseMark> {
        match self {
            Self::Lease(id) => Some(id.mark),
            Self::Token(_) => None,
        }
    }
}

/// Answer of [`LeaseStore::release`].
#[derive(Clone, Debug, PartialEq)]
pub enum Released {
    /// No such token or lease is within reach, or it is not remembered.
    Absent,
    /// The token is in no pool.
    Unpooled,
    /// The token, named by its id, is not leased, and no lease of it is remembered.
    Idle(Box<Token>),
    Ended {
        token: Box<Token>,
        lease: Box<Lease>,
        now: Timestamp,
        /// It had ended before.
        before: bool,
    },
}

/// What is asked of [`LeaseStore::keep_alive`].
#[derive(Clone, Debug)]
pub struct Beat {
    /// By its id alone, a token's lease is left as it is.
    pub target: LeaseTarget,
    /// How long from now the lease shall last; `None` for as long as when it was acquired.
    pub duration: Option<Duration>,
    pub reach: Reach,
}

/// Answer of [`LeaseStore::keep_alive`].
#[derive(Clone, Debug, PartialEq)]
pub enum KeptAlive {
    /// No such token or lease is within reach, or it is not remembered.
    Absent,
    /// The token is in no pool.
    Unpooled,
    /// The lease has ended; nothing was changed.
    Over {
        token: Box<Token>,
        lease: Box<Lease>,
    },
    /// The token, named by its id, is revoked or expired.
    Refused(Refusal),
    /// The token as it is now, with its lease in force, if any.
    Kept { token: Box<Token>, now: Timestamp },
}

/// Answer of [`LeaseStore::pools`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pools {
    pub pools: Vec<(Pool, Standing)>,
    /// Where the next page begins; `None` at the end of the list.
    pub next: Option<Pool>,
}
