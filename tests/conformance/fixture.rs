//! A fresh store of each kind, a clock in the test's hand, and the way to open it anew.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use token_authority::clock::{Clock, ManualClock};
use token_authority::domain::caller::Reach;
use token_authority::domain::event::Alarms;
use token_authority::domain::name::Namespace;
use token_authority::domain::page::{Cursor, Filter, PageSize};
use token_authority::domain::pepper::PepperCheck;
use token_authority::domain::retention::Retention;
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{Draft, Token, TokenId};
use token_authority::domain::usage::Keeping;
use token_authority::store::events::EventBounds;
use token_authority::store::redis::{RedisOptions, RedisStore, init};
use token_authority::store::sqlite::{SqliteOptions, SqliteStore};
use token_authority::store::{Creation, Page, Store, StoreError, StoreStatus};

use crate::support::drafts::listing;
use crate::support::redis_server::RedisServer;

/// 2027-01-15T08:00:00Z: where every test's clock begins.
pub(crate) const BEGIN: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

type Doing<T> = Pin<Box<dyn Future<Output = T> + Send>>;

type Opening = Doing<Opened>;

type Open = Box<dyn Fn(Arc<ManualClock>, Vec<PepperCheck>) -> Opening + Send + Sync>;

/// Folds what was added to usage, without waiting until the store does so by itself.
type Fold = Box<dyn Fn() -> Doing<Result<(), StoreError>> + Send + Sync>;

struct Opened {
    store: Arc<dyn Store>,
    fold: Fold,
}

/// A store under test, its clock, and the way to open it anew.
pub(crate) struct Bench {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<ManualClock>,
    fold: Fold,
    open: Open,
    _folder: Option<TempDir>,
    server: Option<RedisServer>,
}

pub(crate) async fn on_sqlite() -> Bench {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("token-authority.db");
    let open = move |clock: Arc<ManualClock>, peppers| {
        let options = SqliteOptions {
            path: path.clone(),
            require_existing: false,
            peppers,
            clock,
            retention: Retention::default(),
            alarms: Alarms::default(),
            events: EventBounds::default(),
            keeping: Keeping::default(),
        };
        let opening: Opening = Box::pin(async move {
            let store = Arc::new(SqliteStore::open(options).expect("the store opens"));
            let folded = store.clone();
            let fold: Fold = Box::new(move || {
                let store = folded.clone();
                Box::pin(async move { store.fold_usage().await })
            });
            Opened { store, fold }
        });
        opening
    };
    Bench::over(Box::new(open), Some(folder), None).await
}

pub(crate) async fn on_redis() -> Bench {
    let server = RedisServer::start();
    let url = server.url();
    let options = move |clock: Arc<ManualClock>, peppers| RedisOptions {
        // Generous: many servers share the machine in a test run.
        read_timeout: Duration::from_secs(10),
        write_timeout: Duration::from_secs(10),
        peppers,
        clock: Some(clock),
        ..RedisOptions::new(url.clone())
    };
    init(&options(Arc::new(ManualClock::at(BEGIN)), Vec::new()))
        .await
        .expect("the store takes its marker");
    let open = move |clock: Arc<ManualClock>, peppers| {
        let options = options(clock, peppers);
        let opening: Opening = Box::pin(async move {
            let store = RedisStore::start(options).expect("sound options");
            // Who adds folds, every now and then.
            let store = Arc::new(store.with_ledgers_folded_every(64));
            let fold: Fold = Box::new(|| Box::pin(async { Ok(()) }));
            let patience = Instant::now() + Duration::from_secs(20);
            loop {
                match store.probe_write().await {
                    // Waiting does not make it acceptable; a test may want just that.
                    Ok(()) | Err(StoreError::Unacceptable(_)) => {
                        // Of each of its connections.
                        store.settled().await;
                        return Opened { store, fold };
                    }
                    Err(why) if Instant::now() > patience => panic!("not ready: {why}"),
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        });
        opening
    };
    Bench::over(Box::new(open), None, Some(server)).await
}

impl Bench {
    async fn over(open: Open, folder: Option<TempDir>, server: Option<RedisServer>) -> Self {
        let clock = Arc::new(ManualClock::at(BEGIN));
        let Opened { store, fold } = open(clock.clone(), Vec::new()).await;
        Self {
            store,
            clock,
            fold,
            open,
            _folder: folder,
            server,
        }
    }

    /// Opens the same store anew, after the one before was closed.
    pub(crate) async fn reopen(&mut self) {
        self.take((self.open)(self.clock.clone(), Vec::new()).await);
    }

    fn take(&mut self, opened: Opened) {
        let Opened { store, fold } = opened;
        self.store = store;
        self.fold = fold;
    }

    /// Closes the store and opens it anew with these peppers in use.
    pub(crate) async fn reopen_with(&mut self, peppers: &[PepperCheck]) {
        self.store.close().await;
        self.take((self.open)(self.clock.clone(), peppers.to_vec()).await);
    }

    /// The same store as another process has it; where only one process may have it, this one's.
    pub(crate) async fn beside(&self) -> Arc<dyn Store> {
        match self.server {
            Some(_) => (self.open)(self.clock.clone(), Vec::new()).await.store,
            None => self.store.clone(),
        }
    }

    /// Folds all that was added to usage.
    pub(crate) async fn fold(&self) {
        (self.fold)().await.expect("usage is folded");
    }

    /// Moves the clock on.
    pub(crate) fn pass(&self, span: Duration) {
        self.clock.advance(span);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Creates the token of a draft that nothing stands against.
    pub(crate) async fn create(&self, draft: Draft) -> Token {
        match self.store.create(draft).await {
            Ok(Creation::Created(token)) => token,
            other => panic!("expected a new token, got {other:?}"),
        }
    }

    pub(crate) async fn found(&self, id: TokenId) -> Option<Token> {
        let found = self.store.find(id).await.expect("the store answers");
        found.token.map(|token| Token::clone(&token))
    }

    pub(crate) async fn list(&self, filter: &Filter, after: Option<Cursor>, size: u32) -> Page {
        self.store
            .list(filter, after, PageSize::asked(size))
            .await
            .expect("the store answers")
    }

    /// Ids of all pages of `size`, in order.
    pub(crate) async fn walk(&self, filter: &Filter, size: u32) -> Vec<TokenId> {
        let mut ids = Vec::new();
        let mut after = None;
        loop {
            let page = self.list(filter, after, size).await;
            ids.extend(page.tokens.iter().map(|token| token.id));
            match page.next {
                Some(next) => after = Some(next),
                None => return ids,
            }
        }
    }
}

/// All active and disabled tokens of the default namespace.
pub(crate) fn everything() -> Filter {
    listing(Reach::only(Namespace::fallback()))
}

/// Whether an answer is an error of the store itself.
pub(crate) fn is_outage<T>(answer: &Result<T, StoreError>) -> bool {
    answer.is_err()
}
