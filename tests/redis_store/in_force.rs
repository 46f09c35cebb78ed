//! How many tokens are in force: exact whatever happens to them, in whichever order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use token_authority::clock::{Clock, ManualClock};
use token_authority::domain::name::Namespace;
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{Draft, Expiration, Ruling, State, Token, TokenId};
use token_authority::store::redis::{RedisOptions, RedisStore};
use token_authority::store::usage::InForce;
use token_authority::store::{Change, Creation, Rule, TokenStore, UsageStore};
use tokio::task::JoinSet;

use crate::kit::{bytes_of_each, created, marked_server, open};
use crate::support::drafts::{
    draft, ending_after, ending_at, namespace, requested, revoking, swept, willing, within,
};
use crate::support::redis_server::RedisServer;

const HOUR: Duration = Duration::from_secs(3600);
/// The index of the namespace of most tokens here.
const INDEX: &str = "ta:{x:default}";

async fn bench() -> (RedisServer, RedisOptions, Arc<ManualClock>) {
    let (server, mut options) = marked_server().await;
    let begin = Timestamp::from_micros(1_700_000_000_000_000);
    let clock = Arc::new(ManualClock::at(begin));
    options.clock = Some(clock.clone());
    (server, options, clock)
}

async fn standing(store: &RedisStore, most: usize) -> InForce {
    let default = Namespace::fallback();
    let standing = store.standing(Some(&default), Timestamp::MAX, most).await;
    standing.unwrap()
}

async fn active(store: &RedisStore) -> u64 {
    standing(store, 0).await.active
}

async fn entries(server: &RedisServer) -> BTreeMap<String, u64> {
    let entries: Vec<(String, u64)> = server
        .ask(&["ZRANGE", INDEX, "0", "-1", "WITHSCORES"])
        .await;
    entries.into_iter().collect()
}

fn disabling(disabled: bool) -> Rule {
    Arc::new(move |token, now| {
        let mut changed = token.clone();
        changed.profile.disabled = disabled;
        changed.update_time = now;
        Ruling::Replace(Box::new(changed))
    })
}

async fn changed(store: &RedisStore, id: TokenId, rule: Rule) {
    let change = store.change(id, rule).await;
    assert!(matches!(change, Ok(Change::Changed(_))), "{change:?}");
}

#[tokio::test]
async fn the_count_follows_each_change_and_the_time() {
    let (server, options, clock) = bench().await;
    let store = open(options).await;
    assert_eq!(standing(&store, 9).await, InForce::default());
    let plain = created(&store, draft()).await;
    let ending = created(&store, ending_after(HOUR)).await;
    let mut off = draft();
    off.profile.disabled = true;
    let off = created(&store, off).await;
    assert_eq!(active(&store).await, 2);
    changed(&store, off.id, disabling(false)).await;
    assert_eq!(active(&store).await, 3);
    clock.set(ending.expire_time.unwrap());
    assert_eq!(active(&store).await, 2);
    changed(&store, ending.id, ending_at(None)).await;
    assert_eq!(active(&store).await, 3);
    changed(&store, ending.id, ending_at(Some(clock.now()))).await;
    assert_eq!(active(&store).await, 2);
    changed(&store, plain.id, revoking("lost")).await;
    assert_eq!(active(&store).await, 1);
    let revoked = store.change(plain.id, revoking("again")).await;
    assert!(matches!(revoked, Ok(Change::Kept(..))), "{revoked:?}");
    store.delete(off.id, willing()).await.unwrap();
    assert_eq!(active(&store).await, 0);
    store.delete(plain.id, willing()).await.unwrap();
    assert_eq!(active(&store).await, 0);
    clock.advance(24 * 31 * HOUR);
    assert_eq!(swept(&store).await, 1);
    assert_eq!(standing(&store, 9).await, InForce::default());
    assert_eq!(entries(&server).await, BTreeMap::new());
}

