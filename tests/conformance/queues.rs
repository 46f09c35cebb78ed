//! Queues: who waits longest for a lease is served first, whichever process it waits in.

use std::time::Duration;

use token_authority::domain::lease::WaiterId;
use token_authority::store::Store;
use token_authority::store::bells::Bell;
use token_authority::store::leases::{Acquired, GONE_AFTER};

use crate::fixture::Bench;
use crate::holding::{Held, MICRO, SECOND, ask, busy, gpu, granted, switched};
use crate::support::leases::{
    LEASE, asking, asking_for, beat_for, lasting, requesting, waiter, waiting,
};

/// How long a bell may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A token that is leased, and `count` calls that wait for it, in their order.
async fn queue(bench: &Bench, count: usize) -> (Held, Vec<WaiterId>) {
    bench.create(lasting()).await;
    let held = bench.lease().await;
    let waiters: Vec<WaiterId> = (0..count).map(|_| waiter()).collect();
    for waiter in &waiters {
        bench.refused(&waiting(&gpu(), *waiter)).await;
    }
    (held, waiters)
}

/// Lets time pass while those who wait go on asking, the last first.
async fn pass_waiting(bench: &Bench, waiters: &[WaiterId], span: Duration) {
    let end = bench.now().saturating_add(span);
    while bench.now() < end {
        bench.pass(SECOND.min(end.saturating_since(bench.now())));
        for waiter in waiters.iter().rev() {
            bench.refused(&waiting(&gpu(), *waiter)).await;
        }
    }
}

async fn leave(bench: &Bench, waiter: WaiterId) {
    let left = bench.store.leave(&gpu(), waiter).await;
    left.expect("the store answers");
}

async fn hears(bell: &Bell) {
    tokio::time::timeout(PATIENCE, bell.rung())
        .await
        .expect("the bell rings");
}

pub(crate) async fn who_waits_longest_is_served_first(bench: Bench) {
    let (mut held, waiters) = queue(&bench, 3).await;
    for (at, first) in waiters.iter().enumerate() {
        bench.give_back(&held).await;
        for behind in waiters[at + 1..].iter().rev() {
            bench.refused(&waiting(&gpu(), *behind)).await;
        }
        bench.refused(&asking(&gpu())).await;
        held = bench.acquire(&waiting(&gpu(), *first)).await;
    }
    bench.give_back(&held).await;
    bench.lease().await;
}

pub(crate) async fn a_lease_that_ends_is_for_who_waits_longest(bench: Bench) {
    let (held, waiters) = queue(&bench, 2).await;
    pass_waiting(&bench, &waiters, LEASE - MICRO).await;
    bench.pass(MICRO);
    assert_eq!(bench.now(), held.lease.expire_time);
    bench.refused(&waiting(&gpu(), waiters[1])).await;
    bench.refused(&asking(&gpu())).await;
    bench.acquire(&waiting(&gpu(), waiters[0])).await;
    bench.refused(&waiting(&gpu(), waiters[1])).await;
}

pub(crate) async fn as_many_are_served_as_there_are_free_tokens(bench: Bench) {
    for _ in 0..3 {
        bench.create(lasting()).await;
    }
    let held = [
        bench.lease().await,
        bench.lease().await,
        bench.lease().await,
    ];
    let waiters = [waiter(), waiter(), waiter()];
    for waiter in &waiters {
        bench.refused(&waiting(&gpu(), *waiter)).await;
    }
    bench.give_back(&held[0]).await;
    bench.give_back(&held[2]).await;
    bench.refused(&waiting(&gpu(), waiters[2])).await;
    // The order among those whose turn it is does not matter.
    bench.acquire(&waiting(&gpu(), waiters[1])).await;
    bench.refused(&asking(&gpu())).await;
    bench.refused(&waiting(&gpu(), waiters[2])).await;
    bench.acquire(&waiting(&gpu(), waiters[0])).await;
    bench.give_back(&held[1]).await;
    bench.acquire(&waiting(&gpu(), waiters[2])).await;
}

