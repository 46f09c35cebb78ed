//! Leases over restarts, absences and refusals, and what they leave on disk.

use super::*;
use crate::domain::lease::{Holder, Lease, LeaseEnd, LeaseId, LeaseMark, WaiterId};
use crate::domain::pool::{Pool, Standing};
use crate::domain::tenure::Grant;
use crate::store::LeaseStore;
use crate::store::leases::{Acquired, Asking, Beat, KeptAlive, LeaseTarget, Released};

pub(super) const SPAN: Duration = Duration::from_secs(300);

pub(super) fn gpu() -> Pool {
    Pool {
        namespace: Namespace::fallback(),
        name: PoolName::parse("gpu").unwrap(),
    }
}

/// A draft in the pool, which lives without a beat for so long, if not for ever.
pub(super) fn pooled(span: Option<Duration>) -> Draft {
    let fresh = fresh();
    let profile = Profile {
        pool: Some(gpu().name),
        keep_alive_ttl: span,
        ..Profile::default()
    };
    Draft {
        id: fresh.id.in_pool(&gpu().namespace, &gpu().name),
        namespace: gpu().namespace,
        profile,
        ..fresh
    }
}

pub(super) fn asking(waiter: Option<WaiterId>) -> Asking {
    Asking {
        pool: gpu(),
        grant: Grant {
            mark: LeaseMark::parse(&entropy::digits(LeaseMark::DIGITS).unwrap()).unwrap(),
            holder: Holder::parse("worker").unwrap(),
            duration: Duration::from_secs(60),
            origin: None,
            digest: draft().digest,
        },
        waiter,
    }
}

fn waiter(digit: char) -> WaiterId {
    WaiterId::parse(&digit.to_string().repeat(WaiterId::DIGITS)).unwrap()
}

async fn granted(store: &SqliteStore, asking: &Asking) -> (Token, Lease) {
    match store.acquire(asking).await {
        Ok(Acquired::Granted { token, lease, .. }) => (*token, *lease),
        other => panic!("expected a lease, got {other:?}"),
    }
}

async fn busy(store: &SqliteStore, asking: &Asking) -> Option<Timestamp> {
    match store.acquire(asking).await {
        Ok(Acquired::Busy { turn, .. }) => turn,
        other => panic!("expected to wait, got {other:?}"),
    }
}

fn named(token: &Token, lease: &Lease) -> LeaseTarget {
    LeaseTarget::Lease(LeaseId {
        token: token.id,
        mark: lease.mark,
    })
}

/// Moves the clock on while the authority is there.
async fn pass(bench: &Bench, store: &SqliteStore, span: Duration) {
    let end = bench.clock.now().saturating_add(span);
    while bench.clock.now() < end {
        let left = end.saturating_since(bench.clock.now());
        bench.clock.advance(left.min(Duration::from_secs(5)));
        store.be_seen().await.unwrap();
    }
}

async fn standing(store: &SqliteStore) -> Standing {
    let page = store.pools(&Reach::All, None, PageSize::asked(9)).await;
    let pools = page.unwrap().pools;
    pools
        .first()
        .map(|(_, standing)| *standing)
        .unwrap_or_default()
}

#[tokio::test]
async fn a_lease_and_its_fence_outlive_a_restart() {
    let bench = Bench::new();
    let store = bench.open();
    created(&store, pooled(None)).await;
    let (leased, lease) = granted(&store, &asking(None)).await;
    store.close().await;
    let store = bench.open();
    assert_eq!(token(&store, leased.id).await, Some(leased.clone()));
    assert_eq!(busy(&store, &asking(None)).await, Some(at(1_060)));
    let released = store.release(named(&leased, &lease), &Reach::All).await;
    assert!(matches!(
        released,
        Ok(Released::Ended { before: false, .. })
    ));
    store.close().await;
    let store = bench.open();
    let again = store.release(named(&leased, &lease), &Reach::All).await;
    assert!(matches!(again, Ok(Released::Ended { before: true, .. })));
    let (_, next) = granted(&store, &asking(None)).await;
    assert!(next.fence > lease.fence);
}

