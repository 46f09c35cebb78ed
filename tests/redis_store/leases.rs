//! Leases on Redis: what acts cost, who is woken, and what a Redis that fails, or lies, cannot do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use token_authority::clock::ManualClock;
use token_authority::domain::caller::Reach;
use token_authority::domain::lease::Lease;
use token_authority::domain::page::PageSize;
use token_authority::domain::pool::{Pool, Standing};
use token_authority::domain::token::{Draft, Expiration, Ruling, Token, TokenId};
use token_authority::store::bells::Bell;
use token_authority::store::leases::{Acquired, Asking, KeptAlive, LeaseTarget, Released};
use token_authority::store::redis::RedisStore;
use token_authority::store::{Change, LeaseStore, Rule, StoreError, Sweeping, TokenStore};

use crate::kit::{bytes_of_each, created, marked_server, open, system_time, until, usable};
use crate::proxies::copy_to;
use crate::support::drafts::{swept, willing};
use crate::support::leases::{
    asking, asking_for, beat, beat_of, lasting, lease_id, living, pool, requesting, waiter, waiting,
};
use crate::support::redis_server::RedisServer;

const SECOND: Duration = Duration::from_secs(1);

fn gpu() -> Pool {
    pool("gpu")
}

async fn acquired(store: &RedisStore, asking: &Asking) -> (Token, Lease) {
    match store.acquire(asking).await {
        Ok(Acquired::Granted { token, lease, .. }) => (*token, *lease),
        other => panic!("expected a lease, got {other:?}"),
    }
}

async fn busy(store: &RedisStore, asking: &Asking) {
    let answer = store.acquire(asking).await;
    assert!(matches!(answer, Ok(Acquired::Busy { .. })), "{answer:?}");
}

async fn released(store: &RedisStore, (token, lease): &(Token, Lease)) {
    let target = LeaseTarget::Lease(lease_id(token, lease));
    let answer = store.release(target, &Reach::All).await;
    let ended = matches!(answer, Ok(Released::Ended { before: false, .. }));
    assert!(ended, "{answer:?}");
}

async fn standing(store: &RedisStore) -> Option<Standing> {
    let pools = store.pools(&Reach::All, None, PageSize::asked(10)).await;
    let pools = pools.unwrap().pools;
    pools
        .into_iter()
        .find(|(pool, _)| *pool == gpu())
        .map(|(_, standing)| standing)
}

async fn hears(bell: &Bell) {
    let rung = tokio::time::timeout(SECOND * 20, bell.rung()).await;
    rung.expect("the bell rings");
}

/// Exchanges with Redis that `act` takes.
async fn trips<T>(store: &RedisStore, act: impl Future<Output = T>) -> u64 {
    let before = store.round_trips();
    act.await;
    store.round_trips() - before
}

fn key(kind: char, id: TokenId) -> String {
    format!("ta:{{{}}}:{kind}:{}", id.tag(), id.after_tag())
}

fn set_of(kind: char, id: TokenId) -> String {
    format!("ta:{{{}}}:{kind}:default:gpu", id.tag())
}

#[tokio::test]
async fn each_act_on_a_lease_costs_one_round_trip() {
    let (_server, options) = marked_server().await;
    let store = open(options).await;
    for _ in 0..2 {
        created(&store, living(SECOND * 300)).await;
    }
    // Redis learns each script by its first call.
    for round in 0..2 {
        let asked = asking(&gpu());
        let before = store.round_trips();
        let held = acquired(&store, &asked).await;
        let acquiring = store.round_trips() - before;
        let id = lease_id(&held.0, &held.1);
        let keeping = trips(&store, store.keep_alive(&beat(id))).await;
        let finding = trips(&store, store.find(held.0.id)).await;
        let beating = trips(&store, store.keep_alive(&beat_of(held.0.id))).await;
        let releasing = trips(&store, released(&store, &held)).await;
        let seeing = trips(&store, store.be_seen()).await;
        if round == 1 {
            assert_eq!([acquiring, keeping, finding, releasing, seeing], [1; 5]);
            assert_eq!(beating, 2, "it is judged here");
        }
    }
}

