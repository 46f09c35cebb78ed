//! What is spent of a token's limits: taken all together, or not at all.

mod account;

use std::time::Duration;

use super::limit::{LimitName, Pace, RateLimit};
use super::permits::{Ahead, Batches};
use super::time::Timestamp;
use super::token::Token;
use account::Account;

/// What a store keeps beside a token about its limits. An absent part means that nothing is spent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spending {
    pub rates: Option<RateSpending>,
    pub quota: Option<QuotaSpending>,
    pub batches: Batches,
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

/// What is asked of a token's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// At most [`COST_MAX`](super::limit::COST_MAX).
    pub cost: u64,
    pub scope: Scope,
    /// Only looks whether a use would pass; nothing is given back or granted.
    pub dry_run: bool,
    pub ahead: Ahead,
}

/// What comes of a [`Demand`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How many uses were granted ahead, or what stands against the use.
    pub verdict: Result<u64, Exceeded>,
    /// What is left afterwards.
    pub left: Left,
    /// What a store keeps from now on; `None` if nothing changed.
    pub kept: Option<Spending>,
}

/// What stands against a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    Rate,
    Quota,
}

/// What is left of a token's limits at an instant. What live batches hold counts as spent.
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

impl Spending {
    /// One step of a store at `now`: gives back, takes a use from all limits or from none, and grants
    /// a batch. What is given back counts whether or not the use passes.
    pub fn take(&self, token: &Token, demand: Demand, now: Timestamp) -> Outcome {
        let Demand {
            cost,
            scope,
            dry_run,
            ahead,
        } = demand;
        let mut account = Account::open(token, self, now);
        let returned = match ahead.back {
            Some(back) if !dry_run => account.give_back(back),
            _ => false,
        };
        let left = account.left();
        let passed = left.admits(token, cost, scope);
        if dry_run || (passed.is_err() && !returned) {
            return Outcome {
                verdict: passed.map(|()| 0),
                left,
                kept: None,
            };
        }
        let verdict = passed.map(|()| {
            account.spend(cost, scope);
            ahead.wish.map_or(0, |wish| account.grant(wish, scope))
        });
        Outcome {
            verdict,
            left: account.left(),
            kept: Some(account.to_spending(self)),
        }
    }
}

impl Left {
    /// What `spending` leaves of the limits that `token` has now.
    pub fn of(token: &Token, spending: &Spending, now: Timestamp) -> Self {
        Account::open(token, spending, now).left()
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
    /// These as they will be when all of `batches` have ended and none was given back: what is to be
    /// kept where batches are not.
    pub fn with_ended(&self, batches: &Batches) -> Self {
        let mut rates = self.clone();
        if batches.rates_since != self.since {
            return rates;
        }
        for batch in batches.list.iter().filter(|batch| !batch.settled) {
            let elapsed = batch.end.saturating_since(rates.time);
            for backlog in &mut rates.backlogs {
                let made = batch.uses.saturating_mul(backlog.step);
                backlog.units = backlog.drained(elapsed).saturating_add(made);
            }
            rates.time = rates.time.max(batch.end);
        }
        rates
    }

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

#[cfg(test)]
mod tests;
