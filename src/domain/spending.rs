//! What is spent of a token's limits: taken all together, or not at all.

use std::time::Duration;

use super::limit::{LimitName, Pace, RateLimit};
use super::time::Timestamp;
use super::token::Token;
use super::update::Grant;

/// What a store keeps beside a token about its limits. An absent part means that nothing is spent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spending {
    pub rates: Option<RateSpending>,
    pub quota: Option<QuotaSpending>,
}

/// The backlogs of the rate limits as they were at `time`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateSpending {
    /// Of which grant it was spent: the token's `allowance.rates_since` then.
    pub since: Timestamp,
    pub time: Timestamp,
    pub backlogs: Vec<Backlog>,
}

/// The backlog of one rate limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    pub name: LimitName,
    /// Step and drain of the pace that `units` were counted with.
    pub step: u64,
    pub drain: u64,
    pub units: u64,
}

/// What was left of the quota at `time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaSpending {
    /// Of which grant: the token's `allowance.quota_since` then.
    pub since: Timestamp,
    pub time: Timestamp,
    /// The quota's limit then.
    pub limit: u64,
    pub left: u64,
}

/// Which limits a use counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The rate limits only: how the authority's own callers are judged.
    Rates,
    /// The rate limits and the quota.
    All,
}

/// What stands against a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    Rate,
    Quota,
}

/// What is left of a token's limits at an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub now: Timestamp,
    /// The backlog of each of the token's rate limits, in their order.
    pub backlogs: Vec<u64>,
    /// What is left of the quota; `None` without one.
    pub quota: Option<u64>,
}

/// One rate limit as it stands, for whoever is limited by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateStatus {
    pub name: LimitName,
    pub limit: u64,
    /// Uses of cost 1 that would pass now.
    pub remaining: u64,
    /// Until nothing is spent.
    pub reset_after: Duration,
    /// Until the use that did not pass would; `None` if it passed, or never will.
    pub retry_after: Option<Duration>,
}

impl Left {
    /// What `spending` leaves of the limits that `token` has now.
    pub fn of(token: &Token, spending: &Spending, now: Timestamp) -> Self {
        let known = spending.rates.as_ref();
        let rates = known.filter(|rates| rates.since == token.allowance.rates_since);
        let limits = token.profile.rate_limits.iter();
        let backlogs = limits.map(|limit| rates.map_or(0, |rates| rates.backlog(limit, now)));
        Self {
            now,
            backlogs: backlogs.collect(),
            quota: quota_left(token, spending.quota, now),
        }
    }

    /// Whether a use of `cost` passes; the first limit that it exceeds decides.
    pub fn admits(&self, token: &Token, cost: u64, scope: Scope) -> Result<(), Exceeded> {
        let limits = token.profile.rate_limits.iter();
        for (limit, backlog) in limits.zip(&self.backlogs) {
            let pace = limit.pace();
            if cost > limit.burst() || backlog + cost * pace.step > pace.full {
                return Err(Exceeded::Rate);
            }
        }
        match self.quota {
            Some(left) if scope == Scope::All && cost > left => Err(Exceeded::Quota),
            _ => Ok(()),
        }
    }

    /// What is left after a use of `cost` that was [admitted](Self::admits).
    pub fn after(mut self, token: &Token, cost: u64, scope: Scope) -> Self {
        let limits = token.profile.rate_limits.iter();
        for (limit, backlog) in limits.zip(&mut self.backlogs) {
            *backlog += cost * limit.pace().step;
        }
        if let Some(left) = &mut self.quota
            && scope == Scope::All
        {
            *left -= cost;
        }
        self
    }

    /// What a store keeps of this instead of `before`; a clock set back moves no time back.
    pub fn to_spending(&self, token: &Token, before: &Spending) -> Spending {
        let rates_time = before.rates.as_ref().map(|rates| rates.time);
        let quota_time = before.quota.as_ref().map(|quota| quota.time);
        let limits = token.profile.rate_limits.iter();
        let backlog = |(limit, units): (&RateLimit, &u64)| Backlog {
            name: limit.name().clone(),
            step: limit.pace().step,
            drain: limit.pace().drain,
            units: *units,
        };
        let rates = (!token.profile.rate_limits.is_empty()).then(|| RateSpending {
            since: token.allowance.rates_since,
            time: rates_time.map_or(self.now, |time| time.max(self.now)),
            backlogs: limits.zip(&self.backlogs).map(backlog).collect(),
        });
        let quota = token.profile.quota.zip(self.quota);
        let quota = quota.map(|(quota, left)| QuotaSpending {
            since: token.allowance.quota_since,
            time: quota_time.map_or(self.now, |time| time.max(self.now)),
            limit: quota.limit(),
            left,
        });
        Spending { rates, quota }
    }

