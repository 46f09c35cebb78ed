//! What is taken ahead, who uses it and for how long, and how it comes back.

mod site;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::wishing::WAIT_MAX;
use super::*;
use crate::domain::limit::Quota;
use crate::domain::profile::Profile;
use crate::domain::spending::Exceeded;
use crate::domain::token::tests::at;
use crate::store::Taken;

use site::{BURST, MOST, Site};

#[tokio::test]
async fn a_batch_admits_as_many_as_were_granted_and_is_replaced_when_it_is_used_up() {
    let site = Site::of(BURST);
    site.granted(7).await;
    for _ in 0..7 {
        assert!(site.use_it().await);
    }
    assert!(!site.use_it().await);
    let books = site.books();
    assert_eq!((books.takes, books.returned[0].unused), (2, 0));
    assert_eq!(books.batches.len(), 1, "the other was carried back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_use_no_more_than_were_granted() {
    let site = Arc::new(Site::of(BURST));
    site.granted(1000).await;
    let mut using = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let site = site.clone();
        using.spawn_blocking(move || {
            let spent = (0..1000).filter(|_| matches!(site.ask(1), Asked::Spent(_)));
            spent.count()
        });
    }
    assert_eq!(using.join_all().await.into_iter().sum::<usize>(), 1000);
}

#[tokio::test]
async fn a_dear_use_takes_as_many_and_one_that_is_too_dear_asks_the_store() {
    let site = Site::of(BURST);
    site.granted(10).await;
    assert!(matches!(site.ask(7), Asked::Spent(_)));
    assert!(matches!(site.ask(3), Asked::Spent(_)));
    site.pass(1000);
    site.granted(10).await;
    let Asked::Ahead(wishing) = site.ask(11) else {
        panic!("there are not so many");
    };
    site.permits.take(*wishing).await.unwrap();
    assert_eq!(site.books().returned.last().unwrap().unused, 10);
}

#[tokio::test]
async fn a_batch_is_used_for_less_than_its_term_and_what_is_left_is_carried_back() {
    let site = Site::of(BURST);
    site.granted(10).await;
    site.pass(39);
    assert!(site.use_it().await);
    site.pass(1);
    assert!(!site.use_it().await);
    assert_eq!(site.books().returned[0].unused, 9);
}

#[tokio::test]
async fn a_batch_is_that_of_one_scope_and_of_the_token_as_it_was() {
    let site = Site::of(BURST);
    site.granted(10).await;
    let ask = |take: &Take| site.permits.ask(take, at(1), site.clock.now(), true);
    assert!(matches!(ask(&site.use_of(1, Scope::Rates)), Asked::Alone));
    assert!(matches!(ask(&site.use_of(1, Scope::All)), Asked::Spent(_)));
    site.change();
    assert!(!matches!(ask(&site.use_of(1, Scope::All)), Asked::Spent(_)));
}

#[tokio::test]
async fn a_batch_is_not_used_past_the_border_of_the_quota_s_period() {
    let period = Some(Duration::from_secs(10));
    let site = Site::with(Profile {
        quota: Some(Quota::new(BURST, period).unwrap()),
        ..Profile::default()
    });
    site.granted(10).await;
    let take = site.use_of(1, Scope::All);
    let ask = |seconds| site.permits.ask(&take, at(seconds), site.clock.now(), true);
    let Asked::Spent(left) = ask(9) else {
        panic!("it is the same period");
    };
    assert_eq!(left.quota, Some(BURST - 2), "the one that asked, and this");
    assert!(!matches!(ask(10), Asked::Spent(_)));
}

#[tokio::test]
async fn each_use_leaves_one_less_than_the_one_before() {
    let site = Site::of(BURST);
    site.granted(10).await;
    let take = site.use_of(1, Scope::All);
    let mut remaining = Vec::new();
    for _ in 0..10 {
        let Asked::Spent(left) = site.ask(1) else {
            panic!("it holds ten");
        };
        remaining.push(left.statuses(&take.token, None)[0].remaining);
    }
    let told: Vec<u64> = (0..10).map(|before| BURST - 2 - before).collect();
    assert_eq!(remaining, told);
}

