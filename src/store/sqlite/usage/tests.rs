//! Nothing is lost and nothing counted twice, whenever a server dies; and nothing stays.

mod bounds;

use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::fold::Fold;
use super::unfolded::STEP;
use super::*;
use crate::domain::token::tests::at;
use crate::domain::token::{Draft, Expiration, Ruling};
use crate::domain::usage::{Gain, Judged, Keeping, Mark, TokenUse};
use crate::domain::verdict::Verdict;
use crate::store::sqlite::tests::{Bench, created, fresh};
use crate::store::sqlite::tokens::Acts;
use crate::store::{StoreStatus, Sweeping, TokenStore};

const HOUR: Duration = Duration::from_secs(3600);

fn judged(at: Timestamp, path: &str) -> Judged<'_> {
    Judged {
        at,
        verdict: Verdict::Valid,
        cost: 1,
        secret_version: 1,
        validation_id: "00000000001234567890",
        method: "GET",
        path,
        client: Some(IpAddr::from([192, 0, 2, 1])),
        user_agent: "curl/8.5.0",
    }
}

/// What was counted of some requests of one second.
fn gain(now: Timestamp, requests: &[&str]) -> Gain {
    let mut own = TokenUse::of(Namespace::fallback());
    requests
        .iter()
        .for_each(|path| own.note(&judged(now, path)));
    Gain {
        hours: [(Hour::of(now), own.used)].into(),
        recent: own.recent,
        ..Gain::default()
    }
}

/// The same of one request of a token, named as servers name judgements: a plain gain.
fn plain_gain(id: TokenId, now: Timestamp, count: u64) -> Gain {
    let name = format!("{id}1ProcessName0{count:08}");
    let mut own = TokenUse::of(Namespace::fallback());
    own.note(&Judged {
        validation_id: &name,
        ..judged(now, "/orders")
    });
    Gain {
        hours: vec![(Hour::of(now), own.used)],
        recent: own.recent,
        ..Gain::default()
    }
}

/// One request of each of these at the store's time; plain gains, and others by turns.
async fn add(store: &SqliteStore, sequence: u64, tokens: &[TokenId]) {
    let now = store.inner.time.now();
    let gains = tokens.iter();
    let flush = Flush {
        mark: Mark {
            process: 1,
            sequence,
        },
        gains: gains
            .map(|id| {
                let gain = match sequence % 2 {
                    1 => plain_gain(*id, now, sequence),
                    _ => gain(now, &["/orders"]),
                };
                (Subject::Token(*id), gain)
            })
            .collect(),
    };
    store.add_usage(&flush).await.unwrap();
}

async fn counted(store: &SqliteStore, id: TokenId) -> u64 {
    let book = store.usage(&Subject::Token(id), Hour::from_number(0)).await;
    book.unwrap().ledger.total.requests()
}

/// So many new tokens, made in one transaction.
async fn tokens(store: &SqliteStore, count: usize) -> Vec<TokenId> {
    let drafts: Vec<_> = (0..count).map(|_| fresh()).collect();
    let tokens = drafts.iter().map(|draft| draft.id).collect();
    let create = move |acts: &Acts<'_>| {
        drafts
            .iter()
            .try_for_each(|draft| acts.create(draft).map(drop))
    };
    store.inner.write(create).await.unwrap();
    tokens
}

/// The database as a server that is killed at this instant would leave it, opened anew.
fn killed(bench: &Bench) -> (Bench, SqliteStore) {
    let copy = Bench::new();
    for end in ["a.db", "a.db-wal"] {
        let from = bench.path().with_file_name(end);
        fs::copy(from, copy.path().with_file_name(end)).unwrap();
    }
    copy.clock.set(at(1_000_000));
    let store = copy.open();
    (copy, store)
}

