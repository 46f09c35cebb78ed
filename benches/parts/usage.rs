//! What a second of many tokens costs where usage is recorded, step by step: what is taken down is
//! counted, made into gains, journaled, and folded into ledgers.
//!
//! Told is CPU time of the whole process for each token, so that a busy machine hardly shows in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use rustix::time::{ClockId, clock_gettime};
use token_authority::authority::recorder::{Flushing, Recorder};
use token_authority::domain::name::Namespace;
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::TokenId;
use token_authority::domain::usage::{Book, Hour, Judged, Subject, Summary};
use token_authority::domain::verdict::Verdict;
use token_authority::metrics::Metrics;
use token_authority::store::sqlite::SqliteStore;
use token_authority::store::usage::{Flush, InForce, UsageStore};
use token_authority::store::{StoreError, TokenStore};
use tokio::runtime::Runtime;

use crate::support::drafts::draft;

/// Tokens, each of which is asked about once.
const TOKENS: usize = 100_000;
/// Requests that are taken down before they are counted: fewer than a log has room for.
const AT_ONCE: usize = 16_000;
/// The same of a whole run: requests of a second, and how many seconds.
const A_SECOND: usize = 80_000;
const SECONDS: usize = 10;

/// CPU time that this process took.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        now.tv_sec.unsigned_abs(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    )
}

fn spent(work: impl FnOnce()) -> Duration {
    let before = cpu();
    work();
    cpu() - before
}

/// A store that passes on what is to be added, or keeps none of it, and notes how long that took.
struct Timed {
    store: Option<Arc<SqliteStore>>,
    nanos: AtomicU64,
}

#[async_trait]
impl UsageStore for Timed {
    async fn add_usage(&self, flush: &Flush) -> Result<(), StoreError> {
        let Some(store) = &self.store else {
            return Ok(());
        };
        let before = cpu();
        let added = store.add_usage(flush).await;
        let nanos = u64::try_from((cpu() - before).as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        added
    }

    async fn usage(&self, _: &Subject, _: Hour) -> Result<Book, StoreError> {
        Err(StoreError::Closed)
    }

    async fn summaries(&self, _: &[TokenId], _: Hour) -> Result<Vec<Summary>, StoreError> {
        Err(StoreError::Closed)
    }

    async fn standing(
        &self,
        _: Option<&Namespace>,
        _: Timestamp,
        _: usize,
    ) -> Result<InForce, StoreError> {
        Err(StoreError::Closed)
    }
}

/// A recorder, what flushes it, and whom is asked about.
struct Site {
    runtime: Runtime,
    store: Arc<SqliteStore>,
    timed: Arc<Timed>,
    recorder: Arc<Recorder>,
    flushing: Flushing,
    tokens: Vec<TokenId>,
    requests: u64,
}

impl Site {
    /// `keeps` tells whether what is flushed is added to a store.
    fn new(store: SqliteStore, keeps: bool) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let store = Arc::new(store);
        let tokens = runtime.block_on(created(&store));
        let recorder = Arc::new(Recorder::new(Arc::new(Metrics::new([]))));
        let timed = Arc::new(Timed {
            store: keeps.then(|| store.clone()),
            nanos: AtomicU64::new(0),
        });
        let flushing = Flushing::new(recorder.clone(), timed.clone(), Duration::from_secs(1));
        Self {
            runtime,
            store,
            timed,
            recorder,
            flushing: flushing.expect("random bytes"),
            tokens,
            requests: 0,
        }
    }

    /// Takes down a request of each of these, and counts them.
    fn ask(&mut self, tokens: impl Iterator<Item = usize>) {
        for place in tokens {
            let id = self.tokens[place];
            self.requests += 1;
            let number = format!("{id}1ProcessName0{:08}", self.requests % 100_000_000);
            self.recorder.note(
                id,
                "default",
                &Judged {
                    at: Timestamp::from_micros(1_700_000_000_000_000 + 12 * self.requests),
                    verdict: Verdict::Valid,
                    cost: 1,
                    secret_version: 1,
                    validation_id: &number,
                    method: "GET",
                    path: "/orders/*/items",
                    client: Some([192, 0, 2, 7].into()),
                    user_agent: "Go-http-client/2.0",
                },
            );
            if self.requests.is_multiple_of(AT_ONCE as u64) {
                self.runtime.block_on(self.recorder.count_on());
            }
        }
        self.runtime.block_on(self.recorder.count_on());
    }

    fn flush(&self) {
        let all = self.flushing.finish(Duration::from_secs(600));
        self.runtime.block_on(all);
    }
}

async fn created(store: &Arc<SqliteStore>) -> Vec<TokenId> {
    let mut making = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let store = store.clone();
        making.spawn(async move {
            let mut ids = Vec::new();
            for _ in 0..TOKENS / 64 + 1 {
                let draft = draft();
                ids.push(draft.id);
                store.create(draft).await.expect("it is created");
            }
            ids
        });
    }
    making.join_all().await.concat()
}

/// All steps, each alone.
pub(crate) fn usage(criterion: &mut Criterion, open: impl Fn(&str) -> SqliteStore) {
    let mut group = criterion.benchmark_group("usage");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(TOKENS as u64));
    let mut site = Site::new(open("none.db"), false);
    step(&mut group, "take down and count", |times| {
        let mut all = Duration::ZERO;
        for _ in 0..times {
            all += spent(|| site.ask(0..TOKENS));
            site.flush();
        }
        all
    });
    step(&mut group, "gains", |times| {
        let mut all = Duration::ZERO;
        for _ in 0..times {
            site.ask(0..TOKENS);
            all += spent(|| site.flush());
        }
        all
    });
    drop(site);
    let mut site = Site::new(open("kept.db"), true);
    step(&mut group, "journal", |times| {
        site.timed.nanos.store(0, Ordering::Relaxed);
        for _ in 0..times {
            site.ask(0..TOKENS);
            site.flush();
            let folded = site.runtime.block_on(site.store.fold_usage());
            folded.expect("it is folded");
        }
        Duration::from_nanos(site.timed.nanos.load(Ordering::Relaxed))
    });
    step(&mut group, "fold", |times| {
        let mut all = Duration::ZERO;
        for _ in 0..times {
            site.ask(0..TOKENS);
            site.flush();
            all += spent(|| {
                let folded = site.runtime.block_on(site.store.fold_usage());
                folded.expect("it is folded");
            });
        }
        all
    });
    drop(site);
    let mut site = Site::new(open("whole.db"), true);
    group.throughput(Throughput::Elements((A_SECOND * SECONDS) as u64));
    let mut numbers = crate::support::numbers::Numbers(7);
    step(&mut group, "ten seconds of requests", |times| {
        spent(|| {
            for _ in 0..times * SECONDS as u64 {
                let drawn: Vec<_> = (0..A_SECOND)
                    .map(|_| numbers.below(TOKENS as u64) as usize)
                    .collect();
                site.ask(drawn.into_iter());
                site.flush();
            }
        })
    });
    group.finish();
}

fn step(
    group: &mut BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    mut work: impl FnMut(u64) -> Duration,
) {
    group.bench_function(name, |bencher| bencher.iter_custom(&mut work));
}
