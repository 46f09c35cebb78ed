//! Pools: how they stand at every instant, and their lists.

use std::collections::BTreeSet;

use token_authority::domain::caller::Reach;
use token_authority::domain::page::PageSize;
use token_authority::domain::pool::{Pool, Standing};
use token_authority::domain::token::{Draft, Expiration};
use token_authority::store::leases::Pools;

use crate::fixture::Bench;
use crate::holding::{MICRO, MINUTE, SECOND, gpu, switched};
use crate::support::drafts::{draft, ending_at, namespace, pooled, revoking, willing, within};
use crate::support::leases::{LEASE, asking, asking_for, beat, lasting, living};

async fn listed(bench: &Bench, reach: &Reach, after: Option<&Pool>, size: u32) -> Pools {
    let pools = bench.store.pools(reach, after, PageSize::asked(size)).await;
    pools.expect("the store answers")
}

/// All pools of reach, in pages of `size`.
async fn walk(bench: &Bench, reach: &Reach, size: u32) -> Vec<(Pool, Standing)> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = listed(bench, reach, after.as_ref(), size).await;
        assert!(page.pools.len() <= size as usize);
        all.extend(page.pools);
        match page.next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

fn named(namespace_name: &str, pool: &str) -> Pool {
    Pool {
        namespace: namespace(namespace_name),
        ..crate::support::leases::pool(pool)
    }
}

pub(crate) async fn every_token_is_counted_once_at_every_instant(bench: Bench) {
    assert_eq!(bench.standing().await, None);
    for _ in 0..3 {
        bench.create(lasting()).await;
    }
    assert_eq!(bench.standing().await, Some([3, 0, 0, 0]));
    let one = bench.lease().await;
    let two = bench.acquire(&asking_for(&gpu(), LEASE * 2)).await;
    assert_eq!(bench.standing().await, Some([1, 2, 0, 0]));
    bench.pass(LEASE);
    assert_eq!(bench.standing().await, Some([2, 1, 0, 0]));
    bench.kept(&beat(two.id())).await;
    bench.change(two.token.id, switched(true)).await;
    assert_eq!(bench.standing().await, Some([2, 0, 1, 0]));
    bench.change(two.token.id, switched(false)).await;
    assert_eq!(bench.standing().await, Some([3, 0, 0, 0]));
    bench.change(one.token.id, revoking("lost")).await;
    assert_eq!(bench.standing().await, Some([2, 0, 1, 0]));
    bench.store.delete(one.token.id, willing()).await.unwrap();
    assert_eq!(bench.standing().await, Some([2, 0, 0, 0]));
    bench.store.delete(two.token.id, willing()).await.unwrap();
    assert_eq!(bench.standing().await, Some([1, 0, 0, 0]));
}

pub(crate) async fn a_token_that_expires_is_counted_out_at_that_instant(bench: Bench) {
    let ending = || Draft {
        expiration: Expiration::After(MINUTE),
        ..lasting()
    };
    let token = bench.create(ending()).await;
    bench.create(ending()).await;
    let end = token.expire_time.unwrap();
    let held = bench.acquire(&asking_for(&gpu(), MINUTE * 9)).await;
    bench.clock.set(end);
    assert_eq!(bench.standing().await, Some([0, 0, 2, 0]));
    bench.clock.set(bench.now().saturating_add(SECOND));
    assert_eq!(bench.refused(&asking(&gpu())).await, None);
    assert_eq!(bench.standing().await, Some([0, 0, 2, 0]));
    // With more time it is free; who held it does not hold it again.
    let later = bench.now().saturating_add(MINUTE);
    bench.change(held.token.id, ending_at(Some(later))).await;
    assert_eq!(bench.standing().await, Some([1, 0, 1, 0]));
    assert_eq!(bench.lease().await.token.id, held.token.id);
    // And where its end comes earlier, its lease ends with it.
    let sooner = bench.now().saturating_add(SECOND);
    bench.change(held.token.id, ending_at(Some(sooner))).await;
    assert_eq!(bench.standing().await, Some([0, 1, 1, 0]));
    bench.clock.set(sooner);
    assert_eq!(bench.standing().await, Some([0, 0, 2, 0]));
}

