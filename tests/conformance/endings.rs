//! Ends of leases: by release, by force, with their token, and how long they are remembered.

use token_authority::domain::caller::Reach;
use token_authority::domain::lease::{Lease, LeaseEnd};
use token_authority::domain::name::TokenName;
use token_authority::domain::token::{Draft, Expiration};
use token_authority::store::Rule;
use token_authority::store::leases::{KeptAlive, LeaseTarget, Released};

use crate::fixture::Bench;
use crate::holding::{HOUR, Held, MICRO, MINUTE, SECOND, changing, gpu, switched};
use crate::support::drafts::{ending_at, revoking, willing};
use crate::support::leases::{LEASE, asking, beat, lasting};

pub(crate) async fn a_released_lease_is_released_once(bench: Bench) {
    bench.create(lasting()).await;
    let held = bench.lease().await;
    bench.pass(SECOND);
    let over = bench.give_back(&held).await;
    assert_eq!(over.ended, Some((bench.now(), LeaseEnd::Released)));
    bench.pass(SECOND);
    assert_eq!(bench.ended(held.target(), true).await, over);
    assert_eq!(bench.standing().await, Some([1, 0, 0, 0]));
}

pub(crate) async fn a_late_release_of_an_earlier_lease_ends_nothing(bench: Bench) {
    bench.create(lasting()).await;
    let late = bench.lease().await;
    bench.pass(LEASE);
    let held = bench.lease().await;
    bench.ended(late.target(), true).await;
    assert_eq!(bench.holder(held.token.id).await, Some(held.lease.mark));
    match bench.keep_alive(&beat(late.id())).await {
        KeptAlive::Over { token: _, lease } => assert_eq!(lease.mark, late.lease.mark),
        other => panic!("unexpected {other:?}"),
    }
    assert!(bench.refused(&asking(&gpu())).await.is_some());
}

pub(crate) async fn a_lease_may_be_taken_from_its_holder(bench: Bench) {
    let token = bench.create(lasting()).await;
    let target = LeaseTarget::Token(token.id);
    match bench.release(target).await {
        Released::Idle(idle) => assert_eq!(*idle, bench.found(token.id).await.unwrap()),
        other => panic!("unexpected {other:?}"),
    }
    let held = bench.lease().await;
    bench.pass(SECOND);
    let over = bench.ended(target, false).await;
    assert_eq!(over.mark, held.lease.mark);
    assert_eq!(over.ended, Some((bench.now(), LeaseEnd::Forced)));
    assert_eq!(bench.ended(target, true).await, over);
    assert!(!bench.is_held(&held).await);
    bench.lease().await;
}

pub(crate) async fn a_lease_never_outlives_its_token(bench: Bench) {
    let ending = Draft {
        expiration: Expiration::After(MINUTE / 2),
        ..lasting()
    };
    let token = bench.create(ending).await;
    let end = token.expire_time.unwrap();
    let held = bench.lease().await;
    assert_eq!(
        (held.lease.expire_time, held.lease.lapse),
        (end, LeaseEnd::Revoked)
    );
    bench.pass(SECOND * 10);
    let kept = bench.kept(&beat(held.id())).await;
    assert_eq!(kept.tenure.unwrap().leases[0].expire_time, end);
    bench.clock.set(end);
    let over = bench.ended(held.target(), true).await;
    assert_eq!(over.end(bench.now()), Some((end, LeaseEnd::Revoked)));
    assert_eq!(bench.refused(&asking(&gpu())).await, None);
}

pub(crate) async fn a_free_token_that_expired_is_not_leased_though_nobody_noted_it(bench: Bench) {
    for _ in 0..20 {
        let ending = Draft {
            expiration: Expiration::After(MINUTE),
            ..lasting()
        };
        bench.create(ending).await;
    }
    let lasts = bench.create(lasting()).await;
    bench.pass(MINUTE);
    assert_eq!(bench.lease().await.token.id, lasts.id);
    bench.refused(&asking(&gpu())).await;
}

/// Leases a token, changes it, and checks that the lease ended with that.
async fn ends_the_lease(bench: &Bench, rule: Rule) -> Held {
    let held = bench.lease().await;
    bench.pass(SECOND);
    bench.change(held.token.id, rule).await;
    assert!(!bench.is_held(&held).await);
    assert_eq!(bench.holder(held.token.id).await, None);
    let over = bench.ended(held.target(), true).await;
    assert_eq!(
        over.end(bench.now()),
        Some((bench.now(), LeaseEnd::Revoked))
    );
    held
}

