//! Nobody makes usage large, or slow to ask for.

use rusqlite::params_from_iter;
use rusqlite::types::Null;

use super::super::fold::{DUE, LEDGER};
use super::super::in_force::{EXPIRING, OUT};
use super::super::journal::Lot;
use super::super::unfolded::{MEMORY_MAX, STEP_BYTES};
use super::*;
use crate::domain::usage::{ENDPOINT_BYTES_MAX, USER_AGENT_BYTES_MAX};
use crate::entropy;

#[tokio::test]
async fn a_step_is_small_and_memory_bounded() {
    let unfolded = Arc::new(Unfolded::default());
    let subjects: Vec<Subject> = (0..3 * STEP)
        .map(|_| Subject::Token(entropy::token_id().unwrap()))
        .collect();
    let rows = |bytes: usize| {
        let mut lot = Lot::default();
        let frames = vec![0; bytes];
        subjects
            .iter()
            .for_each(|subject| lot.add_frames(subject, &frames));
        lot
    };
    unfolded.added(unfolded.number(), rows(10));
    unfolded.settle();
    unfolded.load().unwrap();
    let (step, taken) = unfolded.step(&subjects);
    assert_eq!((step.len(), taken), (STEP, STEP));
    unfolded.folded(subjects.clone());
    unfolded.settle();
    unfolded.emptied();
    assert_eq!(unfolded.bytes(), 0);

    // With what an item needs beside its frames.
    let each = MEMORY_MAX / subjects.len() - 100;
    unfolded.added(unfolded.number(), rows(each));
    assert_eq!(unfolded.bytes(), 0, "it is not on disk yet");
    unfolded.settle();
    assert!(unfolded.is_worth_folding() && unfolded.calls() && !unfolded.calls());
    unfolded.load().unwrap();
    let (step, taken) = unfolded.step(&subjects);
    assert_eq!((step.len(), taken), (STEP_BYTES.div_ceil(each), step.len()));
    let waiting = tokio::spawn({
        let unfolded = unfolded.clone();
        async move { unfolded.room().await }
    });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished(), "there is no room");
    unfolded.folded(subjects[..5].to_vec());
    unfolded.settle();
    waiting.await.unwrap();
}

/// What the longest paths and agents take at most, of one token: in the journal and in memory for
/// each flush, in the row of each hour, and in its ledger.
const FLUSH_MOST: usize = 40 * 1024;
const HOUR_MOST: i64 = 24 * 1024;
const LEDGER_MOST: i64 = 64 * 1024;

#[tokio::test]
async fn a_million_paths_of_a_token_take_no_more_than_some() {
    let bench = Bench::new();
    let store = bench.open();
    let id = tokens(&store, 1).await[0];
    let rest = "x".repeat(ENDPOINT_BYTES_MAX - 8);
    let agent = "y".repeat(USER_AGENT_BYTES_MAX);
    let mut before = 0;
    for second in 0..50_u64 {
        let now = at(1_000 + second);
        let mut own = TokenUse::of(Namespace::fallback());
        for number in 0..20_000 {
            let path = format!("/{:07}{rest}", second * 20_000 + number);
            own.note(&Judged {
                user_agent: &agent,
                ..judged(now, &path)
            });
        }
        let gain = Gain {
            hours: [(Hour::of(now), own.used)].into(),
            recent: own.recent,
            ..Gain::default()
        };
        let flush = Flush {
            mark: Mark {
                process: 1,
                sequence: second + 1,
            },
            gains: [(Subject::Token(id), gain)].into(),
        };
        store.add_usage(&flush).await.unwrap();
        let [_, fresh] = store.inner.unfolded.items(&Subject::Token(id));
        let frames = fresh.bytes.len();
        assert!(
            frames - before < FLUSH_MOST,
            "{} bytes of a flush",
            frames - before
        );
        before = frames;
        if second % 20 == 19 {
            store.fold_usage().await.unwrap();
            before = 0;
        }
    }
    bench.clock.advance(HOUR * 4);
    store.fold_usage().await.unwrap();
    assert_eq!(counted(&store, id).await, 1_000_000);
    let longest = |sql| bench.raw().query_row(sql, [], |row| row.get::<_, i64>(0));
    let hour = longest("SELECT max(length(used)) FROM usage_hours").unwrap();
    let ledger = longest("SELECT max(length(ledger)) FROM usage_ledgers").unwrap();
    assert!(hour < HOUR_MOST, "{hour} bytes of an hour");
    assert!(ledger < LEDGER_MOST, "{ledger} bytes of a ledger");
}

