//! The store as a whole: what is kept over a restart, what time does, who may open it.

mod damage;
mod leases;
mod peppers;
mod places;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::clock::ManualClock;
use crate::domain::caller::Reach;
use crate::domain::name::{Labels, Namespace, Owner, PoolName, Reason};
use crate::domain::profile::Profile;
use crate::domain::time::Timestamp;
use crate::domain::token::tests::{at, draft};
use crate::domain::token::{
    Expiration, Origin, REPLAY_WINDOW, Refusal, RequestKey, Ruling, State, Token,
};
use crate::domain::usage::Keeping;
use crate::entropy;

pub(super) struct Bench {
    pub(super) folder: TempDir,
    pub(super) clock: Arc<ManualClock>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::at(at(1_000))),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        fs::canonicalize(self.folder.path()).unwrap().join("a.db")
    }

    pub(super) fn try_open(&self, require_existing: bool) -> Result<SqliteStore, OpenError> {
        SqliteStore::open(SqliteOptions {
            require_existing,
            ..self.options()
        })
    }

    pub(super) fn options(&self) -> SqliteOptions {
        SqliteOptions {
            path: self.path(),
            require_existing: false,
            peppers: Vec::new(),
            clock: self.clock.clone(),
            retention: Retention::default(),
            alarms: Alarms::default(),
            events: EventBounds::default(),
            keeping: Keeping::default(),
        }
    }

    pub(super) fn open(&self) -> SqliteStore {
        self.try_open(false).unwrap()
    }

    /// Makes the database one of the second schema, as far as its tables go; it must be closed.
    pub(super) fn back_to_second_schema(&self) {
        let undo = "DROP TABLE events; DROP TABLE alarms; DROP INDEX tokens_held; \
                    DROP INDEX tokens_expire; ALTER TABLE tokens DROP COLUMN expire_time; \
                    DROP TABLE usage_journal; DROP TRIGGER tokens_usage; \
                    DROP TABLE usage_ledgers; DROP TABLE usage_hours; DROP INDEX tokens_inactive; \
                    ALTER TABLE tokens DROP COLUMN inactive_from; \
                    UPDATE meta SET schema = 2, min_reader = 2; PRAGMA user_version = 2";
        self.raw().execute_batch(undo).unwrap();
    }

    /// A connection past the store, as a test of what is on disk.
    pub(super) fn raw(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }
}

pub(super) fn fresh() -> Draft {
    Draft {
        id: entropy::token_id().unwrap(),
        ..draft()
    }
}

pub(super) fn in_namespace(name: &str) -> Draft {
    Draft {
        namespace: Namespace::parse(name).unwrap(),
        ..fresh()
    }
}

fn requested(key: u8) -> Draft {
    Draft {
        origin: Some(Origin {
            key: RequestKey([key; 32]),
            fingerprint: [2; 32],
        }),
        ..fresh()
    }
}

pub(super) async fn created(store: &SqliteStore, draft: Draft) -> Token {
    match store.create(draft).await {
        Ok(Creation::Created(token)) => token,
        other => panic!("expected a new token, got {other:?}"),
    }
}

async fn token(store: &SqliteStore, id: TokenId) -> Option<Token> {
    let found = store.find(id).await.unwrap();
    found.token.map(|token| (*token).clone())
}

fn keep() -> Rule {
    Arc::new(|_, _| Ruling::Keep)
}

fn revoke() -> Rule {
    Arc::new(|token, now| token.revoke(now, Reason::default()))
}

pub(super) fn filter(reach: Reach) -> Filter {
    Filter {
        reach,
        owner: None,
        pool: None,
        states: BTreeSet::from([
            State::Active,
            State::Disabled,
            State::Revoked,
            State::Expired,
        ]),
        labels: Labels::default(),
    }
}

fn only(names: &[&str]) -> Reach {
    let names = names.iter().map(|name| Namespace::parse(name).unwrap());
    Reach::Only(names.collect())
}

