//! Events on Redis: in which order changes come, and that none is lost with whoever caused it.

use std::sync::Arc;
use std::time::Duration;

use token_authority::clock::Clock;
use token_authority::domain::event::EventCursor;
use token_authority::domain::event::EventKind::{
    Created, Deleted, Expired, Released, Revoked, Rotated, Updated,
};
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{Draft, Ruling, Token};
use token_authority::store::events::{EventBounds, EventStore, MARK_PATIENCE};
use token_authority::store::{Change, Creation, Rule, StoreError, StoreStatus, TokenStore};

use crate::event_kit::{
    BEGINNING, DAY, SECOND, acquired, bench, dying, kinds, logged, released, tell, told, untold,
};
use crate::kit::{created, marked_server, open, requested_in};
use crate::support::drafts::{draft, ending_after, giving_to, revoking, willing};
use crate::support::leases::lasting;
use crate::support::redis_server::RedisServer;

fn rotating() -> Rule {
    Arc::new(|token, now| {
        let mut changed = token.clone();
        changed.secrets.current.version += 1;
        changed.update_time = now;
        Ruling::Replace(Box::new(changed))
    })
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
