//! `kill -9` of an authority on SQLite amid changes: whoever watches hears of each that was answered.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::{CreateRequest, EventType, WatchRequest};

use crate::harness::{Authority, Client, PATIENCE, create};
use crate::kit::{by_id, connect, quiet, rounds, within};

/// A token, and what happened to it.
type Fact = (String, EventType);

const CALLERS: usize = 4;
const ANSWERED_MIN: usize = 40;

/// Creates tokens and revokes them until nobody answers; notes what was answered.
async fn change(mut client: Client, answered: Arc<Mutex<BTreeSet<Fact>>>) {
    let note = |id: &str, kind| {
        let fact = (id.to_owned(), kind);
        answered.lock().unwrap().insert(fact);
    };
    loop {
        let Ok(made) = client.create(CreateRequest::default()).await else {
            return;
        };
        let id = made.into_inner().token.unwrap().token_id;
        note(&id, EventType::Created);
        if client.revoke(by_id(&id, "")).await.is_err() {
            return;
        }
        note(&id, EventType::Revoked);
    }
}

/// Hears on behind a cursor until a token is created that was made last, and moves the cursor on.
async fn hear_to(client: &mut Client, cursor: &mut String, last: &str) -> BTreeSet<Fact> {
    let request = WatchRequest {
        cursor: cursor.clone(),
        ..WatchRequest::default()
    };
    let mut events = client.watch(request).await.unwrap().into_inner();
    let mut heard = BTreeSet::new();
    loop {
        let event = tokio::time::timeout(PATIENCE, events.message()).await;
        let event = event.expect("an event in time").unwrap().unwrap();
        let kind = event.r#type();
        let id = event.token.unwrap().token_id;
        *cursor = event.cursor;
        if id == last {
            return heard;
        }
        assert!(heard.insert((id, kind)), "told twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_that_was_answered_is_told_after_kill_after_kill() {
    let mut authority = quiet(Authority::before_sqlite_start());
    authority.start();
    let mut root = authority.root().await;
    let begun = root.watch(WatchRequest::default()).await.unwrap();
    let begun = begun.metadata().get("watch-cursor").unwrap();
    let mut cursor = begun.to_str().unwrap().to_owned();
    for number in 0..rounds().div_ceil(2) {
        let answered = Arc::<Mutex<BTreeSet<Fact>>>::default();
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| tokio::spawn(change(connect(&authority), answered.clone())))
            .collect();
        let (since, enough) = (Instant::now(), ANSWERED_MIN + number);
        let pause = Duration::from_millis(50 + (number as u64 * 37) % 100);
        within(PATIENCE, "changes are answered", async || {
            answered.lock().unwrap().len() >= enough && since.elapsed() >= pause
        })
        .await;
        authority.kill();
        for caller in callers {
            caller.await.unwrap();
        }
        authority.start();
        let mut root = authority.root().await;
        let (last, _) = create(&mut root, CreateRequest::default()).await;
        let heard = hear_to(&mut root, &mut cursor, &last.token_id).await;
        let answered = answered.lock().unwrap();
        let lost: Vec<_> = answered.difference(&heard).collect();
        assert!(lost.is_empty(), "round {number}: {lost:?}");
        // What was cut off may have been done, by each of the callers once.
        assert!(heard.len() <= answered.len() + CALLERS, "round {number}");
    }
}
