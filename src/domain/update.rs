//! Changing what is said about a token, and what it is allowed.

use std::time::Duration;

use super::address::Network;
use super::endpoint::Endpoints;
use super::flaw::Flaw;
use super::limit::{Quota, RateLimits};
use super::name::{Description, Labels, Owner, TokenName};
use super::scope::Scope;
use super::time::Timestamp;
use super::token::{Refusal, Ruling, Token};

/// What has been granted anew since a token was created; what is spent is kept beside the token,
/// and counts only if it was spent since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Since when uses count against the rate limits.
    pub rates_since: Timestamp,
    /// Since when uses count against the quota.
    pub quota_since: Timestamp,
    /// What was left of the quota then, if it was not all of it.
    pub grant: Option<Grant>,
}

/// A part of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub left: u64,
    /// The quota's limit at that time.
    pub of: u64,
}

impl Allowance {
    /// Nothing spent before `create_time`.
    pub fn whole(create_time: Timestamp) -> Self {
        Self {
            rates_since: create_time,
            quota_since: create_time,
            grant: None,
        }
    }

    /// The same with so much left of a quota; a flaw is one of the field of that name.
    pub(super) fn with_left(
        self,
        now: Timestamp,
        quota: Quota,
        left: u64,
        field: &str,
    ) -> Result<Self, Refusal> {
        let of = quota.limit();
        if left > of {
            let flaw = format!("must be 0 to the limit, {of}; got {left}");
            return Err(breaks(field, Flaw::new(flaw)));
        }
        Ok(self.granted(now, Some(Grant { left, of })))
    }

    /// The quota with `grant` left of it from `now` on. Each grant has an instant of its own, so
    /// that what was spent of an earlier one never counts against it.
    fn granted(self, now: Timestamp, grant: Option<Grant>) -> Self {
        Self {
            quota_since: after(self.quota_since, now),
            grant,
            ..self
        }
    }
}

fn after(last: Timestamp, now: Timestamp) -> Timestamp {
    now.max(Timestamp::from_micros(last.micros() + 1))
}

/// What shall be changed; `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    pub name: Option<TokenName>,
    pub description: Option<Description>,
    pub owner: Option<Option<Owner>>,
    pub scopes: Option<Vec<Scope>>,
    pub endpoints: Option<Endpoints>,
    pub networks: Option<Vec<Network>>,
    pub rate_limits: Option<RateLimits>,
    pub quota: QuotaPatch,
    pub labels: Option<Labels>,
    pub disabled: Option<bool>,
    pub expire_time: Option<Option<Timestamp>>,
    pub keep_alive_ttl: Option<Option<Duration>>,
    /// The revision that the token must have.
    pub revision: Option<u64>,
}

/// What shall become of the quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QuotaPatch {
    #[default]
    Keep,
    Remove,
    /// A quota of which that much is left, or all.
    Replace(Quota, Option<u64>),
    /// Single fields of it. A changed limit shifts what is left by the difference, but not below 0.
    Adjust {
        limit: Option<u64>,
        period: Option<Option<Duration>>,
        remaining: Option<u64>,
    },
}

impl Patch {
    /// Whether it says anything about rate limits or the quota.
    pub fn concerns_limits(&self) -> bool {
        self.rate_limits.is_some() || self.quota != QuotaPatch::Keep
    }
}

impl Token {
    /// Changes what `patch` says. Asking for what is so already changes nothing.
    pub fn update(&self, now: Timestamp, patch: &Patch) -> Ruling {
        match self.updated(now, patch) {
            Ok(changed) if changed == *self => Ruling::Keep,
            Ok(changed) => Ruling::Replace(Box::new(Self {
                update_time: now,
                ..changed
            })),
            Err(refusal) => Ruling::Refuse(refusal),
        }
    }

