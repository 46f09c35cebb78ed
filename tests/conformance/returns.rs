//! What comes back of a batch of uses: once, in time, and to the limits that it was taken from.

use std::sync::Arc;
use std::time::Duration;

use token_authority::domain::limit::Quota;
use token_authority::domain::permits::{Ahead, RETURN_MAX, TERM};
use token_authority::domain::spending::Exceeded;
use token_authority::store::{Change, Rule, Take};

use crate::fixture::Bench;
use crate::limits::{adjusted, costing, left, quota, taken, updated};
use crate::permits::{
    MS, SLOW, fast, first_left, give_back, grant, granted, quota_left, remaining, returning, slow,
    wishing, with_quota_only,
};
use crate::support::drafts::{limited, rate_limits};

pub(crate) async fn what_is_unused_of_a_live_batch_comes_back(bench: Bench) {
    let token = fast(&bench).await;
    assert_eq!(grant(&bench, &token, 1, 100).await, 5);
    bench.pass(50 * MS);
    give_back(&bench, &token, 1, 3).await;
    assert_eq!(first_left(&bench, &token).await, 398);
    bench.pass(MS);
    assert_eq!(
        first_left(&bench, &token).await,
        399,
        "what was used drains"
    );
    bench.pass(50 * MS);
    assert_eq!(first_left(&bench, &token).await, 400, "it ended once");
    let both = Take {
        ahead: Ahead {
            wish: wishing(&token, 3, 100).ahead.wish,
            ..returning(&token, 2, 5).ahead
        },
        ..costing(&token, 1)
    };
    assert_eq!(grant(&bench, &token, 2, 100).await, 5);
    let (uses, told) = granted(&bench, &both).await;
    assert_eq!((uses, remaining(&token, &told)), (5, vec![394]));
}

pub(crate) async fn an_ended_batch_gives_nothing_back_to_a_rate_limit(bench: Bench) {
    let token = slow(&bench).await;
    assert_eq!(grant(&bench, &token, 1, 100).await, 5);
    bench.pass(TERM);
    give_back(&bench, &token, 1, 3).await;
    assert_eq!(first_left(&bench, &token).await, 395);
    let limits = rate_limits(&[SLOW]);
    let token = bench.create(limited(limits, quota(1000))).await;
    assert_eq!(grant(&bench, &token, 1, 100).await, 5);
    bench.pass(TERM);
    give_back(&bench, &token, 1, 3).await;
    let told = left(&bench, &token).await;
    assert_eq!(
        (remaining(&token, &told), told.quota),
        (vec![395], Some(998))
    );
}

pub(crate) async fn a_batch_comes_back_once(bench: Bench) {
    let limits = rate_limits(&[SLOW]);
    let token = bench.create(limited(limits, quota(1000))).await;
    assert_eq!(taken(&*bench.store, &costing(&token, 100)).await.0, Ok(()));
    assert_eq!(grant(&bench, &token, 1, 100).await, 5);
    for batch in [1, 1, 77] {
        give_back(&bench, &token, batch, 2).await;
        let told = left(&bench, &token).await;
        assert_eq!(
            (remaining(&token, &told), told.quota),
            (vec![297], Some(897))
        );
    }
    bench.pass(TERM);
    give_back(&bench, &token, 1, 2).await;
    assert_eq!(first_left(&bench, &token).await, 297);
}

pub(crate) async fn no_more_comes_back_than_was_granted(bench: Bench) {
    let limits = rate_limits(&[SLOW]);
    let token = bench.create(limited(limits, quota(1000))).await;
    assert_eq!(taken(&*bench.store, &costing(&token, 100)).await.0, Ok(()));
    assert_eq!(grant(&bench, &token, 1, 100).await, 5);
    give_back(&bench, &token, 1, u64::MAX).await;
    let told = left(&bench, &token).await;
    assert_eq!(
        (remaining(&token, &told), told.quota),
        (vec![300], Some(900))
    );
}

