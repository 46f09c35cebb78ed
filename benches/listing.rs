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
use token_authority::domain::name::{Namespace, Owner};
use token_authority::domain::page::{Filter, PageSize};
use token_authority::store::redis::{RedisOptions, RedisStore, init};
use token_authority::store::sqlite::{SqliteOptions, SqliteStore};
use token_authority::store::{Creation, Store};

use support::drafts::{draft, listing, owned};
use support::redis_server::RedisServer;

#[path = "../tests/support/mod.rs"]
mod support;

const FEW: usize = 1000;
const WRITERS: usize = 64;
const PAGES: usize = 200;

fn main() {
    // Cargo adds flags of its own, such as --bench.
    let many = std::env::args().find_map(|argument| argument.parse().ok());
    let many: usize = many.unwrap_or(20_000);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = SqliteOptions {
            path: folder.path().join("bench.db"),
            require_existing: false,
            clock: Arc::new(SystemClock),
        };
        let store = SqliteStore::open(options).expect("the store opens");
        measure("SQLite", Arc::new(store), many).await;

        let server = RedisServer::start();
        let options = RedisOptions::new(server.url());
        init(&options).await.expect("the store takes its marker");
        let store = RedisStore::start(options).expect("sound options");
        let store: Arc<dyn Store> = Arc::new(store);
        while store.probe().await.write.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        measure("Redis", store, many).await;
    });
}

async fn measure(name: &str, store: Arc<dyn Store>, many: usize) {
    fill(&store, 0, FEW).await;
    let before = costs(&store).await;
    let rate = fill(&store, FEW, many).await;
    let after = costs(&store).await;
    println!("{name}: {rate:.0} creates/s by {WRITERS} callers, up to {many} tokens");
    for ((what, few), (_, much)) in before.into_iter().zip(after) {
        let ratio = much.as_secs_f64() / few.as_secs_f64();
        println!(
            "  {what:<28} {few:>9.0?} at {FEW} tokens {much:>9.0?} at {many}   ratio {ratio:.2}"
        );
    }
    store.close().await;
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

/// Median costs of a page of 50: the first, and those after it.
async fn costs(store: &Arc<dyn Store>) -> Vec<(&'static str, Duration)> {
    let own = listing(Reach::only(Namespace::fallback()));
    let of_one = Filter {
        owner: Owner::parse("owner-1").ok(),
        ..own.clone()
    };
    let all = listing(Reach::All);
    let mut costs = Vec::new();
    for (what, filter) in [
        ("page of a namespace", own),
        ("page of an owner", of_one),
        ("page of all", all),
    ] {
        let mut spans = Vec::new();
        let mut after = None;
        for _ in 0..PAGES {
            let begun = Instant::now();
            let page = store.list(&filter, after, PageSize::asked(50)).await;
            spans.push(begun.elapsed());
            // At the end of the list it begins anew.
            after = page.expect("the store answers").next;
        }
        spans.sort_unstable();
        costs.push((what, spans[PAGES / 2]));
    }
    costs
}
