//! Whether memory and disk return after many short-lived tokens came and went, and how fast.
//!
//! `cargo bench --bench retention -- 1000000` does it with a million tokens on each store (the
//! default is 20 000), prints sizes and rates, and fails where a size does not come back to what it
//! was, or where Redis was asked for all keys.

#![allow(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use token_authority::clock::ManualClock;
use token_authority::domain::event::Alarms;
use token_authority::domain::retention::Retention;
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{Ruling, TokenId};
use token_authority::domain::usage::Keeping;
use token_authority::store::events::EventBounds;
use token_authority::store::redis::{RedisOptions, RedisStore, init};
use token_authority::store::sqlite::{SqliteOptions, SqliteStore};
use token_authority::store::{Change, Creation, Rule, Store, StoreStatus};

use support::drafts::{draft, ending_after, owned, swept};
use support::redis_server::RedisServer;

#[path = "../tests/support/mod.rs"]
mod support;

/// Tokens that last, beside those that come and go.
const LASTING: usize = 1000;
const WRITERS: usize = 64;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// By how much a size may end above its beginning: a share of it, and some bytes. SQLite keeps free
/// pages for what comes next; Redis tables that shrink in steps, buffers, and the seals of buckets.
const SHARE: f64 = 0.05;
const BYTES: f64 = 2e6;
/// How long Redis may take to shrink its tables.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    // Cargo adds flags of its own, such as --bench.
    let many = std::env::args().find_map(|argument| argument.parse().ok());
    let many: usize = many.unwrap_or(20_000);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let sound = runtime.block_on(async { [on_sqlite(many).await, on_redis(many).await] });
    if sound.contains(&false) {
        std::process::exit(1);
    }
}

async fn on_sqlite(many: usize) -> bool {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("token-authority.db");
    let clock = clock();
    let open = || -> Arc<dyn Store> {
        let options = SqliteOptions {
            peppers: Vec::new(),
            path: path.clone(),
            require_existing: false,
            clock: clock.clone(),
            retention: Retention::default(),
            alarms: Alarms::default(),
            events: EventBounds::default(),
            keeping: Keeping::default(),
        };
        Arc::new(SqliteStore::open(options).expect("the store opens"))
    };
    // Closing folds the log into the database, so that the file tells its size.
    let store = open();
    let lasting = begin(&store, &clock).await;
    store.close().await;
    let before = size(&path);
    let store = open();
    let created = fill(&store, many).await;
    store.close().await;
    let peak = size(&path);
    let store = open();
    let sweep = empty(&store, &clock, lasting, many).await;
    store.close().await;
    let after = size(&path);
    report("SQLite", many, created, &sweep, [before, peak, after])
}

async fn on_redis(many: usize) -> bool {
    let server = RedisServer::start();
    let clock = clock();
    let mut options = RedisOptions::new(server.url());
    options.write_timeout = Duration::from_secs(10);
    options.clock = Some(clock.clone());
    init(&options).await.expect("the store takes its marker");
    let store = RedisStore::start(options).expect("sound options");
    store.settled().await;
    let store: Arc<dyn Store> = Arc::new(store);
    let () = server.ask(&["CONFIG", "RESETSTAT"]).await;
    let lasting = begin(&store, &clock).await;
    let before = memory(&server).await;
    let created = fill(&store, many).await;
    let peak = memory(&server).await;
    let sweep = empty(&store, &clock, lasting, many).await;
    let begun = Instant::now();
    let mut after = memory(&server).await;
    while !is_back(before, after) && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(100)).await;
        after = memory(&server).await;
    }
    println!("Redis: memory was back {:.1?} later", begun.elapsed());
    let sound = report("Redis", many, created, &sweep, [before, peak, after]);
    let stats: String = server.ask(&["INFO", "commandstats"]).await;
    let scanned = ["cmdstat_scan:", "cmdstat_keys:"].map(|name| stats.contains(name));
    if scanned.contains(&true) {
        println!("FAILED: Redis was asked for all keys");
    }
    store.close().await;
    sound && !scanned.contains(&true)
}