/// All pages of `size`, one after another.
async fn listed(store: &SqliteStore, filter: &Filter, size: u32) -> Vec<Token> {
    let (mut tokens, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(filter, after, PageSize::asked(size)).await;
        let page = page.unwrap();
        assert!(page.tokens.len() <= size as usize);
        tokens.extend(page.tokens);
        match page.next {
            Some(next) => after = Some(next),
            None => return tokens,
        }
    }
}

#[tokio::test]
async fn reopening_keeps_the_tokens_and_the_store_id() {
    let bench = Bench::new();
    let store = bench.open();
    let (first, id) = (created(&store, fresh()).await, store.id());
    store.close().await;
    let store = bench.try_open(true).unwrap();
    assert_eq!(token(&store, first.id).await, Some(first));
    assert_eq!(store.id(), id);
}

#[tokio::test]
async fn dropping_without_closing_loses_nothing_and_unlocks() {
    let bench = Bench::new();
    let first = created(&bench.open(), fresh()).await;
    assert_eq!(token(&bench.open(), first.id).await, Some(first));
}

#[tokio::test]
async fn an_answered_create_survives_the_loss_of_the_process() {
    let (bench, after) = (Bench::new(), Bench::new());
    let store = bench.open();
    let first = created(&store, fresh()).await;
    // What a process that ended here would have left behind.
    for name in ["a.db", "a.db-wal"] {
        fs::copy(
            bench.folder.path().join(name),
            after.folder.path().join(name),
        )
        .unwrap();
    }
    assert_eq!(token(&after.open(), first.id).await, Some(first));
}

#[tokio::test]
async fn closing_folds_the_log_and_refuses_every_later_act() {
    let bench = Bench::new();
    let store = bench.open();
    let id = created(&store, fresh()).await.id;
    store.close().await;
    store.close().await;
    assert!(!bench.folder.path().join("a.db-wal").exists());
    let closed = StoreError::Closed;
    assert_eq!(store.find(id).await.unwrap_err(), closed);
    assert_eq!(store.create(fresh()).await.unwrap_err(), closed);
    assert_eq!(store.change(id, keep()).await.unwrap_err(), closed);
    let all = filter(Reach::All);
    let page = store.list(&all, None, PageSize::asked(1));
    assert_eq!(page.await.unwrap_err(), closed);
    assert_eq!(
        (store.probe_read().await, store.probe_write().await),
        (Err(closed.clone()), Err(closed))
    );
}

#[tokio::test]
async fn a_clock_set_back_revives_nothing_not_even_over_a_restart() {
    let bench = Bench::new();
    let store = bench.open();
    let short = Draft {
        expiration: Expiration::After(Duration::from_secs(60)),
        ..fresh()
    };
    let id = created(&store, short).await.id;
    bench.clock.set(at(1_060));
    assert_eq!(store.find(id).await.unwrap().now, at(1_060));
    bench.clock.set(at(1_000));
    assert_eq!(store.find(id).await.unwrap().now, at(1_060));
    store.close().await;
    let found = bench.open().find(id).await.unwrap();
    assert_eq!(found.now, at(1_060));
    assert!(found.token.unwrap().expired(found.now));
}

#[tokio::test]
async fn the_time_of_mere_reads_is_written_down_before_long() {
    let bench = Bench::new();
    let store = bench.open();
    let id = created(&store, fresh()).await.id;
    bench.clock.set(at(2_000));
    store.find(id).await.unwrap();
    let (raw, began) = (bench.raw(), Instant::now());
    let mark = || raw.query_row("SELECT mark FROM meta", [], |row| row.get::<_, i64>(0));
    while mark().unwrap() != 2_000_000_000 {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", mark());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn every_write_writes_the_time_down_with_it() {
    let bench = Bench::new();
    let store = bench.open();
    bench
        .clock
        .set(at(1_000).saturating_add(Duration::from_micros(7)));
    created(&store, fresh()).await;
    let mark: i64 = bench
        .raw()
        .query_row("SELECT mark FROM meta", [], |row| row.get(0))
        .unwrap();
    assert_eq!(mark, 1_000_000_007);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_concurrent_creates_are_all_answered_and_kept() {
    let bench = Bench::new();
    let store = Arc::new(bench.open());
    let tasks: Vec<_> = (0..2_000)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { created(&store, fresh()).await })
        })
        .collect();
    let mut tokens = Vec::new();
    for task in tasks {
        tokens.push(task.await.unwrap());
    }
    let times: BTreeSet<Timestamp> = tokens.iter().map(|token| token.create_time).collect();
    assert_eq!(times.len(), 2_000, "no two share a create_time");
    store.close().await;
    let mut kept = listed(&bench.open(), &filter(Reach::All), 1_000).await;
    kept.sort_by_key(|token| token.id);
    tokens.sort_by_key(|token| token.id);
    assert!(kept == tokens);
}

