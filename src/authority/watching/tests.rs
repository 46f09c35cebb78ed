//! What watchers hear of the tail, and where they read by themselves.

use std::time::Duration;

use super::*;
use crate::clock::SystemClock;
use crate::domain::event::Alarms;
use crate::domain::name::{Namespace, Reason};
use crate::domain::retention::Retention;
use crate::domain::token::tests::draft;
use crate::domain::token::{Draft, Ruling, Token};
use crate::domain::usage::Keeping;
use crate::entropy;
use crate::store::Creation;
use crate::store::events::EventBounds;
use crate::store::sqlite::{SqliteOptions, SqliteStore};

const PATIENCE: Duration = Duration::from_secs(20);

/// A store, its tail, and watchers of it.
struct Scene {
    store: Arc<dyn Store>,
    watching: Arc<Watching>,
    metrics: Arc<Metrics>,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(SqliteOptions {
            path: folder.path().join("a.db"),
            require_existing: false,
            peppers: Vec::new(),
            clock: Arc::new(SystemClock),
            retention: Retention::default(),
            alarms: Alarms::default(),
            events: EventBounds::default(),
            keeping: Keeping::default(),
        });
        let store: Arc<dyn Store> = Arc::new(store.unwrap());
        Self {
            watching: Arc::new(Watching::new(store.clone())),
            store,
            metrics: Arc::new(Metrics::new([])),
            _folder: folder,
        }
    }

    async fn watcher(&self, kinds: &[EventKind]) -> Watcher {
        let tail = self.watching.tail.subscribe();
        self.watching.wanted.notify_one();
        let interest = Interest {
            reach: Arc::new(Reach::only(Namespace::fallback())),
            kinds: kinds.iter().copied().collect(),
            token: None,
        };
        let place = self.store.last_event().await.unwrap();
        Watcher::new(
            self.store.clone(),
            self.metrics.clone(),
            interest,
            place,
            tail,
        )
    }

    async fn create(&self) -> Token {
        let id = entropy::token_id().unwrap();
        match self.store.create(Draft { id, ..draft() }).await {
            Ok(Creation::Created(token)) => token,
            other => panic!("expected a token, got {other:?}"),
        }
    }
}

async fn heard(watcher: &mut Watcher) -> TokenId {
    let next = tokio::time::timeout(PATIENCE, watcher.next()).await;
    let watched = next.expect("an event in time").unwrap();
    watched.event.expect("an event").seen.token.id
}

#[tokio::test]
async fn watchers_hear_everything_once_whether_they_are_quick_or_slow() {
    let scene = Scene::new();
    let mut quick = scene.watcher(&[]).await;
    let mut slow = scene.watcher(&[]).await;
    for watcher in [&mut quick, &mut slow] {
        watcher.read_on().await.unwrap();
        assert!(!watcher.behind, "it waits for the tail");
    }
    let keeping = tokio::spawn(scene.watching.clone().keep());
    let mut made = Vec::new();
    // Each is a stretch of its own, and more than the tail keeps.
    for _ in 0..PAGES_KEPT * 3 {
        let token = scene.create().await;
        assert_eq!(heard(&mut quick).await, token.id);
        made.push(token.id);
    }
    assert!(slow.tail.len() > PAGES_KEPT, "it lags");
    for id in made {
        assert_eq!(heard(&mut slow).await, id);
    }
    let last = scene.create().await;
    assert_eq!(heard(&mut quick).await, last.id);
    assert_eq!(heard(&mut slow).await, last.id);
    assert_eq!(scene.metrics.events.watching.get(), 2);
    drop((quick, slow));
    assert_eq!(scene.metrics.events.watching.get(), 0);
    keeping.abort();
}

#[tokio::test]
async fn what_happens_before_the_tail_is_there_is_read_when_it_comes() {
    let scene = Scene::new();
    let mut watcher = scene.watcher(&[]).await;
    // It has caught up with an empty log, and waits for the tail.
    watcher.read_on().await.unwrap();
    assert!(!watcher.behind);
    let token = scene.create().await;
    let keeping = tokio::spawn(scene.watching.clone().keep());
    assert_eq!(heard(&mut watcher).await, token.id);
    keeping.abort();
}

#[tokio::test]
async fn the_tail_rests_while_nobody_watches_and_wakes_for_who_comes() {
    let scene = Scene::new();
    let keeping = tokio::spawn(scene.watching.clone().keep());
    for _ in 0..3 {
        let mut watcher = scene.watcher(&[]).await;
        let token = scene.create().await;
        assert_eq!(heard(&mut watcher).await, token.id);
    }
    keeping.abort();
}

#[tokio::test(start_paused = true)]
async fn who_hears_nothing_is_told_how_far_the_log_is() {
    let scene = Scene::new();
    let begun = Instant::now();
    let mut watcher = scene.watcher(&[EventKind::Revoked]).await;
    let keeping = tokio::spawn(scene.watching.clone().keep());
    let token = scene.create().await;
    let place = scene.store.last_event().await.unwrap();
    let told = watcher.next().await.unwrap();
    assert!(told.event.is_none() && told.cursor == place);
    assert!(begun.elapsed() >= PROGRESS_EVERY);
    // Where the log does not move on there is nothing to say.
    let quiet = tokio::time::timeout(PROGRESS_EVERY * 10, watcher.next()).await;
    assert!(quiet.is_err());
    let revoking =
        Arc::new(|token: &Token, now| -> Ruling { token.revoke(now, Reason::default()) });
    scene.store.change(token.id, revoking).await.unwrap();
    assert_eq!(heard(&mut watcher).await, token.id);
    keeping.abort();
}
