//! What tests of events share: a log that is read whole, and stores that die.

use std::sync::Arc;
use std::time::Duration;

use token_authority::clock::ManualClock;
use token_authority::domain::caller::Reach;
use token_authority::domain::event::EventKind::{self};
use token_authority::domain::event::{Event, EventCursor};
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::TokenId;
use token_authority::store::LeaseStore;
use token_authority::store::events::EventStore;
use token_authority::store::leases::{Acquired, LeaseTarget};
use token_authority::store::redis::{RedisOptions, RedisStore};

use crate::kit::{marked_server, open};
use crate::support::leases::{asking_for, pool};
use crate::support::redis_server::RedisServer;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
pub(crate) const BEGINNING: EventCursor = EventCursor { major: 0, minor: 0 };

/// A server, options of stores over it, and the clock of all of them.
pub(crate) async fn bench() -> (RedisServer, RedisOptions, Arc<ManualClock>) {
    let (server, mut options) = marked_server().await;
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(
        1_700_000_000_000_000,
    )));
    options.clock = Some(clock.clone());
    (server, options, clock)
}

/// All that is in the log.
pub(crate) async fn logged(store: &RedisStore) -> Vec<Event> {
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

pub(crate) fn kinds(events: &[Event]) -> Vec<EventKind> {
    events.iter().map(|event| event.kind).collect()
}

/// What the log says once all is told.
pub(crate) async fn told(store: &RedisStore) -> Vec<EventKind> {
    store.all_told().await;
    kinds(&logged(store).await)
}

/// Tells until there is nothing more to do at once.
pub(crate) async fn tell(store: &RedisStore) -> usize {
    let mut told = 0;
    loop {
        let step = store.tell().await.unwrap();
        told += step.told;
        if !step.more {
            return told;
        }
    }
}

pub(crate) async fn acquired(store: &RedisStore) -> LeaseTarget {
    acquired_for(store, SECOND * 60).await
}

pub(crate) async fn acquired_for(store: &RedisStore, span: Duration) -> LeaseTarget {
    match store.acquire(&asking_for(&pool("gpu"), span)).await {
        Ok(Acquired::Granted { token, .. }) => LeaseTarget::Token(token.id),
        other => panic!("expected a lease, got {other:?}"),
    }
}

pub(crate) async fn released(store: &RedisStore, target: LeaseTarget) {
    store.release(target, &Reach::All).await.unwrap();
}

/// What stands of events beside the log.
pub(crate) async fn untold(server: &RedisServer) -> Vec<String> {
    let keys: Vec<String> = server.ask(&["KEYS", "*"]).await;
    let alarm = |key: &str| key.starts_with("ta:{due:") && key.ends_with(":a");
    let beside = |key: &String| key == "ta:{e}:m" || key.contains("}:e:") || alarm(key);
    keys.into_iter().filter(beside).collect()
}

/// Does something over a store that dies before it tells it.
pub(crate) async fn dying<T>(options: &RedisOptions, act: impl AsyncFnOnce(&RedisStore) -> T) -> T {
    let store = open(options.clone()).await;
    let done = act(&store).await;
    drop(store);
    done
}

/// The key of the pool's kind, by a token of it.
pub(crate) fn of_pool(kind: char, id: TokenId) -> String {
    format!("ta:{{{}}}:{kind}:default:gpu", id.tag())
}
