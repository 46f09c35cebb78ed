//! What is told of tokens by time alone.

use std::time::Duration;
use token_authority::clock::Clock;
use token_authority::store::events::EventStore;
use token_authority::store::{LeaseStore, TokenStore};

use token_authority::domain::event::EventKind::{Created, Expired, Expiring, Updated};
use token_authority::domain::time::Timestamp;

use crate::event_kit::{DAY, SECOND, bench, kinds, logged, tell, told, untold};
use crate::kit::{created, open};
use crate::support::drafts::{draft, ending_after, ending_at, giving_to, revoking, swept, willing};
use crate::support::leases::living;

#[tokio::test]
async fn an_end_is_told_once_for_each_span_before_it_and_when_it_comes() {
    let (server, mut options, clock) = bench().await;
    options.events.age = DAY * 30;
    let store = open(options).await;
    let begin = clock.now();
    let token = created(&store, ending_after(DAY * 10)).await;
    store.all_told().await;
    let mut seen = vec![Created];
    for (day, kind) in [(3, Expiring), (9, Expiring), (10, Expired)] {
        let time = begin.saturating_add(DAY * day);
        clock.set(Timestamp::from_micros(time.micros() - 1));
        assert_eq!(tell(&store).await, 0);
        clock.set(time);
        assert_eq!(tell(&store).await, 1);
        assert_eq!(tell(&store).await, 0, "once");
        seen.push(kind);
        let events = logged(&store).await;
        let last = events.last().unwrap();
        assert_eq!((last.time, &last.token), (time, &token));
        assert_eq!(kinds(&events), seen);
    }
    let details: Vec<String> = logged(&store)
        .await
        .into_iter()
        .map(|event| event.detail)
        .collect();
    assert_eq!(details, ["", "7d", "1d", ""]);
    clock.set(token.vanish_time(&Default::default()).unwrap());
    assert_eq!(swept(&store).await, 1, "it is the sweep's from then on");
    assert_eq!(untold(&server).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_change_between_an_alarm_and_telling_it_does_not_lose_it() {
    let (_server, options, clock) = bench().await;
    let store = open(options).await;
    let token = created(&store, ending_after(DAY * 2)).await;
    clock.advance(DAY + SECOND);
    store.change(token.id, giving_to("ann")).await.unwrap();
    store.all_told().await;
    assert_eq!(tell(&store).await, 1);
    assert_eq!(told(&store).await, [Created, Updated, Expiring]);
}

#[tokio::test]
async fn an_end_that_moves_is_told_where_it_is_then() {
    let (server, mut options, clock) = bench().await;
    options.events.age = DAY * 30;
    let store = open(options).await;
    let begin = clock.now();
    let token = created(&store, ending_after(DAY * 2)).await;
    let sooner = begin.saturating_add(SECOND * 9);
    store
        .change(token.id, ending_at(Some(sooner)))
        .await
        .unwrap();
    store.all_told().await;
    clock.set(sooner);
    assert_eq!(tell(&store).await, 1);
    let later = begin.saturating_add(DAY * 3);
    store
        .change(token.id, ending_at(Some(later)))
        .await
        .unwrap();
    store.all_told().await;
    clock.set(later);
    assert_eq!(tell(&store).await, 2);
    store.change(token.id, ending_at(None)).await.unwrap();
    store.all_told().await;
    clock.advance(DAY * 9);
    assert_eq!(tell(&store).await, 0);
    let expected = [
        Created, Updated, Expired, Updated, Expiring, Expired, Updated,
    ];
    assert_eq!(told(&store).await, expected);
    assert_eq!(untold(&server).await, Vec::<String>::new());
}

#[tokio::test]
async fn nothing_is_told_of_the_end_of_a_token_that_is_gone_or_revoked_before() {
    let (server, options, clock) = bench().await;
    let store = open(options).await;
    let revoked = created(&store, ending_after(DAY)).await;
    store.change(revoked.id, revoking("")).await.unwrap();
    let deleted = created(&store, ending_after(DAY)).await;
    store.delete(deleted.id, willing()).await.unwrap();
    let mut ending = living(SECOND * 5);
    ending.expiration = ending_after(DAY).expiration;
    created(&store, ending).await;
    // Seen all the time: so nobody kept it alive.
    for _ in 0..3 {
        clock.advance(SECOND * 3);
        store.be_seen().await.unwrap();
    }
    assert_eq!(swept(&store).await, 1);
    let count = told(&store).await.len();
    clock.advance(Duration::from_secs(60));
    assert_eq!(tell(&store).await, 0);
    let left = untold(&server).await;
    assert_eq!(left.len(), 1, "of the revoked one only: {left:?}");
    clock.advance(DAY);
    assert_eq!(tell(&store).await, 0);
    assert_eq!(untold(&server).await, Vec::<String>::new());
    assert_eq!(told(&store).await.len(), count);
}

#[tokio::test]
async fn tokens_that_may_still_be_written_hold_up_no_alarm() {
    let (server, options, clock) = bench().await;
    let store = open(options).await;
    let token = created(&store, ending_after(SECOND * 5)).await;
    let keys: Vec<String> = server.ask(&["KEYS", "*}:a"]).await;
    let early = clock.now().micros().to_string();
    for _ in 0..20 {
        let id = draft().id.to_string();
        let () = server.ask(&["ZADD", &keys[0], &early, &id]).await;
    }
    clock.advance(SECOND * 5);
    for _ in 0..3 {
        tell(&store).await;
    }
    let expired = logged(&store).await.pop().unwrap();
    assert_eq!((expired.kind, expired.token.id), (Expired, token.id));
    clock.advance(SECOND * 60);
    for _ in 0..3 {
        tell(&store).await;
    }
    assert_eq!(untold(&server).await, Vec::<String>::new());
}

#[tokio::test]
async fn of_servers_that_tell_at_once_one_does() {
    let (_server, options, clock) = bench().await;
    let stores = [
        open(options.clone()).await,
        open(options.clone()).await,
        open(options).await,
    ];
    for _ in 0..100 {
        created(&stores[0], ending_after(SECOND)).await;
    }
    stores[0].all_told().await;
    clock.advance(SECOND);
    let (one, two, three) = tokio::join!(stores[0].tell(), stores[1].tell(), stores[2].tell());
    let told = [one, two, three].map(|told| told.unwrap().told);
    assert_eq!(told.iter().sum::<usize>(), 100, "{told:?}");
}