pub(crate) async fn who_comes_without_waiting_never_overtakes(bench: Bench) {
    let (held, waiters) = queue(&bench, 1).await;
    bench.give_back(&held).await;
    bench.refused(&asking(&gpu())).await;
    // One more is for whoever comes.
    let more = bench.create(lasting()).await;
    let newcomer = bench.lease().await;
    bench.refused(&asking(&gpu())).await;
    let served = bench.acquire(&waiting(&gpu(), waiters[0])).await;
    assert_ne!(served.token.id, newcomer.token.id);
    assert!([held.token.id, more.id].contains(&served.token.id));
}

pub(crate) async fn who_leaves_gives_up_its_place(bench: Bench) {
    let (held, waiters) = queue(&bench, 3).await;
    leave(&bench, waiters[0]).await;
    leave(&bench, waiters[0]).await;
    leave(&bench, waiter()).await;
    bench.give_back(&held).await;
    bench.refused(&waiting(&gpu(), waiters[2])).await;
    bench.acquire(&waiting(&gpu(), waiters[1])).await;
}

pub(crate) async fn who_comes_back_stands_at_the_end(bench: Bench) {
    let (held, waiters) = queue(&bench, 2).await;
    leave(&bench, waiters[0]).await;
    bench.refused(&waiting(&gpu(), waiters[0])).await;
    bench.give_back(&held).await;
    bench.refused(&waiting(&gpu(), waiters[0])).await;
    bench.acquire(&waiting(&gpu(), waiters[1])).await;
}

pub(crate) async fn who_is_served_stands_in_the_queue_no_more(bench: Bench) {
    let (held, waiters) = queue(&bench, 1).await;
    assert_eq!(bench.standing().await, Some([0, 1, 0, 1]));
    bench.give_back(&held).await;
    let served = bench.acquire(&waiting(&gpu(), waiters[0])).await;
    assert_eq!(bench.standing().await, Some([0, 1, 0, 0]));
    bench.give_back(&served).await;
    bench.lease().await;
}

pub(crate) async fn a_caller_that_asks_no_more_loses_its_place(bench: Bench) {
    let (held, waiters) = queue(&bench, 2).await;
    bench.give_back(&held).await;
    bench.pass(GONE_AFTER - SECOND);
    bench.refused(&waiting(&gpu(), waiters[1])).await;
    bench.pass(SECOND - MICRO);
    bench.refused(&waiting(&gpu(), waiters[1])).await;
    assert_eq!(bench.standing().await, Some([1, 0, 0, 2]));
    bench.pass(MICRO * 2);
    assert_eq!(bench.standing().await, Some([1, 0, 0, 1]));
    bench.refused(&asking(&gpu())).await;
    bench.acquire(&waiting(&gpu(), waiters[1])).await;
}

pub(crate) async fn a_dead_queue_keeps_nobody_out(bench: Bench) {
    let (held, _) = queue(&bench, 10).await;
    bench.give_back(&held).await;
    bench.refused(&asking(&gpu())).await;
    bench.pass(GONE_AFTER + MICRO);
    bench.lease().await;
}

pub(crate) async fn a_long_dead_queue_keeps_nobody_out(bench: Bench) {
    let (held, _) = queue(&bench, 200).await;
    bench.pass(SECOND);
    let living = waiter();
    bench.refused(&waiting(&gpu(), living)).await;
    bench.give_back(&held).await;
    bench.pass(GONE_AFTER - SECOND);
    let served = bench.acquire(&waiting(&gpu(), living)).await;
    for _ in 0..200 {
        bench.refused(&waiting(&gpu(), waiter())).await;
    }
    bench.give_back(&served).await;
    bench.pass(GONE_AFTER);
    bench.lease().await;
}