#[tokio::test]
async fn those_that_expire_next_come_in_the_order_of_their_ends() {
    let (_server, options, clock) = bench().await;
    let store = open(options).await;
    let mut tokens = Vec::new();
    for hours in [5, 2, 9, 1, 7] {
        tokens.push(created(&store, ending_after(hours * HOUR)).await);
    }
    created(&store, draft()).await;
    let mut off = ending_after(HOUR);
    off.profile.disabled = true;
    created(&store, off).await;
    let other = Draft {
        expiration: Expiration::After(3 * HOUR),
        ..within("other")
    };
    let other = created(&store, other).await;
    tokens.sort_by_key(|token| token.expire_time);
    assert_eq!(standing(&store, 9).await.expiring, tokens);
    assert_eq!(standing(&store, 2).await.expiring, tokens[..2]);
    let until = clock.now().saturating_add(5 * HOUR);
    let default = Namespace::fallback();
    let soon = store.standing(Some(&default), until, 9).await.unwrap();
    assert_eq!((soon.active, &soon.expiring[..]), (6, &tokens[..3]));
    let all = store.standing(None, until, 3).await.unwrap();
    let expected = [tokens[0].clone(), tokens[1].clone(), other];
    assert_eq!((all.active, all.expiring), (7, expected.to_vec()));
    clock.set(tokens[0].expire_time.unwrap());
    assert_eq!(standing(&store, 1).await.expiring, tokens[1..2]);
}

#[tokio::test]
async fn more_namespaces_than_one_exchange_carries_are_all_counted() {
    let (_server, options, _clock) = bench().await;
    let store = open(options).await;
    for n in 0..300 {
        let token = created(&store, within(&format!("n{n}"))).await;
        if n % 3 == 0 {
            changed(&store, token.id, revoking("lost")).await;
        }
    }
    let all = store.standing(None, Timestamp::MAX, 9).await.unwrap();
    assert_eq!(all.active, 200);
    let one = namespace("n4");
    let one = store.standing(Some(&one), Timestamp::MAX, 9).await;
    assert_eq!(one.unwrap().active, 1);
}

#[tokio::test]
async fn a_creation_that_came_to_nothing_leaves_the_entry_of_the_token_that_stands() {
    let (server, options, _clock) = bench().await;
    let store = open(options).await;
    let token = created(&store, draft()).await;
    let again = Draft {
        id: token.id,
        ..ending_after(HOUR)
    };
    assert_eq!(store.create(again).await, Ok(Creation::Taken(token)));
    assert_eq!(entries(&server).await, BTreeMap::new());
    let ending = Draft {
        expiration: Expiration::After(HOUR),
        ..requested(1)
    };
    let token = created(&store, ending.clone()).await;
    store.create(ending).await.unwrap();
    let expected = (token.id.to_string(), token.expire_time.unwrap().micros());
    assert_eq!(entries(&server).await, BTreeMap::from([expected]));
}

