//! Limits against a reference that remembers every use.

use super::*;
use crate::domain::limit::{Quota, RateLimits};
use crate::domain::profile::Profile;
use crate::domain::token::Draft;
use crate::domain::token::tests::{at, draft, replaced};
use crate::domain::update::{Patch, QuotaPatch};
use proptest::prelude::*;

pub(super) fn micros(value: u64) -> Timestamp {
    Timestamp::from_micros(value)
}

pub(super) fn named(name: &str, requests: u64, period: Duration, burst: u64) -> RateLimit {
    RateLimit::new(
        LimitName::parse(name).unwrap(),
        requests,
        Some(period),
        burst,
    )
    .unwrap()
}

pub(super) fn limited(limits: &[RateLimit], quota: Option<Quota>) -> Token {
    let profile = Profile {
        rate_limits: RateLimits::new(limits.to_vec()).unwrap(),
        quota,
        ..Profile::default()
    };
    Draft { profile, ..draft() }.issue(at(100)).unwrap()
}

fn costing(cost: u64, scope: Scope) -> Demand {
    Demand {
        cost,
        scope,
        dry_run: false,
        ahead: Ahead::default(),
    }
}

/// Spends as a store does, and answers whether it passed.
fn spend(
    token: &Token,
    spending: &mut Spending,
    cost: u64,
    now: Timestamp,
) -> Result<(), Exceeded> {
    let outcome = spending.take(token, costing(cost, Scope::All), now);
    if let Some(kept) = outcome.kept {
        *spending = kept;
    }
    outcome.verdict.map(|_| ())
}

fn count(token: &Token, spending: &mut Spending, now: Timestamp) -> usize {
    (0..10_000)
        .take_while(|_| spend(token, spending, 1, now).is_ok())
        .count()
}

#[test]
fn two_hundred_a_minute_are_two_hundred_at_once_and_then_one_each_three_hundred_milliseconds() {
    let token = limited(&[named("", 200, Duration::from_secs(60), 0)], None);
    let mut spending = Spending::default();
    assert_eq!(count(&token, &mut spending, at(100)), 200);
    let just_before = micros(at(100).micros() + 299_999);
    assert_eq!(count(&token, &mut spending, just_before), 0);
    let due = micros(at(100).micros() + 300_000);
    assert_eq!(count(&token, &mut spending, due), 1);
    assert_eq!(count(&token, &mut spending, at(400)), 200);
}

#[test]
fn all_limits_pass_or_none_is_spent() {
    let limits = [
        named("second", 2, Duration::from_secs(1), 0),
        named("hour", 3, Duration::from_secs(3600), 0),
    ];
    let token = limited(&limits, Quota::new(10, None).ok());
    let mut spending = Spending::default();
    assert_eq!(count(&token, &mut spending, at(100)), 2);
    assert_eq!(count(&token, &mut spending, at(200)), 1);
    let left = Left::of(&token, &spending, at(201));
    assert_eq!(left.quota, Some(7));
    assert_eq!(left.admits(&token, 1, Scope::All), Err(Exceeded::Rate));
    assert_eq!(
        left.statuses(&token, None)[0].remaining,
        2,
        "nothing was taken of the other"
    );
}

#[test]
fn a_cost_beyond_the_burst_never_passes_and_nobody_is_told_to_wait() {
    let token = limited(&[named("", 5, Duration::from_secs(1), 0)], None);
    let left = Left::of(&token, &Spending::default(), at(100));
    assert_eq!(left.admits(&token, 6, Scope::All), Err(Exceeded::Rate));
    assert_eq!(left.statuses(&token, Some(6))[0].retry_after, None);
    assert_eq!(left.retry_after(&token, 6), None);
    assert_eq!(left.admits(&token, 5, Scope::All), Ok(()));
    assert_eq!(left.admits(&token, 0, Scope::All), Ok(()));
    let hour = Duration::from_secs(3600);
    let two = limited(&[named("a", 5, hour, 0), named("b", 9, hour, 0)], None);
    let mut spending = Spending::default();
    assert_eq!(spend(&two, &mut spending, 5, at(100)), Ok(()));
    let left = Left::of(&two, &spending, at(100));
    assert!(
        left.statuses(&two, Some(6))
            .iter()
            .all(|one| one.retry_after.is_none())
    );
    assert!(
        left.statuses(&two, Some(5))
            .iter()
            .all(|one| one.retry_after.is_some())
    );
}

#[test]
fn a_status_says_how_much_is_left_and_how_long_to_wait() {
    let token = limited(&[named("", 60, Duration::from_secs(60), 10)], None);
    let mut spending = Spending::default();
    assert_eq!(count(&token, &mut spending, at(100)), 10);
    let left = Left::of(&token, &spending, at(104));
    let status = &left.statuses(&token, Some(7))[0];
    assert_eq!((status.limit, status.remaining), (10, 4));
    assert_eq!(status.reset_after, Duration::from_secs(6));
    assert_eq!(status.retry_after, Some(Duration::from_secs(3)));
    assert_eq!(left.statuses(&token, None)[0].retry_after, None);
}

