//! Coherence: how replicas that answer from memory never answer what was changed, as pure values.
//!
//! A *registry*, kept in one place for all, holds a log of changes and who answers from memory. A
//! replica answers from memory only under a *cache lease*, which it gets by renewing; each renewal
//! brings the entries that the replica lacks, and tells which it has applied. Whoever changes a token
//! writes it, announces the change in the log, and returns when every member has applied it, or can
//! hold no lease any more that it got before. `ARCHITECTURE.md` has the argument; `tests/coherence_model`
//! walks through all interleavings of these very functions.
//!
//! No clock of one process is compared with that of another. Spans are, as 10 % longer.

pub mod barrier;
pub mod bound;
pub mod registry;
pub mod replica;
pub mod roll;

use std::fmt;
use std::time::Duration;

use super::alphabet;
use super::flaw::Flaw;
use super::token_id::TokenId;

/// How long a replica may answer from memory, from before it asked to.
pub const LEASE: Duration = Duration::from_secs(1);
/// How long a change waits for a member that says nothing: a lease, and as much more as two clocks may
/// run apart within it.
pub const PATIENCE: Duration = Duration::from_millis(1100);
/// Time between two renewals.
pub const RENEW_EVERY: Duration = Duration::from_millis(250);
/// Time between two looks for members that are gone, though nothing is changed.
pub const ROLL_EVERY: Duration = Duration::from_secs(5);
/// How long a record is answered from, from before it was read: where a change was written and its
/// process died before it announced it, this is how long it may go unnoticed.
pub const RECORD_AGE_MAX: Duration = Duration::from_secs(5);
/// The same where no other process changes anything: then whoever dies so forgets all that it remembered,
/// and only an error of ours could leave a record behind.
pub const RECORD_AGE_MAX_ALONE: Duration = Duration::from_secs(60);
/// Entries of the log that are kept. A replica that lacks more drops all it remembers.
pub const LOG_MAX: usize = 4096;
/// Most changes that are announced together.
pub const ANNOUNCED_MAX: usize = 256;

/// A change of a token, as the log keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Invalidation {
    pub token: TokenId,
    /// That of the token after the change; [`u64::MAX`] where it is not known, or there is none any
    /// more: then every record of it is older.
    pub revision: u64,
}

macro_rules! drawn_name {
    ($(#[$about:meta])* $name:ident) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $name::DIGITS]);

        impl $name {
            pub const DIGITS: usize = 22;

            pub fn parse(text: &str) -> Result<Self, Flaw> {
                let unlike = || Flaw::new(format!("must be {} base62 characters", Self::DIGITS));
                alphabet::digits(text).map(Self).ok_or_else(unlike)
            }

            pub fn as_str(&self) -> &str {
                alphabet::text(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

drawn_name! {
    /// One process that answers from memory; drawn at its start.
    ReplicaId
}
drawn_name! {
    /// One registry; drawn when it is made, so that one that was lost and made anew is known as another.
    Epoch
}

/// News of the log that is sent around as soon as it is there. It may be lost, late, or twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nudge {
    pub epoch: Epoch,
    /// The number of the last entry.
    pub last: u64,
    /// The last entries, in their order.
    pub entries: Vec<Invalidation>,
}
