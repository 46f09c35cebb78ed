//! Sweeps: what they cost, what a sweep that died leaves to the next, and what they never touch.

use std::sync::Arc;
use std::time::Duration;

use token_authority::clock::{Clock, ManualClock};
use token_authority::domain::limit::Quota;
use token_authority::domain::permits::{Ahead, BatchId, Wish};
use token_authority::domain::spending::Scope;
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{Draft, Expiration, Token, TokenId};
use token_authority::domain::usage::Hour;
use token_authority::store::redis::RedisStore;
use token_authority::store::usage::Flush;
use token_authority::store::{
    Change, Creation, LimitStore, StoreError, Sweeping, Swept, Take, TokenStore, UsageStore,
};

use crate::kit::{created, marked_server, open, requested_in};
use crate::support::drafts::{
    draft, ending_after, ending_at, owned, pooled, rate_limits, revoking, swept, willing,
};
use crate::support::gains::{gain_of, mark};
use crate::support::redis_server::RedisServer;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long an entry without a record is left alone.
const CREATION_TAKES_MAX: Duration = Duration::from_secs(60);

/// A server, a store over it, and a clock in the test's hand.
async fn bench() -> (RedisServer, RedisStore, Arc<ManualClock>) {
    let (server, mut options) = marked_server().await;
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(
        1_700_000_000_000_000,
    )));
    options.clock = Some(clock.clone());
    (server, open(options).await, clock)
}

async fn keys(server: &RedisServer) -> Vec<String> {
    let mut keys: Vec<String> = server.ask(&["KEYS", "*"]).await;
    keys.sort_unstable();
    keys
}

/// All that is due at some time, by id.
async fn noted(server: &RedisServer) -> Vec<(String, u64)> {
    let mut noted = Vec::new();
    for key in keys(server).await {
        if key.starts_with("ta:{due:") {
            let some: Vec<(String, u64)> =
                server.ask(&["ZRANGE", &key, "0", "-1", "WITHSCORES"]).await;
            noted.extend(some);
        }
    }
    noted
}

/// When sweeps look, by id.
async fn noted_ends(server: &RedisServer) -> Vec<(String, u64)> {
    let mut noted = Vec::new();
    for key in keys(server).await {
        if key.starts_with("ta:{due:") && !key.ends_with(":a") {
            let some: Vec<(String, u64)> =
                server.ask(&["ZRANGE", &key, "0", "-1", "WITHSCORES"]).await;
            noted.extend(some);
        }
    }
    noted
}

/// Comes to the end of a token, which is told, and to when it vanishes.
async fn ended(store: &RedisStore, clock: &ManualClock, token: &Token) {
    store.all_told().await;
    clock.set(token.expire_time.unwrap());
    assert_eq!(swept(store).await, 0);
    clock.set(vanish_time(token));
}

fn key(kind: char, id: TokenId) -> String {
    format!("ta:{{{}}}:{kind}:{}", id.tag(), id.after_tag())
}

fn vanish_time(token: &Token) -> Timestamp {
    token.vanish_time(&Default::default()).unwrap()
}

/// A token with everything that can be kept about one: in three series, under a claim, with limits of
/// which a batch may be taken.
fn manifold() -> Draft {
    let mut draft = requested_in(1, Some("gpu"));
    draft.profile.owner = owned("ann").profile.owner;
    draft.profile.rate_limits = rate_limits(&[("", 900, 3600, 0)]);
    draft.profile.quota = Quota::new(900, None).ok();
    draft.expiration = Expiration::After(HOUR);
    draft
}

#[tokio::test]
async fn no_key_is_left_of_a_token_that_vanished() {
    let (server, store, clock) = bench().await;
    created(&store, draft()).await;
    store.all_told().await;
    let before = keys(&server).await;
    let token = created(&store, manifold()).await;
    let wish = Wish {
        batch: BatchId(1),
        uses: 9,
    };
    let take = Take {
        token: Arc::new(token.clone()),
        until: None,
        cost: 1,
        scope: Scope::All,
        dry_run: false,
        ahead: Ahead {
            back: None,
            wish: Some(wish),
        },
    };
    store.take(&take).await.unwrap();
    store.all_told().await;
    let (namespace, since) = (token.namespace.clone(), Hour::of(token.create_time));
    let flush = Flush {
        mark: mark(1),
        gains: [gain_of(token.id, &[since])].into(),
    };
    store.add_usage(&flush).await.unwrap();
    // Two of them are about all pools.
    assert_eq!(keys(&server).await.len(), before.len() + 14);
    let standing = async || store.standing(Some(&namespace), Timestamp::MAX, 9).await;
    assert_eq!(
        standing().await.unwrap().expiring,
        std::slice::from_ref(&token)
    );
    clock.set(vanish_time(&token));
    assert_eq!(swept(&store).await, 1);
    store.all_told().await;
    let left = keys(&server).await.into_iter();
    let lasting = left.filter(|key| !["ta:{s}:a", "ta:{s}:p"].contains(&key.as_str()));
    assert_eq!(lasting.collect::<Vec<_>>(), before);
}

