//! Permits: batches of uses that are granted ahead, and held while they live.

use std::time::Duration;

use token_authority::domain::permits::{Ahead, BATCHES_MAX, Back, BatchId, RETURN_MAX, TERM, Wish};
use token_authority::domain::spending::{Exceeded, Left, Scope};
use token_authority::domain::token::Token;
use token_authority::domain::update::Patch;
use token_authority::store::{Take, Taken};
use tokio::task::JoinSet;

use crate::fixture::Bench;
use crate::limits::{costing, count, left, quota, take, taken, updated};
use crate::support::drafts::{limited, rate_limits, requested, willing};

/// Of 400 uses, so slow that none comes back during a test: 5 are granted at most.
pub(crate) const SLOW: (&str, u64, u64, u64) = ("slow", 400, 400_000, 0);

/// A use of cost 0 that wishes for a batch.
pub(crate) fn wishing(token: &Token, batch: u64, uses: u64) -> Take {
    let wish = Wish {
        batch: BatchId(batch),
        uses,
    };
    Take {
        ahead: Ahead {
            back: None,
            wish: Some(wish),
        },
        ..costing(token, 0)
    }
}

/// A use of cost 0 that gives a batch back.
pub(crate) fn returning(token: &Token, batch: u64, unused: u64) -> Take {
    let back = Back {
        batch: BatchId(batch),
        unused,
    };
    Take {
        ahead: Ahead {
            back: Some(back),
            wish: None,
        },
        ..costing(token, 0)
    }
}

/// How many uses are granted, and what is left.
pub(crate) async fn granted(bench: &Bench, take: &Take) -> (u64, Left) {
    match bench.store.take(take).await.expect("the store answers") {
        Taken::Admitted(left, granted) => (granted, left),
        other => panic!("not admitted: {other:?}"),
    }
}

pub(crate) async fn grant(bench: &Bench, token: &Token, batch: u64, uses: u64) -> u64 {
    granted(bench, &wishing(token, batch, uses)).await.0
}

pub(crate) async fn give_back(bench: &Bench, token: &Token, batch: u64, unused: u64) {
    granted(bench, &returning(token, batch, unused)).await;
}

pub(crate) fn remaining(token: &Token, left: &Left) -> Vec<u64> {
    let statuses = left.statuses(token, None).into_iter();
    statuses.map(|status| status.remaining).collect()
}

/// How many uses of the first limit are left.
pub(crate) async fn first_left(bench: &Bench, token: &Token) -> u64 {
    remaining(token, &left(bench, token).await)[0]
}

pub(crate) async fn quota_left(bench: &Bench, token: &Token) -> Option<u64> {
    left(bench, token).await.quota
}

pub(crate) async fn slow(bench: &Bench) -> Token {
    bench.create(limited(rate_limits(&[SLOW]), None)).await
}

/// 400 uses at once, and one more each millisecond.
pub(crate) async fn fast(bench: &Bench) -> Token {
    let limits = rate_limits(&[("", 1000, 1, 400)]);
    bench.create(limited(limits, None)).await
}

pub(crate) async fn with_quota_only(bench: &Bench, limit: u64) -> Token {
    bench
        .create(limited(Default::default(), quota(limit)))
        .await
}

pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) async fn a_batch_is_taken_from_all_limits(bench: Bench) {
    let limits = rate_limits(&[SLOW, ("b", 800, 800_000, 0)]);
    let token = bench.create(limited(limits, quota(1000))).await;
    let asked = Take {
        cost: 1,
        ..wishing(&token, 1, 100)
    };
    let (uses, told) = granted(&bench, &asked).await;
    assert_eq!((uses, told.quota), (5, Some(994)));
    assert_eq!(remaining(&token, &told), [394, 794]);
    assert_eq!(left(&bench, &token).await, told);
    bench.pass(TERM);
    let after = left(&bench, &token).await;
    assert_eq!(after.quota, Some(994));
    assert_eq!(remaining(&token, &after), [394, 794], "it counts as used");
}

pub(crate) async fn a_batch_is_never_more_than_was_wished_for_and_never_one_use(bench: Bench) {
    let token = slow(&bench).await;
    assert_eq!(grant(&bench, &token, 1, 0).await, 0);
    assert_eq!(grant(&bench, &token, 2, 1).await, 0);
    assert_eq!(first_left(&bench, &token).await, 400);
    assert_eq!(grant(&bench, &token, 3, 3).await, 3);
    let small = rate_limits(&[("", 159, 159_000, 0)]);
    let small = bench.create(limited(small, None)).await;
    assert_eq!(grant(&bench, &small, 1, 100).await, 0);
    let enough = rate_limits(&[("", 160, 160_000, 0)]);
    let enough = bench.create(limited(enough, None)).await;
    assert_eq!(grant(&bench, &enough, 1, u64::MAX).await, 2);
}

