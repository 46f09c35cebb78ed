//! Draws: each token that is available is leased as often as every other, and none by a pattern.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use token_authority::domain::caller::Reach;
use token_authority::domain::pool::Pool;
use token_authority::domain::token::TokenId;
use token_authority::store::Store;
use token_authority::store::leases::{Acquired, LeaseTarget};

use crate::fixture::{self, Bench};
use crate::repetitions;
use crate::statistics::unfair;
use crate::support::drafts::{draft, pooled};
use crate::support::leases::{asking, lease_id, pool};
use crate::support::redis_server::RedisServer;

/// How many draw at once from a large pool; they hold a small part of it.
const DRAWERS: usize = 16;

/// Creates a pool of `count` tokens.
async fn filled(bench: &Bench, count: usize) -> (Pool, HashMap<TokenId, usize>) {
    let name = format!("of-{count}");
    let mut numbers = HashMap::new();
    for number in 0..count {
        let token = bench.create(pooled(draft(), &name)).await;
        numbers.insert(token.id, number);
    }
    (pool(&name), numbers)
}

/// Leases some token and gives it back; answers which.
async fn draw_one(store: &dyn Store, pool: &Pool) -> TokenId {
    let answer = store.acquire(&asking(pool)).await.expect("an answer");
    let Acquired::Granted { token, lease, .. } = answer else {
        panic!("expected a lease, got {answer:?}");
    };
    let target = LeaseTarget::Lease(lease_id(&token, &lease));
    let released = store.release(target, &Reach::All).await;
    released.expect("an answer");
    token.id
}

/// Which tokens are drawn, one after the other.
async fn in_turn(bench: &Bench, count: usize, draws: usize) -> Vec<usize> {
    let (pool, numbers) = filled(bench, count).await;
    let mut drawn = Vec::new();
    for _ in 0..draws {
        drawn.push(numbers[&draw_one(bench.store.as_ref(), &pool).await]);
    }
    drawn
}

/// How often each token is drawn where several draw at once.
async fn at_once(bench: &Bench, count: usize, draws: usize) -> Vec<u64> {
    let (pool, numbers) = filled(bench, count).await;
    let next = Arc::new(AtomicUsize::new(0));
    let drawers: Vec<_> = (0..DRAWERS)
        .map(|_| {
            let (store, pool, next) = (bench.store.clone(), pool.clone(), next.clone());
            tokio::spawn(async move {
                let mut drawn = Vec::new();
                while next.fetch_add(1, Ordering::Relaxed) < draws {
                    drawn.push(draw_one(store.as_ref(), &pool).await);
                }
                drawn
            })
        })
        .collect();
    let mut counts = vec![0; count];
    for drawer in drawers {
        for id in drawer.await.expect("no draw fails") {
            counts[numbers[&id]] += 1;
        }
    }
    counts
}

fn counted(drawn: impl Iterator<Item = usize>, cells: usize) -> Vec<u64> {
    let mut counts = vec![0; cells];
    drawn.for_each(|at| counts[at] += 1);
    counts
}

async fn draws_are_fair(bench: Bench) {
    for count in [2, 10] {
        let drawn = in_turn(&bench, count, 200 * count * repetitions() as usize).await;
        let singles = counted(drawn.iter().copied(), count);
        assert_eq!(unfair(&singles), None, "{count} tokens: {singles:?}");
        // What is drawn tells nothing about what is drawn next.
        let pairs = drawn.chunks_exact(2).map(|pair| pair[0] * count + pair[1]);
        let pairs = counted(pairs, count * count);
        assert_eq!(unfair(&pairs), None, "pairs of {count} tokens: {pairs:?}");
    }
    let draws = 20_000 * usize::try_from(repetitions().min(10)).unwrap_or(10);
    let counts = at_once(&bench, 1000, draws).await;
    assert_eq!(unfair(&counts), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draws_are_fair_on_sqlite() {
    draws_are_fair(fixture::on_sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draws_are_fair_on_redis() {
    draws_are_fair(fixture::on_redis().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draw_by_spop_is_caught() {
    const TOKENS: usize = 1000;
    let server = RedisServer::start();
    let mut connection = server.connection().await;
    let mut filling = redis::cmd("SADD");
    filling.arg("free");
    (0..TOKENS).for_each(|number| {
        filling.arg(format!("t{number}"));
    });
    let _: u64 = filling.query_async(&mut connection).await.unwrap();
    let script = "local drawn = {}
        for i = 1, 20000 do
            drawn[i] = redis.call('SPOP', 'free')
            redis.call('SADD', 'free', drawn[i])
        end
        return drawn";
    let mut call = redis::cmd("EVAL");
    let drawn: Vec<String> = call
        .arg(script)
        .arg(0)
        .query_async(&mut connection)
        .await
        .unwrap();
    let number = |text: &String| text[1..].parse().unwrap();
    let counts = counted(drawn.iter().map(number), TOKENS);
    assert!(unfair(&counts).unwrap().ends_with("too much"));
}
