//! Leases: one holder at a time, until the very instant of the end.

use std::collections::BTreeSet;

use token_authority::domain::caller::Reach;
use token_authority::domain::lease::{LeaseEnd, LeaseId};
use token_authority::domain::token::{Draft, Token, TokenId};
use token_authority::store::leases::{Acquired, Asking, Beat, KeptAlive, LeaseTarget, Released};

use crate::fixture::{Bench, everything};
use crate::holding::{HOUR, MICRO, MINUTE, SECOND, gpu, granted, switched};
use crate::support::drafts::{draft, namespace, pooled, willing};
use crate::support::leases::{
    LEASE, asking, asking_for, beat, beat_for, beat_of, lasting, lease_id, living, mark, pool,
};

pub(crate) async fn a_token_is_leased_as_it_was_asked(bench: Bench) {
    let token = bench.create(living(MINUTE)).await;
    bench.pass(SECOND);
    let asked = asking_for(&gpu(), SECOND * 10);
    let held = bench.acquire(&asked).await;
    assert_eq!(held.lease.mark, asked.grant.mark);
    assert_eq!(held.lease.holder, asked.grant.holder);
    assert_eq!(held.lease.digests, [asked.grant.digest]);
    assert_eq!(held.lease.acquire_time, bench.now());
    let end = bench.now().saturating_add(SECOND * 10);
    assert_eq!(
        (held.lease.expire_time, held.lease.lapse),
        (end, LeaseEnd::Expired)
    );
    assert_eq!((held.lease.duration, held.lease.ended), (SECOND * 10, None));
    assert_eq!(held.lease.fence, bench.now().micros());
    let tenure = held.token.tenure.as_ref().unwrap();
    assert_eq!(tenure.leases, std::slice::from_ref(&held.lease));
    assert_eq!(tenure.deadline, Some(end.saturating_add(MINUTE)));
    // It stands beside the record, which is as it was.
    assert_eq!(held.token.revision, token.revision);
    let found = bench.found(token.id).await.unwrap();
    assert_eq!(found, held.token);
    let listed = bench.list(&everything(), None, 50).await;
    assert_eq!(listed.tokens, [found]);
}

pub(crate) async fn a_token_has_one_holder_at_a_time(bench: Bench) {
    bench.create(lasting()).await;
    let held = bench.lease().await;
    let end = held.lease.expire_time;
    assert_eq!(bench.refused(&asking(&gpu())).await, Some(end));
    bench.give_back(&held).await;
    let next = bench.lease().await;
    assert_eq!(next.token.id, held.token.id);
    assert_ne!(next.lease.mark, held.lease.mark);
}

pub(crate) async fn every_free_token_is_leased_before_any_is_refused(bench: Bench) {
    let mut made = BTreeSet::new();
    for _ in 0..20 {
        made.insert(bench.create(lasting()).await.id);
    }
    let mut leased = BTreeSet::new();
    for _ in 0..20 {
        leased.insert(bench.lease().await.token.id);
    }
    assert_eq!(leased, made);
    bench.refused(&asking(&gpu())).await;
}

pub(crate) async fn a_pool_without_tokens_is_empty_and_one_in_use_is_not(bench: Bench) {
    assert_eq!(bench.ask(&asking(&gpu())).await, Acquired::Empty);
    let off = bench.create(lasting()).await;
    bench.change(off.id, switched(true)).await;
    assert_eq!(bench.refused(&asking(&gpu())).await, None);
    assert_eq!(bench.ask(&asking(&pool("cpu"))).await, Acquired::Empty);
    bench.store.delete(off.id, willing()).await.unwrap();
    assert_eq!(bench.ask(&asking(&gpu())).await, Acquired::Empty);
}

pub(crate) async fn pools_of_one_name_in_two_namespaces_share_nothing(bench: Bench) {
    bench.create(lasting()).await;
    let mut other = gpu();
    other.namespace = namespace("acme");
    assert_eq!(bench.ask(&asking(&other)).await, Acquired::Empty);
    let theirs = Draft {
        namespace: namespace("acme"),
        ..draft()
    };
    let theirs = bench.create(pooled(theirs, "gpu")).await;
    assert_eq!(bench.acquire(&asking(&other)).await.token.id, theirs.id);
    bench.lease().await;
}

