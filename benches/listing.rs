//! What a page of a listing costs when there are a thousand tokens, and when there are many more.
//!
//! `cargo bench --bench listing -- 1000000` fills a store of each kind (the default is 20 000
//! tokens, one in ten with one of two owners) and prints medians, with their ratio.

#![allow(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use token_authority::clock::SystemClock;
use token_authority::domain::caller::Reach;
use token_authority::domain::event::Alarms;
use token_authority::domain::name::{Namespace, Owner};
use token_authority::domain::page::{Cursor, Filter, PageSize};
use token_authority::domain::retention::Retention;
use token_authority::domain::usage::Keeping;
use token_authority::store::events::EventBounds;
use token_authority::store::redis::{RedisOptions, RedisStore, init};
use token_authority::store::sqlite::{SqliteOptions, SqliteStore};
use token_authority::store::{Creation, Store, StoreStatus};

use support::drafts::{draft, listing, owned};
use support::redis_server::RedisServer;

#[path = "../tests/support/mod.rs"]
mod support;

const FEW: usize = 1000;
const WRITERS: usize = 64;
const PAGES: usize = 400;

fn main() {
    // Cargo adds flags of its own, such as --bench.
    let many = std::env::args().find_map(|argument| argument.parse().ok());
    let many: usize = many.unwrap_or(20_000);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sqlite = |name: &str| -> Arc<dyn Store> {
            let options = SqliteOptions {
                path: folder.path().join(name),
                require_existing: false,
                peppers: Vec::new(),
                clock: Arc::new(SystemClock),
                retention: Retention::default(),
                alarms: Alarms::default(),
                events: EventBounds::default(),
                keeping: Keeping::default(),
            };
            Arc::new(SqliteStore::open(options).expect("the store opens"))
        };
        measure("SQLite", sqlite("few.db"), sqlite("many.db"), many).await;
        let servers = (RedisServer::start(), RedisServer::start());
        let (few, large) = (redis(&servers.0).await, redis(&servers.1).await);
        measure("Redis", few, large, many).await;
    });
}

async fn redis(server: &RedisServer) -> Arc<dyn Store> {
    let options = RedisOptions::new(server.url());
    init(&options).await.expect("the store takes its marker");
    let store = RedisStore::start(options).expect("sound options");
    store.settled().await;
    Arc::new(store)
}

/// Fills one store with few tokens and one with many, then asks both in turn, so that a machine
/// whose speed drifts is as fast for one as for the other.
async fn measure(name: &str, few: Arc<dyn Store>, large: Arc<dyn Store>, many: usize) {
    fill(&few, 0, FEW).await;
    let rate = fill(&large, 0, many).await;
    println!("{name}: {rate:.0} creates/s by {WRITERS} callers, up to {many} tokens");
    let own = listing(Reach::only(Namespace::fallback()));
    let of_one = Filter {
        owner: Owner::parse("owner-1").ok(),
        ..own.clone()
    };
    let all = listing(Reach::All);
    for (what, filter) in [
        ("of a namespace", own),
        ("of an owner", of_one),
        ("of all", all),
    ] {
        let mut walks = [Walk::new(&few, &filter), Walk::new(&large, &filter)];
        for _ in 0..PAGES {
            for walk in &mut walks {
                walk.next_page().await;
            }
        }
        let [little, much] = walks.map(Walk::median);
        let ratio = much.as_secs_f64() / little.as_secs_f64();
        println!(
            "  page {what:<16} {little:>9.0?} at {FEW} tokens {much:>9.0?} at {many}   ratio {ratio:.2}"
        );
    }
    few.close().await;
    large.close().await;
}

/// Reads a listing page by page, again and again.
struct Walk<'a> {
    store: &'a Arc<dyn Store>,
    filter: &'a Filter,
    after: Option<Cursor>,
    spans: Vec<Duration>,
}

impl<'a> Walk<'a> {
    fn new(store: &'a Arc<dyn Store>, filter: &'a Filter) -> Self {
        Self {
            store,
            filter,
            after: None,
            spans: Vec::new(),
        }
    }

    async fn next_page(&mut self) {
        let begun = Instant::now();
        let page = self
            .store
            .list(self.filter, self.after, PageSize::asked(50));
        let page = page.await.expect("the store answers");
        self.spans.push(begun.elapsed());
        self.after = page.next;
    }

    fn median(mut self) -> Duration {
        self.spans.sort_unstable();
        self.spans[self.spans.len() / 2]
    }
}

/// Creates tokens number `from` to `to`; answers how many a second.
async fn fill(store: &Arc<dyn Store>, from: usize, to: usize) -> f64 {
    let begun = Instant::now();
    let next = Arc::new(AtomicUsize::new(from));
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (store, next) = (store.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= to {
                        return;
                    }
                    let draft = match number % 10 {
                        0 => owned(&format!("owner-{}", number / 10 % 2)),
                        _ => draft(),
                    };
                    let created = store.create(draft).await.expect("the store answers");
                    assert!(matches!(created, Creation::Created(_)));
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer ends");
    }
    (to - from) as f64 / begun.elapsed().as_secs_f64()
}