#[tokio::test]
async fn an_end_costs_no_round_trip_whether_it_is_there_at_first_or_comes_later() {
    let (server, store, _clock) = bench().await;
    created(&store, ending_after(HOUR)).await;
    let token = created(&store, draft()).await;
    store.change(token.id, revoking("")).await.unwrap();
    let before = store.round_trips();
    let token = created(&store, ending_after(HOUR)).await;
    assert_eq!(store.round_trips() - before, 2);
    let before = store.round_trips();
    store.change(token.id, revoking("")).await.unwrap();
    assert_eq!(store.round_trips() - before, 2);
    assert_eq!(noted(&server).await.len(), 3);
}

#[tokio::test]
async fn a_redis_that_forgot_all_scripts_notes_every_end() {
    let (server, store, _clock) = bench().await;
    let lasting = created(&store, draft()).await;
    server.run("SCRIPT FLUSH").await;
    created(&store, ending_after(HOUR)).await;
    server.run("SCRIPT FLUSH").await;
    store.change(lasting.id, revoking("")).await.unwrap();
    assert_eq!(noted(&server).await.len(), 2);
    server.run("SCRIPT FLUSH").await;
    assert_eq!(swept(&store).await, 0);
}

#[tokio::test]
async fn what_a_sweep_that_died_left_is_removed_by_the_next() {
    let (server, store, clock) = bench().await;
    created(&store, draft()).await;
    store.all_told().await;
    let before = keys(&server).await;
    for stage in ["record put aside", "entries removed"] {
        let token = created(&store, manifold()).await;
        ended(&store, &clock, &token).await;
        let (record, remains) = (key('t', token.id), key('v', token.id));
        server.run(&format!("RENAME {record} {remains}")).await;
        let free = format!("ta:{{{}}}:f:default:gpu", token.id.tag());
        server
            .run(&format!("DEL {} {free}", key('h', token.id)))
            .await;
        if stage == "entries removed" {
            for series in keys(&server).await {
                if series.ends_with(":i") && !before.contains(&series) {
                    server.run(&format!("DEL {series}")).await;
                }
            }
        }
        assert!(store.find(token.id).await.unwrap().token.is_none());
        assert_eq!(swept(&store).await, 0, "it was counted by the other");
        // The entry of what is due waits, in case that somebody creates the token anew.
        clock.advance(CREATION_TAKES_MAX);
        assert_eq!(swept(&store).await, 0);
        store.all_told().await;
        let left = keys(&server).await;
        let lasting = left.iter().filter(|key| !key.contains("{s}"));
        let before = before.iter().filter(|key| !key.contains("{s}"));
        assert!(lasting.eq(before), "{stage}: {left:?}");
    }
}

#[tokio::test]
async fn remains_do_not_stand_in_the_way_of_a_new_token_of_the_same_id() {
    let (server, store, clock) = bench().await;
    let first = created(&store, manifold()).await;
    ended(&store, &clock, &first).await;
    let (record, remains) = (key('t', first.id), key('v', first.id));
    server.run(&format!("RENAME {record} {remains}")).await;
    // The claim is still there, and leads to the same id.
    let second = created(&store, manifold()).await;
    assert_eq!(second.id, first.id);
    assert_eq!(swept(&store).await, 0);
    let found = store.find(first.id).await.unwrap().token;
    assert_eq!(found.as_deref(), Some(&second));
    // The claim is the new token's now.
    let elsewhere = store.create(requested_in(1, Some("cpu"))).await;
    assert_eq!(elsewhere, Ok(Creation::Taken(second.clone())));
    clock.set(vanish_time(&second));
    assert_eq!(swept(&store).await, 1);
    assert!(noted(&server).await.is_empty());
}

#[tokio::test]
async fn an_entry_whose_record_may_still_be_written_is_left_alone() {
    let (server, store, clock) = bench().await;
    let id = draft().id;
    let token = created(
        &store,
        Draft {
            id,
            ..ending_after(HOUR)
        },
    )
    .await;
    server.run(&format!("DEL {}", key('t', id))).await;
    let due = token.expire_time.unwrap();
    for early in [
        Duration::ZERO,
        CREATION_TAKES_MAX - Duration::from_micros(1),
    ] {
        clock.set(due.saturating_add(early));
        assert_eq!(store.sweep().await, Ok(Swept::default()));
        assert_eq!(noted(&server).await.len(), 1);
    }
    clock.set(due.saturating_add(CREATION_TAKES_MAX));
    swept(&store).await;
    assert!(noted(&server).await.is_empty());
}