pub(crate) async fn a_refused_call_is_told_when_its_turn_may_come(bench: Bench) {
    for _ in 0..2 {
        bench.create(lasting()).await;
    }
    let late = bench.acquire(&asking_for(&gpu(), SECOND * 90)).await;
    let soon = bench.acquire(&asking_for(&gpu(), SECOND * 70)).await;
    let (soon_end, late_end) = (soon.lease.expire_time, late.lease.expire_time);
    assert_eq!(bench.refused(&asking(&gpu())).await, Some(soon_end));
    let waiters = [waiter(), waiter(), waiter()];
    let turns = [Some(soon_end), Some(late_end), None];
    for (waiter, turn) in waiters.iter().zip(turns) {
        assert_eq!(bench.refused(&waiting(&gpu(), *waiter)).await, turn);
    }
    assert_eq!(bench.refused(&asking(&gpu())).await, None);
    // They move up as one leaves, and as one lease is kept alive beyond the other.
    leave(&bench, waiters[0]).await;
    for (waiter, turn) in waiters[1..].iter().zip(turns) {
        assert_eq!(bench.refused(&waiting(&gpu(), *waiter)).await, turn);
    }
    let longer = beat_for(soon.id(), Some(SECOND * 100));
    let kept = bench.kept(&longer).await;
    let longer = kept.tenure.unwrap().leases[0].expire_time;
    let moved = [Some(late_end), Some(longer)];
    for (waiter, turn) in waiters[1..].iter().zip(moved) {
        assert_eq!(bench.refused(&waiting(&gpu(), *waiter)).await, turn);
    }
    bench.give_back(&late).await;
    // The free token is the first one's.
    assert_eq!(
        bench.refused(&waiting(&gpu(), waiters[2])).await,
        Some(longer)
    );
}

pub(crate) async fn an_order_holds_over_all_processes(bench: Bench) {
    bench.create(lasting()).await;
    let held = bench.lease().await;
    let stores = [
        bench.beside().await,
        bench.beside().await,
        bench.beside().await,
    ];
    let mut waiters = Vec::new();
    for store in stores.iter().chain(&stores) {
        let waiter = waiter();
        busy(ask(store.as_ref(), &waiting(&gpu(), waiter)).await);
        waiters.push((store.clone(), waiter));
    }
    let mut held = held;
    for at in 0..waiters.len() {
        bench.give_back(&held).await;
        for (store, waiter) in waiters[at + 1..].iter().rev() {
            busy(ask(store.as_ref(), &waiting(&gpu(), *waiter)).await);
        }
        let (store, first) = &waiters[at];
        held = granted(ask(store.as_ref(), &waiting(&gpu(), *first)).await);
    }
}

pub(crate) async fn a_release_rings_for_who_waits_longest(bench: Bench) {
    let held = {
        bench.create(lasting()).await;
        bench.lease().await
    };
    // It waits in another process, where there may be one.
    let elsewhere = bench.beside().await;
    let first = waiter();
    let bell = elsewhere.bells().hang(first);
    busy(ask(elsewhere.as_ref(), &waiting(&gpu(), first)).await);
    bench.give_back(&held).await;
    hears(&bell).await;
    granted(ask(elsewhere.as_ref(), &waiting(&gpu(), first)).await);
}

pub(crate) async fn whatever_frees_a_token_rings_for_who_waits(bench: Bench) {
    let (held, waiters) = queue(&bench, 2).await;
    let bells: Vec<Bell> = waiters
        .iter()
        .map(|waiter| bench.store.bells().hang(*waiter))
        .collect();
    // A new token.
    bench.create(lasting()).await;
    hears(&bells[0]).await;
    // The first leaves: the free token is the second one's.
    leave(&bench, waiters[0]).await;
    hears(&bells[1]).await;
    let served = bench.acquire(&waiting(&gpu(), waiters[1])).await;
    // A token that is switched on again.
    bench.change(served.token.id, switched(true)).await;
    let last = waiter();
    let bell = bench.store.bells().hang(last);
    bench.refused(&waiting(&gpu(), last)).await;
    bench.change(served.token.id, switched(false)).await;
    hears(&bell).await;
    bench.acquire(&waiting(&gpu(), last)).await;
    assert!(bench.is_held(&held).await);
}

