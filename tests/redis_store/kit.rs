//! Redis servers, stores and drafts for these tests.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::FromRedisValue;
use tempfile::TempDir;
use token_authority::clock::{Clock, SystemClock};
use token_authority::domain::caller::Reach;
use token_authority::domain::name::{
    Description, Labels, Namespace, Owner, PoolName, Reason, TokenName,
};
use token_authority::domain::page::{Cursor, Filter, PageSize};
use token_authority::domain::secret::{Brand, SecretDigest};
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{
    Draft, Expiration, Origin, RequestKey, Ruling, Token, TokenId,
};
use token_authority::entropy;
use token_authority::store::redis::{RedisOptions, RedisStore, init};
use token_authority::store::{Creation, Rule, StoreError, StoreStatus, TokenStore};

/// A Redis server of its own, ended when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    args: Vec<String>,
    folder: TempDir,
}

impl Server {
    /// A durable server.
    pub(crate) async fn start() -> Self {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "everysec"]).await
    }

    pub(crate) async fn start_with(args: &[&str]) -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let child = spawn(port, &args, &folder);
        let server = Self {
            child,
            port,
            args,
            folder,
        };
        server.wait_until_up().await;
        server
    }

    /// A durable server that is a store already, and what opens it.
    pub(crate) async fn store() -> (Self, RedisOptions) {
        let server = Self::start().await;
        let options = server.options();
        init(&options).await.unwrap();
        (server, options)
    }

    pub(crate) fn options(&self) -> RedisOptions {
        patient(RedisOptions::new(format!(
            "redis://127.0.0.1:{}",
            self.port
        )))
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) async fn revive(&mut self) {
        self.child = spawn(self.port, &self.args, &self.folder);
        self.wait_until_up().await;
    }

    /// Sends one command over a connection of its own.
    pub(crate) async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_ask(words).await.unwrap()
    }

    async fn try_ask<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(("127.0.0.1", self.port)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| {
            command.arg(word);
        });
        command.query_async(&mut connection).await
    }

    /// Waits for any answer: one that demands a password or is loading counts once it is final.
    async fn wait_until_up(&self) {
        until("redis-server answers", async || {
            match self.try_ask::<String>(&["PING"]).await {
                Ok(_) => true,
                Err(error) => error.code() == Some("NOAUTH"),
            }
        })
        .await;
    }

    pub(crate) async fn memory(&self) -> u64 {
        let info: String = self.ask(&["INFO", "memory"]).await;
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("used_memory:"));
        line.unwrap().trim().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, args: &[String], folder: &TempDir) -> Child {
    Command::new("redis-server")
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ])
        .arg("--dir")
        .arg(folder.path())
        .args(args)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server must be installed to test the Redis store")
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
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

pub(crate) fn namespace(name: &str) -> Namespace {
    Namespace::parse(name).unwrap()
}

pub(crate) fn draft() -> Draft {
    Draft {
        id: entropy::token_id().unwrap(),
        namespace: Namespace::fallback(),
        name: TokenName::default(),
        description: Description::default(),
        owner: None,
        pool: None,
        scopes: Vec::new(),
        endpoints: Default::default(),
        networks: Vec::new(),
        labels: Labels::default(),
        disabled: false,
        expiration: Expiration::Never,
        brand: Brand::parse("ta").unwrap(),
        digest: SecretDigest {
            key_id: 0,
            bytes: [7; 32],
        },
        origin: None,
    }
}

/// A draft under a request key, in a pool if one is named.
pub(crate) fn requested(key: u8, pool: Option<&str>) -> Draft {
    let origin = Origin {
        key: RequestKey([key; 32]),
        fingerprint: [key; 32],
    };
    let root = TokenId::derived(&origin.key);
    let pool = pool.map(|pool| PoolName::parse(pool).unwrap());
    Draft {
        id: match &pool {
            Some(pool) => root.in_pool(&Namespace::fallback(), pool),
            None => root,
        },
        pool,
        origin: Some(origin),
        ..draft()
    }
}

pub(crate) fn owned(owner: &str) -> Draft {
    Draft {
        owner: Owner::parse(owner).ok(),
        ..draft()
    }
}

/// Creates a token that nothing stands in the way of.
pub(crate) async fn created(store: &RedisStore, draft: Draft) -> Token {
    match store.create(draft).await {
        Ok(Creation::Created(token)) => token,
        other => panic!("expected a new token, got {other:?}"),
    }
}

pub(crate) fn everything() -> Filter {
    Filter {
        reach: Reach::All,
        owner: None,
        pool: None,
        states: Filter::default_states(),
        labels: Labels::default(),
    }
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

pub(crate) fn revoking() -> Rule {
    Arc::new(|token, now| token.revoke(now, Reason::parse("lost").unwrap()))
}

pub(crate) fn allowing() -> Rule {
    Arc::new(|_, _| Ruling::Keep)
}

pub(crate) fn system_time() -> Timestamp {
    SystemClock.now()
}
