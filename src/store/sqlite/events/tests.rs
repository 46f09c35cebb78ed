//! The log on SQLite: what is dropped, what is told once, what an older file and another configuration make of it.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::domain::lease::{Holder, LeaseMark};
use crate::domain::name::{Namespace, PoolName, Reason};
use crate::domain::pool::Pool;
use crate::domain::profile::Profile;
use crate::domain::secret::SecretDigest;
use crate::domain::tenure::Grant;
use crate::domain::token::{Draft, Expiration, Ruling};
use crate::store::leases::{Acquired, Asking, LeaseStore};
use crate::store::sqlite::alarms::ENDS;
use crate::store::sqlite::tests::{Bench, created, fresh};
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::store::{Rule, StoreStatus, Sweeping, TokenStore};

const DAY: Duration = Duration::from_secs(24 * 3600);
const START: EventCursor = EventCursor { major: 0, minor: 0 };

fn ending_after(life: Duration) -> Draft {
    Draft {
        expiration: Expiration::After(life),
        ..fresh()
    }
}

fn revoking() -> Rule {
    Arc::new(|token, now| token.revoke(now, Reason::default()))
}

fn ending_at(end: Option<Timestamp>) -> Rule {
    Arc::new(move |token, _| {
        Ruling::Replace(Box::new(Token {
            expire_time: end,
            ..token.clone()
        }))
    })
}

async fn telling(store: &SqliteStore) {
    while store.tell().await.unwrap().more {}
}

/// The kinds of all that is kept.
async fn kinds(store: &SqliteStore) -> Vec<EventKind> {
    let events = store.events(START).await.unwrap();
    assert!(!events.missed);
    events.events.iter().map(|(_, event)| event.kind).collect()
}

fn opened_with(bench: &Bench, alarms: &[Duration], events: EventBounds) -> SqliteStore {
    let options = SqliteOptions {
        alarms: Alarms::of(alarms).unwrap(),
        events,
        ..bench.options()
    };
    SqliteStore::open(options).unwrap()
}

#[tokio::test]
async fn no_more_events_are_kept_than_may_and_who_missed_some_is_told() {
    let bench = Bench::new();
    let few = EventBounds {
        number: 10,
        ..EventBounds::default()
    };
    let store = opened_with(&bench, &[], few);
    for _ in 0..25 {
        created(&store, fresh()).await;
    }
    telling(&store).await;
    let at = |major| EventCursor { major, minor: 0 };
    for (cursor, missed, first) in [
        (0, true, None),
        (14, true, None),
        (15, false, Some(16)),
        (24, false, Some(25)),
        (25, false, None),
        (26, true, None),
    ] {
        let events = store.events(at(cursor)).await.unwrap();
        let found = events.events.first().map(|(cursor, _)| cursor.major);
        assert_eq!((events.missed, found), (missed, first), "{cursor}");
    }
}

#[tokio::test]
async fn what_is_old_goes_but_for_the_last_by_which_the_next_is_numbered() {
    let bench = Bench::new();
    let store = bench.open();
    for _ in 0..3 {
        created(&store, fresh()).await;
    }
    bench.clock.advance(DAY * 7);
    telling(&store).await;
    assert_eq!(kinds(&store).await.len(), 3, "a week is not over");
    bench.clock.advance(Duration::from_micros(1));
    telling(&store).await;
    assert!(store.events(START).await.unwrap().missed);
    let last = store.last_event().await.unwrap();
    assert_eq!(last.major, 3);
    store.close().await;
    let store = bench.open();
    created(&store, fresh()).await;
    let events = store.events(last).await.unwrap();
    assert_eq!((events.missed, events.events.len()), (false, 1));
    assert_eq!(events.next.major, 4);
}