pub(crate) async fn a_grant_with_more_left_rings_for_the_next(bench: Bench) {
    for _ in 0..2 {
        bench.create(lasting()).await;
    }
    let held = [bench.lease().await, bench.lease().await];
    let waiters = [waiter(), waiter()];
    for waiter in waiters {
        bench.refused(&waiting(&gpu(), waiter)).await;
    }
    for held in &held {
        bench.give_back(held).await;
    }
    let bell = bench.store.bells().hang(waiters[1]);
    bench.acquire(&waiting(&gpu(), waiters[0])).await;
    hears(&bell).await;
    bench.acquire(&waiting(&gpu(), waiters[1])).await;
}

pub(crate) async fn a_lease_that_was_granted_is_answered_again_without_waiting(bench: Bench) {
    bench.create(lasting()).await;
    let asked = requesting(&gpu(), 1, 1);
    let held = bench.acquire(&asked).await;
    bench.refused(&waiting(&gpu(), waiter())).await;
    let mut again = requesting(&gpu(), 1, 1);
    again.waiter = Some(waiter());
    match bench.ask(&again).await {
        Acquired::Granted {
            token: _,
            lease,
            now: _,
            replayed: true,
        } => assert_eq!(lease.mark, held.lease.mark),
        other => panic!("unexpected {other:?}"),
    }
    assert_eq!(bench.standing().await, Some([0, 1, 0, 1]));
}

pub(crate) async fn who_is_answered_an_earlier_lease_waits_no_more(bench: Bench) {
    bench.create(lasting()).await;
    let held = bench.lease().await;
    let (first, second, last) = (waiter(), waiter(), waiter());
    let requested = |waiter| {
        let mut asked = requesting(&gpu(), 1, 1);
        asked.waiter = Some(waiter);
        asked
    };
    bench.refused(&requested(first)).await;
    bench.refused(&requested(second)).await;
    bench.refused(&waiting(&gpu(), last)).await;
    bench.give_back(&held).await;
    let served = bench.acquire(&requested(first)).await;
    match bench.ask(&requested(second)).await {
        Acquired::Granted {
            token: _,
            lease,
            now: _,
            replayed: true,
        } => assert_eq!(lease.mark, served.lease.mark),
        other => panic!("unexpected {other:?}"),
    }
    assert_eq!(bench.standing().await, Some([0, 1, 0, 1]));
    bench.give_back(&served).await;
    bench.acquire(&waiting(&gpu(), last)).await;
}

/// Whoever waits in whichever process, all are served in the end.
pub(crate) async fn all_who_wait_at_once_are_served(bench: Bench) {
    for _ in 0..3 {
        bench.create(lasting()).await;
    }
    let stores = [bench.store.clone(), bench.beside().await];
    let calls: Vec<_> = (0..24)
        .map(|number: usize| tokio::spawn(wait_and_give_back(stores[number % 2].clone())))
        .collect();
    for call in calls {
        call.await.expect("it is served");
    }
    assert_eq!(bench.standing().await, Some([3, 0, 0, 0]));
}

/// Waits for a lease as a call does, and releases it.
async fn wait_and_give_back(store: std::sync::Arc<dyn Store>) {
    let own = waiter();
    let bell = store.bells().hang(own);
    let asked = waiting(&gpu(), own);
    for _ in 0..1000 {
        if let Acquired::Granted { token, lease, .. } = ask(store.as_ref(), &asked).await {
            let id = crate::support::leases::lease_id(&token, &lease);
            let target = token_authority::store::leases::LeaseTarget::Lease(id);
            let everywhere = token_authority::domain::caller::Reach::All;
            store.release(target, &everywhere).await.expect("an answer");
            return;
        }
        let again = Duration::from_millis(200);
        let _ = tokio::time::timeout(again, bell.rung()).await;
    }
    panic!("it was never served");
}