#[tokio::test]
async fn whoever_comes_while_one_is_asked_for_waits_and_then_uses_it() {
    let site = Site::of(BURST);
    site.use_it().await;
    let Asked::Ahead(wishing) = site.ask(1) else {
        panic!("two at once are worth a batch");
    };
    let Asked::Wait(waiting) = site.ask(1) else {
        panic!("it is asked for");
    };
    let take = site.use_of(1, Scope::All);
    let again = || site.permits.ask(&take, at(1), site.clock.now(), false);
    assert!(matches!(again(), Asked::Alone), "nobody waits twice");
    site.permits.take(*wishing).await.unwrap();
    waiting.ended().await;
    assert!(matches!(again(), Asked::Spent(_)));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_store_that_does_not_answer() {
    let site = Site::of(BURST);
    site.use_it().await;
    let Asked::Ahead(_wishing) = site.ask(1) else {
        panic!("two at once are worth a batch");
    };
    let Asked::Wait(waiting) = site.ask(1) else {
        panic!("it is asked for");
    };
    let begun = tokio::time::Instant::now();
    waiting.ended().await;
    assert_eq!(begun.elapsed(), WAIT_MAX);
}

#[tokio::test]
async fn a_batch_is_kept_though_the_call_that_asked_for_it_went_away() {
    let site = Site::of(BURST);
    site.use_it().await;
    site.ledger.let_end.forget_permits(Semaphore::MAX_PERMITS);
    let Asked::Ahead(wishing) = site.ask(1) else {
        panic!("two at once are worth a batch");
    };
    let permits = site.permits.clone();
    let call = tokio::spawn(async move { permits.take(*wishing).await });
    tokio::task::yield_now().await;
    call.abort();
    assert!(call.await.is_err());
    site.ledger.let_end.add_permits(1);
    site.permits.nothing_under_way().await;
    assert_eq!(site.permits.outstanding(), 2);
}

#[tokio::test]
async fn what_is_used_now_and_then_or_hardly_limited_at_all_goes_alone() {
    let site = Site::of(BURST);
    for _ in 0..100 {
        assert!(matches!(site.ask(1), Asked::Alone));
        site.pass(41);
    }
    let small = Site::of(2 * 2 * HELD_PART - 1);
    for _ in 0..100 {
        assert!(matches!(small.ask(1), Asked::Alone));
    }
    assert_eq!(small.permits.slots.len(), 0, "it is not followed");
}

#[tokio::test]
async fn no_more_is_wished_for_than_may_be_granted() {
    let site = Site::of(BURST);
    site.use_it().await;
    let flood = site.use_of(10 * MOST, Scope::All);
    let asked = site.permits.ask(&flood, at(1), site.clock.now(), true);
    let Asked::Ahead(wishing) = asked else {
        panic!("it is busy");
    };
    assert_eq!(wishing.take.ahead.wish.unwrap().uses, MOST);
}

#[tokio::test]
async fn nothing_is_asked_for_for_a_while_after_nothing_was_granted() {
    let site = Site::of(BURST);
    site.use_it().await;
    site.books().refuses = true;
    let Asked::Ahead(wishing) = site.ask(1) else {
        panic!("two at once are worth a batch");
    };
    let taken = site.permits.take(*wishing).await;
    assert!(matches!(taken, Ok(Taken::Refused(Exceeded::Rate, _))));
    for _ in 0..20 {
        assert!(matches!(site.ask(1), Asked::Alone));
        site.pass(1);
    }
    assert!(matches!(site.ask(1), Asked::Ahead(_)));
}

#[tokio::test]
async fn what_nobody_uses_any_more_is_given_back_once_and_in_time() {
    let site = Site::of(BURST);
    site.granted(10).await;
    site.use_it().await;
    site.pass(44);
    site.permits.end_left();
    assert_eq!(site.permits.outstanding(), 9);
    site.pass(1);
    site.permits.end_left();
    assert_eq!(site.returned().await, [9]);
    assert_eq!(site.books().spent, 2);
    site.permits.end_left();
    site.permits.drop_all();
    assert_eq!(site.returned().await, [9]);
}

#[tokio::test(start_paused = true)]
async fn the_keeper_gives_back_what_was_left() {
    let site = Site::of(BURST);
    let keeping = tokio::spawn(site.permits.clone().keep());
    for uses in [10, 20, 30] {
        site.granted(uses).await;
        site.pass(100);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(site.returned().await, [10, 20, 30]);
    keeping.abort();
}

#[tokio::test]
async fn what_is_held_of_a_changed_token_is_given_back_to_it_as_it_stands() {
    let site = Site::of(BURST);
    site.granted(10).await;
    let revision = site.books().token.revision;
    let token = site.books().token.id;
    site.permits.invalidate(Invalidation { token, revision });
    assert_eq!(site.permits.outstanding(), 10, "it is no older");
    site.permits.apply(&News::Entries(vec![site.change()]));
    assert_eq!(site.permits.outstanding(), 0, "before anything is awaited");
    assert_eq!(site.returned().await, [10]);
    assert_eq!(site.books().spent, 1);
}

#[tokio::test]
async fn a_batch_that_comes_after_its_token_was_changed_is_given_back() {
    let site = Site::of(BURST);
    site.use_it().await;
    let Asked::Ahead(wishing) = site.ask(1) else {
        panic!("two at once are worth a batch");
    };
    let mut change = site.change();
    change.revision = u64::MAX;
    let unchanged = wishing.take.token.clone();
    site.books().token = unchanged;
    site.permits.invalidate(change);
    site.permits.take(*wishing).await.unwrap();
    assert_eq!(site.returned().await, [2]);
    let Asked::Ahead(wishing) = site.ask(1) else {
        panic!("it is busy");
    };
    site.permits.apply(&News::DropAll);
    site.permits.take(*wishing).await.unwrap();
    assert_eq!(site.returned().await, [2, 3]);
}

#[tokio::test]
async fn what_was_not_carried_back_by_a_take_that_met_a_changed_token_is_given_back_after_it() {
    let site = Site::of(BURST);
    site.granted(10).await;
    site.pass(40);
    let stale = site.use_of(50, Scope::All);
    site.change();
    let asked = site.permits.ask(&stale, at(1), site.clock.now(), true);
    let Asked::Ahead(wishing) = asked else {
        panic!("it is dear enough");
    };
    let taken = site.permits.take(*wishing).await;
    assert!(matches!(taken, Ok(Taken::Moved(_))));
    assert_eq!(site.returned().await, [10]);
}

#[tokio::test]
async fn what_may_have_been_given_back_is_not_given_back_again() {
    let site = Site::of(BURST);
    site.granted(10).await;
    site.books().breaks = true;
    site.permits.drop_all();
    site.permits.nothing_under_way().await;
    site.books().breaks = false;
    site.permits.end_left();
    site.permits.close().await;
    assert!(site.returned().await.is_empty());
    assert_eq!(site.books().takes, 2);
}

#[tokio::test]
async fn whoever_closes_gives_all_back_and_takes_no_more_ahead() {
    let site = Site::of(BURST);
    site.granted(10).await;
    site.pass(40);
    site.ledger.let_end.forget_permits(Semaphore::MAX_PERMITS);
    let dear = site.use_of(20, Scope::All);
    let asked = site.permits.ask(&dear, at(1), site.clock.now(), true);
    let Asked::Ahead(wishing) = asked else {
        panic!("it is dear enough");
    };
    let permits = site.permits.clone();
    let taking = tokio::spawn(async move { permits.take(*wishing).await });
    let closing = tokio::spawn({
        let permits = site.permits.clone();
        async move { permits.close().await }
    });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(site.permits.is_closed.load(Ordering::SeqCst));
    assert!(!closing.is_finished(), "something is under way");
    assert!(matches!(site.ask(5), Asked::Wait(_)));
    site.ledger.let_end.add_permits(100);
    taking.await.unwrap().unwrap();
    closing.await.unwrap();
    // The one was carried back by the take that asked for the other.
    let returned = site.returned().await;
    assert_eq!(returned[0], 10);
    assert_eq!(returned.len(), 2);
    assert_eq!(site.books().spent, 21);
    for _ in 0..10 {
        assert!(matches!(site.ask(1), Asked::Alone));
    }
}