#[tokio::test]
async fn a_lease_ends_at_its_instant_for_every_act() {
    let bench = Bench::new();
    let store = bench.open();
    created(&store, pooled(None)).await;
    let (leased, lease) = granted(&store, &asking(None)).await;
    let instant = Duration::from_micros(1);
    bench.clock.advance(Duration::from_secs(60) - instant);
    assert_eq!(busy(&store, &asking(None)).await, Some(at(1_060)));
    assert_eq!(standing(&store).await.leased, 1);
    bench.clock.advance(instant);
    let beat = Beat {
        target: named(&leased, &lease),
        duration: None,
        reach: Reach::All,
    };
    let kept = store.keep_alive(&beat).await.unwrap();
    assert!(matches!(kept, KeptAlive::Over { .. }), "{kept:?}");
    let Ok(Released::Ended { lease, before, .. }) =
        store.release(named(&leased, &lease), &Reach::All).await
    else {
        panic!("not remembered")
    };
    assert_eq!(
        (lease.end(at(1_060)), before),
        (Some((at(1_060), LeaseEnd::Expired)), true)
    );
    assert_eq!(standing(&store).await.available, 1);
    granted(&store, &asking(None)).await;
}

#[tokio::test]
async fn six_minutes_without_the_store_cost_no_token_its_life() {
    let bench = Bench::new();
    let store = bench.open();
    let kept = created(&store, pooled(Some(SPAN))).await.id;
    store.close().await;
    bench.clock.advance(Duration::from_secs(360));
    let store = bench.open();
    let returned = bench.clock.now();
    let again = token(&store, kept).await.unwrap();
    let deadline = again.tenure.unwrap().deadline;
    assert_eq!(deadline, Some(returned.saturating_add(SPAN)));
    let instant = Duration::from_micros(1);
    pass(&bench, &store, SPAN - instant).await;
    assert_eq!(standing(&store).await.available, 1);
    bench.clock.advance(instant);
    assert_eq!(token(&store, kept).await, None);
    assert_eq!(standing(&store).await, Standing::default());
    assert!(listed(&store, &filter(Reach::All), 9).await.is_empty());
    let empty = store.acquire(&asking(None)).await;
    assert_eq!(empty, Ok(Acquired::Empty));
}

#[tokio::test]
async fn an_absence_is_noticed_by_whoever_asks_first() {
    let bench = Bench::new();
    let store = bench.open();
    let kept = created(&store, pooled(Some(SPAN))).await.id;
    bench.clock.advance(Duration::from_secs(360));
    let found = token(&store, kept).await.unwrap();
    assert_eq!(found.tenure.unwrap().deadline, Some(at(1_660)));
    store.close().await;
    let store = bench.open();
    let found = token(&store, kept).await.unwrap();
    assert_eq!(found.tenure.unwrap().deadline, Some(at(1_660)));
}

#[tokio::test]
async fn a_token_that_was_said_to_be_gone_does_not_come_back() {
    let bench = Bench::new();
    let store = bench.open();
    let gone = created(&store, pooled(Some(SPAN))).await.id;
    pass(&bench, &store, SPAN - Duration::from_secs(2)).await;
    bench.clock.advance(Duration::from_secs(3));
    assert_eq!(token(&store, gone).await, None);
    bench.clock.advance(Duration::from_secs(7));
    assert_eq!(token(&store, gone).await, None, "an absence revived it");
    store.close().await;
    bench.clock.advance(Duration::from_secs(7));
    assert_eq!(token(&bench.open(), gone).await, None);
}

#[tokio::test]
async fn a_token_that_nobody_kept_alive_is_swept_once_no_repetition_of_its_request_can_come() {
    let bench = Bench::new();
    let store = bench.open();
    let request = Draft {
        origin: requested(1).origin,
        ..pooled(Some(SPAN))
    };
    let gone = created(&store, request.clone()).await;
    let plain = created(&store, pooled(Some(SPAN))).await;
    // The second of an instant begins one microsecond later.
    pass(&bench, &store, SPAN + Duration::from_micros(1)).await;
    let taken = store.create(request.clone()).await.unwrap();
    assert!(matches!(taken, Creation::Taken(taken) if taken.id == gone.id));
    assert_eq!(store.change(gone.id, revoke()).await, Ok(Change::Absent));
    assert_eq!(store.delete(gone.id, keep()).await, Ok(Deletion::Absent));
    assert_eq!(store.sweep().await.unwrap().removed, 1, "the plain one");
    assert_eq!(token(&store, plain.id).await, None);
    pass(&bench, &store, SPAN).await;
    assert_eq!(store.sweep().await.unwrap().removed, 1);
    let anew = store.create(request).await.unwrap();
    assert!(matches!(anew, Creation::Created(anew) if anew.id == gone.id));
}