#[tokio::test]
async fn an_act_that_fails_or_panics_undoes_only_itself() {
    let bench = Bench::new();
    let store = bench.open();
    let id = created(&store, fresh()).await.id;
    let insert_then = |end: fn() -> Fault| {
        store.inner.writer.carry_out(move |acts| {
            acts.create(&fresh())?;
            Err::<(), _>(end())
        })
    };
    let (first, failed, panicked, last) = tokio::join!(
        store.create(fresh()),
        insert_then(|| StoreError::Contended(1).into()),
        insert_then(|| panic!("a rule's own fault")),
        store.change(id, revoke()),
    );
    assert!(matches!(first, Ok(Creation::Created(_))));
    assert_eq!(failed, Err(StoreError::Contended(1)));
    assert!(
        matches!(panicked, Err(StoreError::Corrupt(_))),
        "{panicked:?}"
    );
    assert!(matches!(last, Ok(Change::Changed(_))));
    assert_eq!(listed(&store, &filter(Reach::All), 10).await.len(), 2);
}

#[tokio::test]
async fn a_repeated_id_or_request_is_answered_by_the_first_token() {
    let bench = Bench::new();
    let store = bench.open();
    let first = created(&store, requested(1)).await;
    let same_id = Draft {
        id: first.id,
        ..fresh()
    };
    for again in [same_id, requested(1)] {
        let taken = Creation::Taken(first.clone());
        assert_eq!(store.create(again).await, Ok(taken));
    }
}

#[tokio::test]
async fn a_deleted_token_is_gone_for_the_window_and_its_revision_never_repeats() {
    let bench = Bench::new();
    let store = bench.open();
    let request = requested(1);
    let first = created(&store, request.clone()).await;
    let deleted = store.delete(first.id, keep()).await;
    assert_eq!(deleted, Ok(Deletion::Deleted));
    assert_eq!(store.delete(first.id, keep()).await, Ok(Deletion::Absent));
    let again = [request.clone(), requested(1)];
    let instant = Duration::from_micros(1);
    bench
        .clock
        .set(at(1_000).saturating_add(REPLAY_WINDOW - instant));
    for draft in again {
        assert_eq!(store.create(draft).await, Ok(Creation::Gone));
    }
    bench.clock.advance(instant);
    assert!(created(&store, request).await.revision > first.revision);
}

#[tokio::test]
async fn outdated_markers_of_deleted_tokens_dwindle() {
    let bench = Bench::new();
    let store = bench.open();
    for key in 0..20 {
        let id = created(&store, requested(key)).await.id;
        store.delete(id, keep()).await.unwrap();
    }
    let raw = bench.raw();
    let count = |row: &rusqlite::Row<'_>| row.get::<_, u32>(0);
    let markers = || raw.query_row("SELECT count(*) FROM deleted", [], count);
    assert_eq!(markers(), Ok(20));
    bench.clock.advance(REPLAY_WINDOW);
    for _ in 0..3 {
        created(&store, fresh()).await;
    }
    assert_eq!(markers(), Ok(0));
}

