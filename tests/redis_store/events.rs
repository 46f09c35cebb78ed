//! Events on Redis: in which order they come, and that none is lost with whoever caused it.

use std::sync::Arc;
use std::time::Duration;

use token_authority::clock::{Clock, ManualClock};
use token_authority::domain::caller::Reach;
use token_authority::domain::event::EventKind::{
    self, Created, Deleted, Expired, Expiring, LeaseExpired, Leased, Released, Revoked, Rotated,
    Updated,
};
use token_authority::domain::event::{Event, EventCursor};
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{Draft, Ruling, Token, TokenId};
use token_authority::store::events::{EventBounds, EventStore, MARK_PATIENCE};
use token_authority::store::leases::{Acquired, LeaseTarget};
use token_authority::store::redis::{RedisOptions, RedisStore};
use token_authority::store::{
    Change, Creation, LeaseStore, Rule, StoreError, StoreStatus, TokenStore,
};

use crate::kit::{created, marked_server, open, requested_in, until};
use crate::support::drafts::{
    draft, ending_after, ending_at, giving_to, pooled, revoking, swept, willing,
};
use crate::support::leases::{asking, asking_for, lasting, living, pool};
use crate::support::redis_server::RedisServer;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);
const BEGINNING: EventCursor = EventCursor { major: 0, minor: 0 };

/// A server, options of stores over it, and the clock of all of them.
async fn bench() -> (RedisServer, RedisOptions, Arc<ManualClock>) {
    let (server, mut options) = marked_server().await;
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(
        1_700_000_000_000_000,
    )));
    options.clock = Some(clock.clone());
    (server, options, clock)
}

/// All that is in the log.
async fn logged(store: &RedisStore) -> Vec<Event> {
    let (mut events, mut after) = (Vec::new(), BEGINNING);
    loop {
        let page = store.events(after).await.unwrap();
        if page.events.is_empty() {
            return events;
        }
        after = page.next;
        events.extend(page.events.into_iter().map(|(_, event)| event));
    }
}

fn kinds(events: &[Event]) -> Vec<EventKind> {
    events.iter().map(|event| event.kind).collect()
}

/// What the log says once all is told.
async fn told(store: &RedisStore) -> Vec<EventKind> {
    store.all_told().await;
    kinds(&logged(store).await)
}

/// Tells until there is nothing more to do at once.
async fn tell(store: &RedisStore) -> usize {
    let mut told = 0;
    loop {
        let step = store.tell().await.unwrap();
        told += step.told;
        if !step.more {
            return told;
        }
    }
}

fn rotating() -> Rule {
    Arc::new(|token, now| {
        let mut changed = token.clone();
        changed.secrets.current.version += 1;
        changed.update_time = now;
        Ruling::Replace(Box::new(changed))
    })
}

async fn acquired(store: &RedisStore) -> LeaseTarget {
    acquired_for(store, SECOND * 60).await
}

async fn acquired_for(store: &RedisStore, span: Duration) -> LeaseTarget {
    match store.acquire(&asking_for(&pool("gpu"), span)).await {
        Ok(Acquired::Granted { token, .. }) => LeaseTarget::Token(token.id),
        other => panic!("expected a lease, got {other:?}"),
    }
}

async fn released(store: &RedisStore, target: LeaseTarget) {
    store.release(target, &Reach::All).await.unwrap();
}

/// What stands of events beside the log.
async fn untold(server: &RedisServer) -> Vec<String> {
    let keys: Vec<String> = server.ask(&["KEYS", "*"]).await;
    let alarm = |key: &str| key.starts_with("ta:{due:") && key.ends_with(":a");
    let beside = |key: &String| key == "ta:{e}:m" || key.contains("}:e:") || alarm(key);
    keys.into_iter().filter(beside).collect()
}

