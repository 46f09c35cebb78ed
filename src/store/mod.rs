//! The contract of the stores: what each act means, whichever store carries it out.
//!
//! Both stores behave alike; a visible difference is a bug. `tests/conformance` holds them to it.
//!
//! - One method is one atomic step: whoever looks sees it done or not done.
//! - The store's own clock decides about time, read within the step; deletion and TTLs only
//!   reclaim memory and never decide whether something is in force.
//! - "Taken", "absent" and "refused" are values. A [`StoreError`] means that the store itself could
//!   not answer; after an error of a changing method the outcome is unknown.
//! - "Absent" is answered only by a store that has just shown its identity marker: an emptied or
//!   exchanged store is an error, never an absence.
//! - Before a token is made under a pepper, the store keeps that pepper's check value; a store that
//!   was used with another pepper of the same id is an error to every act.
//! - A pooled token that nobody kept alive is absent from its deadline on, for every act, though its
//!   record may still be there; a token that is answered carries its tenure as it is at that time.
//! - A call may be abandoned at any await; then it is done or not done, never half.

pub mod bells;
pub mod census;
pub mod events;
pub mod leases;
pub mod limits;
pub mod listing;
pub mod measured;
mod peppers;
pub mod record;
pub mod redis;
pub mod registry;
pub mod spending;
pub mod sqlite;
pub mod tenure;
pub mod usage;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::alphabet;
use crate::domain::caller::Reach;
use crate::domain::flaw::{Flaw, quoted};
use crate::domain::name::Namespace;
use crate::domain::page::{Cursor, Filter, PageSize};
use crate::domain::time::Timestamp;
use crate::domain::token::{Draft, Refusal, Ruling, Token, TokenId};

use census::Census;
pub use events::EventStore;
pub use leases::LeaseStore;
pub use limits::{LimitStore, Take, Taken};
pub use registry::RegistryStore;
pub use usage::UsageStore;

/// Judges a token as it stands, at the store's time, and says what becomes of it.
///
/// It must be pure: a store may ask it again when another change came between.
pub type Rule = Arc<dyn Fn(&Token, Timestamp) -> Ruling + Send + Sync>;

/// Most tokens of which [`TokenStore::unchanged`] is asked at once: few enough that others hardly wait.
pub const REREAD_MAX: usize = 256;

/// The acts on tokens.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// Reads a token and the store's time, in one round trip when there is such a token.
    async fn find(&self, id: TokenId) -> Result<Found, StoreError>;

    /// The same of a token in no pool that was found before: where it still has that revision, it is
    /// answered itself, which spares a store to read it anew.
    async fn find_again(&self, known: &Arc<Token>) -> Result<Found, StoreError> {
        self.find(known.id).await
    }

    /// Says of each, in their order, whether what stands there now is a token of that revision; of
    /// [`REREAD_MAX`] at most, in one round trip. Each is read at an instant of its own.
    ///
    /// A pooled token of that revision may be one that nobody kept alive. Whatever else there is, or
    /// is not, is no absence: the marker is not looked at.
    async fn unchanged(&self, asked: &[(TokenId, u64)]) -> Result<Vec<bool>, StoreError>;

    /// Creates the token of `draft`, unless its id or its request (`draft.origin`) already made
    /// one; then answers that one. A request key is remembered as long as its token, and
    /// [`crate::domain::token::REPLAY_WINDOW`] beyond its deletion.
    ///
    /// The token begins at the store's time; within a namespace no two tokens have the same
    /// `create_time`. What `draft.bounds` demand is judged in the same step: however many create at
    /// once, a namespace never holds more tokens than it may, and none is refused while there is
    /// room for it and for all that were begun before it.
    async fn create(&self, draft: Draft) -> Result<Creation, StoreError>;

    /// Applies `rule` to the token as it stands, and stores what it answers under a new revision
    /// of `max(last + 1, store microseconds)`.
    async fn change(&self, id: TokenId, rule: Rule) -> Result<Change, StoreError>;

    /// Deletes the token and all that is kept about it, unless `rule` refuses; any other ruling
    /// lets it go.
    async fn delete(&self, id: TokenId, rule: Rule) -> Result<Deletion, StoreError>;

    /// Lists the tokens that `filter` admits, newest first, those after `after` only.
    ///
    /// Examines at most [`listing::EXAMINED_MAX`] entries, so that a page costs the same at any
    /// number of tokens; a page may be short, or empty, and still have a successor.
    async fn list(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<Page, StoreError>;
}

/// The acts on namespaces, which exist by the tokens that they hold.
#[async_trait]
pub trait NamespaceStore: Send + Sync {
    /// Lists the namespaces of `reach` that hold tokens, in the order of their names, those behind
    /// `after` only, each with how many it holds. A token counts from its creation until its
    /// deletion, whether it is in force or not; while creations are under way, those that will be
    /// refused may count, too.
    ///
    /// The cost does not grow with the number of tokens (on Redis by a small read for each 65 536),
    /// and at most [`listing::EXAMINED_MAX`] namespaces are examined; a page may be short, or empty,
    /// and still have a successor.
    async fn census(
        &self,
        reach: &Reach,
        after: Option<&Namespace>,
        size: PageSize,
    ) -> Result<Census, StoreError>;
}

