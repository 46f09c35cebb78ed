//! Repeated requests for a lease: the same lease again, and no second one.

use token_authority::domain::lease::{LEASE_SECRETS_MAX, Lease};
use token_authority::domain::token::{REPLAY_WINDOW, Refusal};
use token_authority::store::leases::Acquired;

use crate::fixture::Bench;
use crate::holding::{MICRO, SECOND, gpu};
use crate::support::leases::{beat_for, digest, lasting, pool, requesting};

async fn again(bench: &Bench, number: u8, secret: u8) -> Acquired {
    let mut asked = requesting(&gpu(), number, 1);
    asked.grant.digest = digest(secret);
    bench.ask(&asked).await
}

fn replayed(answer: Acquired) -> Lease {
    match answer {
        Acquired::Granted {
            token,
            lease,
            now,
            replayed: true,
        } => {
            let tenure = token.tenure.expect("a pooled token");
            assert_eq!(tenure.live(now), Some(&*lease));
            *lease
        }
        other => panic!("expected the lease again, got {other:?}"),
    }
}

pub(crate) async fn a_repeated_request_is_answered_the_same_lease_with_one_more_secret(
    bench: Bench,
) {
    for _ in 0..5 {
        bench.create(lasting()).await;
    }
    let held = bench.acquire(&requesting(&gpu(), 1, 1)).await;
    bench.pass(SECOND);
    for secret in 2..=3 {
        let lease = replayed(again(&bench, 1, secret).await);
        assert_eq!(lease.mark, held.lease.mark);
        assert_eq!(lease.fence, held.lease.fence);
        assert_eq!(lease.expire_time, held.lease.expire_time);
        let digests: Vec<_> = (1..=secret).map(digest).collect();
        assert_eq!(lease.digests, digests);
        let found = bench.found(held.token.id).await.unwrap();
        assert_eq!(found.tenure.unwrap().leases, [lease]);
    }
    assert_eq!(LEASE_SECRETS_MAX, 3);
    let refused = Acquired::Refused(Refusal::RequestUsed);
    assert_eq!(again(&bench, 1, 4).await, refused);
    assert_eq!(bench.standing().await, Some([4, 1, 0, 0]));
}

pub(crate) async fn a_request_with_other_arguments_is_refused(bench: Bench) {
    bench.create(lasting()).await;
    bench.create(lasting()).await;
    bench.acquire(&requesting(&gpu(), 1, 1)).await;
    let answer = bench.ask(&requesting(&gpu(), 1, 2)).await;
    assert_eq!(answer, Acquired::Refused(Refusal::RequestDiffers));
    let other = bench.acquire(&requesting(&gpu(), 2, 2)).await;
    // Also where the token is not there any more.
    let willing = crate::support::drafts::willing();
    bench.store.delete(other.token.id, willing).await.unwrap();
    let answer = bench.ask(&requesting(&gpu(), 2, 1)).await;
    assert_eq!(answer, Acquired::Refused(Refusal::RequestDiffers));
}

pub(crate) async fn the_request_of_an_ended_lease_is_used_up(bench: Bench) {
    bench.create(lasting()).await;
    let held = bench.acquire(&requesting(&gpu(), 1, 1)).await;
    bench.give_back(&held).await;
    let used = Acquired::Refused(Refusal::RequestUsed);
    assert_eq!(again(&bench, 1, 2).await, used);
    // Also where others hold the token since, and by the clock alone.
    let next = bench.acquire(&requesting(&gpu(), 2, 1)).await;
    assert_eq!(again(&bench, 1, 2).await, used);
    bench.clock.set(next.lease.expire_time);
    assert_eq!(again(&bench, 2, 2).await, used);
    assert_eq!(bench.standing().await, Some([1, 0, 0, 0]));
}

pub(crate) async fn a_request_is_free_after_its_window(bench: Bench) {
    bench.create(lasting()).await;
    let held = bench.acquire(&requesting(&gpu(), 1, 1)).await;
    bench
        .kept(&beat_for(held.id(), Some(REPLAY_WINDOW * 2)))
        .await;
    bench.pass(REPLAY_WINDOW - MICRO);
    assert_eq!(replayed(again(&bench, 1, 2).await).mark, held.lease.mark);
    bench.pass(MICRO);
    assert!(matches!(again(&bench, 1, 3).await, Acquired::Busy { .. }));
    bench.give_back(&held).await;
    let next = bench.acquire(&requesting(&gpu(), 1, 2)).await;
    assert_ne!(next.lease.mark, held.lease.mark);
}

pub(crate) async fn a_refused_request_may_be_repeated(bench: Bench) {
    bench.create(lasting()).await;
    let held = bench.lease().await;
    bench.refused(&requesting(&gpu(), 1, 1)).await;
    bench.give_back(&held).await;
    bench.acquire(&requesting(&gpu(), 1, 2)).await;
}

pub(crate) async fn a_request_is_known_after_a_restart(mut bench: Bench) {
    bench.create(lasting()).await;
    let held = bench.acquire(&requesting(&gpu(), 1, 1)).await;
    bench.store.close().await;
    bench.reopen().await;
    assert_eq!(replayed(again(&bench, 1, 2).await).mark, held.lease.mark);
}

pub(crate) async fn one_request_leases_one_token_however_often_it_comes_at_once(bench: Bench) {
    for _ in 0..5 {
        bench.create(lasting()).await;
    }
    let stores = [bench.store.clone(), bench.beside().await];
    let calls: Vec<_> = (0..8)
        .map(|number: usize| {
            let store = stores[number % 2].clone();
            tokio::spawn(async move { store.acquire(&requesting(&gpu(), 1, 1)).await })
        })
        .collect();
    let (mut new, mut same, mut used) = (0, 0, 0);
    for call in calls {
        match call.await.expect("no call panics").expect("an answer") {
            Acquired::Granted {
                replayed: false, ..
            } => new += 1,
            Acquired::Granted { replayed: true, .. } => same += 1,
            Acquired::Refused(Refusal::RequestUsed) => used += 1,
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!((new, same, used), (1, 2, 5));
    assert_eq!(bench.standing().await, Some([4, 1, 0, 0]));
}

pub(crate) async fn a_pool_that_lost_its_tokens_forgets_whose_they_were(bench: Bench) {
    let token = bench.create(lasting()).await;
    bench.acquire(&requesting(&gpu(), 1, 1)).await;
    let willing = crate::support::drafts::willing();
    bench.store.delete(token.id, willing).await.unwrap();
    // Nothing is leased by it any more; whether it is used up or free, nobody holds a second one.
    match again(&bench, 1, 2).await {
        Acquired::Empty | Acquired::Refused(Refusal::RequestUsed) => {}
        other => panic!("unexpected {other:?}"),
    }
    assert_eq!(
        bench.ask(&requesting(&pool("cpu"), 2, 1)).await,
        Acquired::Empty
    );
}