fn rows(bench: &Bench, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    bench.raw().query_row(&sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn whoever_is_killed_loses_nothing_that_was_answered_and_counts_nothing_twice() {
    let bench = Bench::new();
    let store = bench.open();
    let tokens = tokens(&store, 6).await;
    add(&store, 1, &tokens).await;
    // Before anything is folded.
    let (copy, after) = killed(&bench);
    assert_eq!(counted(&after, tokens[0]).await, 1);
    after.fold_usage().await.unwrap();
    assert_eq!(counted(&after, tokens[0]).await, 1);
    assert_eq!(rows(&copy, "usage_journal"), 0);
    // In the middle: some are folded, and the journal still has all.
    bench.clock.advance(HOUR * 4);
    let inner = &store.inner;
    let load = inner.unfolded.load().unwrap();
    assert_eq!(load.subjects.len(), 6);
    let (mut frames, _) = inner.unfolded.step(&load.subjects[..3]);
    let raw = bench.raw();
    let now = Hour::of(inner.time.now());
    let fold = Fold::of(&raw, &frames, now, &Keeping::default()).unwrap();
    let done: Vec<Subject> = frames.drain(..).map(|(subject, _)| subject).collect();
    inner
        .write(move |acts: &Acts<'_>| {
            acts.fold(&fold)?;
            acts.unfolded.folded(done);
            Ok(())
        })
        .await
        .unwrap();
    add(&store, 2, &tokens[..1]).await;
    assert_eq!(
        (rows(&bench, "usage_ledgers"), rows(&bench, "usage_hours")),
        (3, 3)
    );
    let (_copy, after) = killed(&bench);
    for server in [&store, &after] {
        for _ in 0..2 {
            assert_eq!(counted(server, tokens[0]).await, 2);
            for id in &tokens[1..] {
                assert_eq!(counted(server, *id).await, 1);
            }
            server.fold_usage().await.unwrap();
        }
    }
    // After everything was folded.
    assert_eq!(rows(&bench, "usage_journal"), 0);
    let (_copy, after) = killed(&bench);
    assert_eq!(counted(&after, tokens[0]).await, 2);
    drop(store);
    assert_eq!(counted(&bench.open(), tokens[0]).await, 2);
}

#[tokio::test]
async fn of_what_is_read_again_only_what_the_ledger_lacks_is_counted() {
    const FOLDED: u64 = 3;
    const ADDED: u64 = 7;
    let bench = Bench::new();
    let store = bench.open();
    let id = tokens(&store, 1).await[0];
    let add = async |sequence| {
        let now = store.inner.time.now();
        let mark = Mark {
            process: 1,
            sequence,
        };
        let gains = vec![(Subject::Token(id), plain_gain(id, now, sequence))];
        // Twice, as by whoever was not told that the first arrived.
        for _ in 0..2 {
            let gains = gains.clone();
            store.add_usage(&Flush { mark, gains }).await.unwrap();
        }
    };
    for sequence in 1..=FOLDED {
        add(sequence).await;
    }
    // Folded, and not cut off the journal yet.
    let load = store.inner.unfolded.load().unwrap();
    let (step, _) = store.inner.unfolded.step(&load.subjects);
    let now = Hour::of(store.inner.time.now());
    let fold = Fold::of(&bench.raw(), &step, now, &Keeping::default()).unwrap();
    let write = move |acts: &Acts<'_>| acts.fold(&fold);
    store.inner.write(write).await.unwrap();
    for sequence in FOLDED + 1..=ADDED {
        add(sequence).await;
    }
    let (_copy, after) = killed(&bench);
    for server in [&store, &after] {
        let book = server.usage(&Subject::Token(id), now).await.unwrap();
        assert_eq!(book.ledger.total.requests(), ADDED);
        let names = book
            .ledger
            .recent
            .iter()
            .map(|recent| recent.validation_id());
        let expected = (1..=ADDED).map(|count| format!("{id}1ProcessName0{count:08}"));
        assert!(names.eq(expected));
        server.fold_usage().await.unwrap();
        assert_eq!(counted(server, id).await, ADDED);
    }
}

#[tokio::test]
async fn what_does_not_get_on_disk_is_not_counted() {
    let bench = Bench::new();
    let store = bench.open();
    let tokens = tokens(&store, 2).await;
    add(&store, 1, &tokens).await;
    let raw = bench.raw();
    raw.execute("DROP TABLE usage_journal", []).unwrap();
    let flush = Flush {
        mark: Mark {
            process: 1,
            sequence: 2,
        },
        gains: [(Subject::Token(tokens[0]), gain(at(1_000), &["/"]))].into(),
    };
    assert!(store.add_usage(&flush).await.is_err());
    assert_eq!(counted(&store, tokens[0]).await, 1);
    // Neither does a deletion that is undone take anything with it.
    let id = tokens[1];
    let undone: Result<(), StoreError> = store
        .inner
        .write(move |acts: &Acts<'_>| {
            acts.unfolded.gone(id);
            Err(StoreError::Closed.into())
        })
        .await;
    assert!(undone.is_err());
    assert_eq!(counted(&store, id).await, 1);
}

#[tokio::test]
async fn a_damaged_ledger_is_an_error_and_stops_nothing_else() {
    let bench = Bench::new();
    let store = bench.open();
    let tokens = tokens(&store, 3).await;
    for (sequence, id) in tokens.iter().enumerate() {
        add(&store, sequence as u64 + 1, &[*id]).await;
    }
    store.fold_usage().await.unwrap();
    let raw = bench.raw();
    // One ledger is damaged: nobody is told wrong numbers, and all others are folded.
    let damaged = "UPDATE usage_ledgers SET ledger = x'ff', due = 1 WHERE subject = ?1";
    assert_eq!(raw.execute(damaged, [tokens[0].as_str()]).unwrap(), 1);
    add(&store, 9, &tokens).await;
    for _ in 0..2 {
        let subject = Subject::Token(tokens[0]);
        let book = store.usage(&subject, Hour::from_number(0)).await;
        assert!(matches!(book, Err(StoreError::Corrupt(_))), "{book:?}");
        assert_eq!(counted(&store, tokens[1]).await, 2);
        store.fold_usage().await.unwrap();
    }
    assert_eq!(rows(&bench, "usage_journal"), 0);
}