pub(crate) async fn a_lease_is_over_at_the_instant_of_its_end_for_every_act(bench: Bench) {
    bench.create(lasting()).await;
    let held = bench.lease().await;
    let id = held.token.id;
    bench.pass(LEASE - MICRO);
    assert_eq!(bench.holder(id).await, Some(held.lease.mark));
    assert!(bench.refused(&asking(&gpu())).await.is_some());
    assert_eq!(bench.standing().await, Some([0, 1, 0, 0]));
    bench.pass(MICRO);
    assert_eq!(bench.holder(id).await, None);
    assert_eq!(bench.standing().await, Some([1, 0, 0, 0]));
    let end = held.lease.expire_time;
    match bench.keep_alive(&beat(held.id())).await {
        KeptAlive::Over { token, lease } => {
            assert_eq!((token.id, lease.mark), (id, held.lease.mark));
            assert_eq!(lease.end(bench.now()), Some((end, LeaseEnd::Expired)));
        }
        other => panic!("unexpected {other:?}"),
    }
    let over = bench.ended(held.target(), true).await;
    assert_eq!(over.end(bench.now()), Some((end, LeaseEnd::Expired)));
    assert_ne!(bench.lease().await.lease.mark, held.lease.mark);
}

pub(crate) async fn a_beat_just_before_the_end_is_in_time(bench: Bench) {
    bench.create(lasting()).await;
    let held = bench.lease().await;
    bench.pass(LEASE - MICRO);
    bench.kept(&beat(held.id())).await;
    bench.pass(LEASE - MICRO);
    assert!(bench.refused(&asking(&gpu())).await.is_some());
    bench.pass(MICRO);
    bench.lease().await;
}

pub(crate) async fn fences_grow_with_every_lease_over_restarts(mut bench: Bench) {
    bench.create(lasting()).await;
    let mut last = 0;
    for round in 0..6 {
        let held = bench.lease().await;
        assert!(held.lease.fence > last, "{} after {last}", held.lease.fence);
        last = held.lease.fence;
        let found = bench.found(held.token.id).await.unwrap();
        assert_eq!(found.tenure.unwrap().fence, last);
        bench.give_back(&held).await;
        match round {
            1 => bench.pass(SECOND),
            2 => {
                bench.store.close().await;
                bench.reopen().await;
            }
            _ => {}
        }
    }
    bench.pass(HOUR * 2);
    assert_eq!(bench.lease().await.lease.fence, bench.now().micros());
}

pub(crate) async fn a_lease_survives_a_restart(mut bench: Bench) {
    bench.create(lasting()).await;
    let held = bench.lease().await;
    let before = bench.found(held.token.id).await;
    bench.store.close().await;
    bench.pass(SECOND);
    bench.reopen().await;
    assert_eq!(bench.found(held.token.id).await, before);
    bench.refused(&asking(&gpu())).await;
    bench.pass(LEASE - SECOND);
    assert!(!bench.is_held(&held).await);
    bench.lease().await;
}

pub(crate) async fn a_lease_cannot_be_guessed_or_reached_from_elsewhere(bench: Bench) {
    let held = {
        bench.create(lasting()).await;
        bench.lease().await
    };
    let elsewhere = Reach::only(namespace("acme"));
    for target in [held.target(), LeaseTarget::Token(held.token.id)] {
        let released = bench.store.release(target, &elsewhere).await;
        assert_eq!(released, Ok(Released::Absent));
        let beat = Beat {
            target,
            duration: None,
            reach: elsewhere.clone(),
        };
        assert_eq!(bench.keep_alive(&beat).await, KeptAlive::Absent);
    }
    let mut guessed = held.id();
    guessed.mark = mark();
    let mut nowhere = held.id();
    nowhere.token = lasting().id;
    for id in [guessed, nowhere] {
        let released = bench.release(LeaseTarget::Lease(id)).await;
        assert_eq!(released, Released::Absent);
        assert_eq!(bench.keep_alive(&beat(id)).await, KeptAlive::Absent);
    }
    let nobody = LeaseTarget::Token(nowhere.token);
    assert_eq!(bench.release(nobody).await, Released::Absent);
    assert_eq!(
        bench.keep_alive(&beat_of(nowhere.token)).await,
        KeptAlive::Absent
    );
    assert!(bench.is_held(&held).await);
}