pub(crate) async fn a_lease_ends_with_its_token(bench: Bench) {
    bench.create(lasting()).await;
    let off = ends_the_lease(&bench, switched(true)).await;
    assert_eq!(bench.refused(&asking(&gpu())).await, None);
    assert_eq!(bench.standing().await, Some([0, 0, 1, 0]));
    bench.change(off.token.id, switched(false)).await;
    assert!(!bench.is_held(&off).await, "it does not come back");
    // An end that is moved to this instant.
    let now = bench.now().saturating_add(SECOND);
    let over = ends_the_lease(&bench, ending_at(Some(now))).await;
    bench.change(over.token.id, ending_at(None)).await;
    assert!(!bench.is_held(&over).await, "it does not come back");
    ends_the_lease(&bench, revoking("lost")).await;
    assert_eq!(bench.refused(&asking(&gpu())).await, None);
    bench.create(lasting()).await;
    let deleted = bench.lease().await;
    bench
        .store
        .delete(deleted.token.id, willing())
        .await
        .unwrap();
    assert_eq!(
        bench.keep_alive(&beat(deleted.id())).await,
        KeptAlive::Absent
    );
    assert_eq!(bench.release(deleted.target()).await, Released::Absent);
    assert_eq!(bench.standing().await, Some([0, 0, 1, 0]));
}

pub(crate) async fn a_change_beside_a_lease_leaves_it_in_force(bench: Bench) {
    bench.create(lasting()).await;
    let held = bench.lease().await;
    let rename = changing(|token| {
        token.profile.name = TokenName::parse("renamed").unwrap();
        // A rule has no say in it.
        token.tenure = None;
    });
    let changed = bench.change(held.token.id, rename).await;
    assert!(changed.revision > held.token.revision);
    assert_eq!(changed.tenure, held.token.tenure);
    assert_eq!(bench.found(held.token.id).await, Some(changed));
    assert!(bench.is_held(&held).await);
    // And a lease leaves the change as it is.
    bench.give_back(&held).await;
    let next = bench.lease().await;
    assert_eq!(next.token.profile.name.as_str(), "renamed");
}

pub(crate) async fn ended_leases_are_remembered_for_an_hour(bench: Bench) {
    bench.create(lasting()).await;
    let held = bench.lease().await;
    let over = bench.give_back(&held).await;
    bench.pass(HOUR - MICRO);
    assert_eq!(bench.ended(held.target(), true).await, over);
    assert!(matches!(
        bench.keep_alive(&beat(held.id())).await,
        KeptAlive::Over { .. }
    ));
    bench.pass(MICRO);
    assert_eq!(bench.release(held.target()).await, Released::Absent);
    assert_eq!(bench.keep_alive(&beat(held.id())).await, KeptAlive::Absent);
    let target = LeaseTarget::Token(held.token.id);
    assert!(matches!(bench.release(target).await, Released::Idle(_)));
    let found = bench.found(held.token.id).await.unwrap();
    assert_eq!(found.tenure.unwrap().leases, []);
}

pub(crate) async fn the_last_eight_ended_leases_are_remembered(bench: Bench) {
    bench.create(lasting()).await;
    let mut ended = Vec::new();
    for _ in 0..9 {
        let held = bench.lease().await;
        bench.give_back(&held).await;
        ended.push(held);
    }
    assert_eq!(bench.release(ended[0].target()).await, Released::Absent);
    for held in &ended[1..] {
        bench.ended(held.target(), true).await;
    }
    let held = bench.lease().await;
    for earlier in &ended[1..] {
        bench.ended(earlier.target(), true).await;
    }
    assert!(bench.is_held(&held).await);
    let found = bench.found(held.token.id).await.unwrap();
    assert_eq!(found.tenure.unwrap().leases.len(), 9);
}

pub(crate) async fn of_many_who_release_at_once_one_ended_it(bench: Bench) {
    bench.create(lasting()).await;
    let held = bench.lease().await;
    let target = held.target();
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let store = bench.store.clone();
            tokio::spawn(async move { store.release(target, &Reach::All).await })
        })
        .collect();
    let mut ended = 0;
    for task in tasks {
        match task.await.expect("no call panics") {
            Ok(Released::Ended { before, .. }) => ended += u32::from(!before),
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(ended, 1);
    assert_eq!(bench.standing().await, Some([1, 0, 0, 0]));
}

pub(crate) async fn a_lease_that_another_followed_stays_over_when_the_clock_is_set_back(
    bench: Bench,
) {
    bench.create(lasting()).await;
    let held = bench.lease().await;
    bench.pass(LEASE);
    let next = bench.lease().await;
    let before = held.lease.acquire_time.saturating_add(LEASE / 2);
    bench.clock.set(before);
    let found = bench.found(held.token.id).await.unwrap();
    let tenure = found.tenure.expect("a pooled token");
    let marks = |lease: &Lease| lease.is_live(before).then_some(lease.mark);
    let live: Vec<_> = tenure.leases.iter().filter_map(marks).collect();
    assert_eq!(live, [next.lease.mark], "a token has one holder");
    let over = bench.keep_alive(&beat(held.id())).await;
    assert!(matches!(over, KeptAlive::Over { .. }), "{over:?}");
    assert!(bench.is_held(&next).await);
}