#[tokio::test]
async fn revisions_grow_even_while_time_stands_still() {
    let bench = Bench::new();
    let store = bench.open();
    let first = created(&store, fresh()).await;
    let Ok(Change::Changed(second)) = store.change(first.id, revoke()).await else {
        panic!("not changed")
    };
    assert_eq!(second.revision, first.revision + 1);
    let kept = store.change(first.id, revoke()).await;
    assert!(matches!(kept, Ok(Change::Kept(kept, _)) if kept == second));
    let sight: Rule = Arc::new(|_, _| Ruling::Refuse(Refusal::OutOfSight));
    let refused = store.delete(first.id, sight).await;
    assert_eq!(refused, Ok(Deletion::Refused(Refusal::OutOfSight)));
    assert_eq!(token(&store, first.id).await, Some(second));
}

#[tokio::test]
async fn pages_are_newest_first_over_namespaces_whatever_their_size() {
    let bench = Bench::new();
    let store = bench.open();
    let mut all = Vec::new();
    for round in 0..12 {
        // Tokens of one round share a create_time, so that ids decide.
        bench.clock.set(at(2_000 + round / 2 * 10));
        for name in ["a", "b", "c"] {
            all.push(created(&store, in_namespace(name)).await);
        }
    }
    all.sort_by_key(|token| std::cmp::Reverse(Cursor::of(token)));
    for size in [1, 2, 5, 36, 100] {
        assert_eq!(listed(&store, &filter(Reach::All), size).await, all);
        let some = listed(&store, &filter(only(&["a", "c", "none"])), size).await;
        let expected = all.iter().filter(|token| token.namespace.as_str() != "b");
        assert!(some.iter().eq(expected), "pages of {size}");
    }
}

#[tokio::test]
async fn owner_and_pool_are_listed_as_they_are_now() {
    let bench = Bench::new();
    let store = bench.open();
    let (ann, bob) = (Owner::parse("ann").ok(), Owner::parse("bob").ok());
    let pool = PoolName::parse("gpu").ok();
    let of = |owner: &Option<Owner>, name| Draft {
        profile: Profile {
            owner: owner.clone(),
            pool: pool.clone(),
            ..Profile::default()
        },
        ..in_namespace(name)
    };
    let first = created(&store, of(&ann, "a")).await;
    let second = created(&store, of(&ann, "b")).await;
    created(&store, fresh()).await;
    let given: Rule = Arc::new(|token, _| {
        let mut changed = token.clone();
        changed.profile.owner = Owner::parse("bob").ok();
        Ruling::Replace(Box::new(changed))
    });
    store.change(first.id, given).await.unwrap();
    for reach in [Reach::All, only(&["a", "b"])] {
        let by = |owner: &Option<Owner>, pool: &Option<PoolName>| Filter {
            owner: owner.clone(),
            pool: pool.clone(),
            ..filter(reach.clone())
        };
        let ids = |tokens: Vec<Token>| tokens.iter().map(|token| token.id).collect::<Vec<_>>();
        assert_eq!(ids(listed(&store, &by(&ann, &None), 9).await), [second.id]);
        assert_eq!(ids(listed(&store, &by(&bob, &pool), 9).await), [first.id]);
        assert_eq!(listed(&store, &by(&None, &pool), 1).await.len(), 2);
    }
}

/// How many bytes of disk each of many such tokens takes.
pub(super) async fn bytes_of_each(draft: fn() -> Draft) -> u64 {
    const COUNT: u64 = 20_000;
    let bench = Bench::new();
    bench.clock.set(at(1_800_000_000));
    let store = bench.open();
    let clock = Arc::clone(&bench.clock);
    let filled = store.inner.writer.carry_out(move |acts| {
        for _ in 0..COUNT {
            clock.advance(Duration::from_millis(1));
            acts.create(&draft())?;
        }
        Ok(())
    });
    filled.await.unwrap();
    store.close().await;
    let raw = bench.raw();
    // The log of events has bounds of its own, however many tokens there are.
    raw.execute("DELETE FROM events", []).unwrap();
    let read = |name| raw.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let count = |name| read(name).unwrap().cast_unsigned();
    let pages = count("page_count") - count("freelist_count");
    pages * count("page_size") / COUNT
}

#[tokio::test]
async fn a_plain_token_takes_less_than_500_bytes_of_disk() {
    let each = bytes_of_each(fresh).await;
    assert!(each <= 500, "{each} bytes for each token");
}