#[tokio::test]
async fn all_that_is_kept_of_a_pool_lies_in_one_slot() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let token = created(&store, lasting()).await;
    let held = acquired(&store, &requesting(&gpu(), 1, 1)).await;
    busy(&store, &waiting(&gpu(), waiter())).await;
    store.all_told().await;
    let keys: Vec<String> = server.ask(&["KEYS", "*"]).await;
    let tag = format!("ta:{{{}}}:", token.id.tag());
    let kinds: BTreeSet<char> = keys
        .iter()
        .filter_map(|key| key.strip_prefix(&tag)?.chars().next())
        .collect();
    assert_eq!(kinds, BTreeSet::from(['t', 'h', 'b', 'w', 'p', 'a']));
    // Once it is deleted, nothing is left but what goes by itself.
    store.delete(held.0.id, willing()).await.unwrap();
    store.all_told().await;
    for key in server
        .ask::<Vec<String>>(&["KEYS", &format!("{}*", tag)])
        .await
    {
        let left: i64 = server.ask(&["PTTL", &key]).await;
        assert!(left > 0, "{key} stays for ever");
    }
}

#[tokio::test]
async fn a_release_in_one_process_wakes_who_waits_in_another() {
    let (server, options) = marked_server().await;
    let (here, there) = (open(options.clone()).await, open(options).await);
    created(&here, lasting()).await;
    let held = acquired(&here, &asking(&gpu())).await;
    let (first, second) = (waiter(), waiter());
    let bells = [first, second].map(|waiter| there.bells().hang(waiter));
    busy(&there, &waiting(&gpu(), first)).await;
    busy(&there, &waiting(&gpu(), second)).await;
    until("it listens", async || {
        let listening: (String, u64) = server.ask(&["PUBSUB", "NUMSUB", "ta:wake"]).await;
        listening.1 == 1
    })
    .await;
    // Whoever begins to listen asks once more.
    for bell in &bells {
        hears(bell).await;
    }
    released(&here, &held).await;
    hears(&bells[0]).await;
    let served = acquired(&there, &waiting(&gpu(), first)).await;
    assert!(served.1.fence > held.1.fence);
    released(&here, &served).await;
    hears(&bells[1]).await;
}

#[tokio::test]
async fn an_interrupted_channel_is_listened_to_again() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    created(&store, lasting()).await;
    acquired(&store, &asking(&gpu())).await;
    let first = waiter();
    let bell = store.bells().hang(first);
    busy(&store, &waiting(&gpu(), first)).await;
    for _ in 0..3 {
        hears(&bell).await;
        let ended: u64 = server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        assert_eq!(ended, 1);
    }
    hears(&bell).await;
}

#[tokio::test]
async fn leases_pass_on_where_nobody_may_ring() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    created(&store, lasting()).await;
    let () = server
        .ask(&[
            "ACL",
            "SETUSER",
            "default",
            "resetchannels",
            "-publish",
            "-subscribe",
        ])
        .await;
    let held = acquired(&store, &asking(&gpu())).await;
    let first = waiter();
    busy(&store, &waiting(&gpu(), first)).await;
    released(&store, &held).await;
    busy(&store, &asking(&gpu())).await;
    acquired(&store, &waiting(&gpu(), first)).await;
}

#[tokio::test]
async fn who_waited_in_a_process_that_died_is_passed_over() {
    let (_server, options) = marked_server().await;
    let (here, there) = (open(options.clone()).await, open(options).await);
    created(&here, lasting()).await;
    let held = acquired(&here, &asking(&gpu())).await;
    busy(&there, &waiting(&gpu(), waiter())).await;
    drop(there);
    let next = waiter();
    busy(&here, &waiting(&gpu(), next)).await;
    released(&here, &held).await;
    busy(&here, &waiting(&gpu(), next)).await;
    until("the dead caller has lost its place", async || {
        let answer = here.acquire(&waiting(&gpu(), next)).await;
        matches!(answer, Ok(Acquired::Granted { .. }))
    })
    .await;
}