    fn updated(&self, now: Timestamp, patch: &Patch) -> Result<Self, Refusal> {
        if let Some(refusal) = self
            .moved_from(patch.revision)
            .or_else(|| self.over_for_good())
        {
            return Err(refusal);
        }
        let mut changed = self.clone();
        let Patch {
            name,
            description,
            owner,
            scopes,
            endpoints,
            networks,
            rate_limits,
            quota,
            labels,
            disabled,
            expire_time,
            keep_alive_ttl,
            revision: _,
        } = patch.clone();
        let profile = &mut changed.profile;
        put(&mut profile.name, name);
        put(&mut profile.description, description);
        put(&mut profile.owner, owner);
        put(&mut profile.scopes, scopes);
        put(&mut profile.endpoints, endpoints);
        put(&mut profile.networks, networks);
        put(&mut profile.rate_limits, rate_limits);
        put(&mut profile.labels, labels);
        put(&mut profile.disabled, disabled);
        if keep_alive_ttl.is_some() && profile.pool.is_none() {
            let flaw = Flaw::new("must be left out: the token is in no pool");
            return Err(breaks("token.keep_alive_ttl", flaw));
        }
        put(&mut profile.keep_alive_ttl, keep_alive_ttl);
        if let Some((at, flaw)) = profile.pooled_scope_flaw() {
            return Err(breaks(format!("token.scopes[{at}]"), flaw));
        }
        self.must_stay_closed(&changed)?;
        if let Some(end) = expire_time {
            changed.expire_time = end.map(Timestamp::floor_to_millis);
            let late = changed.expire_time.is_some_and(|end| end <= now);
            // Saying again when it ended asks for nothing.
            if late && changed.expire_time != self.expire_time {
                return Err(Refusal::ExpireTimePast { now });
            }
        }
        if changed.profile.owner != self.profile.owner {
            changed.owner_since = self.handed_over(now);
        }
        changed.apply(quota, now)?;
        Ok(changed)
    }

    /// An emptied list of endpoints or networks would open the token to all by accident.
    fn must_stay_closed(&self, changed: &Self) -> Result<(), Refusal> {
        let (before, after) = (&self.profile, &changed.profile);
        let opens = |field: &str, instead: &str| {
            let flaw = format!("must not become empty, which would allow all; say {instead}");
            Err(breaks(format!("token.{field}"), Flaw::new(flaw)))
        };
        if !before.endpoints.is_empty() && after.endpoints.is_empty() {
            return opens("allowed_endpoints", "\"*\"");
        }
        if !before.networks.is_empty() && after.networks.is_empty() {
            return opens("allowed_cidrs", "\"0.0.0.0/0\" and \"::/0\"");
        }
        Ok(())
    }

    fn apply(&mut self, patch: QuotaPatch, now: Timestamp) -> Result<(), Refusal> {
        let (quota, left) = match patch {
            QuotaPatch::Keep => return Ok(()),
            QuotaPatch::Remove => {
                self.profile.quota = None;
                return Ok(());
            }
            QuotaPatch::Replace(quota, left) => {
                self.allowance = self.allowance.granted(now, None);
                (quota, left)
            }
            QuotaPatch::Adjust {
                limit,
                period,
                remaining,
            } => {
                let own = self.profile.quota;
                let limit = limit.or(own.map(|own| own.limit()));
                let Some(limit) = limit else {
                    let flaw = Flaw::new("must be given: the token has no quota");
                    return Err(breaks("token.quota.limit", flaw));
                };
                let period = period.unwrap_or(own.and_then(|own| own.period()));
                if own.is_none() {
                    self.allowance = self.allowance.granted(now, None);
                }
                let quota = Quota::new(limit, period)
                    .map_err(|(field, flaw)| breaks(format!("token.quota.{field}"), flaw))?;
                (quota, remaining)
            }
        };
        if let Some(left) = left {
            let field = "token.quota.remaining";
            self.allowance = self.allowance.with_left(now, quota, left, field)?;
        }
        self.profile.quota = Some(quota);
        Ok(())
    }

    /// Forgets what was spent of the rate limits and the quota.
    pub fn reset_limits(&self, now: Timestamp) -> Ruling {
        if let Some(refusal) = self.over_for_good() {
            return Ruling::Refuse(refusal);
        }
        if !self.is_limited() {
            return Ruling::Keep;
        }
        let since = after(
            self.allowance.rates_since.max(self.allowance.quota_since),
            now,
        );
        Ruling::Replace(Box::new(Self {
            allowance: Allowance::whole(since),
            update_time: now,
            ..self.clone()
        }))
    }

    /// Whether uses of the token are counted against anything.
    pub fn is_limited(&self) -> bool {
        !self.profile.rate_limits.is_empty() || self.profile.quota.is_some()
    }
}

fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn breaks(field: impl Into<String>, flaw: Flaw) -> Refusal {
    Refusal::Breaks {
        field: field.into(),
        flaw,
    }
}

#[cfg(test)]
mod tests;
