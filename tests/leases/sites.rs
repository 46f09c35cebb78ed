//! Stores that go by their own clocks, as in a deployment.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use token_authority::clock::SystemClock;
use token_authority::domain::event::Alarms;
use token_authority::domain::retention::Retention;
use token_authority::domain::usage::Keeping;
use token_authority::store::events::EventBounds;
use token_authority::store::redis::{RedisOptions, RedisStore, init};
use token_authority::store::sqlite::{SqliteOptions, SqliteStore};
use token_authority::store::{Creation, Store, StoreStatus};

use crate::support::leases::lasting;
use crate::support::redis_server::RedisServer;

/// A store, as each of some processes has it.
pub(crate) struct Site {
    pub(crate) stores: Vec<Arc<dyn Store>>,
    _folder: Option<TempDir>,
    pub(crate) server: Option<RedisServer>,
}

impl Site {
    pub(crate) fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = SqliteOptions {
            path: folder.path().join("token-authority.db"),
            require_existing: false,
            peppers: Vec::new(),
            clock: Arc::new(SystemClock),
            retention: Retention::default(),
            alarms: Alarms::default(),
            events: EventBounds::default(),
            keeping: Keeping::default(),
        };
        let store = SqliteStore::open(options).expect("the store opens");
        Self {
            stores: vec![Arc::new(store)],
            _folder: Some(folder),
            server: None,
        }
    }

    pub(crate) async fn on_redis(replicas: usize) -> Self {
        let server = RedisServer::start();
        let options = RedisOptions {
            // Generous: many servers share the machine in a test run.
            read_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            ..RedisOptions::new(server.url())
        };
        init(&options).await.expect("the store takes its marker");
        let mut stores: Vec<Arc<dyn Store>> = Vec::new();
        for _ in 0..replicas {
            let store = RedisStore::start(options.clone()).expect("sound options");
            store.settled().await;
            stores.push(Arc::new(store));
        }
        Self {
            stores,
            _folder: None,
            server: Some(server),
        }
    }

    /// Puts so many tokens into the pool `gpu`.
    pub(crate) async fn fill(&self, tokens: u64) {
        for _ in 0..tokens {
            let created = self.stores[0].create(lasting()).await;
            assert!(matches!(created, Ok(Creation::Created(_))), "{created:?}");
        }
    }
}
