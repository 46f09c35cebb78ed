//! Drafts, filters and rules for tests of a store.

use std::sync::Arc;
use std::time::Duration;

use token_authority::domain::caller::Reach;
use token_authority::domain::limit::{LimitName, Quota, RateLimit, RateLimits};
use token_authority::domain::name::{Labels, Namespace, Owner, PoolName, Reason};
use token_authority::domain::page::Filter;
use token_authority::domain::policy::Bounds;
use token_authority::domain::profile::Profile;
use token_authority::domain::secret::{Brand, SecretDigest};
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{Draft, Expiration, Origin, RequestKey, Ruling, TokenId};
use token_authority::entropy;
use token_authority::store::{Rule, Sweeping};

/// A draft with a fresh id and nothing else.
pub(crate) fn draft() -> Draft {
    Draft {
        id: entropy::token_id().expect("random bytes"),
        namespace: Namespace::fallback(),
        profile: Profile::default(),
        quota_left: None,
        expiration: Expiration::Never,
        brand: Brand::parse("ta").expect("a brand"),
        digest: SecretDigest {
            key_id: SecretDigest::UNKEYED,
            bytes: [7; 32],
        },
        origin: None,
        bounds: Bounds::default(),
    }
}

/// A draft whose secret was made under a pepper.
pub(crate) fn peppered(key_id: u32) -> Draft {
    let bytes = [9; 32];
    Draft {
        digest: SecretDigest { key_id, bytes },
        ..draft()
    }
}

pub(crate) fn saying(profile: Profile) -> Draft {
    Draft { profile, ..draft() }
}

pub(crate) fn owned(owner: &str) -> Draft {
    saying(Profile {
        owner: Owner::parse(owner).ok(),
        ..Profile::default()
    })
}

pub(crate) fn namespace(name: &str) -> Namespace {
    Namespace::parse(name).expect("a namespace")
}

pub(crate) fn within(name: &str) -> Draft {
    Draft {
        namespace: namespace(name),
        ..draft()
    }
}

/// The same draft in a pool.
pub(crate) fn pooled(mut draft: Draft, pool: &str) -> Draft {
    let pool = PoolName::parse(pool).expect("a pool");
    draft.id = draft.id.in_pool(&draft.namespace, &pool);
    draft.profile.pool = Some(pool);
    draft
}

/// A draft made by the request `number`, whose id follows from it.
pub(crate) fn requested(number: u8) -> Draft {
    let key = RequestKey([number; 32]);
    Draft {
        id: TokenId::derived(&key),
        origin: Some(Origin {
            key,
            fingerprint: [number; 32],
        }),
        ..draft()
    }
}

/// All active and disabled tokens of the namespaces in reach.
pub(crate) fn listing(reach: Reach) -> Filter {
    Filter {
        reach,
        owner: None,
        pool: None,
        states: Filter::default_states(),
        labels: Labels::default(),
    }
}

/// Rate limits, each of a name, so many requests in so many seconds, and a burst.
pub(crate) fn rate_limits(limits: &[(&str, u64, u64, u64)]) -> RateLimits {
    let limit = |(name, requests, seconds, burst): &(&str, u64, u64, u64)| {
        let name = LimitName::parse(name).expect("a name");
        let period = Some(Duration::from_secs(*seconds));
        RateLimit::new(name, *requests, period, *burst).expect("a sound limit")
    };
    RateLimits::new(limits.iter().map(limit).collect()).expect("sound limits")
}

/// A draft with limits.
pub(crate) fn limited(limits: RateLimits, quota: Option<Quota>) -> Draft {
    saying(Profile {
        rate_limits: limits,
        quota,
        ..Profile::default()
    })
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::parse(pairs.iter().copied()).expect("sound labels")
}

/// A rule that revokes.
pub(crate) fn revoking(reason: &str) -> Rule {
    let reason = Reason::parse(reason).expect("a reason");
    Arc::new(move |token, now| token.revoke(now, reason.clone()))
}

/// A rule that keeps a token as it is, and lets a deletion go.
pub(crate) fn willing() -> Rule {
    Arc::new(|_, _| Ruling::Keep)
}

/// A rule that gives the token to `owner`, or takes it from everybody where that is empty.
pub(crate) fn giving_to(owner: &str) -> Rule {
    let owner = Owner::parse(owner).ok();
    Arc::new(move |token, now| {
        if token.profile.owner == owner {
            return Ruling::Keep;
        }
        let mut changed = token.clone();
        changed.profile.owner.clone_from(&owner);
        changed.owner_since = token.handed_over(now);
        changed.update_time = now;
        Ruling::Replace(Box::new(changed))
    })
}

/// A draft of a token that expires after so long.
pub(crate) fn ending_after(life: Duration) -> Draft {
    Draft {
        expiration: Expiration::After(life),
        ..draft()
    }
}

/// A rule that moves the end of a token.
pub(crate) fn ending_at(end: Option<Timestamp>) -> Rule {
    Arc::new(move |token, now| {
        let mut changed = token.clone();
        changed.expire_time = end;
        changed.update_time = now;
        Ruling::Replace(Box::new(changed))
    })
}

/// Sweeps until nothing is due, and answers how many tokens went.
pub(crate) async fn swept(store: &dyn Sweeping) -> usize {
    let mut removed = 0;
    loop {
        let swept = store.sweep().await.expect("the store answers");
        removed += swept.removed;
        if !swept.more {
            return removed;
        }
    }
}
