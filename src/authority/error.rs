//! Why the authority did not carry out a call, before any wire format knows of it.

use std::borrow::Cow;
use std::time::Duration;

use crate::domain::caller::{Identity, Permission};
use crate::domain::event::EventCursor;
use crate::domain::flaw::Violations;
use crate::domain::lease::LeaseEnd;
use crate::domain::name::Namespace;
use crate::domain::pool::Pool;
use crate::domain::rotation::REPLACED_MAX;
use crate::domain::scope::Scope;
use crate::domain::token::{State, TokenId};
use crate::entropy::EntropyError;
use crate::store::StoreError;

use super::failures::AddressKind;

/// Why a call was not carried out. Each variant is one answer to the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No credential, two different ones, one that is not in force, or a certificate of nobody; why
    /// a credential is not in force, is not told.
    #[error("{0}")]
    Unauthenticated(Cow<'static, str>),
    /// The caller lacks the permission in `namespace`, or everywhere.
    #[error("the caller lacks the permission \"{}\"{}", permission.as_str(), place(namespace.as_ref()))]
    PermissionMissing {
        permission: Permission,
        namespace: Option<Namespace>,
    },
    /// The call would grant, or change a token that carries, what the caller does not hold.
    #[error("the scope \"{scope}\" exceeds what the caller may grant or change")]
    GrantExceedsCaller { scope: Scope },
    #[error("the request breaks {} rule(s)", .0.iter().count())]
    Invalid(Violations),
    #[error("there is no token {0}")]
    TokenNotFound(TokenId),
    #[error("the request_id made token {0} and cannot be replayed any more")]
    RequestIdUsed(TokenId),
    #[error("the namespace \"{namespace}\" holds {limit} tokens, as many as it may")]
    NamespaceFull { namespace: Namespace, limit: u64 },
    /// The token has another revision than the call asked for.
    #[error("the token has revision {current}, not {asked}: another change came before")]
    RevisionMoved { asked: u64, current: u64 },
    /// The token is revoked, or expired, and the call would need it not to be.
    #[error("the token is {}", state_name(*state))]
    TokenOver { id: TokenId, state: State },
    /// One more rotation would forget a replaced secret that is still in force.
    #[error("a replaced secret is in its grace until {until}; a token remembers {REPLACED_MAX}")]
    StillInGrace { id: TokenId, until: String },
    /// Every token of the pool that is in force is leased, or is for those who wait.
    #[error("no token of the pool \"{}\" in namespace \"{}\" is available", .pool.name.as_str(), .pool.namespace)]
    PoolExhausted {
        pool: Pool,
        /// Until the soonest end of a lease, as far as that is known.
        retry_after: Duration,
    },
    #[error("the pool \"{}\" in namespace \"{}\" has no token", .0.name.as_str(), .0.namespace)]
    PoolNotFound(Pool),
    #[error("the request_id acquired a lease that has ended, or cannot be replayed any more")]
    AcquireUsed(Pool),
    /// Which lease it was, is not repeated: whoever knows a name may end the lease.
    #[error("there is no such lease of token {0}, or it ended too long ago to be remembered")]
    LeaseNotFound(TokenId),
    #[error("the lease has ended: {}", end_in_words(*.end))]
    LeaseOver { id: TokenId, end: LeaseEnd },
    #[error("the token is not leased")]
    NotLeased(TokenId),
    #[error("the token is in no pool")]
    NotPooled(TokenId),
    #[error("{limit} calls wait for leases at this server, as many as may (leases.max_waiting)")]
    TooManyWaiting { limit: usize },
    /// Or the cursor is of another store.
    #[error(
        "events behind the cursor are not kept any more; list the tokens, and watch from now on"
    )]
    EventsDropped,
    #[error("no event was taken for {} s; go on behind the last one", .patience.as_secs())]
    WatcherSlow {
        cursor: EventCursor,
        patience: Duration,
    },
    /// A call that waits ends, as its connection does, or, where that does not end alone, the server.
    #[error("the wait ends: {}", if *.alone { "the connection does" } else { "the server is stopping" })]
    Leaving { alone: bool },
    #[error("this server keeps no usage (usage.enabled)")]
    UsageOff,
    /// Nobody is left to be answered.
    #[error("the caller has gone")]
    CallerGone,
    /// The caller's own token is over one of its rate limits.
    #[error("the caller is over a rate limit of its own token")]
    CallerLimited {
        caller: Identity,
        retry_after: Duration,
        /// Calls that would still pass now, where several were asked for.
        left: u64,
    },
    /// Other changes of the same token came between, again and again.
    #[error("other calls changed the token at the same time; try again")]
    Contended,
    /// The peer has used up its budget of surrendered secrets, or of signing in.
    #[error("too many secrets were presented from this address")]
    PeerLimited { retry_after: Duration },
    /// The store is not read for a client of whom so many secrets were not in force.
    #[error(
        "too many secrets that are not in force came from {from}: {per_minute} in a minute are judged (limits.failures_per_minute)"
    )]
    FailuresLimited {
        retry_after: Duration,
        per_minute: u32,
        from: AddressKind,
    },
    /// The store cannot answer; the outcome of a change is unknown. The text is for the log only.
    #[error("{0}")]
    StoreUnavailable(String),
    /// The audit lines of earlier calls cannot be written; nothing was done.
    #[error("audit lines cannot be written now; nothing was done")]
    AuditUnavailable,
    /// A bug, or a machine that cannot give random bytes; the text is for the log only.
    #[error("internal: {0}")]
    Internal(String),
}