/// One of some changes to a token, or its end, whatever comes of it.
async fn meddle(store: &RedisStore, clock: &ManualClock, id: TokenId, number: u64) {
    let later = clock
        .now()
        .saturating_add(HOUR * u32::try_from(number % 7).unwrap());
    let rule = match number % 11 {
        0 | 1 => disabling(true),
        2 | 3 => disabling(false),
        4 => ending_at(None),
        5..=7 => ending_at(Some(later)),
        8 if number.is_multiple_of(3) => revoking("lost"),
        9 if number.is_multiple_of(5) => {
            let _ = store.delete(id, willing()).await;
            return;
        }
        _ => Arc::new(|token: &Token, now| {
            let mut changed = token.clone();
            changed.update_time = now;
            Ruling::Replace(Box::new(changed))
        }),
    };
    // Others may come before as often as one tries.
    let _ = store.change(id, rule).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_comes_last_of_many_leaves_each_entry_right() {
    let (server, options, clock) = bench().await;
    let mut tokens = Vec::new();
    let mut stores = Vec::new();
    for _ in 0..3 {
        stores.push(Arc::new(open(options.clone()).await));
    }
    for _ in 0..6 {
        tokens.push(created(&stores[0], ending_after(HOUR)).await.id);
    }
    let mut meddlers = JoinSet::new();
    for number in 0..12_u64 {
        let store = stores[number as usize % stores.len()].clone();
        let (clock, tokens) = (clock.clone(), tokens.clone());
        meddlers.spawn(async move {
            for turn in 0..30 {
                let number = number * 7919 + turn * 104_729;
                let id = tokens[(number / 13) as usize % tokens.len()];
                meddle(&store, &clock, id, number).await;
            }
        });
    }
    meddlers.join_all().await;
    let (mut expected, mut in_force) = (BTreeMap::new(), 0);
    for id in &tokens {
        let found = stores[0].find(*id).await.unwrap();
        let Some(token) = found.token else {
            continue;
        };
        let since = match token.state(Timestamp::from_micros(0)) {
            State::Active => token.expire_time.map(Timestamp::micros),
            _ => Some(0),
        };
        expected.extend(since.map(|since| (id.to_string(), since)));
        in_force += u64::from(token.state(found.now) == State::Active);
    }
    assert_eq!(entries(&server).await, expected);
    assert_eq!(active(&stores[1]).await, in_force);
}

#[tokio::test]
async fn an_entry_that_a_crash_left_wrong_is_mended_where_it_is_met() {
    let (server, options, _clock) = bench().await;
    let store = open(options).await;
    let ending = created(&store, ending_after(2 * HOUR)).await;
    let plain = created(&store, draft()).await;
    let gone = draft().id;
    let end = ending.expire_time.unwrap().micros();
    for (id, since) in [(ending.id, end - 9), (plain.id, end - 8), (gone, end - 7)] {
        let _: u64 = server
            .ask(&["ZADD", INDEX, &since.to_string(), id.as_str()])
            .await;
    }
    assert_eq!(
        standing(&store, 1).await.expiring,
        std::slice::from_ref(&ending)
    );
    let whole = standing(&store, 9).await;
    assert_eq!((whole.active, whole.expiring), (2, vec![ending.clone()]));
    let right = BTreeMap::from([(ending.id.to_string(), end)]);
    assert_eq!(entries(&server).await, right);
    // Wrong ones that nobody meets are mended with the next change of what they say.
    let _: u64 = server.ask(&["ZADD", INDEX, "0", plain.id.as_str()]).await;
    changed(&store, plain.id, disabling(true)).await;
    changed(&store, plain.id, disabling(false)).await;
    assert_eq!(entries(&server).await, right);
}

#[tokio::test]
async fn a_full_redis_notes_who_was_revoked() {
    let (server, options, _clock) = bench().await;
    let store = open(options).await;
    let token = created(&store, draft()).await;
    let () = server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    changed(&store, token.id, revoking("lost")).await;
    assert!(store.create(ending_after(HOUR)).await.is_err());
    let () = server.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let revoked = BTreeMap::from([(token.id.to_string(), 0)]);
    assert_eq!(entries(&server).await, revoked);
}

#[tokio::test]
async fn a_change_that_does_not_touch_it_and_a_creation_without_an_end_note_nothing() {
    let (server, options, clock) = bench().await;
    let store = open(options).await;
    let noted = async || -> Vec<String> {
        let key = "ta:{x:default}";
        server.ask(&["ZRANGE", key, "0", "-1", "WITHSCORES"]).await
    };
    let before = store.round_trips();
    let token = created(&store, draft()).await;
    changed(&store, token.id, revoking("lost")).await;
    let cost = store.round_trips() - before;
    let ending = created(&store, ending_after(HOUR)).await;
    let first = noted().await;
    let again = store.round_trips();
    let other = created(&store, draft()).await;
    changed(&store, other.id, ending_at(Some(clock.now()))).await;
    changed(&store, ending.id, ending_at(ending.expire_time)).await;
    let twice = store.round_trips() - again;
    assert!(twice <= 2 * cost, "{twice} after {cost}");
    let last = noted().await;
    // Each with the time since when: that of the revoked one, of the ending one, and of the other.
    assert_eq!((first.len(), last.len()), (4, 6), "{last:?}");
    assert!(first.iter().all(|entry| last.contains(entry)));
}

#[tokio::test]
async fn a_token_with_an_end_takes_at_most_650_bytes_of_redis() {
    let each = bytes_of_each(|| ending_after(HOUR)).await;
    assert!(each <= 650, "{each} bytes");
}