#[tokio::test]
async fn many_ends_at_one_instant_are_told_once_each_in_bounded_steps() {
    let bench = Bench::new();
    let store = opened_with(&bench, &[], EventBounds::default());
    let end = Expiration::At(bench.clock.now().saturating_add(DAY));
    for _ in 0..600 {
        let draft = Draft {
            expiration: end,
            ..fresh()
        };
        created(&store, draft).await;
    }
    let begun = store.last_event().await.unwrap();
    bench.clock.advance(DAY);
    let step = store.tell().await.unwrap();
    assert!(step.more && step.told < 600, "{step:?}");
    telling(&store).await;
    telling(&store).await;
    let last = store.last_event().await.unwrap();
    assert_eq!(last.major - begun.major, 600);
}

#[tokio::test]
async fn what_came_due_is_told_before_whatever_would_hide_it() {
    let bench = Bench::new();
    let store = bench.open();
    let later = bench.clock.now().saturating_add(DAY * 50);
    let [moved, revoked, endless, deleted] = [(); 4].map(|()| ending_after(DAY * 10));
    let [moved, revoked, endless, deleted] = [
        created(&store, moved).await.id,
        created(&store, revoked).await.id,
        created(&store, endless).await.id,
        created(&store, deleted).await.id,
    ];
    let begun = store.last_event().await.unwrap();
    bench.clock.advance(DAY * 4);
    store.change(moved, ending_at(Some(later))).await.unwrap();
    store.change(revoked, revoking()).await.unwrap();
    store.change(endless, ending_at(None)).await.unwrap();
    let willing: Rule = Arc::new(|_, _| Ruling::Keep);
    store.delete(deleted, willing).await.unwrap();
    telling(&store).await;
    let events = store.events(begun).await.unwrap().events;
    let told: Vec<_> = events
        .iter()
        .map(|(_, event)| (event.token.id, event.kind))
        .collect();
    let expected = [
        (moved, EventKind::Expiring),
        (moved, EventKind::Updated),
        (revoked, EventKind::Expiring),
        (revoked, EventKind::Revoked),
        (endless, EventKind::Expiring),
        (endless, EventKind::Updated),
        (deleted, EventKind::Expiring),
        (deleted, EventKind::Deleted),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_token_that_a_sweep_removes_was_told_to_be_over() {
    let bench = Bench::new();
    let store = bench.open();
    created(&store, ending_after(Duration::from_secs(60))).await;
    bench.clock.advance(DAY * 2);
    assert_eq!(store.sweep().await.unwrap().removed, 1);
    telling(&store).await;
    assert_eq!(
        kinds(&store).await,
        [EventKind::Created, EventKind::Expired]
    );
}

#[tokio::test]
async fn a_lease_is_told_to_be_over_where_its_token_vanishes_first() {
    let bench = Bench::new();
    let store = bench.open();
    let pool = PoolName::parse("gpu").unwrap();
    let mut draft = Draft {
        profile: Profile {
            pool: Some(pool.clone()),
            keep_alive_ttl: Some(Duration::from_secs(60)),
            ..Profile::default()
        },
        ..fresh()
    };
    draft.id = draft.id.in_pool(&draft.namespace, &pool);
    created(&store, draft).await;
    let asking = Asking {
        pool: Pool {
            namespace: Namespace::fallback(),
            name: pool,
        },
        grant: Grant {
            mark: LeaseMark::parse(&"m".repeat(22)).unwrap(),
            holder: Holder::parse("w1").unwrap(),
            duration: Duration::from_secs(60),
            origin: None,
            digest: SecretDigest {
                key_id: SecretDigest::UNKEYED,
                bytes: [1; 32],
            },
        },
        waiter: None,
    };
    let leased = store.acquire(&asking).await.unwrap();
    assert!(matches!(leased, Acquired::Granted { .. }));
    for _ in 0..40 {
        bench.clock.advance(Duration::from_secs(4));
        store.be_seen().await.unwrap();
    }
    assert_eq!(store.sweep().await.unwrap().removed, 1);
    let expected = [
        EventKind::Created,
        EventKind::Leased,
        EventKind::LeaseExpired,
    ];
    assert_eq!(kinds(&store).await, expected);
}

#[tokio::test]
async fn a_span_that_is_configured_later_is_told_from_then_on() {
    let bench = Bench::new();
    let store = opened_with(&bench, &[DAY], EventBounds::default());
    created(&store, ending_after(DAY * 10)).await;
    created(&store, ending_after(DAY * 4)).await;
    telling(&store).await;
    store.close().await;
    bench.clock.advance(DAY * 2);
    let store = opened_with(&bench, &[DAY, DAY * 3], EventBounds::default());
    telling(&store).await;
    assert_eq!(kinds(&store).await.len(), 2, "three days were over by then");
    bench.clock.advance(DAY * 5);
    telling(&store).await;
    let expected = [
        EventKind::Created,
        EventKind::Created,
        EventKind::Expiring,
        EventKind::Expiring,
        EventKind::Expired,
    ];
    let mut told = kinds(&store).await;
    told.sort();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn what_was_told_is_not_told_again_after_the_process_was_lost() {
    let bench = Bench::new();
    let store = bench.open();
    created(&store, ending_after(DAY * 10)).await;
    bench.clock.advance(DAY * 5);
    telling(&store).await;
    let told = kinds(&store).await;
    assert_eq!(told, [EventKind::Created, EventKind::Expiring]);
    // Nothing is written down at its end.
    drop(store);
    let store = bench.open();
    telling(&store).await;
    assert_eq!(kinds(&store).await, told);
}

#[tokio::test]
async fn the_ends_of_tokens_of_an_earlier_schema_are_told() {
    let bench = Bench::new();
    let store = bench.open();
    for _ in 0..3 {
        created(&store, ending_after(DAY * 2)).await;
    }
    created(&store, fresh()).await;
    store.close().await;
    bench.back_to_second_schema();
    let store = bench.open();
    assert_eq!(kinds(&store).await, []);
    bench.clock.advance(DAY);
    telling(&store).await;
    assert_eq!(kinds(&store).await, [EventKind::Expiring; 3]);
}

#[tokio::test]
async fn a_store_with_nothing_to_tell_writes_nothing() {
    let bench = Bench::new();
    let store = bench.open();
    telling(&store).await;
    let positions = || -> String {
        let sql = "SELECT group_concat(span || ':' || end) FROM alarms";
        bench.raw().query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let before = positions();
    bench.clock.advance(Duration::from_secs(59));
    telling(&store).await;
    assert_eq!(positions(), before);
    bench.clock.advance(Duration::from_secs(1));
    telling(&store).await;
    assert_ne!(positions(), before, "it would be looked through again");
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_passed_over() {
    let bench = Bench::new();
    let store = bench.open();
    for _ in 0..3 {
        created(&store, fresh()).await;
    }
    let spoil = "UPDATE events SET record = x'ffff' WHERE number = 2";
    bench.raw().execute(spoil, []).unwrap();
    let events = store.events(START).await.unwrap();
    let told: Vec<_> = events.events.iter().map(|(at, _)| at.major).collect();
    assert_eq!((told, events.next.major), (vec![1, 3], 3));
}

#[test]
fn what_is_due_is_found_by_an_index() {
    let bench = Bench::new();
    drop(bench.open());
    let connection = bench.raw();
    for (sql, seek) in [
        (
            ENDS,
            "tokens USING INDEX tokens_expire (expire_time>? AND expire_time<?)",
        ),
        (OVERDUE, "tokens USING COVERING INDEX tokens_held (due<?)"),
        (READ, "events USING INTEGER PRIMARY KEY (rowid>?)"),
    ] {
        let explain = format!("EXPLAIN QUERY PLAN {sql}");
        let mut plan = connection.prepare(&explain).unwrap();
        let values = vec![rusqlite::types::Null; plan.parameter_count()];
        let steps: Vec<String> = plan
            .query_map(rusqlite::params_from_iter(values), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(steps, [format!("SEARCH {seek}")]);
    }
}

#[test]
fn kinds_are_kept_by_numbers_of_their_own() {
    let numbers: Vec<i64> = EventKind::ALL.into_iter().map(number).collect();
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
    for kind in EventKind::ALL {
        assert_eq!(read_kind(number(kind)), Some(kind));
    }
    assert_eq!(read_kind(11), None);
}
