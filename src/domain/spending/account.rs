//! A token's limits as they stand at one instant, to be taken from: batches that ended are settled in
//! them, and those that live are held beside them.

use crate::domain::limit::RateLimit;
use crate::domain::permits::{
    BATCHES_MAX, Back, Batch, Batches, HELD_PART, QUOTA_PART, RETURN_MAX, TERM, Wish,
};
use crate::domain::time::Timestamp;
use crate::domain::token::Token;
use crate::domain::update::Grant;

use super::{Backlog, Left, QuotaSpending, RateSpending, Scope, Spending};

/// What is spent at an instant.
pub(super) struct Account<'a> {
    token: &'a Token,
    now: Timestamp,
    /// Of each of the token's rate limits, in their order; without what live batches hold.
    backlogs: Vec<u64>,
    /// What is left of the quota; `None` without one.
    quota: Option<u64>,
    /// Whether the quota was taken from, or given back to.
    quota_moved: bool,
    /// Those that live, and those of which the quota may still get something back, by their end.
    batches: Vec<Batch>,
}

impl<'a> Account<'a> {
    pub(super) fn open(token: &'a Token, spending: &Spending, now: Timestamp) -> Self {
        let remainder = Remainder::of(token, spending.quota, now);
        let allowance = token.allowance;
        let rates = spending.rates.as_ref();
        let rates = rates.filter(|rates| rates.since == allowance.rates_since);
        let known = &spending.batches;
        // What was taken of an earlier grant is void.
        let mut batches = if known.rates_since == allowance.rates_since {
            known.list.clone()
        } else {
            Vec::new()
        };
        batches.sort_by_key(|batch| batch.end);
        let ended = |batch: &&Batch| !batch.settled && !batch.is_live(now);
        let ended: Vec<Batch> = batches.iter().filter(ended).copied().collect();
        let limits = token.profile.rate_limits.iter();
        let backlogs = limits.map(|limit| settled(rates, limit, &ended, now));
        let same_quota = known.quota_since == allowance.quota_since;
        let returns = remainder.filter(|remainder| same_quota && !remainder.overdrawn);
        batches.retain_mut(|batch| {
            let returnable = returns.is_some() && may_return(token, batch, now);
            batch.of_quota = batch.of_quota && returnable;
            batch.settled |= !batch.is_live(now);
            batch.of_quota || !batch.settled
        });
        Self {
            token,
            now,
            backlogs: backlogs.collect(),
            quota: remainder.map(|remainder| remainder.left),
            quota_moved: false,
            batches,
        }
    }

    pub(super) fn left(&self) -> Left {
        let held = self.held();
        let limits = self.token.profile.rate_limits.iter();
        let spent = limits.zip(&self.backlogs);
        let spent = spent.map(|(limit, backlog)| backlog + in_units(limit, held));
        Left {
            now: self.now,
            backlogs: spent.collect(),
            quota: self.quota,
        }
    }

    /// Ends a batch, and forgets it, so that nothing comes back of it twice. Whether it was known.
    pub(super) fn give_back(&mut self, back: Back) -> bool {
        let known = self.batches.iter().position(|batch| batch.id == back.batch);
        let Some(place) = known else {
            return false;
        };
        let batch = self.batches.remove(place);
        let unused = back.unused.min(batch.uses);
        if !batch.settled {
            let limits = self.token.profile.rate_limits.iter();
            for (limit, backlog) in limits.zip(&mut self.backlogs) {
                *backlog = filled(limit, *backlog, batch.uses - unused);
            }
        }
        if let (Some(left), Some(quota)) = (&mut self.quota, self.token.profile.quota)
            && batch.of_quota
        {
            *left = (*left + unused).min(quota.limit());
            self.quota_moved = true;
        }
        true
    }

    /// Takes a use that [passes](Left::admits).
    pub(super) fn spend(&mut self, cost: u64, scope: Scope) {
        let limits = self.token.profile.rate_limits.iter();
        for (limit, backlog) in limits.zip(&mut self.backlogs) {
            *backlog += cost * limit.pace().step;
        }
        self.take_of_quota(cost, scope);
    }

    /// How many uses are granted of those that are wished for.
    pub(super) fn grant(&mut self, wish: Wish, scope: Scope) -> u64 {
        let again = self.batches.iter().any(|batch| batch.id == wish.batch);
        if again || self.batches.len() >= BATCHES_MAX {
            return 0;
        }
        let held = self.held();
        let quota = self.token.profile.quota.filter(|_| scope == Scope::All);
        let limits = self.token.profile.rate_limits.iter();
        let rooms = limits.map(|limit| (limit.burst() / HELD_PART).saturating_sub(held) / 2);
        let parts = quota.map(|quota| quota.limit() / QUOTA_PART);
        let Some(most) = rooms.chain(parts).min() else {
            return 0;
        };
        let uses = wish.uses.min(most);
        if uses < 2 || !self.leaves(2 * uses, scope) {
            return 0;
        }
        self.batches.push(Batch {
            id: wish.batch,
            uses,
            of_quota: quota.is_some(),
            end: self.now.saturating_add(TERM),
            settled: false,
        });
        self.take_of_quota(uses, scope);
        uses
    }