pub(crate) async fn a_token_in_no_pool_is_not_leased(bench: Bench) {
    let token = bench.create(draft()).await;
    let target = LeaseTarget::Token(token.id);
    assert_eq!(bench.release(target).await, Released::Unpooled);
    assert_eq!(
        bench.keep_alive(&beat_of(token.id)).await,
        KeptAlive::Unpooled
    );
    let no_lease = LeaseId {
        token: token.id,
        mark: mark(),
    };
    let target = LeaseTarget::Lease(no_lease);
    assert_eq!(bench.release(target).await, Released::Absent);
    assert_eq!(bench.keep_alive(&beat(no_lease)).await, KeptAlive::Absent);
    assert_eq!(bench.found(token.id).await.unwrap().tenure, None);
    assert_eq!(bench.ask(&asking(&gpu())).await, Acquired::Empty);
    assert_eq!(bench.standing().await, None);
}

pub(crate) async fn a_beat_extends_a_lease_and_never_shortens_it(bench: Bench) {
    bench.create(lasting()).await;
    let held = bench.lease().await;
    let begin = bench.now();
    let end = |token: &Token| token.tenure.as_ref().unwrap().leases[0].expire_time;
    bench.pass(SECOND * 10);
    let shorter = bench.kept(&beat_for(held.id(), Some(SECOND))).await;
    assert_eq!(end(&shorter), begin.saturating_add(LEASE));
    let as_before = bench.kept(&beat(held.id())).await;
    let ten = SECOND * 10;
    assert_eq!(end(&as_before), begin.saturating_add(ten + LEASE));
    let longer = bench.kept(&beat_for(held.id(), Some(HOUR))).await;
    assert_eq!(end(&longer), begin.saturating_add(ten + HOUR));
    // The next one lasts as long as Acquire said.
    assert_eq!(longer.tenure.as_ref().unwrap().leases[0].duration, LEASE);
    assert_eq!(bench.found(held.token.id).await, Some(longer));
    bench.pass(HOUR - MICRO);
    assert!(bench.refused(&asking(&gpu())).await.is_some());
    bench.pass(MICRO);
    bench.lease().await;
}

pub(crate) async fn a_beat_of_a_token_leaves_its_lease_as_it_is(bench: Bench) {
    let token = bench.create(lasting()).await;
    let held = bench.lease().await;
    bench.pass(SECOND);
    let kept = bench.kept(&beat_of(token.id)).await;
    assert_eq!(kept.tenure.unwrap().leases, [held.lease]);
}

pub(crate) async fn of_many_who_acquire_at_once_each_gets_a_token_of_its_own(bench: Bench) {
    let mut made = BTreeSet::new();
    for _ in 0..20 {
        made.insert(bench.create(lasting()).await.id);
    }
    let stores = [bench.store.clone(), bench.beside().await];
    let mut tasks = Vec::new();
    for number in 0..40 {
        let store = stores[number % 2].clone();
        tasks.push(tokio::spawn(async move {
            store.acquire(&asking(&gpu())).await.expect("an answer")
        }));
    }
    let (mut leased, mut refused) = (Vec::new(), 0);
    for task in tasks {
        match task.await.expect("no call panics") {
            Acquired::Busy { .. } => refused += 1,
            other => leased.push(granted(other).token.id),
        }
    }
    assert_eq!(refused, 20);
    assert_eq!(leased.iter().copied().collect::<BTreeSet<TokenId>>(), made);
    assert_eq!(leased.len(), 20);
    assert_eq!(bench.standing().await, Some([0, 20, 0, 0]));
}

pub(crate) async fn a_lease_is_named_by_its_token_and_its_mark(bench: Bench) {
    bench.create(lasting()).await;
    bench.create(lasting()).await;
    let (one, other) = (bench.lease().await, bench.lease().await);
    let mut crossed = lease_id(&one.token, &other.lease);
    assert_eq!(
        bench.release(LeaseTarget::Lease(crossed)).await,
        Released::Absent
    );
    crossed.mark = one.lease.mark;
    bench.ended(LeaseTarget::Lease(crossed), false).await;
    assert!(bench.is_held(&other).await);
}

pub(crate) async fn a_closed_store_leases_nothing(bench: Bench) {
    let token = bench.create(lasting()).await;
    let held = bench.lease().await;
    bench.store.close().await;
    let asked: Asking = asking(&gpu());
    assert!(bench.store.acquire(&asked).await.is_err());
    assert!(
        bench
            .store
            .release(held.target(), &Reach::All)
            .await
            .is_err()
    );
    assert!(bench.store.keep_alive(&beat_of(token.id)).await.is_err());
    assert!(bench.store.be_seen().await.is_err());
}