#[tokio::test]
async fn a_lease_outlives_a_kill_of_redis_and_fences_go_on() {
    let (mut server, mut options) = {
        let server = RedisServer::with(&["--appendfsync", "always"]);
        let options = crate::kit::options(&server);
        token_authority::store::redis::init(&options).await.unwrap();
        (server, options)
    };
    options.connections = 1;
    let store = open(options).await;
    created(&store, living(SECOND * 300)).await;
    let held = acquired(&store, &asking(&gpu())).await;
    server.kill();
    server.restart();
    usable(&store).await;
    busy(&store, &asking(&gpu())).await;
    let kept = store.keep_alive(&beat(lease_id(&held.0, &held.1))).await;
    assert!(matches!(kept, Ok(KeptAlive::Kept { .. })), "{kept:?}");
    released(&store, &held).await;
    let next = acquired(&store, &asking(&gpu())).await;
    assert!(next.1.fence > held.1.fence);
}

#[tokio::test]
async fn a_redis_that_was_set_back_gives_no_fence_again() {
    let (server, options) = marked_server().await;
    let store = open(options.clone()).await;
    created(&store, lasting()).await;
    let backup = RedisServer::start();
    copy_to(&server, &backup).await;
    let mut last = 0;
    for _ in 0..50 {
        let held = acquired(&store, &asking(&gpu())).await;
        assert!(held.1.fence > last);
        last = held.1.fence;
        released(&store, &held).await;
    }
    copy_to(&backup, &server).await;
    let held = acquired(&store, &asking(&gpu())).await;
    assert!(held.1.fence > last, "{} after {last}", held.1.fence);
}

#[tokio::test]
async fn an_emptied_redis_is_an_error_and_no_empty_pool() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    created(&store, lasting()).await;
    let held = acquired(&store, &asking(&gpu())).await;
    let id = lease_id(&held.0, &held.1);
    for act in 0..6 {
        let () = server.ask(&["FLUSHALL"]).await;
        let error = match act {
            0 => store.acquire(&asking(&gpu())).await.map(drop),
            1 => store
                .release(LeaseTarget::Lease(id), &Reach::All)
                .await
                .map(drop),
            2 => store.keep_alive(&beat(id)).await.map(drop),
            3 => store.keep_alive(&beat_of(held.0.id)).await.map(drop),
            4 => store.be_seen().await,
            _ => store
                .pools(&Reach::All, None, PageSize::asked(10))
                .await
                .map(drop),
        };
        assert!(
            matches!(error, Err(StoreError::Unacceptable(_))),
            "{act}: {error:?}"
        );
    }
}

#[tokio::test]
async fn an_index_that_lies_leases_no_token_twice() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let token = created(&store, lasting()).await;
    let held = acquired(&store, &asking(&gpu())).await;
    let rest = token.id.after_tag();
    let (free, taken) = (set_of('f', token.id), set_of('b', token.id));
    let _: u64 = server.ask(&["ZREM", &taken, rest]).await;
    let _: u64 = server.ask(&["ZADD", &free, "inf", rest]).await;
    busy(&store, &asking(&gpu())).await;
    let leased = Standing {
        leased: 1,
        ..Standing::default()
    };
    assert_eq!(standing(&store).await, Some(leased));
    released(&store, &held).await;
    // One whose record is gone is nobody's to lease.
    let _: u64 = server.ask(&["DEL", &key('t', token.id)]).await;
    assert_eq!(store.acquire(&asking(&gpu())).await, Ok(Acquired::Empty));
    assert_eq!(standing(&store).await, None);
}

