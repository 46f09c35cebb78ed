//! Limits: taken all together or not at all, exactly, whatever comes between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use token_authority::domain::limit::Quota;
use token_authority::domain::name::TokenName;
use token_authority::domain::permits::Ahead;
use token_authority::domain::spending::{Exceeded, Left, Scope};
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{Refusal, Ruling, Token};
use token_authority::domain::update::{Patch, QuotaPatch};
use token_authority::store::{Change, Rule, Store, Take, Taken};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::fixture::Bench;
use crate::support::drafts::{
    draft, ending_after, limited, rate_limits, requested, swept, willing,
};

pub(crate) fn take(token: &Token) -> Take {
    Take {
        token: Arc::new(token.clone()),
        until: None,
        cost: 1,
        scope: Scope::All,
        dry_run: false,
        ahead: Ahead::default(),
    }
}

pub(crate) fn costing(token: &Token, cost: u64) -> Take {
    Take {
        cost,
        ..take(token)
    }
}

/// Whether the use passed, and what is left.
pub(crate) async fn taken(store: &dyn Store, take: &Take) -> (Result<(), Exceeded>, Left) {
    match store.take(take).await.expect("the store answers") {
        Taken::Admitted(left, _) => (Ok(()), left),
        Taken::Refused(exceeded, left) => (Err(exceeded), left),
        Taken::Moved(found) => panic!("the token moved to {found:?}"),
    }
}

/// How many uses pass now.
pub(crate) async fn count(bench: &Bench, token: &Token) -> usize {
    let mut passed = 0;
    while taken(&*bench.store, &take(token)).await.0.is_ok() {
        passed += 1;
    }
    passed
}

pub(crate) async fn left(bench: &Bench, token: &Token) -> Left {
    let asked = [Arc::new(token.clone())];
    let spending = bench.store.spending(&asked).await.unwrap();
    Left::of(token, &spending[0], bench.now())
}

pub(crate) async fn updated(bench: &Bench, token: &Token, patch: Patch) -> Token {
    let rule: Rule = Arc::new(move |token, now| token.update(now, &patch));
    match bench.store.change(token.id, rule).await {
        Ok(Change::Changed(token)) => token,
        other => panic!("expected a change, got {other:?}"),
    }
}

pub(crate) fn with_quota(quota: QuotaPatch) -> Patch {
    Patch {
        quota,
        ..Patch::default()
    }
}

pub(crate) fn adjusted(limit: Option<u64>, remaining: Option<u64>) -> Patch {
    with_quota(QuotaPatch::Adjust {
        limit,
        period: None,
        remaining,
    })
}

pub(crate) fn quota(limit: u64) -> Option<Quota> {
    Quota::new(limit, None).ok()
}

pub(crate) async fn a_use_is_taken_from_all_limits_or_from_none(bench: Bench) {
    let limits = rate_limits(&[("a", 5, 60, 0), ("b", 2, 60, 0)]);
    let token = bench.create(limited(limits, quota(10))).await;
    assert_eq!(count(&bench, &token).await, 2);
    let (refused, left) = taken(&*bench.store, &take(&token)).await;
    assert_eq!(refused, Err(Exceeded::Rate));
    assert_eq!(left.quota, Some(8));
    let remaining = |left: &Left| {
        let statuses = left.statuses(&token, None);
        statuses
            .iter()
            .map(|status| status.remaining)
            .collect::<Vec<_>>()
    };
    assert_eq!(remaining(&left), [3, 0]);
    bench.pass(Duration::from_secs(30));
    assert_eq!(count(&bench, &token).await, 1);
    let never = taken(&*bench.store, &costing(&token, 6)).await;
    assert_eq!(never.0, Err(Exceeded::Rate));
    assert_eq!(taken(&*bench.store, &costing(&token, 0)).await.0, Ok(()));
}