/// Removing what was kept long enough.
#[async_trait]
pub trait Sweeping: Send + Sync {
    /// Takes one bounded step: removes some tokens whose
    /// [`vanish_time`](crate::domain::retention) has come by the store's time, each with all that
    /// is kept about it, so that it is as if it had never been.
    ///
    /// No mark of a deletion stays: the end of a vanished token lies so far back that no
    /// repetition of its request can still be under way. A token that changes meanwhile is judged
    /// as it stands then. Any number may sweep at once, and any may die at it: what one leaves
    /// undone, the next finds.
    async fn sweep(&self) -> Result<Swept, StoreError>;
}

/// Answer of [`Sweeping::sweep`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many tokens it removed.
    pub removed: usize,
    /// There may be more to do at once.
    pub more: bool,
}

/// Most tokens that one step of a sweep looks at: few enough that others hardly wait for it.
pub const SWEPT_MAX: u32 = 512;
/// How long a due token whose record cannot be read is left alone, before it is told again.
pub const UNREADABLE_POSTPONED: Duration = Duration::from_secs(24 * 3600);

/// What a store says about itself.
#[async_trait]
pub trait StoreStatus: Send + Sync {
    /// Waits until the first attempt to reach the store has ended, one way or the other; a probe
    /// before that could only say that nothing is known yet.
    async fn settled(&self);

    /// Asks the store, now, whether it can be read.
    async fn probe_read(&self) -> Result<(), StoreError>;

    /// Asks the store, now, whether it can be written.
    async fn probe_write(&self) -> Result<(), StoreError>;

    /// Makes sure that the store still carries its identity marker, at the cost of a round trip
    /// where there is one.
    async fn confirm(&self) -> Result<(), StoreError>;

    /// The store's identity; an error until it was seen for the first time.
    fn id(&self) -> Result<StoreId, StoreError>;

    /// How safely an acknowledged change is kept; `None` until it was seen for the first time.
    fn durability(&self) -> Option<Durability>;

    /// Writes what is still in memory and lets go of files and connections.
    async fn close(&self);
}

/// A store: everything the authority asks of one.
pub trait Store:
    TokenStore
    + NamespaceStore
    + LimitStore
    + LeaseStore
    + RegistryStore
    + EventStore
    + UsageStore
    + Sweeping
    + StoreStatus
    + 'static
{
}
impl<T> Store for T where
    T: TokenStore
        + NamespaceStore
        + LimitStore
        + LeaseStore
        + RegistryStore
        + EventStore
        + UsageStore
        + Sweeping
        + StoreStatus
        + 'static
{
}

/// Answer of [`TokenStore::find`].
#[derive(Clone, Debug)]
pub struct Found {
    pub now: Timestamp,
    pub token: Option<Arc<Token>>,
}

/// Answer of [`TokenStore::create`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    Created(Token),
    /// The id or the request made this token earlier.
    Taken(Token),
    /// The id or the request made a token that was deleted since.
    Gone,
    Refused(Refusal),
}

/// Answer of [`TokenStore::change`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Absent,
    /// Nothing was to be changed; the token as it was at that time of the store.
    Kept(Token, Timestamp),
    Changed(Token),
    Refused(Refusal),
}

/// Answer of [`TokenStore::delete`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    Absent,
    Deleted,
    Refused(Refusal),
}

/// Answer of [`TokenStore::list`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub now: Timestamp,
    pub tokens: Vec<Token>,
    /// Where the next page begins; `None` at the end of the list.
    pub next: Option<Cursor>,
}

/// Why a store could not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("the store cannot be reached: {0}")]
    Unreachable(String),
    #[error("the store did not answer within {} ms", .0.as_millis())]
    Slow(Duration),
    /// Without marker, with another's marker, used with another pepper, evicting, or less durable
    /// than demanded: an outage until an operator acts.
    #[error("the store is not acceptable: {0}")]
    Unacceptable(String),
    #[error("the store does not accept writes: {0}")]
    ReadOnly(String),
    #[error("a record cannot be read: {0}")]
    Corrupt(String),
    #[error("other changes came between, {0} times")]
    Contended(usize),
    /// It stands on the master; a failover may undo it.
    #[error("only {have} of {wanted} replicas have the change; its outcome is unknown")]
    Unreplicated { have: usize, wanted: usize },
    #[error("the store is closed")]
    Closed,
}

/// Names one store, over all restarts of everything: 22 base62 digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreId(String);

impl StoreId {
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        if text.len() != 22 || !alphabet::is_base62(text) {
            return Err(Flaw::new(format!(
                "must be 22 base62 characters; got {}",
                quoted(text)
            )));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How safely an acknowledged change is kept, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Redis without an append-only file, or with one that the kernel flushes when it likes.
    None,
    /// Redis with an append-only file flushed each second.
    OneSecond,
    /// Redis with an append-only file flushed before each answer.
    Strict,
    /// Redis with an append-only file, and replicas that have a change before it is answered. Above
    /// `Strict`, since it alone outlives the machine and a failover; flushed it may be each second
    /// only, so a demand for `Strict` asks for the flush beside it.
    Replicated,
    /// SQLite, flushed before each answer.
    Embedded,
}

impl Durability {
    pub const ALL: [Durability; 5] = [
        Self::None,
        Self::OneSecond,
        Self::Strict,
        Self::Replicated,
        Self::Embedded,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::OneSecond => "1s",
            Self::Strict => "strict",
            Self::Replicated => "replicated",
            Self::Embedded => "embedded",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Version of the stored forms that this release writes.
pub const SCHEMA: u32 = 1;
/// Oldest schema whose readers understand what this release writes.
pub const MIN_READER: u32 = 1;