#[tokio::test]
async fn what_is_done_to_a_token_is_told_in_its_order() {
    let (server, options, clock) = bench().await;
    let store = open(options).await;
    let token = created(&store, draft()).await;
    clock.advance(SECOND);
    for rule in [giving_to("ann"), rotating(), revoking("lost")] {
        store.change(token.id, rule).await.unwrap();
    }
    store.delete(token.id, willing()).await.unwrap();
    let expected = [Created, Updated, Rotated, Revoked, Deleted];
    assert_eq!(told(&store).await, expected);
    let events = logged(&store).await;
    let revisions: Vec<u64> = events.iter().map(|event| event.token.revision).collect();
    assert!(revisions[..4].is_sorted_by(|one, other| one < other));
    assert_eq!(revisions[3], revisions[4], "a deleted one as it was");
    assert_eq!(
        (&events[0].token, events[0].time),
        (&token, token.create_time)
    );
    assert_eq!(events[3].detail, "lost");
    assert!(events[3].token.revoked.is_some());
    assert_eq!(untold(&server).await, Vec::<String>::new());
}

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
async fn what_is_refused_or_changes_nothing_is_not_told_and_leaves_no_mark() {
    let (server, options, _clock) = bench().await;
    let store = open(options).await;
    let first = created(&store, draft()).await;
    let same = Draft {
        id: first.id,
        ..draft()
    };
    let taken = store.create(same).await;
    assert!(matches!(taken, Ok(Creation::Taken(_))), "{taken:?}");
    store.change(first.id, willing()).await.unwrap();
    store.change(draft().id, revoking("")).await.unwrap();
    assert_eq!(told(&store).await, [Created]);
    assert_eq!(untold(&server).await, Vec::<String>::new());
}

/// Does something over a store that dies before it tells it.
async fn dying<T>(options: &RedisOptions, act: impl AsyncFnOnce(&RedisStore) -> T) -> T {
    let store = open(options.clone()).await;
    let done = act(&store).await;
    drop(store);
    done
}

#[tokio::test]
async fn what_the_dead_have_done_is_told_by_others_after_a_while() {
    let (server, options, clock) = bench().await;
    let store = open(options.clone()).await;
    let token = dying(&options, async |store| created(store, draft()).await).await;
    assert_eq!(untold(&server).await, ["ta:{e}:m"]);
    let change = async |rule: Rule| {
        clock.advance(SECOND);
        dying(&options, async |store| store.change(token.id, rule).await)
            .await
            .unwrap()
    };
    for (rule, kind) in [
        (None, Created),
        (Some(giving_to("ann")), Updated),
        (Some(rotating()), Rotated),
        (Some(revoking("lost")), Revoked),
    ] {
        if let Some(rule) = rule {
            change(rule).await;
        }
        assert_eq!(tell(&store).await, 0, "who did it may still tell it");
        clock.advance(MARK_PATIENCE);
        assert_eq!(tell(&store).await, 1);
        let last = logged(&store).await.pop().unwrap();
        assert_eq!(last.kind, kind);
        assert_eq!(untold(&server).await, Vec::<String>::new());
    }
    let known = store.find(token.id).await.unwrap().token.unwrap();
    dying(&options, async |store| {
        store.delete(token.id, willing()).await
    })
    .await
    .unwrap();
    clock.advance(MARK_PATIENCE);
    assert_eq!(tell(&store).await, 1);
    let last = logged(&store).await.pop().unwrap();
    assert_eq!((last.kind, &last.token), (Deleted, known.as_ref()));
    assert_eq!(tell(&store).await, 0);
}

/// A mark of a change that was judged at `time`, as the store writes it.
fn mark(token: &Token, before: u64, time: Timestamp, act: &[u8]) -> Vec<u8> {
    let mut text = token.id.as_str().as_bytes().to_vec();
    for number in [before, 7, time.micros()] {
        text.extend(number.to_be_bytes());
    }
    text.extend(act);
    text
}