pub(crate) async fn a_batch_comes_back_with_a_use_that_is_refused(bench: Bench) {
    let token = with_quota_only(&bench, 1000).await;
    assert_eq!(grant(&bench, &token, 1, 100).await, 10);
    let dear = Take {
        cost: 1001,
        ..returning(&token, 1, 4)
    };
    let (refused, told) = taken(&*bench.store, &dear).await;
    assert_eq!((refused, told.quota), (Err(Exceeded::Quota), Some(994)));
    assert_eq!(quota_left(&bench, &token).await, Some(994));
    let token = slow(&bench).await;
    assert_eq!(grant(&bench, &token, 1, 100).await, 5);
    let dear = Take {
        cost: 401,
        ..returning(&token, 1, 4)
    };
    let (refused, told) = taken(&*bench.store, &dear).await;
    assert_eq!(refused, Err(Exceeded::Rate));
    assert_eq!(remaining(&token, &told), [399]);
    assert_eq!(first_left(&bench, &token).await, 399);
}

pub(crate) async fn a_quota_gets_back_what_is_unused_for_ten_seconds(bench: Bench) {
    let token = with_quota_only(&bench, 1000).await;
    for (after, comes) in [
        (Duration::ZERO, 4),
        (TERM, 4),
        (RETURN_MAX - MS, 4),
        (RETURN_MAX, 0),
    ] {
        let before = quota_left(&bench, &token).await.unwrap();
        assert_eq!(grant(&bench, &token, 1, 100).await, 10);
        bench.pass(after);
        give_back(&bench, &token, 1, 4).await;
        let now = quota_left(&bench, &token).await.unwrap();
        assert_eq!(now, before - 10 + comes, "{after:?}");
    }
}

pub(crate) async fn nothing_comes_back_to_a_quota_of_another_period(bench: Bench) {
    let minutely = Quota::new(1000, Some(Duration::from_secs(60))).ok();
    let token = bench.create(limited(Default::default(), minutely)).await;
    bench.pass(Duration::from_secs(60) - 50 * MS);
    assert_eq!(grant(&bench, &token, 1, 100).await, 10);
    assert_eq!(grant(&bench, &token, 2, 100).await, 10);
    bench.pass(49 * MS);
    give_back(&bench, &token, 1, 4).await;
    assert_eq!(quota_left(&bench, &token).await, Some(984));
    bench.pass(MS);
    assert_eq!(taken(&*bench.store, &costing(&token, 100)).await.0, Ok(()));
    give_back(&bench, &token, 2, 4).await;
    assert_eq!(quota_left(&bench, &token).await, Some(900));
}

pub(crate) async fn nothing_comes_back_to_what_was_granted_anew(bench: Bench) {
    let limits = rate_limits(&[SLOW]);
    let token = bench.create(limited(limits, quota(1000))).await;
    assert_eq!(grant(&bench, &token, 1, 100).await, 5);
    let token = updated(&bench, &token, adjusted(None, Some(500))).await;
    give_back(&bench, &token, 1, 4).await;
    let told = left(&bench, &token).await;
    assert_eq!(
        (remaining(&token, &told), told.quota),
        (vec![399], Some(500)),
        "the rate limit was the same"
    );
    assert_eq!(grant(&bench, &token, 2, 100).await, 5);
    let reset: Rule = Arc::new(|token, now| token.reset_limits(now));
    let Ok(Change::Changed(token)) = bench.store.change(token.id, reset).await else {
        panic!("not reset");
    };
    assert_eq!(first_left(&bench, &token).await, 400);
    assert_eq!(taken(&*bench.store, &costing(&token, 100)).await.0, Ok(()));
    give_back(&bench, &token, 2, 4).await;
    bench.pass(TERM);
    let told = left(&bench, &token).await;
    assert_eq!(
        (remaining(&token, &told), told.quota),
        (vec![300], Some(900))
    );
}

pub(crate) async fn nothing_comes_back_to_a_quota_that_was_overdrawn(bench: Bench) {
    let token = with_quota_only(&bench, 1000).await;
    assert_eq!(taken(&*bench.store, &costing(&token, 500)).await.0, Ok(()));
    assert_eq!(grant(&bench, &token, 1, 100).await, 10);
    assert_eq!(grant(&bench, &token, 2, 100).await, 10);
    let token = updated(&bench, &token, adjusted(Some(600), None)).await;
    assert_eq!(quota_left(&bench, &token).await, Some(80));
    give_back(&bench, &token, 1, 4).await;
    assert_eq!(quota_left(&bench, &token).await, Some(84));
    let token = updated(&bench, &token, adjusted(Some(300), None)).await;
    assert_eq!(taken(&*bench.store, &costing(&token, 0)).await.0, Ok(()));
    give_back(&bench, &token, 2, 4).await;
    assert_eq!(quota_left(&bench, &token).await, Some(0));
}
