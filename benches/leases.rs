//! What a lease costs, taken and given back, in a pool of ten tokens, and in large ones.
//!
//! `cargo bench --bench leases -- 1000000` fills pools of 10, 10 000 and 1 000 000 tokens on a store
//! of each kind (the default for the last is 20 000) and prints medians, with their ratios.

#![allow(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use token_authority::clock::SystemClock;
use token_authority::domain::caller::Reach;
use token_authority::domain::event::Alarms;
use token_authority::domain::page::PageSize;
use token_authority::domain::pool::Pool;
use token_authority::domain::retention::Retention;
use token_authority::domain::usage::Keeping;
use token_authority::store::events::EventBounds;
use token_authority::store::leases::{Acquired, LeaseTarget};
use token_authority::store::redis::{RedisOptions, RedisStore, init};
use token_authority::store::sqlite::{SqliteOptions, SqliteStore};
use token_authority::store::{Creation, Store, StoreStatus};

use support::drafts::{draft, pooled};
use support::leases::{asking, lease_id, pool};
use support::redis_server::RedisServer;

#[path = "../tests/support/mod.rs"]
mod support;

const WRITERS: usize = 512;
const WORKERS: usize = 4;
/// The pools are measured in turn, so that a machine whose speed drifts is as fast for each.
const ROUNDS: usize = 10;
/// Leases of each worker in a round.
const LEASES: usize = 50;

/// Medians of what was measured of one pool.
struct Cost {
    acquire: Duration,
    release: Duration,
    list: Duration,
}

fn main() {
    // Cargo adds flags of its own, such as --bench.
    let many = std::env::args().find_map(|argument| argument.parse().ok());
    let sizes = [10, 10_000, many.unwrap_or(20_000)];
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
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
        let sqlite = SqliteStore::open(options).expect("the store opens");
        measure("SQLite", Arc::new(sqlite), sizes).await;
        let server = RedisServer::start();
        let mut options = RedisOptions::new(server.url());
        options.write_timeout = Duration::from_secs(10);
        init(&options).await.expect("the store takes its marker");
        let redis = RedisStore::start(options).expect("sound options");
        redis.settled().await;
        measure("Redis", Arc::new(redis), sizes).await;
    });
}

async fn measure(name: &str, store: Arc<dyn Store>, sizes: [usize; 3]) {
    let pools = sizes.map(|size| pool(&format!("of-{size}")));
    for (pool, size) in pools.iter().zip(sizes) {
        let begun = Instant::now();
        fill(&store, pool, size).await;
        let rate = size as f64 / begun.elapsed().as_secs_f64();
        println!("{name}: a pool of {size} tokens, filled by {rate:.0} a second");
    }
    let mut spans: [[Vec<Duration>; 3]; 3] = Default::default();
    for _ in 0..ROUNDS {
        for (pool, spans) in pools.iter().zip(&mut spans) {
            let [acquired, released] = lease(&store, pool).await;
            spans[0].extend(acquired);
            spans[1].extend(released);
            spans[2].push(list(&store).await);
        }
    }
    let costs = spans.map(|[acquire, release, list]| Cost {
        acquire: median(acquire),
        release: median(release),
        list: median(list),
    });
    for (cost, size) in costs.iter().zip(sizes) {
        let ratio = |own: Duration, first: Duration| own.as_secs_f64() / first.as_secs_f64();
        let Cost {
            acquire,
            release,
            list,
        } = *cost;
        println!(
            "{name}: of {size:>8}: acquire {acquire:>9.1?} ({:.2}), release {release:>9.1?} ({:.2}), list of pools {list:>9.1?}",
            ratio(acquire, costs[0].acquire),
            ratio(release, costs[0].release),
        );
    }
    store.close().await;
}

fn median(mut spans: Vec<Duration>) -> Duration {
    spans.sort_unstable();
    spans[spans.len() / 2]
}

async fn fill(store: &Arc<dyn Store>, pool: &Pool, count: usize) {
    let next = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (store, next, name) = (store.clone(), next.clone(), pool.name.clone());
            tokio::spawn(async move {
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    let created = store.create(pooled(draft(), name.as_str())).await;
                    assert!(matches!(created, Ok(Creation::Created(_))), "{created:?}");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer ends");
    }
}

/// How long each lease of some workers took to be taken, and to be given back.
async fn lease(store: &Arc<dyn Store>, pool: &Pool) -> [Vec<Duration>; 2] {
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| tokio::spawn(work(store.clone(), pool.clone())))
        .collect();
    let mut spans = [Vec::new(), Vec::new()];
    for worker in workers {
        let [acquired, released] = worker.await.expect("a worker ends");
        spans[0].extend(acquired);
        spans[1].extend(released);
    }
    spans
}

async fn work(store: Arc<dyn Store>, pool: Pool) -> [Vec<Duration>; 2] {
    let mut spans = [Vec::new(), Vec::new()];
    for _ in 0..LEASES {
        let asked = asking(&pool);
        let begun = Instant::now();
        let answer = store.acquire(&asked).await.expect("the store answers");
        spans[0].push(begun.elapsed());
        let Acquired::Granted { token, lease, .. } = answer else {
            panic!("expected a lease, got {answer:?}");
        };
        let target = LeaseTarget::Lease(lease_id(&token, &lease));
        let begun = Instant::now();
        let released = store.release(target, &Reach::All).await;
        spans[1].push(begun.elapsed());
        released.expect("the store answers");
    }
    spans
}

/// How long it takes to list all pools with how they stand.
async fn list(store: &Arc<dyn Store>) -> Duration {
    let begun = Instant::now();
    let pools = store.pools(&Reach::All, None, PageSize::asked(50)).await;
    let span = begun.elapsed();
    assert_eq!(pools.expect("the store answers").pools.len(), 3);
    span
}