pub(crate) async fn a_dry_run_takes_nothing(bench: Bench) {
    let limits = rate_limits(&[("", 1, 60, 0)]);
    let token = bench.create(limited(limits, quota(1))).await;
    let dry = Take {
        dry_run: true,
        ..take(&token)
    };
    for _ in 0..3 {
        let (passed, left) = taken(&*bench.store, &dry).await;
        assert_eq!((passed, left.quota), (Ok(()), Some(1)));
    }
    assert_eq!(count(&bench, &token).await, 1);
    assert_eq!(taken(&*bench.store, &dry).await.0, Err(Exceeded::Rate));
}

pub(crate) async fn nothing_is_taken_from_a_token_that_is_not_as_it_was_judged(bench: Bench) {
    let token = bench.create(limited(Default::default(), quota(5))).await;
    let patch = Patch {
        name: TokenName::parse("new").ok(),
        ..Patch::default()
    };
    let changed = updated(&bench, &token, patch).await;
    let Ok(Taken::Moved(found)) = bench.store.take(&take(&token)).await else {
        panic!("taken from a token that changed");
    };
    assert_eq!(found.token.as_deref(), Some(&changed));
    assert_eq!(left(&bench, &changed).await.quota, Some(5));
    bench.store.delete(token.id, willing()).await.unwrap();
    let Ok(Taken::Moved(found)) = bench.store.take(&take(&changed)).await else {
        panic!("taken from a token that is gone");
    };
    assert_eq!(found.token, None);
}

pub(crate) async fn nothing_is_taken_once_the_judgement_no_longer_holds(bench: Bench) {
    let token = bench.create(limited(Default::default(), quota(5))).await;
    let until = bench.now().saturating_add(Duration::from_secs(1));
    let judged = Take {
        until: Some(until),
        ..take(&token)
    };
    assert!(matches!(
        bench.store.take(&judged).await,
        Ok(Taken::Admitted(..))
    ));
    bench.pass(Duration::from_secs(1));
    let Ok(Taken::Moved(found)) = bench.store.take(&judged).await else {
        panic!("taken too late");
    };
    assert_eq!((found.now, found.token.as_deref()), (until, Some(&token)));
    assert_eq!(left(&bench, &token).await.quota, Some(4));
}

pub(crate) async fn a_caller_spends_its_rate_limits_and_no_quota(bench: Bench) {
    let limits = rate_limits(&[("", 3, 60, 0)]);
    let token = bench.create(limited(limits, quota(1))).await;
    let call = Take {
        scope: Scope::Rates,
        ..take(&token)
    };
    for _ in 0..3 {
        assert_eq!(taken(&*bench.store, &call).await.0, Ok(()));
    }
    let (refused, left) = taken(&*bench.store, &call).await;
    assert_eq!((refused, left.quota), (Err(Exceeded::Rate), Some(1)));
}

pub(crate) async fn a_quota_is_full_again_with_each_period(bench: Bench) {
    let hourly = Quota::new(3, Some(Duration::from_secs(3600))).ok();
    let token = bench.create(limited(Default::default(), hourly)).await;
    bench.pass(Duration::from_secs(1800));
    assert_eq!(count(&bench, &token).await, 3);
    bench.pass(Duration::from_micros(1_799_999_999));
    assert_eq!(count(&bench, &token).await, 0);
    bench.pass(Duration::from_micros(1));
    assert_eq!(count(&bench, &token).await, 3);
    bench.pass(Duration::from_secs(9 * 3600));
    assert_eq!(left(&bench, &token).await.quota, Some(3));
    assert_eq!(count(&bench, &token).await, 3);
}

pub(crate) async fn a_changed_limit_keeps_what_was_used(bench: Bench) {
    let token = bench
        .create(limited(rate_limits(&[("a", 10, 3600, 0)]), None))
        .await;
    let (passed, _) = taken(&*bench.store, &costing(&token, 6)).await;
    assert_eq!(passed, Ok(()));
    let limits = |limits| Patch {
        rate_limits: Some(rate_limits(limits)),
        ..Patch::default()
    };
    let wider = limits(&[("a", 20, 3600, 0), ("b", 100, 3600, 0)]);
    let token = updated(&bench, &token, wider).await;
    assert_eq!(count(&bench, &token).await, 14);
    let narrower = updated(&bench, &token, limits(&[("a", 7, 60, 0)])).await;
    assert_eq!(count(&bench, &narrower).await, 0);
    bench.pass(Duration::from_secs(60));
    assert_eq!(count(&bench, &narrower).await, 7);
}

