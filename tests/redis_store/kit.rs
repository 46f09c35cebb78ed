//! Marked servers, stores over them, and waiting for these tests.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use token_authority::clock::{Clock, SystemClock};
use token_authority::domain::caller::Reach;
use token_authority::domain::page::{Cursor, Filter, PageSize};
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{Draft, Token};
use token_authority::store::redis::{RedisOptions, RedisStore, init};
use token_authority::store::{Creation, StoreError, StoreStatus, TokenStore};

use crate::support::drafts::{listing, pooled, requested};
use crate::support::redis_server::RedisServer;

/// A durable server that is a store already, and what opens it.
pub(crate) async fn marked_server() -> (RedisServer, RedisOptions) {
    let server = RedisServer::start();
    let options = options(&server);
    init(&options).await.unwrap();
    (server, options)
}

pub(crate) fn options(server: &RedisServer) -> RedisOptions {
    patient(RedisOptions::new(server.url()))
}

pub(crate) async fn memory(server: &RedisServer) -> u64 {
    let info: String = server.ask(&["INFO", "memory"]).await;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    line.unwrap().trim().parse().unwrap()
}

/// Timeouts that a busy test machine keeps.
pub(crate) fn patient(mut options: RedisOptions) -> RedisOptions {
    options.read_timeout = Duration::from_secs(5);
    options.write_timeout = Duration::from_secs(5);
    options
}

/// Opens a store and waits until it is usable.
pub(crate) async fn open(options: RedisOptions) -> RedisStore {
    let store = RedisStore::start(options).unwrap();
    usable(&store).await;
    store
}

pub(crate) async fn usable(store: &RedisStore) {
    until("the store is usable", async || {
        store.confirm().await.is_ok()
    })
    .await;
}

/// Waits until the store says why it is not acceptable.
pub(crate) async fn refusal(store: &RedisStore) -> String {
    let mut why = String::new();
    until("the store is refused", async || {
        let Err(StoreError::Unacceptable(reason)) = store.confirm().await else {
            return false;
        };
        why = reason;
        true
    })
    .await;
    why
}

/// Waits for a condition, and fails if it does not come about.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Creates a token that nothing stands in the way of.
pub(crate) async fn created(store: &RedisStore, draft: Draft) -> Token {
    match store.create(draft).await {
        Ok(Creation::Created(token)) => token,
        other => panic!("expected a new token, got {other:?}"),
    }
}

/// A draft under a request key, in a pool if one is named.
pub(crate) fn requested_in(key: u8, pool: Option<&str>) -> Draft {
    match pool {
        Some(pool) => pooled(requested(key), pool),
        None => requested(key),
    }
}

pub(crate) fn everything() -> Filter {
    listing(Reach::All)
}

/// All that `filter` admits, page after page.
pub(crate) async fn listed(store: &RedisStore, filter: &Filter, size: u32) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut after: Option<Cursor> = None;
    loop {
        let page = store.list(filter, after, PageSize::asked(size)).await;
        let page = page.unwrap();
        tokens.extend(page.tokens);
        match page.next {
            Some(next) => after = Some(next),
            None => return tokens,
        }
    }
}

pub(crate) fn system_time() -> Timestamp {
    SystemClock.now()
}

/// What this thread logs while it lives.
pub(crate) struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Log {
    pub(crate) fn start() -> Self {
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let writer = Arc::clone(&text);
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || Lines(Arc::clone(&writer)))
            .finish();
        Self {
            text,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    /// The lines of one level, such as `WARN`.
    pub(crate) fn lines(&self, level: &str) -> Vec<String> {
        let text = String::from_utf8(self.text.lock().unwrap().clone()).unwrap();
        let lines = text.lines().filter(|line| line.contains(level));
        lines.map(str::to_owned).collect()
    }
}

struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// How many bytes of Redis each of many such tokens takes.
pub(crate) async fn bytes_of_each(draft: fn() -> Draft) -> u64 {
    const TOKENS: usize = 20_000;
    let (server, mut options) = marked_server().await;
    // What is told of them is kept beside them, and so much at most.
    options.events.number = 64;
    let store = Arc::new(open(options).await);
    for _ in 0..100 {
        created(&store, draft()).await;
    }
    store.all_told().await;
    let before = memory(&server).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..TOKENS / 50 {
                created(&store, draft()).await;
            }
        });
    }
    tasks.join_all().await;
    store.all_told().await;
    (memory(&server).await - before) / TOKENS as u64
}