#[test]
fn a_quota_is_refilled_at_each_period_from_the_creation_on() {
    let quota = Quota::new(3, Some(Duration::from_secs(10))).unwrap();
    let token = limited(&[], Some(quota));
    let mut spending = Spending::default();
    assert_eq!(count(&token, &mut spending, at(105)), 3);
    assert_eq!(count(&token, &mut spending, at(109)), 0);
    assert_eq!(count(&token, &mut spending, at(110)), 3);
    assert_eq!(count(&token, &mut spending, at(999)), 3);
    let never = limited(&[], Quota::new(3, None).ok());
    let mut spending = Spending::default();
    assert_eq!(count(&never, &mut spending, at(105)), 3);
    assert_eq!(count(&never, &mut spending, at(9_999_999)), 0);
}

#[test]
fn a_changed_quota_limit_shifts_what_is_left_but_not_below_nothing() {
    let token = limited(&[], Quota::new(10, None).ok());
    let mut spending = Spending::default();
    (0..8).for_each(|_| spend(&token, &mut spending, 1, at(101)).unwrap());
    let limit = |token: &Token, limit| {
        let quota = QuotaPatch::Adjust {
            limit: Some(limit),
            period: None,
            remaining: None,
        };
        replaced(token.update(
            at(102),
            &Patch {
                quota,
                ..Patch::default()
            },
        ))
    };
    let left = |token: &Token, spending: &Spending| Left::of(token, spending, at(103)).quota;
    let lower = limit(&token, 5);
    assert_eq!(left(&lower, &spending), Some(0));
    assert_eq!(left(&limit(&token, 15), &spending), Some(7));
    // Once a store has seen the lower limit, nothing is owed when it rises again.
    spend(&lower, &mut spending, 0, at(103)).unwrap();
    assert_eq!(left(&limit(&lower, 10), &spending), Some(5));
}

#[test]
fn a_granted_remainder_and_a_reset_leave_earlier_uses_behind() {
    let token = limited(
        &[named("", 5, Duration::from_secs(3600), 0)],
        Quota::new(10, None).ok(),
    );
    let mut spending = Spending::default();
    assert_eq!(count(&token, &mut spending, at(101)), 5);
    let quota = QuotaPatch::Adjust {
        limit: None,
        period: None,
        remaining: Some(1),
    };
    let granted = replaced(token.update(
        at(102),
        &Patch {
            quota,
            ..Patch::default()
        },
    ));
    let left = Left::of(&granted, &spending, at(103));
    assert_eq!(left.quota, Some(1));
    assert_eq!(left.statuses(&granted, None)[0].remaining, 0);
    let reset = replaced(granted.reset_limits(at(104)));
    let left = Left::of(&reset, &spending, at(104));
    assert_eq!(left.quota, Some(10));
    assert_eq!(left.statuses(&reset, None)[0].remaining, 5);
}

#[test]
fn a_changed_rate_limit_keeps_what_was_used_under_its_name() {
    let hour = Duration::from_secs(3600);
    let token = limited(&[named("a", 10, hour, 0)], None);
    let mut spending = Spending::default();
    (0..6).for_each(|_| spend(&token, &mut spending, 1, at(101)).unwrap());
    let with = |limits: &[RateLimit]| {
        let rate_limits = Some(RateLimits::new(limits.to_vec()).unwrap());
        replaced(token.update(
            at(101),
            &Patch {
                rate_limits,
                ..Patch::default()
            },
        ))
    };
    let remaining =
        |token: &Token| Left::of(token, &spending, at(101)).statuses(token, None)[0].remaining;
    assert_eq!(remaining(&with(&[named("a", 20, hour, 0)])), 14);
    assert_eq!(remaining(&with(&[named("a", 4, hour, 0)])), 0);
    assert_eq!(remaining(&with(&[named("b", 4, hour, 0)])), 4);
}

#[test]
fn a_caller_of_the_authority_spends_its_rate_limits_only() {
    let token = limited(
        &[named("", 5, Duration::from_secs(3600), 0)],
        Quota::new(1, None).ok(),
    );
    let mut spending = Spending::default();
    for _ in 0..2 {
        let outcome = spending.take(&token, costing(1, Scope::Rates), at(100));
        assert_eq!(outcome.verdict, Ok(0));
        spending = outcome.kept.unwrap();
    }
    let after = Left::of(&token, &spending, at(100));
    assert_eq!(after.quota, Some(1));
    assert_eq!(after.statuses(&token, None)[0].remaining, 3);
    assert_eq!(after.admits(&token, 2, Scope::Rates), Ok(()));
    assert_eq!(after.admits(&token, 2, Scope::All), Err(Exceeded::Quota));
}

#[test]
fn a_clock_set_back_gives_nothing_back() {
    let token = limited(&[named("", 2, Duration::from_secs(10), 0)], None);
    let mut spending = Spending::default();
    assert_eq!(spend(&token, &mut spending, 1, at(200)), Ok(()));
    assert_eq!(spend(&token, &mut spending, 1, at(150)), Ok(()));
    assert_eq!(count(&token, &mut spending, at(150)), 0);
    assert_eq!(count(&token, &mut spending, at(204)), 0);
    assert_eq!(count(&token, &mut spending, at(205)), 1);
}