#[tokio::test]
async fn a_beat_postpones_what_the_sweep_found_due() {
    let bench = Bench::new();
    let store = bench.open();
    let kept = created(&store, pooled(Some(SPAN))).await.id;
    let beat = Beat {
        target: LeaseTarget::Token(kept),
        duration: None,
        reach: Reach::All,
    };
    pass(&bench, &store, SPAN / 2).await;
    store.keep_alive(&beat).await.unwrap();
    pass(&bench, &store, SPAN / 2).await;
    assert_eq!(store.sweep().await.unwrap(), Swept::default());
    assert!(token(&store, kept).await.is_some());
    pass(&bench, &store, SPAN / 2).await;
    assert_eq!(store.sweep().await.unwrap().removed, 1);
}

#[tokio::test]
async fn who_waits_is_called_in_order_once_the_token_is_free() {
    let bench = Bench::new();
    let store = bench.open();
    created(&store, pooled(None)).await;
    let (leased, lease) = granted(&store, &asking(None)).await;
    let [first, second] = ['a', 'b'].map(waiter);
    let bells = store.bells();
    let (bell, other) = (bells.hang(first), bells.hang(second));
    let turns = [first, second].map(Some).map(asking);
    assert_eq!(busy(&store, &turns[0]).await, Some(at(1_060)));
    assert_eq!(busy(&store, &turns[1]).await, None);
    assert_eq!(standing(&store).await.waiting, 2);
    store
        .release(named(&leased, &lease), &Reach::All)
        .await
        .unwrap();
    bell.rung().await;
    assert_eq!(busy(&store, &asking(None)).await, None, "it came later");
    assert_eq!(busy(&store, &turns[1]).await, None, "it is not its turn");
    store.leave(&gpu(), first).await.unwrap();
    other.rung().await;
    granted(&store, &turns[1]).await;
    assert_eq!(standing(&store).await.waiting, 0);
}

#[tokio::test]
async fn a_token_that_comes_into_the_pool_calls_who_waits() {
    let bench = Bench::new();
    let store = bench.open();
    let only = created(&store, pooled(None)).await.id;
    granted(&store, &asking(None)).await;
    let bell = store.bells().hang(waiter('a'));
    let turn = asking(Some(waiter('a')));
    busy(&store, &turn).await;
    let new = created(&store, pooled(None)).await.id;
    bell.rung().await;
    assert_eq!(granted(&store, &turn).await.0.id, new);
    busy(&store, &turn).await;
    store.change(only, revoke()).await.unwrap();
    store.change(new, revoke()).await.unwrap();
    assert_eq!(busy(&store, &turn).await, None);
    store.delete(only, keep()).await.unwrap();
    store.delete(new, keep()).await.unwrap();
    assert_eq!(store.acquire(&turn).await, Ok(Acquired::Empty));
    assert_eq!(store.inner.queues.waiting(&gpu(), at(1_000)), 0);
}

#[tokio::test]
async fn a_repeated_acquire_is_the_same_lease_until_it_ends() {
    let bench = Bench::new();
    let store = bench.open();
    for _ in 0..2 {
        created(&store, pooled(None)).await;
    }
    let again = || {
        let mut asking = asking(None);
        asking.grant.origin = requested(1).origin;
        asking
    };
    let (token, lease) = granted(&store, &again()).await;
    for secrets in [2, 3] {
        let Ok(Acquired::Granted {
            lease: same,
            replayed: true,
            ..
        }) = store.acquire(&again()).await
        else {
            panic!("not replayed")
        };
        assert_eq!((same.mark, same.digests.len()), (lease.mark, secrets));
    }
    let used = Ok(Acquired::Refused(Refusal::RequestUsed));
    assert_eq!(store.acquire(&again()).await, used);
    let mut other = again();
    other.grant.origin.as_mut().unwrap().fingerprint = [9; 32];
    let differs = Ok(Acquired::Refused(Refusal::RequestDiffers));
    assert_eq!(store.acquire(&other).await, differs);
    store
        .release(named(&token, &lease), &Reach::All)
        .await
        .unwrap();
    assert_eq!(store.acquire(&again()).await, used);
    bench.clock.advance(REPLAY_WINDOW);
    granted(&store, &again()).await;
    let raw = bench.raw();
    let requests = raw.query_row("SELECT count(*) FROM acquired", [], |row| row.get(0));
    assert_eq!(requests, Ok(1));
}

#[tokio::test]
async fn an_idle_pooled_token_takes_less_than_500_bytes_of_disk() {
    let each = bytes_of_each(|| pooled(Some(SPAN))).await;
    assert!(each <= 500, "{each} bytes for each token");
}