pub(crate) async fn batches_together_hold_a_fortieth_of_a_burst_and_no_more(bench: Bench) {
    let limits = rate_limits(&[("", 1000, 1_000_000, 0)]);
    let token = bench.create(limited(limits, None)).await;
    let mut granted = Vec::new();
    for batch in 0..6 {
        granted.push(grant(&bench, &token, batch, 100).await);
    }
    assert_eq!(granted, [12, 6, 3, 2, 0, 0]);
    give_back(&bench, &token, 1, 6).await;
    assert_eq!(grant(&bench, &token, 6, 100).await, 4);
    bench.pass(TERM - MS);
    assert_eq!(grant(&bench, &token, 7, 100).await, 2);
    bench.pass(MS);
    assert_eq!(grant(&bench, &token, 8, 100).await, 11);
}

pub(crate) async fn the_smallest_limit_says_how_much_is_granted(bench: Bench) {
    let limits = rate_limits(&[SLOW, ("tight", 160, 160_000, 0)]);
    let token = bench.create(limited(limits, quota(1000))).await;
    assert_eq!(grant(&bench, &token, 1, 100).await, 2);
    let limits = rate_limits(&[SLOW]);
    let token = bench.create(limited(limits, quota(300))).await;
    assert_eq!(grant(&bench, &token, 1, 100).await, 3);
    let token = with_quota_only(&bench, 1000).await;
    assert_eq!(grant(&bench, &token, 1, 100).await, 10);
    let token = with_quota_only(&bench, 199).await;
    assert_eq!(grant(&bench, &token, 1, 100).await, 0);
}

pub(crate) async fn near_a_limit_uses_are_taken_singly(bench: Bench) {
    for (cost, uses) in [(390, 5), (391, 0)] {
        let token = slow(&bench).await;
        let asked = Take {
            cost,
            ..wishing(&token, 1, 100)
        };
        assert_eq!(granted(&bench, &asked).await.0, uses, "{cost}");
    }
    for (cost, uses) in [(980, 10), (981, 0)] {
        let token = with_quota_only(&bench, 1000).await;
        let asked = Take {
            cost,
            ..wishing(&token, 1, 100)
        };
        assert_eq!(granted(&bench, &asked).await.0, uses, "{cost}");
    }
}

pub(crate) async fn what_a_batch_holds_does_not_drain_until_it_ends(bench: Bench) {
    let token = fast(&bench).await;
    let asked = Take {
        cost: 40,
        ..wishing(&token, 1, 100)
    };
    assert_eq!(granted(&bench, &asked).await.0, 5);
    assert_eq!(first_left(&bench, &token).await, 355);
    bench.pass(30 * MS);
    assert_eq!(first_left(&bench, &token).await, 385);
    bench.pass(69 * MS);
    assert_eq!(first_left(&bench, &token).await, 395);
    bench.pass(MS);
    assert_eq!(first_left(&bench, &token).await, 395);
    bench.pass(3 * MS);
    assert_eq!(first_left(&bench, &token).await, 398);
    assert_eq!(taken(&*bench.store, &take(&token)).await.0, Ok(()));
    assert_eq!(first_left(&bench, &token).await, 397);
    bench.pass(3 * MS);
    assert_eq!(first_left(&bench, &token).await, 400);
}

pub(crate) async fn a_use_finds_what_batches_hold_spent(bench: Bench) {
    let token = slow(&bench).await;
    assert_eq!(grant(&bench, &token, 1, 100).await, 5);
    let refused = taken(&*bench.store, &costing(&token, 396)).await;
    assert_eq!(refused.0, Err(Exceeded::Rate));
    assert_eq!(taken(&*bench.store, &costing(&token, 395)).await.0, Ok(()));
    bench.pass(TERM);
    assert_eq!(count(&bench, &token).await, 0);
}