/// The rule as the README says it: at most `burst + w·requests/period` in any interval `w`.
pub(super) fn never_exceeded(limit: &RateLimit, admitted: &[(u64, u64)]) -> bool {
    admitted.iter().enumerate().all(|(first, (start, _))| {
        let mut sum = 0u128;
        admitted[first..].iter().all(|(time, cost)| {
            sum += u128::from(*cost);
            let (span, period) = (u128::from(time - start), limit.period().as_micros());
            let refilled = span * u128::from(limit.requests());
            (sum - u128::from(limit.burst()).min(sum)) * period <= refilled
        })
    })
}

proptest! {
    #[test]
    fn no_interval_sees_more_than_its_share(
        requests in 1u64..1000,
        period in 1_000u64..100_000_000,
        burst in 1u64..50,
        uses in prop::collection::vec((0u64..2_000_000, 1u64..4), 1..80),
    ) {
        let limit = named("", requests, Duration::from_micros(period), burst);
        let token = limited(std::slice::from_ref(&limit), None);
        let (mut spending, mut now) = (Spending::default(), at(100).micros());
        let mut admitted = Vec::new();
        for (pause, cost) in uses {
            now += pause;
            if spend(&token, &mut spending, cost, micros(now)).is_ok() {
                admitted.push((now, cost));
            }
        }
        prop_assert!(never_exceeded(&limit, &admitted));
    }

    #[test]
    fn whoever_keeps_to_the_pace_is_never_refused(
        requests in 1u64..1_000_000,
        period in 1_000u64..100_000_000_000,
        burst in 1u64..50,
        rounds in 1usize..200,
    ) {
        let limit = named("", requests, Duration::from_micros(period), burst);
        let token = limited(std::slice::from_ref(&limit), None);
        // 95 % of the limit, in whole microseconds.
        let pause = (period * 100).div_ceil(requests * 95);
        let (mut spending, mut now) = (Spending::default(), at(100).micros());
        for _ in 0..rounds {
            prop_assert_eq!(spend(&token, &mut spending, 1, micros(now)), Ok(()));
            now += pause;
        }
    }

    #[test]
    fn the_verdict_is_that_of_an_exact_virtual_schedule(
        requests in 1u64..1000,
        period in 1_000u64..100_000_000,
        burst in 1u64..50,
        uses in prop::collection::vec((0u64..2_000_000, 0u64..4), 1..80),
    ) {
        let limit = named("", requests, Duration::from_micros(period), burst);
        let token = limited(std::slice::from_ref(&limit), None);
        let (mut spending, mut now) = (Spending::default(), at(100).micros());
        // The theoretical arrival time in fractions 1/requests of a microsecond (ITU-T I.371).
        let (scale, interval) = (u128::from(requests), u128::from(period));
        let mut arrival = u128::from(now) * scale;
        for (pause, cost) in uses {
            now += pause;
            let present = u128::from(now) * scale;
            let next = arrival.max(present) + u128::from(cost) * interval;
            let fits = cost <= burst && next - present <= u128::from(burst) * interval;
            let passed = spend(&token, &mut spending, cost, micros(now)).is_ok();
            prop_assert_eq!(passed, fits);
            if fits {
                arrival = next;
            }
        }
    }

    #[test]
    fn a_quota_is_spent_once_and_never_below_nothing(
        limit in 1u64..100,
        costs in prop::collection::vec(0u64..20, 1..100),
    ) {
        let token = limited(&[], Quota::new(limit, None).ok());
        let (mut spending, mut spent) = (Spending::default(), 0);
        for cost in costs {
            if spend(&token, &mut spending, cost, at(101)).is_ok() {
                spent += cost;
            }
            prop_assert!(spent <= limit);
            prop_assert_eq!(Left::of(&token, &spending, at(101)).quota, Some(limit - spent));
        }
    }
}

#[test]
fn what_was_used_at_another_pace_drains_at_that_one_or_at_the_present() {
    let fast = limited(&[named("", 10, Duration::from_secs(1), 0)], None);
    let slow = limited(&[named("", 10, Duration::from_secs(86_400), 0)], None);
    let used = |token: &Token| {
        let mut spending = Spending::default();
        assert_eq!(count(token, &mut spending, at(100)), 10);
        spending
    };
    let left = |token: &Token, spending: &Spending, micros| {
        let left = Left::of(token, spending, Timestamp::from_micros(micros));
        left.statuses(token, None)[0].remaining
    };
    let second = 1_000_000;
    let spent = used(&fast);
    assert_eq!(left(&slow, &spent, 100 * second), 0);
    assert_eq!(left(&slow, &spent, 100 * second + second / 2), 5);
    assert_eq!(left(&slow, &spent, 101 * second), 10, "all had drained");
    let spent = used(&slow);
    assert_eq!(left(&fast, &spent, 100 * second), 0);
    assert_eq!(left(&fast, &spent, 100 * second + second / 2), 5);
    assert_eq!(left(&fast, &spent, 101 * second), 10);
}
