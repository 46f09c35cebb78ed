//! Events of pools on Redis: what is told of leases, and that none is lost on the way to the log.

use token_authority::clock::Clock;
use token_authority::domain::event::EventKind::{
    Created, Deleted, Expired, LeaseExpired, Leased, Released, Revoked, Updated,
};
use token_authority::store::leases::{Acquired, LeaseTarget};
use token_authority::store::{LeaseStore, TokenStore};

use crate::event_kit::{
    SECOND, acquired, acquired_for, bench, dying, kinds, logged, of_pool, released, tell, told,
    untold,
};
use crate::kit::{created, open, until};
use crate::support::drafts::{ending_after, giving_to, pooled, revoking, swept, willing};
use crate::support::leases::{asking, lasting, living, pool};

#[tokio::test]
async fn what_is_done_to_a_token_of_a_pool_is_told_in_its_order_with_its_leases() {
    let (server, options, clock) = bench().await;
    let store = open(options).await;
    let token = created(&store, lasting()).await;
    clock.advance(SECOND);
    let held = acquired(&store).await;
    released(&store, held).await;
    acquired(&store).await;
    store.change(token.id, revoking("lost")).await.unwrap();
    store.delete(token.id, willing()).await.unwrap();
    let expected = [
        Created, Leased, Released, Leased, Revoked, Released, Deleted,
    ];
    assert_eq!(told(&store).await, expected);
    let events = logged(&store).await;
    for event in &events {
        let about_lease = matches!(event.kind, Leased | Released);
        assert_eq!(event.token.tenure.is_some(), about_lease, "{event:?}");
        let holder = if about_lease { "worker" } else { "" };
        let said = event.kind == Revoked || event.detail == holder;
        assert!(said, "{event:?}");
    }
    assert_eq!(untold(&server).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_lease_ends_with_its_token_however_that_ends() {
    let (_server, options, _clock) = bench().await;
    let store = open(options).await;
    let token = created(&store, lasting()).await;
    acquired(&store).await;
    store.delete(token.id, willing()).await.unwrap();
    assert_eq!(told(&store).await, [Created, Leased, Released, Deleted]);
}

#[tokio::test]
async fn what_the_dead_have_left_of_a_pool_is_told_by_the_next_act_or_without_any() {
    let (server, options, _clock) = bench().await;
    dying(&options, async |store| created(store, lasting()).await).await;
    dying(&options, async |store| acquired(store).await).await;
    assert_eq!(untold(&server).await.len(), 1);
    let store = open(options.clone()).await;
    let busy = store.acquire(&asking(&pool("gpu"))).await;
    assert!(matches!(busy, Ok(Acquired::Busy { .. })), "{busy:?}");
    assert_eq!(told(&store).await, [Created, Leased]);
    let id = logged(&store).await[0].token.id;
    dying(&options, async |store| {
        released(store, LeaseTarget::Token(id)).await
    })
    .await;
    assert_eq!(tell(&store).await, 1);
    assert_eq!(kinds(&logged(&store).await), [Created, Leased, Released]);
    assert_eq!(untold(&server).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_one_server_moves_another_leaves_alone_until_it_is_dead() {
    let (server, options, _clock) = bench().await;
    let store = open(options).await;
    let id = lasting().id;
    let mover = of_pool('m', id);
    let () = server.ask(&["SET", &mover, "another", "PX", "600"]).await;
    created(&store, lasting()).await;
    store.all_told().await;
    assert_eq!(logged(&store).await, Vec::new());
    assert_eq!(untold(&server).await, [of_pool('e', id)]);
    until("the pool is nobody's", async || {
        tell(&store).await;
        !logged(&store).await.is_empty()
    })
    .await;
    assert_eq!(told(&store).await, [Created]);
    let left: u64 = server.ask(&["EXISTS", &mover]).await;
    assert_eq!(left, 0, "who has moved everything says so");
}

#[tokio::test]
async fn what_was_moved_and_not_removed_is_told_again() {
    let (server, options, _clock) = bench().await;
    dying(&options, async |store| created(store, lasting()).await).await;
    let outbox = of_pool('e', lasting().id);
    let mut read = redis::cmd("LRANGE");
    read.arg(&outbox).arg(0).arg(-1);
    let mut connection = server.connection().await;
    let entries: Vec<Vec<u8>> = read.query_async(&mut connection).await.unwrap();
    let store = open(options).await;
    assert_eq!(tell(&store).await, 1);
    let mut again = redis::cmd("RPUSH");
    again.arg(&outbox).arg(&entries);
    let () = again.query_async(&mut connection).await.unwrap();
    assert_eq!(tell(&store).await, 1);
    let events = logged(&store).await;
    assert_eq!(kinds(&events), [Created, Created]);
    assert_eq!(events[0], events[1], "it is known again");
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_holds_up_no_other() {
    let (server, options, _clock) = bench().await;
    let store = open(options).await;
    let outbox = of_pool('e', lasting().id);
    let () = server.ask(&["RPUSH", &outbox, "rubbish"]).await;
    created(&store, lasting()).await;
    assert_eq!(told(&store).await, [Created]);
}

#[tokio::test]
async fn that_the_time_of_a_lease_is_over_is_told_though_nobody_acts_on_the_pool() {
    let (server, options, clock) = bench().await;
    let store = open(options).await;
    created(&store, lasting()).await;
    acquired_for(&store, SECOND * 10).await;
    assert_eq!(told(&store).await, [Created, Leased]);
    let over = clock.now().saturating_add(SECOND * 10);
    clock.advance(SECOND * 9);
    assert_eq!(tell(&store).await, 0);
    clock.advance(SECOND * 3);
    assert_eq!(tell(&store).await, 1);
    assert_eq!(tell(&store).await, 0, "once");
    let last = logged(&store).await.pop().unwrap();
    assert_eq!((last.kind, last.time), (LeaseExpired, over));
    assert_eq!(last.detail, "worker");
    assert_eq!(untold(&server).await, Vec::<String>::new());
}

#[tokio::test]
async fn that_the_time_of_a_lease_is_over_is_told_by_whatever_comes_next() {
    let (_server, options, clock) = bench().await;
    let store = open(options).await;
    let mut expected = Vec::new();
    for act in 0..5 {
        let token = created(&store, lasting()).await;
        let held = acquired_for(&store, SECOND).await;
        clock.advance(SECOND);
        expected.extend([Created, Leased, LeaseExpired]);
        match act {
            0 => {
                acquired(&store).await;
                released(&store, held).await;
                expected.extend([Leased, Released]);
            }
            1 => {
                store.change(token.id, giving_to("ann")).await.unwrap();
                expected.push(Updated);
            }
            2 => {
                store.change(token.id, revoking("")).await.unwrap();
                expected.push(Revoked);
            }
            3 => {
                let beat = crate::support::leases::beat_of(token.id);
                store.keep_alive(&beat).await.unwrap();
            }
            _ => {}
        }
        store.delete(token.id, willing()).await.unwrap();
        expected.push(Deleted);
    }
    assert_eq!(told(&store).await, expected);
}

#[tokio::test]
async fn a_lease_whose_token_ends_is_released_and_one_that_vanishes_is_told_before() {
    let (_server, options, clock) = bench().await;
    let store = open(options).await;
    created(&store, pooled(ending_after(SECOND * 5), "gpu")).await;
    acquired(&store).await;
    clock.advance(SECOND * 5);
    tell(&store).await;
    assert_eq!(told(&store).await, [Created, Leased, Expired, Released]);
    let before = logged(&store).await.len();
    created(&store, living(SECOND * 5)).await;
    acquired_for(&store, SECOND).await;
    clock.advance(SECOND * 10);
    // The authority was away meanwhile, and lets the token's time begin anew.
    store.be_seen().await.unwrap();
    for _ in 0..4 {
        clock.advance(SECOND * 3);
        store.be_seen().await.unwrap();
    }
    assert_eq!(swept(&store).await, 1);
    store.all_told().await;
    let events = logged(&store).await.split_off(before);
    assert_eq!(kinds(&events), [Created, Leased, LeaseExpired]);
}