pub(crate) async fn a_lowered_and_raised_quota_owes_nothing(bench: Bench) {
    let token = bench.create(limited(Default::default(), quota(10))).await;
    let (passed, _) = taken(&*bench.store, &costing(&token, 8)).await;
    assert_eq!(passed, Ok(()));
    let lower = updated(&bench, &token, adjusted(Some(5), None)).await;
    let (_, settled) = taken(&*bench.store, &costing(&lower, 0)).await;
    assert_eq!(settled.quota, Some(0));
    let raised = updated(&bench, &lower, adjusted(Some(10), None)).await;
    assert_eq!(left(&bench, &raised).await.quota, Some(5));
    assert_eq!(count(&bench, &raised).await, 5);
}

pub(crate) async fn a_granted_remainder_counts_from_then_on(bench: Bench) {
    let token = bench.create(limited(Default::default(), quota(10))).await;
    assert_eq!(count(&bench, &token).await, 10);
    let granted = updated(&bench, &token, adjusted(None, Some(2))).await;
    assert_eq!(left(&bench, &granted).await.quota, Some(2));
    let wider = updated(&bench, &granted, adjusted(Some(11), None)).await;
    assert_eq!(count(&bench, &wider).await, 3);
    let removed = updated(&bench, &wider, with_quota(QuotaPatch::Remove)).await;
    let fresh = QuotaPatch::Replace(Quota::new(4, None).unwrap(), None);
    let again = updated(&bench, &removed, with_quota(fresh)).await;
    assert_eq!(count(&bench, &again).await, 4);
}

pub(crate) async fn a_reset_forgets_what_was_spent(bench: Bench) {
    let limits = rate_limits(&[("", 3, 3600, 0)]);
    let token = bench.create(limited(limits, quota(5))).await;
    assert_eq!(count(&bench, &token).await, 3);
    let reset: Rule = Arc::new(|token, now| token.reset_limits(now));
    let Ok(Change::Changed(token)) = bench.store.change(token.id, reset).await else {
        panic!("not reset");
    };
    assert_eq!(left(&bench, &token).await.quota, Some(5));
    assert_eq!(count(&bench, &token).await, 3);
}

pub(crate) async fn what_is_spent_survives_a_restart(mut bench: Bench) {
    let limits = rate_limits(&[("", 5, 3600, 0)]);
    let both = bench.create(limited(limits.clone(), quota(9))).await;
    let rates = bench.create(limited(limits, None)).await;
    for token in [&both, &rates] {
        let (passed, _) = taken(&*bench.store, &costing(token, 3)).await;
        assert_eq!(passed, Ok(()));
    }
    bench.store.close().await;
    bench.reopen().await;
    assert_eq!(left(&bench, &both).await.quota, Some(6));
    for token in [&both, &rates] {
        assert_eq!(count(&bench, token).await, 2);
    }
}

pub(crate) async fn a_deleted_token_leaves_nothing_spent_behind(mut bench: Bench) {
    let profile = limited(rate_limits(&[("", 2, 3600, 0)]), quota(2)).profile;
    let again = || token_authority::domain::token::Draft {
        profile: profile.clone(),
        ..requested(1)
    };
    let token = bench.create(again()).await;
    assert_eq!(count(&bench, &token).await, 2);
    bench.store.delete(token.id, willing()).await.unwrap();
    let spending = bench.store.spending(&[Arc::new(token)]).await.unwrap();
    assert_eq!(spending[0].quota, None);
    bench.pass(Duration::from_secs(601));
    let token = bench.create(again()).await;
    assert_eq!(count(&bench, &token).await, 2);
    bench.store.close().await;
    bench.reopen().await;
    assert_eq!(count(&bench, &token).await, 0);
}