    /// Each rate limit as it stands; `refused` is the cost of a use that did not pass.
    pub fn statuses(&self, token: &Token, refused: Option<u64>) -> Vec<RateStatus> {
        let limits = token.profile.rate_limits.iter();
        // Where one limit will never let it pass, there is nothing to wait for at the others.
        let bursts = limits.clone().map(RateLimit::burst);
        let smallest = bursts.min().unwrap_or(u64::MAX);
        let refused = refused.filter(|cost| *cost <= smallest);
        let status = |(limit, backlog): (&RateLimit, &u64)| {
            let pace = limit.pace();
            RateStatus {
                name: limit.name().clone(),
                limit: limit.burst(),
                remaining: pace.full.saturating_sub(*backlog) / pace.step,
                reset_after: pace.time_to_drain(*backlog),
                retry_after: refused.and_then(|cost| retry_after(&pace, *backlog, cost)),
            }
        };
        limits.zip(&self.backlogs).map(status).collect()
    }

    /// Uses of cost 1 that would pass all rate limits now.
    pub fn passing(&self, token: &Token) -> u64 {
        let statuses = self.statuses(token, None).into_iter();
        let remaining = statuses.map(|status| status.remaining);
        remaining.min().unwrap_or(u64::MAX)
    }

    /// Until a use of `cost` that did not pass would pass all rate limits; `None` if it passes
    /// them, or never will.
    pub fn retry_after(&self, token: &Token, cost: u64) -> Option<Duration> {
        let statuses = self.statuses(token, Some(cost)).into_iter();
        statuses.filter_map(|status| status.retry_after).max()
    }
}

fn retry_after(pace: &Pace, backlog: u64, cost: u64) -> Option<Duration> {
    let beyond = (backlog + cost * pace.step).checked_sub(pace.full)?;
    (beyond > 0).then(|| pace.time_to_drain(beyond))
}

impl RateSpending {
    /// The backlog of `limit` at `now`. What was counted under the same name at another pace stays
    /// spent, in whole uses, until it has drained at that pace or at the present one.
    fn backlog(&self, limit: &RateLimit, now: Timestamp) -> u64 {
        let pace = limit.pace();
        let elapsed = now.saturating_since(self.time);
        let same_name = |known: &&Backlog| known.name == *limit.name();
        let Some(known) = self.backlogs.iter().find(same_name) else {
            return 0;
        };
        if (known.step, known.drain) == (pace.step, pace.drain) {
            return pace.drained(known.units.min(pace.full), elapsed);
        }
        let in_present_units = |units: u64| {
            let uses = units.div_ceil(known.step).min(limit.burst());
            uses * pace.step
        };
        let at_present_pace = pace.drained(in_present_units(known.units), elapsed);
        at_present_pace.min(in_present_units(known.drained(elapsed)))
    }
}

impl Backlog {
    /// What is left of it after `span`, at its own pace.
    fn drained(&self, span: Duration) -> u64 {
        let gone = span.as_micros().saturating_mul(u128::from(self.drain));
        self.units
            .saturating_sub(u64::try_from(gone).unwrap_or(u64::MAX))
    }
}

/// What is left of the quota at `now`: what was left before, shifted by a changed limit, or all of
/// it where a period has begun since.
fn quota_left(token: &Token, known: Option<QuotaSpending>, now: Timestamp) -> Option<u64> {
    let quota = token.profile.quota?;
    let since = token.allowance.quota_since;
    let granted = |Grant { left, of }| QuotaSpending {
        since,
        time: since,
        limit: of,
        left,
    };
    let known = known.filter(|known| known.since == since);
    let Some(known) = known.or(token.allowance.grant.map(granted)) else {
        return Some(quota.limit());
    };
    let window = |time| quota.window(token.create_time, time);
    if window(now) > window(known.time) {
        return Some(quota.limit());
    }
    let more = quota.limit().saturating_sub(known.limit);
    let less = known.limit.saturating_sub(quota.limit());
    Some((known.left + more).saturating_sub(less))
}

#[cfg(test)]
mod tests;