pub(crate) async fn batches_are_settled_in_the_order_of_their_ends(bench: Bench) {
    // Whether anybody looks at each end, or only once after all.
    for steps in [1, 2, 50] {
        let token = fast(&bench).await;
        assert_eq!(grant(&bench, &token, 1, 100).await, 5);
        bench.pass(2 * MS);
        assert_eq!(grant(&bench, &token, 2, 100).await, 2);
        for _ in 0..steps {
            bench.pass(100 * MS / steps);
            assert_eq!(taken(&*bench.store, &costing(&token, 0)).await.0, Ok(()));
        }
        // The first ended 2 ms ago, and has drained for so long; the second ended now.
        assert_eq!(first_left(&bench, &token).await, 395);
        bench.pass(2 * MS);
        assert_eq!(first_left(&bench, &token).await, 397);
    }
}

pub(crate) async fn no_more_than_so_many_batches_are_remembered(bench: Bench) {
    let token = with_quota_only(&bench, 1_000_000).await;
    let most = u64::try_from(BATCHES_MAX).unwrap();
    for batch in 0..most {
        assert_eq!(grant(&bench, &token, batch, 2).await, 2);
    }
    assert_eq!(grant(&bench, &token, 100, 2).await, 0);
    give_back(&bench, &token, 7, 0).await;
    assert_eq!(grant(&bench, &token, 101, 2).await, 2);
    bench.pass(RETURN_MAX - MS);
    assert_eq!(grant(&bench, &token, 102, 2).await, 0);
    bench.pass(MS);
    assert_eq!(grant(&bench, &token, 103, 2).await, 2);
    let limits = rate_limits(&[("", 1_000_000, 1000, 0)]);
    let token = bench.create(limited(limits, None)).await;
    for batch in 0..most {
        assert_eq!(grant(&bench, &token, batch, 2).await, 2);
    }
    assert_eq!(grant(&bench, &token, 100, 2).await, 0);
    bench.pass(TERM);
    assert_eq!(grant(&bench, &token, 101, 2).await, 2);
}

pub(crate) async fn a_batch_is_granted_once(bench: Bench) {
    let token = slow(&bench).await;
    assert_eq!(grant(&bench, &token, 1, 2).await, 2);
    assert_eq!(grant(&bench, &token, 1, 2).await, 0);
    assert_eq!(grant(&bench, &token, 2, 2).await, 2);
}

pub(crate) async fn a_dry_run_grants_nothing_and_gives_nothing_back(bench: Bench) {
    let token = slow(&bench).await;
    assert_eq!(grant(&bench, &token, 1, 100).await, 5);
    let dry = Take {
        dry_run: true,
        ahead: Ahead {
            wish: wishing(&token, 2, 2).ahead.wish,
            ..returning(&token, 1, 5).ahead
        },
        ..take(&token)
    };
    let (uses, told) = granted(&bench, &dry).await;
    assert_eq!((uses, remaining(&token, &told)), (0, vec![395]));
    give_back(&bench, &token, 1, 5).await;
    assert_eq!(first_left(&bench, &token).await, 400);
}

pub(crate) async fn a_caller_takes_no_quota_ahead(bench: Bench) {
    let limits = rate_limits(&[SLOW]);
    let token = bench.create(limited(limits, quota(100))).await;
    let called = |take: Take| Take {
        scope: Scope::Rates,
        ..take
    };
    let (uses, told) = granted(&bench, &called(wishing(&token, 1, 100))).await;
    assert_eq!((uses, told.quota), (5, Some(100)));
    assert_eq!(taken(&*bench.store, &costing(&token, 50)).await.0, Ok(()));
    let (_, told) = granted(&bench, &called(returning(&token, 1, 4))).await;
    assert_eq!(
        (remaining(&token, &told), told.quota),
        (vec![349], Some(50))
    );
    let only_quota = with_quota_only(&bench, 1000).await;
    let asked = called(wishing(&only_quota, 1, 100));
    assert_eq!(granted(&bench, &asked).await.0, 0);
}

pub(crate) async fn a_batch_is_held_though_limits_change(bench: Bench) {
    let token = slow(&bench).await;
    assert_eq!(grant(&bench, &token, 1, 100).await, 5);
    let limits = |limits| Patch {
        rate_limits: Some(rate_limits(limits)),
        ..Patch::default()
    };
    let wider = limits(&[("slow", 800, 400_000, 0), ("new", 10, 400_000, 0)]);
    let token = updated(&bench, &token, wider).await;
    let told = left(&bench, &token).await;
    assert_eq!(remaining(&token, &told), [795, 5]);
    let narrow = updated(&bench, &token, limits(&[("slow", 3, 400_000, 0)])).await;
    assert_eq!(first_left(&bench, &narrow).await, 0);
    give_back(&bench, &narrow, 1, 4).await;
    assert_eq!(first_left(&bench, &narrow).await, 2);
    let token = updated(&bench, &narrow, limits(&[SLOW])).await;
    let before = first_left(&bench, &token).await;
    assert_eq!(grant(&bench, &token, 2, 3).await, 3);
    let none = updated(&bench, &token, limits(&[])).await;
    assert_eq!(taken(&*bench.store, &take(&none)).await.0, Ok(()));
    let token = updated(&bench, &none, limits(&[SLOW])).await;
    assert_eq!(first_left(&bench, &token).await, before - 3);
    bench.pass(TERM);
    assert_eq!(first_left(&bench, &token).await, before - 3);
}