#[tokio::test]
async fn what_is_noted_moves_earlier_with_every_change_and_later_by_a_sweep_only() {
    let (server, store, clock) = bench().await;
    let token = created(&store, ending_after(HOUR)).await;
    let first = vanish_time(&token);
    ended(&store, &clock, &token).await;
    clock.set(token.expire_time.unwrap());
    let only = async || {
        let noted = noted_ends(&server).await;
        let [(id, time)] = noted.as_slice() else {
            panic!("{noted:?}");
        };
        assert_eq!(*id, token.id.to_string());
        Timestamp::from_micros(*time)
    };
    assert_eq!(only().await, first);
    let change = async |rule| match store.change(token.id, rule).await {
        Ok(Change::Changed(token)) => vanish_time(&token),
        other => panic!("expected a change, got {other:?}"),
    };
    let later = first.saturating_add(DAY);
    let moved = change(ending_at(Some(later))).await;
    assert_eq!(only().await, first, "later: nothing is noted");
    clock.set(first);
    swept(&store).await;
    assert_eq!(only().await, moved, "the sweep has read the record");
    let earlier = change(ending_at(Some(first.saturating_add(HOUR)))).await;
    assert_eq!(only().await, earlier);
    clock.set(earlier);
    assert_eq!(swept(&store).await, 1);
}

#[tokio::test]
async fn a_change_beside_a_sweep_is_noticed_where_its_own_end_is_later_than_what_was_noted() {
    let (server, store, clock) = bench().await;
    let token = created(&store, ending_after(HOUR)).await;
    let due = vanish_time(&token);
    clock.set(token.expire_time.unwrap());
    assert_eq!(
        swept(&store).await,
        0,
        "its end is told, and it vanishes later"
    );
    assert_eq!(noted(&server).await[0].1, due.micros());
    store.change(token.id, ending_at(None)).await.unwrap();
    clock.set(due);
    // As if a sweep had read the record just now: it will note that the token never vanishes.
    let (_, seen) = noted_ends(&server).await.remove(0);
    store.change(token.id, revoking("")).await.unwrap();
    let (_, now) = noted_ends(&server).await.remove(0);
    assert!(now < seen, "the sweep finds another time than it saw");
    let revoked = store.find(token.id).await.unwrap().token.unwrap();
    clock.set(vanish_time(&revoked));
    assert_eq!(swept(&store).await, 1);
}

#[tokio::test]
async fn of_a_deleted_token_nothing_is_due_after_a_while_however_late_its_end_was() {
    let (server, store, clock) = bench().await;
    let token = created(&store, ending_after(DAY * 3650)).await;
    clock.advance(HOUR);
    store.delete(token.id, willing()).await.unwrap();
    assert_eq!(swept(&store).await, 0);
    assert!(noted(&server).await.is_empty());
}

#[tokio::test]
async fn a_store_that_lost_its_marker_is_not_swept() {
    let (server, store, clock) = bench().await;
    let token = created(&store, ending_after(HOUR)).await;
    store.all_told().await;
    clock.set(vanish_time(&token).saturating_add(DAY));
    server.run("DEL ta:store").await;
    let before = keys(&server).await;
    let refused = store.sweep().await;
    assert!(
        matches!(refused, Err(StoreError::Unacceptable(_))),
        "{refused:?}"
    );
    assert_eq!(keys(&server).await, before);
}

#[tokio::test]
async fn a_full_redis_is_swept_and_notes_the_end_of_a_revoked_token() {
    let (server, store, clock) = bench().await;
    let lasting = created(&store, draft()).await;
    let mut ending = Vec::new();
    for _ in 0..20 {
        ending.push(created(&store, ending_after(HOUR)).await);
    }
    server.run("CONFIG SET maxmemory-policy noeviction").await;
    server.run("CONFIG SET maxmemory 1").await;
    let refused = store.create(ending_after(HOUR)).await;
    assert!(
        matches!(refused, Err(StoreError::ReadOnly(_))),
        "{refused:?}"
    );
    store.change(lasting.id, revoking("")).await.unwrap();
    clock.set(vanish_time(ending.last().unwrap()));
    assert_eq!(swept(&store).await, 20);
    assert_eq!(noted(&server).await.len(), 1);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_kept_and_holds_up_no_other() {
    let (server, store, clock) = bench().await;
    let damaged = created(&store, ending_after(HOUR)).await;
    let sound = created(&store, pooled(ending_after(HOUR), "gpu")).await;
    let record = key('t', damaged.id);
    server.run(&format!("SET {record} 1234")).await;
    server.run("ZADD ta:{due:00} 5 rubbish").await;
    clock.set(vanish_time(&sound));
    assert_eq!(swept(&store).await, 1);
    let (id, time) = noted(&server).await.remove(0);
    let tomorrow = clock.now().saturating_add(DAY);
    assert_eq!((id, time), (damaged.id.to_string(), tomorrow.micros()));
    let kept: String = server.ask(&["GET", &record]).await;
    assert_eq!(kept, "1234");
}