impl From<EntropyError> for Error {
    fn from(error: EntropyError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Contended(_) => Self::Contended,
            StoreError::Corrupt(why) => Self::Internal(why),
            StoreError::Unreachable(_)
            | StoreError::Slow(_)
            | StoreError::Unacceptable(_)
            | StoreError::ReadOnly(_)
            | StoreError::Unreplicated { .. }
            | StoreError::Closed => Self::StoreUnavailable(error.to_string()),
        }
    }
}

impl Error {
    /// Short name for audit lines.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unauthenticated(_) => "unauthenticated",
            Self::PermissionMissing { .. } => "permission_missing",
            Self::GrantExceedsCaller { .. } => "grant_exceeds_caller",
            Self::Invalid(_) => "invalid",
            Self::TokenNotFound(_) => "not_found",
            Self::RequestIdUsed(_) => "request_id_used",
            Self::NamespaceFull { .. } => "namespace_full",
            Self::RevisionMoved { .. } => "revision_moved",
            Self::TokenOver { .. } => "token_over",
            Self::StillInGrace { .. } => "still_in_grace",
            Self::PoolExhausted { .. } => "pool_exhausted",
            Self::PoolNotFound(_) => "pool_not_found",
            Self::AcquireUsed(_) => "request_id_used",
            Self::LeaseNotFound(_) => "lease_not_found",
            Self::LeaseOver { .. } => "lease_over",
            Self::NotLeased(_) => "not_leased",
            Self::NotPooled(_) => "not_pooled",
            Self::TooManyWaiting { .. } => "too_many_waiting",
            Self::EventsDropped => "events_dropped",
            Self::WatcherSlow { .. } => "watcher_slow",
            Self::Leaving { .. } => "draining",
            Self::UsageOff => "usage_off",
            Self::CallerGone => "abandoned",
            Self::CallerLimited { .. } => "caller_limited",
            Self::Contended => "contended",
            Self::PeerLimited { .. } => "peer_limited",
            Self::FailuresLimited { .. } => "failures_limited",
            Self::StoreUnavailable(_) => "store_unavailable",
            Self::AuditUnavailable => "audit_unavailable",
            Self::Internal(_) => "internal",
        }
    }
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Active => "active",
        State::Disabled => "disabled",
        State::Revoked => "revoked; that is final",
        State::Expired => "expired; give it a later expire_time first",
    }
}

fn end_in_words(end: LeaseEnd) -> &'static str {
    match end {
        LeaseEnd::Released => "it was released",
        LeaseEnd::Expired => "it was not kept alive in time",
        LeaseEnd::Revoked => "its token was revoked or disabled, or has expired",
        LeaseEnd::Forced => "it was taken back",
    }
}

fn place(namespace: Option<&Namespace>) -> String {
    namespace.map_or(" in every namespace".to_owned(), |namespace| {
        format!(" in namespace \"{namespace}\"")
    })
}