pub(crate) async fn a_vanished_token_leaves_nothing_spent_behind(bench: Bench) {
    let profile = limited(rate_limits(&[("", 2, 3600, 0)]), quota(2)).profile;
    let hour = Duration::from_secs(3600);
    let token = bench
        .create(token_authority::domain::token::Draft {
            profile,
            ..ending_after(hour)
        })
        .await;
    assert_eq!(count(&bench, &token).await, 2);
    bench.pass(hour * 26);
    assert_eq!(swept(bench.store.as_ref()).await, 1);
    let spending = bench.store.spending(&[Arc::new(token)]).await.unwrap();
    assert_eq!(spending[0].quota, None);
}

/// How many of `calls` uses at once, by 32 callers, pass.
async fn passed_at_once(bench: &Bench, token: &Token, calls: usize) -> usize {
    let mut callers = JoinSet::new();
    for _ in 0..32 {
        let (store, take) = (bench.store.clone(), take(token));
        callers.spawn(async move {
            let mut passed = 0;
            for _ in 0..calls / 32 {
                passed += usize::from(taken(&*store, &take).await.0.is_ok());
            }
            passed
        });
    }
    callers.join_all().await.into_iter().sum()
}

pub(crate) async fn exactly_as_many_uses_pass_at_once_as_the_limit_allows(bench: Bench) {
    let limits = rate_limits(&[("hour", 100, 3600, 0), ("day", 1000, 86400, 0)]);
    let token = bench.create(limited(limits, None)).await;
    assert_eq!(passed_at_once(&bench, &token, 2016).await, 100);
}

pub(crate) async fn a_quota_is_never_spent_twice(bench: Bench) {
    let token = bench.create(limited(Default::default(), quota(100))).await;
    assert_eq!(passed_at_once(&bench, &token, 320).await, 100);
    assert_eq!(left(&bench, &token).await.quota, Some(0));
}

pub(crate) async fn one_of_many_changes_wins_a_revision(bench: Bench) {
    let token = bench.create(draft()).await;
    let mut callers = JoinSet::new();
    for number in 0..16 {
        let store = bench.store.clone();
        let patch = Patch {
            name: TokenName::parse(&number.to_string()).ok(),
            revision: Some(token.revision),
            ..Patch::default()
        };
        let rule: Rule =
            Arc::new(move |token: &Token, now: Timestamp| -> Ruling { token.update(now, &patch) });
        callers.spawn(async move { store.change(token.id, rule).await.unwrap() });
    }
    let answers = callers.join_all().await;
    let (won, lost): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|answer| matches!(answer, Change::Changed(_)));
    assert_eq!((won.len(), lost.len()), (1, 15));
    let refused =
        |answer: &Change| matches!(answer, Change::Refused(Refusal::RevisionMoved { .. }));
    assert!(lost.iter().all(refused), "{lost:?}");
    let Change::Changed(winner) = &won[0] else {
        panic!()
    };
    assert_eq!(bench.found(token.id).await.as_ref(), Some(winner));
}

pub(crate) async fn a_use_under_way_takes_nothing_back_from_a_later_grant(bench: Bench) {
    const RESETS: usize = 200;
    let limits = rate_limits(&[("", 2, 86_400, 0)]);
    let token = bench.create(limited(limits, None)).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let (store, over) = (bench.store.clone(), over.clone());
        let mut take = take(&token);
        let run = Handle::current();
        // Threads of their own, so that any of them may be halted anywhere.
        callers.spawn_blocking(move || {
            let mut passed = 0;
            while !over.load(Ordering::Relaxed) {
                match run.block_on(store.take(&take)).unwrap() {
                    Taken::Admitted(..) => passed += 1,
                    Taken::Refused(..) => {}
                    Taken::Moved(found) => take.token = found.token.unwrap(),
                }
            }
            passed
        });
    }
    for _ in 0..RESETS {
        let reset: Rule = Arc::new(|token, now| token.reset_limits(now));
        bench.store.change(token.id, reset).await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    let passed: usize = callers.join_all().await.into_iter().sum();
    assert!(passed <= 2 * (RESETS + 1), "{passed} of {RESETS} times two");
}