pub(crate) async fn a_token_that_moved_gives_nothing_back(bench: Bench) {
    let token = slow(&bench).await;
    assert_eq!(grant(&bench, &token, 1, 100).await, 5);
    let moved = updated(
        &bench,
        &token,
        Patch {
            disabled: Some(true),
            ..Patch::default()
        },
    );
    let moved = moved.await;
    let asked = returning(&token, 1, 5);
    assert!(matches!(
        bench.store.take(&asked).await,
        Ok(Taken::Moved(_))
    ));
    assert_eq!(first_left(&bench, &moved).await, 395);
    give_back(&bench, &moved, 1, 5).await;
    assert_eq!(first_left(&bench, &moved).await, 400);
}

pub(crate) async fn what_batches_hold_survives_a_restart(mut bench: Bench) {
    let both = bench
        .create(limited(rate_limits(&[SLOW]), quota(1000)))
        .await;
    let quota = with_quota_only(&bench, 1000).await;
    assert_eq!(taken(&*bench.store, &costing(&both, 10)).await.0, Ok(()));
    assert_eq!(grant(&bench, &both, 1, 100).await, 5);
    assert_eq!(grant(&bench, &both, 2, 100).await, 2);
    assert_eq!(grant(&bench, &quota, 1, 100).await, 10);
    bench.store.close().await;
    bench.reopen().await;
    for _ in 0..2 {
        let told = left(&bench, &both).await;
        assert_eq!(
            (remaining(&both, &told), told.quota),
            (vec![383], Some(983))
        );
        assert_eq!(quota_left(&bench, &quota).await, Some(990));
        bench.pass(TERM);
    }
}

pub(crate) async fn a_deleted_token_leaves_no_batches_behind(bench: Bench) {
    let profile = limited(rate_limits(&[SLOW]), quota(1000)).profile;
    let again = || token_authority::domain::token::Draft {
        profile: profile.clone(),
        ..requested(1)
    };
    let token = bench.create(again()).await;
    assert_eq!(grant(&bench, &token, 1, 100).await, 5);
    bench.store.delete(token.id, willing()).await.unwrap();
    bench.pass(Duration::from_secs(601));
    let token = bench.create(again()).await;
    assert_eq!(first_left(&bench, &token).await, 400);
    give_back(&bench, &token, 1, 5).await;
    let told = left(&bench, &token).await;
    assert_eq!(
        (remaining(&token, &told), told.quota),
        (vec![400], Some(1000))
    );
}

pub(crate) async fn of_many_who_take_ahead_at_once_all_get_no_more_than_the_limit(bench: Bench) {
    let limits = rate_limits(&[("hour", 1000, 3600, 0)]);
    let token = bench.create(limited(limits, quota(900))).await;
    let mut callers = JoinSet::new();
    for caller in 0..16 {
        let (store, token) = (bench.store.clone(), token.clone());
        callers.spawn(async move {
            let (mut passed, mut batch) = (0, None);
            for number in 0..200 {
                let back = batch.take().map(|(batch, uses)| Back {
                    batch,
                    // One of them is made, the others come back.
                    unused: uses - 1,
                });
                let wish = Wish {
                    batch: BatchId(caller * 1000 + number),
                    uses: 5,
                };
                let asked = Take {
                    ahead: Ahead {
                        back,
                        wish: Some(wish),
                    },
                    ..take(&token)
                };
                match store.take(&asked).await.unwrap() {
                    Taken::Admitted(_, 0) => passed += 1,
                    Taken::Admitted(_, uses) => {
                        passed += 2;
                        batch = Some((wish.batch, uses));
                    }
                    Taken::Refused(..) => {}
                    Taken::Moved(found) => panic!("the token moved to {found:?}"),
                }
            }
            passed
        });
    }
    let passed: u64 = callers.join_all().await.into_iter().sum();
    let told = left(&bench, &token).await;
    assert_eq!((passed, told.quota), (900, Some(0)));
}