pub(crate) async fn a_token_that_nobody_kept_alive_is_not_counted(bench: Bench) {
    bench.be_seen().await;
    bench.create(living(MINUTE)).await;
    bench.create(living(MINUTE * 2 - SECOND)).await;
    bench.pass_seen(MINUTE - MICRO).await;
    assert_eq!(bench.standing().await, Some([2, 0, 0, 0]));
    bench.pass(MICRO);
    assert_eq!(bench.standing().await, Some([1, 0, 0, 0]));
    bench.pass_seen(MINUTE).await;
    assert_eq!(bench.standing().await, None);
}

pub(crate) async fn pools_are_listed_in_the_order_of_their_names(bench: Bench) {
    let mut made = BTreeSet::new();
    for (home, pool) in [
        ("b", "z"),
        ("b", "a"),
        ("a", "m"),
        ("b", "a-b"),
        ("ab", "x"),
        ("a", "m2"),
        ("a-b", "c"),
    ] {
        bench.create(pooled(within(home), pool)).await;
        made.insert(named(home, pool));
    }
    bench.create(draft()).await;
    let one = Standing {
        available: 1,
        ..Standing::default()
    };
    let expected: Vec<_> = made.iter().map(|pool| (pool.clone(), one)).collect();
    for size in [1, 2, 3, 7, 50] {
        assert_eq!(walk(&bench, &Reach::All, size).await, expected, "{size}");
    }
    let only = Reach::only(namespace("a"));
    let theirs = [(named("a", "m"), one), (named("a", "m2"), one)];
    for size in [1, 2, 50] {
        assert_eq!(walk(&bench, &only, size).await, theirs, "{size}");
    }
    let nobody = Reach::only(namespace("nobody"));
    assert_eq!(walk(&bench, &nobody, 50).await, []);
    let two = Reach::Only([namespace("a-b"), namespace("b")].into());
    assert_eq!(walk(&bench, &two, 2).await.len(), 4);
}

pub(crate) async fn a_page_begins_behind_whatever_it_is_given(bench: Bench) {
    for pool in ["a", "c"] {
        bench.create(pooled(draft(), pool)).await;
    }
    let after = crate::support::leases::pool("b");
    let page = listed(&bench, &Reach::All, Some(&after), 50).await;
    let names: Vec<&str> = page
        .pools
        .iter()
        .map(|(pool, _)| pool.name.as_str())
        .collect();
    assert_eq!(names, ["c"]);
    assert_eq!(page.next, None);
}

pub(crate) async fn a_pool_comes_with_its_first_token_and_goes_with_its_last(bench: Bench) {
    for _ in 0..2 {
        let token = bench.create(lasting()).await;
        let held = bench.lease().await;
        assert_eq!(bench.standing().await, Some([0, 1, 0, 0]));
        assert_eq!(held.token.id, token.id);
        bench.store.delete(token.id, willing()).await.unwrap();
        assert_eq!(bench.standing().await, None);
    }
}

pub(crate) async fn counts_add_up_while_tokens_change_hands(bench: Bench) {
    const TOKENS: u64 = 8;
    for _ in 0..TOKENS {
        bench.create(lasting()).await;
    }
    let stores = [bench.store.clone(), bench.beside().await];
    let workers: Vec<_> = (0..8)
        .map(|number: usize| {
            let store = stores[number % 2].clone();
            tokio::spawn(async move {
                for _ in 0..40 {
                    let asked = asking(&gpu());
                    if let token_authority::store::leases::Acquired::Granted {
                        token, lease, ..
                    } = store.acquire(&asked).await.expect("an answer")
                    {
                        let id = crate::support::leases::lease_id(&token, &lease);
                        let target = token_authority::store::leases::LeaseTarget::Lease(id);
                        store.release(target, &Reach::All).await.expect("an answer");
                    }
                }
            })
        })
        .collect();
    while workers.iter().any(|worker| !worker.is_finished()) {
        let [available, leased, unavailable, _] = bench.standing().await.unwrap();
        assert_eq!(available + leased + unavailable, TOKENS);
    }
    for worker in workers {
        worker.await.expect("no worker panics");
    }
    assert_eq!(bench.standing().await, Some([TOKENS, 0, 0, 0]));
}
