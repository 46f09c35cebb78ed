//! Pools, questions for leases, and what leases are named by, for tests of a store.

use std::time::Duration;

use token_authority::domain::caller::Reach;
use token_authority::domain::lease::{Holder, Lease, LeaseId, LeaseMark, WaiterId};
use token_authority::domain::name::{Namespace, PoolName};
use token_authority::domain::pool::Pool;
use token_authority::domain::profile::Profile;
use token_authority::domain::secret::SecretDigest;
use token_authority::domain::tenure::Grant;
use token_authority::domain::token::{Draft, Origin, RequestKey, Token, TokenId};
use token_authority::entropy;
use token_authority::store::leases::{Asking, Beat, LeaseTarget};

use super::drafts::{draft, pooled, saying};

/// How long a lease lasts of which nothing else is said.
pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// A pool of the default namespace.
pub(crate) fn pool(name: &str) -> Pool {
    Pool {
        namespace: Namespace::fallback(),
        name: PoolName::parse(name).expect("a pool"),
    }
}

/// A draft of a token of the pool `gpu` that needs nobody to keep it alive.
pub(crate) fn lasting() -> Draft {
    pooled(draft(), "gpu")
}

/// The same of one that goes after so long without a beat.
pub(crate) fn living(span: Duration) -> Draft {
    let profile = Profile {
        keep_alive_ttl: Some(span),
        ..Profile::default()
    };
    pooled(saying(profile), "gpu")
}

pub(crate) fn mark() -> LeaseMark {
    let digits = entropy::digits(LeaseMark::DIGITS).expect("random bytes");
    LeaseMark::parse(&digits).expect("a mark")
}

pub(crate) fn waiter() -> WaiterId {
    let digits = entropy::digits(WaiterId::DIGITS).expect("random bytes");
    WaiterId::parse(&digits).expect("a place in a queue")
}

/// A digest of a lease's secret, told from others by a number.
pub(crate) fn digest(number: u8) -> SecretDigest {
    SecretDigest {
        key_id: SecretDigest::UNKEYED,
        bytes: [number; 32],
    }
}

/// Asks for a lease of so long, and does not wait for it.
pub(crate) fn asking_for(pool: &Pool, duration: Duration) -> Asking {
    Asking {
        pool: pool.clone(),
        grant: Grant {
            mark: mark(),
            holder: Holder::parse("worker").expect("a holder"),
            duration,
            origin: None,
            digest: digest(1),
        },
        waiter: None,
    }
}

pub(crate) fn asking(pool: &Pool) -> Asking {
    asking_for(pool, LEASE)
}

/// Asks from a place in the queue.
pub(crate) fn waiting(pool: &Pool, waiter: WaiterId) -> Asking {
    Asking {
        waiter: Some(waiter),
        ..asking(pool)
    }
}

/// Asks by a request, whose arguments are told from others by `fingerprint`.
pub(crate) fn requesting(pool: &Pool, number: u8, fingerprint: u8) -> Asking {
    let mut asking = asking(pool);
    asking.grant.origin = Some(Origin {
        key: RequestKey([number; 32]),
        fingerprint: [fingerprint; 32],
    });
    asking
}

/// The name of a lease.
pub(crate) fn lease_id(token: &Token, lease: &Lease) -> LeaseId {
    LeaseId {
        token: token.id,
        mark: lease.mark,
    }
}

/// A beat of a lease, for as long as it was acquired.
pub(crate) fn beat(lease: LeaseId) -> Beat {
    beat_for(lease, None)
}

pub(crate) fn beat_for(lease: LeaseId, duration: Option<Duration>) -> Beat {
    Beat {
        target: LeaseTarget::Lease(lease),
        duration,
        reach: Reach::All,
    }
}

/// A beat of a token.
pub(crate) fn beat_of(token: TokenId) -> Beat {
    Beat {
        target: LeaseTarget::Token(token),
        duration: None,
        reach: Reach::All,
    }
}