async fn put_mark(server: &RedisServer, text: &[u8]) {
    let mut add = redis::cmd("ZADD");
    add.arg("ta:{e}:m").arg(0).arg(text);
    let () = add
        .query_async(&mut server.connection().await)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_mark_of_what_was_never_done_goes_and_nothing_is_told() {
    let (server, options, clock) = bench().await;
    let store = open(options).await;
    let token = created(&store, draft()).await;
    assert_eq!(told(&store).await, [Created]);
    let changing = [2, 0, 0, 0, 0, 1];
    let stillborn = Token {
        id: draft().id,
        ..token.clone()
    };
    put_mark(
        &server,
        &mark(&token, token.revision, clock.now(), &changing),
    )
    .await;
    put_mark(&server, &mark(&token, token.revision, clock.now(), b"\x03")).await;
    put_mark(&server, &mark(&stillborn, 0, clock.now(), b"\x01")).await;
    put_mark(&server, b"rubbish").await;
    clock.advance(MARK_PATIENCE);
    assert_eq!(tell(&store).await, 0);
    assert_eq!(untold(&server).await, Vec::<String>::new());
    assert_eq!(kinds(&logged(&store).await), [Created]);
}

#[tokio::test]
async fn an_event_waits_a_moment_for_an_earlier_change_that_is_marked() {
    let (server, options, clock) = bench().await;
    let store = open(options).await;
    let token = created(&store, draft()).await;
    store.all_told().await;
    // As if another server had changed it before, and told nothing yet.
    let earlier = mark(&token, token.revision - 1, clock.now(), &[2, 0, 0, 0, 0, 1]);
    put_mark(&server, &earlier).await;
    store.change(token.id, revoking("lost")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(kinds(&logged(&store).await), [Created]);
    let mut remove = redis::cmd("ZREM");
    remove.arg("ta:{e}:m").arg(&earlier);
    let () = remove
        .query_async(&mut server.connection().await)
        .await
        .unwrap();
    assert_eq!(told(&store).await, [Created, Revoked]);
    // Nor for longer than a moment.
    put_mark(&server, &earlier).await;
    store.delete(token.id, willing()).await.unwrap();
    assert_eq!(told(&store).await, [Created, Revoked, Deleted]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_one_token_by_two_servers_are_told_once_each_in_their_order() {
    let (_server, options) = marked_server().await;
    let stores = [open(options.clone()).await, open(options).await].map(Arc::new);
    let token = created(&stores[0], draft()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..8 {
        let store = stores[at % 2].clone();
        tasks.spawn(async move {
            let mut done = Vec::new();
            for _ in 0..12 {
                if let Ok(Change::Changed(token)) = store.change(token.id, rotating()).await {
                    done.push(token.revision);
                }
            }
            done
        });
    }
    let mut done: Vec<u64> = tasks.join_all().await.into_iter().flatten().collect();
    done.sort_unstable();
    stores[0].all_told().await;
    stores[1].all_told().await;
    let events = logged(&stores[0]).await;
    let told: Vec<u64> = events
        .iter()
        .skip(1)
        .map(|event| event.token.revision)
        .collect();
    assert!(done.len() > 8, "{}", done.len());
    assert_eq!(told, done);
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

/// The key of the pool's kind, by a token of it.
fn of_pool(kind: char, id: TokenId) -> String {
    format!("ta:{{{}}}:{kind}:default:gpu", id.tag())
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

#[tokio::test]
async fn who_comes_too_late_is_told_so_and_nobody_else() {
    let (_server, mut options, clock) = bench().await;
    options.events = EventBounds {
        number: 4,
        age: DAY,
    };
    let store = open(options).await;
    let mut cursors = vec![BEGINNING];
    for _ in 0..6 {
        created(&store, draft()).await;
        store.all_told().await;
        cursors.push(store.last_event().await.unwrap());
        clock.advance(SECOND);
    }
    let asked = async |at: usize| {
        let answer = store.events(cursors[at]).await.unwrap();
        (
            answer.events.len(),
            answer.missed,
            answer.next == cursors[6],
        )
    };
    assert_eq!(asked(0).await, (4, true, true));
    assert_eq!(asked(1).await, (4, true, true));
    assert_eq!(
        asked(2).await,
        (4, false, true),
        "just what was dropped was read"
    );
    assert_eq!(asked(6).await, (0, false, true));
    clock.advance(DAY - SECOND * 3);
    tell(&store).await;
    assert_eq!(asked(3).await, (3, false, true));
    assert_eq!(asked(2).await, (3, true, true));
    clock.advance(DAY);
    tell(&store).await;
    assert_eq!(asked(5).await, (0, true, false), "all are gone");
    assert_eq!(asked(6).await, (0, false, true));
    created(&store, draft()).await;
    store.all_told().await;
    assert_eq!(asked(6).await, (1, false, false));
}

#[tokio::test]
async fn a_cursor_behind_the_end_goes_on_at_the_end_and_says_so() {
    let (_server, options, _clock) = bench().await;
    let store = open(options).await;
    assert_eq!(store.last_event().await, Ok(BEGINNING));
    created(&store, draft()).await;
    store.all_told().await;
    let end = store.last_event().await.unwrap();
    for beyond in [end.major + 1, u64::MAX] {
        let after = EventCursor {
            major: beyond,
            minor: u64::MAX,
        };
        let answer = store.events(after).await.unwrap();
        assert_eq!((answer.next, answer.missed), (end, true));
    }
}

#[tokio::test]
async fn a_store_that_is_closed_has_told_everything() {
    let (server, options, _clock) = bench().await;
    let store = open(options.clone()).await;
    created(&store, draft()).await;
    created(&store, lasting()).await;
    store.close().await;
    assert_eq!(untold(&server).await, Vec::<String>::new());
    let mut kinds = told(&open(options).await).await;
    kinds.sort_unstable();
    assert_eq!(kinds, [Created, Created]);
}

#[tokio::test]
async fn a_full_redis_tells_what_is_done() {
    let (server, options, clock) = bench().await;
    let store = open(options).await;
    let token = created(&store, draft()).await;
    let ending = created(&store, ending_after(SECOND)).await;
    created(&store, lasting()).await;
    let held = acquired(&store).await;
    store.all_told().await;
    let before = logged(&store).await.len();
    server.run("CONFIG SET maxmemory-policy noeviction").await;
    server.run("CONFIG SET maxmemory 1").await;
    store.change(token.id, revoking("")).await.unwrap();
    released(&store, held).await;
    store.all_told().await;
    clock.advance(SECOND);
    tell(&store).await;
    let events = logged(&store).await.split_off(before);
    let mut told: Vec<_> = events.iter().map(|event| event.kind).collect();
    told.sort_unstable();
    assert_eq!(told, [Revoked, Expired, Released]);
    assert!(events.iter().any(|event| event.token.id == ending.id));
}

#[tokio::test]
async fn an_emptied_redis_is_an_error_and_nothing_is_written_to_it() {
    let (server, options, _clock) = bench().await;
    let store = open(options).await;
    created(&store, draft()).await;
    let () = server.ask(&["FLUSHALL"]).await;
    store.all_told().await;
    let answer = store.events(BEGINNING).await;
    let emptied = matches!(&answer, Err(StoreError::Unacceptable(_)));
    assert!(emptied, "{answer:?}");
    assert!(store.tell().await.is_err());
    assert!(store.last_event().await.is_err());
    let keys: Vec<String> = server.ask(&["KEYS", "*"]).await;
    assert_eq!(keys, Vec::<String>::new());
}

#[tokio::test]
async fn a_redis_that_forgot_all_scripts_loses_no_event() {
    let (server, options, _clock) = bench().await;
    let store = open(options).await;
    let mut expected = Vec::new();
    for _ in 0..3 {
        server.run("SCRIPT FLUSH").await;
        let token = created(&store, draft()).await;
        server.run("SCRIPT FLUSH").await;
        store.change(token.id, revoking("")).await.unwrap();
        expected.extend([Created, Revoked]);
    }
    assert_eq!(told(&store).await, expected);
}

#[tokio::test]
async fn the_deletion_of_a_request_is_told_with_its_token() {
    let (_server, options, _clock) = bench().await;
    let store = open(options).await;
    for pool in [None, Some("gpu")] {
        let key = 1 + u8::from(pool.is_some());
        let token = created(&store, requested_in(key, pool)).await;
        let replay = store.create(requested_in(key, pool)).await;
        assert!(matches!(replay, Ok(Creation::Taken(_))), "{replay:?}");
        store.delete(token.id, willing()).await.unwrap();
        store.all_told().await;
    }
    assert_eq!(told(&store).await, [Created, Deleted, Created, Deleted]);
}