/// What a plain gain takes in the journal, and in memory beside what its token does.
const PLAIN_ON_DISK: usize = 48;
const PLAIN_IN_MEMORY: usize = 20;

#[tokio::test]
async fn a_request_of_each_of_many_tokens_takes_some_dozen_bytes() {
    let bench = Bench::new();
    let store = bench.open();
    let tokens = tokens(&store, 500).await;
    add(&store, 1, &tokens).await;
    let row = "SELECT sum(length(gains)) FROM usage_journal";
    let row: i64 = bench.raw().query_row(row, [], |row| row.get(0)).unwrap();
    let each = usize::try_from(row).unwrap() / tokens.len();
    assert!(each <= PLAIN_ON_DISK, "{each} bytes of the journal");
    for id in &tokens {
        let [_, fresh] = store.inner.unfolded.items(&Subject::Token(*id));
        let bytes = fresh.bytes.len();
        assert!(bytes <= PLAIN_IN_MEMORY, "{bytes} bytes of memory");
    }
}

/// Bytes of disk of an hour in which a token was used on three endpoints from one address, and of the
/// ledger of such a token, beside its hours: as the description of the store says.
const DISK_OF_AN_HOUR: i64 = 200;
const DISK_OF_A_LEDGER: i64 = 800;

#[tokio::test]
async fn a_busy_hour_takes_no_more_disk_than_is_said() {
    let bench = Bench::new();
    let store = bench.open();
    let (tokens, hours) = (tokens(&store, STEP).await, 24);
    for hour in 0..hours {
        let now = store.inner.time.now();
        let requests = ["/orders", "/orders/*/items", "/carts/*"].repeat(40);
        let gains = tokens.iter();
        let flush = Flush {
            mark: Mark {
                process: 1,
                sequence: hour as u64 + 1,
            },
            gains: gains
                .map(|id| (Subject::Token(*id), gain(now, &requests)))
                .collect(),
        };
        store.add_usage(&flush).await.unwrap();
        bench.clock.advance(HOUR);
        store.fold_usage().await.unwrap();
    }
    bench.clock.advance(HOUR * 3);
    store.fold_usage().await.unwrap();
    let raw = bench.raw();
    let pages = |tables: &str| {
        let sql = format!("SELECT sum(pgsize) FROM dbstat WHERE name IN ({tables})");
        raw.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let of_hour = pages("'usage_hours'") / ((STEP * hours) as i64);
    let of_ledger = pages("'usage_ledgers', 'usage_subject', 'usage_due'") / STEP as i64;
    assert_eq!(rows(&bench, "usage_hours"), (STEP * hours) as i64);
    assert!(of_hour <= DISK_OF_AN_HOUR, "{of_hour} bytes of an hour");
    assert!(
        of_ledger <= DISK_OF_A_LEDGER,
        "{of_ledger} bytes of a ledger"
    );
}

/// By which what is asked costs the same at any number of tokens, and of hours.
#[test]
fn every_query_of_usage_seeks_in_an_index() {
    let bench = Bench::new();
    drop(bench.open());
    let connection = bench.raw();
    let of_inactive =
        "tokens USING COVERING INDEX tokens_inactive (namespace=? AND inactive_from<?)";
    let expected = [
        (
            LEDGER,
            "usage_ledgers USING INDEX usage_subject (subject=?)",
        ),
        (DUE, "usage_ledgers USING INDEX usage_due (due<?)"),
        (HOURS, "usage_hours USING PRIMARY KEY (ledger=? AND hour>?)"),
        (OUT, of_inactive),
        (
            EXPIRING,
            "tokens USING INDEX tokens_inactive \
             (namespace=? AND inactive_from>? AND inactive_from<?)",
        ),
    ];
    for (sql, seek) in expected {
        let mut plan = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let values = vec![Null; plan.parameter_count()];
        let steps: Vec<String> = plan
            .query_map(params_from_iter(values), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(steps, [format!("SEARCH {seek}")]);
    }
}