#[tokio::test]
async fn a_damaged_row_of_the_journal_stops_nothing() {
    let bench = Bench::new();
    let store = bench.open();
    let tokens = tokens(&store, 3).await;
    for (sequence, id) in tokens.iter().enumerate() {
        add(&store, sequence as u64 + 1, &[*id]).await;
    }
    let raw = bench.raw();
    let damaged = "UPDATE usage_journal SET gains = x'ff' WHERE number = 2";
    assert_eq!(raw.execute(damaged, []).unwrap(), 1);
    let (copy, after) = killed(&bench);
    for _ in 0..2 {
        for (id, expected) in tokens.iter().zip([1, 0, 1]) {
            assert_eq!(counted(&after, *id).await, expected);
        }
        after.fold_usage().await.unwrap();
    }
    assert_eq!(rows(&copy, "usage_journal"), 0);
}

#[tokio::test]
async fn what_is_left_when_a_store_is_closed_is_folded() {
    let bench = Bench::new();
    let store = bench.open();
    let tokens = tokens(&store, 1).await;
    add(&store, 1, &tokens).await;
    assert_eq!(rows(&bench, "usage_journal"), 1);
    store.close().await;
    assert_eq!(
        (rows(&bench, "usage_journal"), rows(&bench, "usage_ledgers")),
        (0, 1)
    );
    let closed = store.fold_usage().await;
    assert_eq!(closed, Err(StoreError::Closed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_creates_does_not_wait_until_all_is_folded() {
    let bench = Bench::new();
    let store = bench.open();
    let tokens = tokens(&store, 40 * STEP).await;
    add(&store, 1, &tokens).await;
    let folding = store.fold_usage();
    tokio::pin!(folding);
    let mut meanwhile = 0;
    loop {
        let create = created(&store, fresh());
        tokio::select! {
            biased;
            folded = &mut folding => {
                folded.unwrap();
                break;
            }
            _ = create => meanwhile += 1,
        }
    }
    assert!(
        meanwhile >= 10,
        "only {meanwhile} tokens were created meanwhile"
    );
    assert_eq!(rows(&bench, "usage_ledgers"), 40 * STEP as i64);
}

#[tokio::test]
async fn hours_of_tokens_that_fell_silent_are_closed_and_dropped() {
    let bench = Bench::new();
    let store = bench.open();
    let tokens = tokens(&store, 2 * STEP).await;
    add(&store, 1, &tokens).await;
    store.fold_usage().await.unwrap();
    assert_eq!(rows(&bench, "usage_hours"), 0);
    // Nothing else is ever added.
    let all = 2 * STEP as i64;
    for (hours, details, days) in [(4, all, all), (36 * 24, 0, all), (366 * 24, 0, 0)] {
        bench.clock.advance(HOUR * hours);
        store.fold_usage().await.unwrap();
        assert_eq!(rows(&bench, "usage_hours"), details);
        assert_eq!(rows(&bench, "usage_ledgers WHERE days <> x''"), days);
    }
    assert_eq!(rows(&bench, "usage_ledgers WHERE due IS NOT NULL"), 0);
    assert_eq!(counted(&store, tokens[0]).await, 1);
}

#[tokio::test]
async fn of_the_use_of_a_token_that_is_gone_no_row_is_left() {
    let bench = Bench::new();
    let store = bench.open();
    let mut tokens = tokens(&store, 2).await;
    let brief = Draft {
        expiration: Expiration::After(HOUR),
        ..fresh()
    };
    tokens.push(created(&store, brief).await.id);
    add(&store, 1, &tokens).await;
    bench.clock.advance(HOUR * 4);
    add(&store, 2, &tokens).await;
    store.fold_usage().await.unwrap();
    let left = || (rows(&bench, "usage_ledgers"), rows(&bench, "usage_hours"));
    assert_eq!(left(), (3, 3));
    store
        .delete(tokens[0], Arc::new(|_, _| Ruling::Keep))
        .await
        .unwrap();
    assert_eq!(left(), (2, 2));
    bench.clock.advance(HOUR * 24);
    assert_eq!(store.sweep().await.unwrap().removed, 1);
    assert_eq!(left(), (1, 1));
    assert_eq!(counted(&store, tokens[1]).await, 2);
}

#[tokio::test]
async fn tokens_of_an_earlier_schema_are_counted() {
    let bench = Bench::new();
    let store = bench.open();
    for seconds in [60, 120, 5_000] {
        let draft = Draft {
            expiration: Expiration::After(Duration::from_secs(seconds)),
            ..fresh()
        };
        created(&store, draft).await;
    }
    tokens(&store, 4).await;
    drop(store);
    bench.back_to_second_schema();
    bench.clock.advance(Duration::from_secs(100));
    let store = bench.open();
    let soon = at(1_000 + 1_000);
    let standing = store.standing(None, soon, 9).await.unwrap();
    assert_eq!((standing.active, standing.expiring.len()), (6, 1));
}