    pub(super) fn to_spending(&self, before: &Spending) -> Spending {
        let allowance = self.token.allowance;
        let rates_time = before.rates.as_ref().map(|rates| rates.time);
        let quota_time = before.quota.as_ref().map(|quota| quota.time);
        let later = |time: Option<Timestamp>| time.map_or(self.now, |time| time.max(self.now));
        let limits = self.token.profile.rate_limits.iter();
        let backlog = |(limit, units): (&RateLimit, &u64)| Backlog {
            name: limit.name().clone(),
            step: limit.pace().step,
            drain: limit.pace().drain,
            units: *units,
        };
        let rates = (limits.len() > 0).then(|| RateSpending {
            since: allowance.rates_since,
            time: later(rates_time),
            backlogs: limits.zip(&self.backlogs).map(backlog).collect(),
        });
        let quota = self.token.profile.quota.zip(self.quota);
        let quota = quota.filter(|_| self.quota_moved);
        let quota = quota.map(|(quota, left)| QuotaSpending {
            since: allowance.quota_since,
            time: later(quota_time),
            limit: quota.limit(),
            left,
        });
        Spending {
            rates: rates.or_else(|| before.rates.clone()),
            quota: quota.or(before.quota),
            batches: Batches {
                rates_since: allowance.rates_since,
                quota_since: allowance.quota_since,
                list: self.batches.clone(),
            },
        }
    }

    fn take_of_quota(&mut self, uses: u64, scope: Scope) {
        if let Some(left) = &mut self.quota
            && scope == Scope::All
        {
            *left -= uses;
            self.quota_moved = true;
        }
    }

    /// Uses that live batches hold.
    fn held(&self) -> u64 {
        let live = self.batches.iter().filter(|batch| !batch.settled);
        live.map(|batch| batch.uses).sum()
    }

    /// Whether so many uses are left of each limit.
    fn leaves(&self, uses: u64, scope: Scope) -> bool {
        self.left().admits(self.token, uses, scope).is_ok()
    }
}

/// The backlog of a limit at `now`, with the uses of batches that ended since it was written down. They
/// are given by their end, and each counts from then on.
fn settled(
    rates: Option<&RateSpending>,
    limit: &RateLimit,
    ended: &[Batch],
    now: Timestamp,
) -> u64 {
    let backlog = |time| rates.map_or(0, |rates| rates.backlog(limit, time));
    let Some((first, rest)) = ended.split_first() else {
        return backlog(now);
    };
    let pace = limit.pace();
    let written = rates.map_or(first.end, |rates| rates.time);
    let (mut units, mut time) = (
        filled(limit, backlog(first.end), first.uses),
        written.max(first.end),
    );
    for batch in rest {
        let drained = pace.drained(units, batch.end.saturating_since(time));
        units = filled(limit, drained, batch.uses);
        time = time.max(batch.end);
    }
    pace.drained(units, now.saturating_since(time))
}

/// A backlog and so many uses more, at most a full one.
fn filled(limit: &RateLimit, backlog: u64, uses: u64) -> u64 {
    (backlog + in_units(limit, uses)).min(limit.pace().full)
}

/// So many uses, at most the burst: it may have been lowered after they were granted.
fn in_units(limit: &RateLimit, uses: u64) -> u64 {
    uses.min(limit.burst()) * limit.pace().step
}

/// Whether what is unused of a batch may come back to the quota: of its own period, and not for ever.
fn may_return(token: &Token, batch: &Batch, now: Timestamp) -> bool {
    let Some(quota) = token.profile.quota else {
        return false;
    };
    let window = |time| quota.window(token.create_time, time);
    let granted = batch.grant_time();
    window(now) == window(granted) && now < granted.saturating_add(RETURN_MAX)
}

/// What is left of a quota.
#[derive(Clone, Copy)]
struct Remainder {
    left: u64,
    /// More was spent than the limit allows since it was lowered. Nobody has to make up for that; but
    /// what comes back was part of it.
    overdrawn: bool,
}

impl Remainder {
    /// What was left before, shifted by a changed limit, or all of it where a period has begun since.
    fn of(token: &Token, known: Option<QuotaSpending>, now: Timestamp) -> Option<Self> {
        let quota = token.profile.quota?;
        let since = token.allowance.quota_since;
        let granted = |Grant { left, of }| QuotaSpending {
            since,
            time: since,
            limit: of,
            left,
        };
        let whole = Self {
            left: quota.limit(),
            overdrawn: false,
        };
        let known = known.filter(|known| known.since == since);
        let Some(known) = known.or(token.allowance.grant.map(granted)) else {
            return Some(whole);
        };
        let window = |time| quota.window(token.create_time, time);
        if window(now) > window(known.time) {
            return Some(whole);
        }
        let more = quota.limit().saturating_sub(known.limit);
        let less = known.limit.saturating_sub(quota.limit());
        let left = (known.left + more).checked_sub(less);
        Some(Self {
            left: left.unwrap_or(0),
            overdrawn: left.is_none(),
        })
    }
}

#[cfg(test)]
mod tests;