fn clock() -> Arc<ManualClock> {
    let start = Timestamp::from_micros(1_800_000_000_000_000);
    Arc::new(ManualClock::at(start))
}

/// What a sweep of all tokens showed.
struct Sweep {
    rate: f64,
    /// Of changes that others made meanwhile.
    median: Duration,
    slowest: Duration,
}

/// Makes some tokens that last, and lets some others come and go; answers one that lasts.
async fn begin(store: &Arc<dyn Store>, clock: &ManualClock) -> TokenId {
    let lasting = draft();
    let id = lasting.id;
    store.create(lasting).await.expect("the store answers");
    for _ in 1..LASTING {
        store.create(owned("ann")).await.expect("the store answers");
    }
    fill(store, LASTING).await;
    clock.advance(DAY * 3);
    assert_eq!(swept(store.as_ref()).await, LASTING);
    id
}

/// Creates tokens that live for up to an hour; answers how many a second.
async fn fill(store: &Arc<dyn Store>, count: usize) -> f64 {
    let begun = Instant::now();
    let next = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (store, next) = (store.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    // They do not end in the order in which they began.
                    let life = Duration::from_secs(1 + number as u64 * 7919 % 3600);
                    let created = store.create(ending_after(life)).await;
                    assert!(matches!(created, Ok(Creation::Created(_))), "{created:?}");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer ends");
    }
    count as f64 / begun.elapsed().as_secs_f64()
}

/// Lets all short-lived tokens end and sweeps them, while somebody else changes `lasting`.
async fn empty(
    store: &Arc<dyn Store>,
    clock: &ManualClock,
    lasting: TokenId,
    many: usize,
) -> Sweep {
    clock.advance(DAY * 3);
    let over = Arc::new(AtomicBool::new(false));
    let changing = tokio::spawn(change(store.clone(), lasting, over.clone()));
    let begun = Instant::now();
    assert_eq!(swept(store.as_ref()).await, many);
    let rate = many as f64 / begun.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    let mut spans = changing.await.expect("the changes end");
    spans.sort_unstable();
    Sweep {
        rate,
        median: spans[spans.len() / 2],
        slowest: spans[spans.len() - 1],
    }
}

/// Changes a token again and again; answers how long each change took.
async fn change(store: Arc<dyn Store>, id: TokenId, over: Arc<AtomicBool>) -> Vec<Duration> {
    let rule: Rule = Arc::new(|token, now| {
        let mut changed = token.clone();
        changed.profile.disabled = !changed.profile.disabled;
        changed.update_time = now;
        Ruling::Replace(Box::new(changed))
    });
    let mut spans = Vec::new();
    while spans.is_empty() || !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let changed = store.change(id, rule.clone()).await;
        assert!(matches!(changed, Ok(Change::Changed(_))), "{changed:?}");
        spans.push(begun.elapsed());
    }
    spans
}

fn size(path: &Path) -> f64 {
    std::fs::metadata(path).expect("the database").len() as f64
}

async fn memory(server: &RedisServer) -> f64 {
    let info: String = server.ask(&["INFO", "memory"]).await;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    let bytes = line.and_then(|text| text.trim().parse().ok());
    bytes.expect("Redis tells its memory")
}

fn is_back(before: f64, after: f64) -> bool {
    after <= before * (1.0 + SHARE) + BYTES
}

/// Prints what was measured, and answers whether the size came back.
fn report(name: &str, many: usize, created: f64, sweep: &Sweep, sizes: [f64; 3]) -> bool {
    let [before, peak, after] = sizes.map(|bytes| bytes / 1e6);
    println!(
        "{name}: {many} tokens, {created:.0} creates/s, {:.0} swept/s",
        sweep.rate
    );
    println!(
        "  changes meanwhile: median {:.1?}, slowest {:.1?}",
        sweep.median, sweep.slowest
    );
    println!("  {before:.2} MB before, {peak:.2} MB with all of them, {after:.2} MB after");
    let back = is_back(sizes[0], sizes[2]);
    if !back {
        println!("FAILED: {after:.2} MB are more than {before:.2} MB and a little");
    }
    back
}
