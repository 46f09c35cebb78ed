//! Guards tonic servers with a token authority, and holds leases of its pooled tokens.
//!
//! [`Guard`] is a layer for servers, [`Worker`] for whoever takes tokens of a pool, and [`Fence`] for the
//! resource that workers write to.

mod cache;
mod channel;
mod fence;
mod guard;
pub mod pb;
mod policy;
mod question;
mod refusal;
mod retry;
mod watch;
mod worker;

pub use channel::{BadCredential, connect};
pub use fence::{Fence, FenceStale};
pub use guard::{Caller, Guard, Guarded};
pub use policy::Policy;
pub use refusal::{AUTHORITY_UNAVAILABLE, DOMAIN};
pub use retry::RetryPolicy;
pub use worker::{HeldLease, LeaseLost, Worker};

/// Holds the README to what compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
