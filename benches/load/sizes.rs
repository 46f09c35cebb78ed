//! What a token takes in a store, what a process takes at rest, and how long it takes to serve, over an
//! empty store and over a full one.

use std::fs;
use std::time::Duration;

use prost_types::Duration as Span;
use tempfile::TempDir;
use token_authority::transport::grpc::pb::CreateRequest;
use token_authority::transport::grpc::pb::create_request::Expiration;

use crate::creating;
use crate::options::Options;
use crate::rows::plain_token;
use crate::servers::{Server, database_in};
use crate::support::redis_server::RedisServer;
use crate::{Fault, Progress};

/// Connections to a server that is only filled.
const CONNECTIONS: usize = 2;
/// How long a process that nobody calls is left alone before it is looked at.
const REST: Duration = Duration::from_secs(1);

/// A store's.
pub(crate) struct Sizes {
    pub(crate) store: &'static str,
    pub(crate) tokens: usize,
    /// Bytes of a token with its index, of each kind.
    pub(crate) bytes: Vec<(&'static str, f64)>,
    /// Bytes that a process has in memory that nobody calls.
    pub(crate) at_rest: Option<u64>,
    /// From the start of a process until it says that it serves.
    pub(crate) start: [Duration; 2],
}

/// What a token is like, and how the one of a number is asked for.
type Kind = (&'static str, fn(usize) -> CreateRequest);

/// What a token may have beside what it must have, one of each.
const KINDS: [Kind; 4] = [
    ("plain", plain_token),
    ("with an owner", |_| CreateRequest {
        owner: "team-17".to_owned(),
        ..CreateRequest::default()
    }),
    ("with a label", |_| CreateRequest {
        labels: [("env".to_owned(), "prod".to_owned())].into(),
        ..CreateRequest::default()
    }),
    ("with an expiry", |_| CreateRequest {
        expiration: Some(Expiration::Ttl(Span {
            seconds: 30 * 24 * 3600,
            nanos: 0,
        })),
        ..CreateRequest::default()
    }),
];

/// Of both stores, each kind of token in a store of its own: a tenth as many of those that have more to
/// keep.
pub(crate) async fn measure(options: &Options, progress: &Progress) -> Result<[Sizes; 2], Fault> {
    let mut sizes = [Sizes::of("SQLite"), Sizes::of("Redis")];
    for (kind, order) in KINDS {
        let is_plain = kind == KINDS[0].0;
        let count = if is_plain {
            options.filling()
        } else {
            options.sample()
        };
        progress.note(&format!(
            "filling SQLite and Redis with {count} tokens, {kind}"
        ));
        let (sqlite, own) = (on_sqlite(count, order).await?, &mut sizes[0]);
        own.bytes.push((kind, sqlite.bytes));
        if is_plain {
            own.note(count, &sqlite);
        }
        let (redis, own) = (on_redis(count, order).await?, &mut sizes[1]);
        own.bytes.push((kind, redis.bytes));
        if is_plain {
            own.note(count, &redis);
        }
    }
    Ok(sizes)
}

impl Sizes {
    fn of(store: &'static str) -> Self {
        Self {
            store,
            tokens: 0,
            bytes: Vec::new(),
            at_rest: None,
            start: [Duration::ZERO; 2],
        }
    }

    fn note(&mut self, tokens: usize, filled: &Filled) {
        (self.tokens, self.at_rest, self.start) = (tokens, filled.at_rest, filled.start);
    }
}

/// What filling a store showed.
struct Filled {
    bytes: f64,
    at_rest: Option<u64>,
    start: [Duration; 2],
}

async fn on_sqlite(count: usize, order: fn(usize) -> CreateRequest) -> Result<Filled, Fault> {
    let server = Server::on_sqlite(CONNECTIONS, &[]).await?;
    let (at_rest, first) = (at_rest(&server).await, server.started_in);
    let folder = folder_of(server).await?;
    let empty = fs::metadata(database_in(&folder))?.len();
    let server = Server::on_sqlite_in(folder, CONNECTIONS, &[]).await?;
    creating::batches(&server, count, order).await?;
    // Only when it has ended is all in the one file, and the log of it folded.
    let folder = folder_of(server).await?;
    let full = fs::metadata(database_in(&folder))?.len();
    let again = Server::on_sqlite_in(folder, CONNECTIONS, &[]).await?;
    Ok(Filled {
        bytes: full.saturating_sub(empty) as f64 / count as f64,
        at_rest,
        start: [first, again.started_in],
    })
}

async fn folder_of(server: Server) -> Result<TempDir, Fault> {
    let (_, mut folders) = server.stopped().await?;
    folders
        .pop()
        .ok_or_else(|| "a server without a folder".into())
}

async fn on_redis(count: usize, order: fn(usize) -> CreateRequest) -> Result<Filled, Fault> {
    let server = Server::on_redis(1, CONNECTIONS, &[]).await?;
    let (at_rest, first) = (at_rest(&server).await, server.started_in);
    let before = used_by(server.redis.as_ref()).await?;
    creating::batches(&server, count, order).await?;
    let after = used_by(server.redis.as_ref()).await?;
    let (redis, _) = server.stopped().await?;
    let redis = redis.ok_or("a server without a Redis")?;
    let again = Server::over(redis, 1, CONNECTIONS, &[]).await?;
    Ok(Filled {
        bytes: (after - before) / count as f64,
        at_rest,
        start: [first, again.started_in],
    })
}

async fn at_rest(server: &Server) -> Option<u64> {
    tokio::time::sleep(REST).await;
    server.resident()
}

/// Bytes that Redis says it uses, for data and the tables around it.
async fn used_by(redis: Option<&RedisServer>) -> Result<f64, Fault> {
    let redis = redis.ok_or("a server without a Redis")?;
    let told: String = redis.ask(&["INFO", "memory"]).await;
    let used = told
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    Ok(used
        .ok_or("Redis does not tell its memory")?
        .trim()
        .parse()?)
}