#[tokio::test]
async fn a_damaged_tenure_is_put_aside_and_holds_up_no_other() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let damaged = created(&store, lasting()).await;
    let _: String = server.ask(&["SET", &key('h', damaged.id), "x"]).await;
    let sound = created(&store, lasting()).await;
    for _ in 0..8 {
        let held = acquired(&store, &asking(&gpu())).await;
        assert_eq!(held.0.id, sound.id);
        released(&store, &held).await;
    }
    let found = store.find(damaged.id).await;
    assert!(matches!(found, Err(StoreError::Corrupt(_))), "{found:?}");
    let told = standing(&store).await.unwrap();
    assert_eq!((told.tokens(), told.leased), (2, 0));
}

#[tokio::test]
async fn many_leases_that_end_together_hold_nobody_up() {
    const TOKENS: usize = 200;
    let (_server, mut options) = marked_server().await;
    let clock = Arc::new(ManualClock::at(system_time()));
    options.clock = Some(clock.clone());
    let store = open(options).await;
    for _ in 0..TOKENS {
        created(&store, lasting()).await;
        acquired(&store, &asking_for(&gpu(), SECOND * 2)).await;
    }
    clock.advance(SECOND * 2);
    let mut leased = BTreeSet::new();
    for _ in 0..TOKENS {
        leased.insert(acquired(&store, &asking(&gpu())).await.0.id);
    }
    assert_eq!(leased.len(), TOKENS);
    busy(&store, &asking(&gpu())).await;
}

#[tokio::test]
async fn many_tokens_that_expire_together_are_leased_to_nobody() {
    const TOKENS: u64 = 400;
    let (_server, mut options) = marked_server().await;
    let clock = Arc::new(ManualClock::at(system_time()));
    options.clock = Some(clock.clone());
    let store = open(options).await;
    for _ in 0..TOKENS {
        let ending = Draft {
            expiration: Expiration::After(SECOND * 2),
            ..lasting()
        };
        created(&store, ending).await;
    }
    clock.advance(SECOND * 3);
    busy(&store, &waiting(&gpu(), waiter())).await;
    let over = Standing {
        unavailable: TOKENS,
        waiting: 1,
        ..Standing::default()
    };
    assert_eq!(standing(&store).await, Some(over));
}

#[tokio::test]
async fn an_idle_pooled_token_takes_at_most_800_bytes_of_redis() {
    let each = bytes_of_each(lasting).await;
    assert!(each <= 800, "{each} bytes");
}

#[tokio::test]
async fn a_sweep_leaves_nothing_of_a_token_that_nobody_kept_alive() {
    let (server, mut options) = marked_server().await;
    let clock = Arc::new(ManualClock::at(system_time()));
    options.clock = Some(clock.clone());
    let store = open(options).await;
    let token = created(&store, living(SECOND * 2)).await;
    clock.advance(SECOND * 2);
    assert_eq!(swept(&store as &dyn Sweeping).await, 1);
    store.all_told().await;
    let keys: Vec<String> = server
        .ask(&["KEYS", &format!("*{}*", token.id.tag())])
        .await;
    assert_eq!(keys, [""; 0]);
}

#[tokio::test]
async fn a_change_that_comes_too_late_brings_nobody_back() {
    let (_server, mut options) = marked_server().await;
    let clock = Arc::new(ManualClock::at(system_time()));
    options.clock = Some(clock.clone());
    let store = open(options).await;
    let token = created(&store, living(SECOND * 4)).await;
    store.be_seen().await.unwrap();
    let slow = clock.clone();
    let rule: Rule = Arc::new(move |token: &Token, _| {
        slow.advance(SECOND * 4);
        let mut changed = token.clone();
        changed.profile.keep_alive_ttl = Some(SECOND * 300);
        Ruling::Replace(Box::new(changed))
    });
    assert_eq!(store.change(token.id, rule).await, Ok(Change::Absent));
    assert_eq!(store.find(token.id).await.unwrap().token, None);
}
