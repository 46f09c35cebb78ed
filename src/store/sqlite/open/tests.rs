//! Which files are opened, which are refused, and with what words.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::*;
use crate::domain::event::Alarms;
use crate::domain::retention::Retention;
use crate::domain::usage::Keeping;
use crate::store::events::EventBounds;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::tests::Bench;

fn refused(bench: &Bench, require_existing: bool) -> OpenError {
    match bench.try_open(require_existing) {
        Ok(_) => panic!("opened"),
        Err(error) => {
            let path = bench.path();
            assert!(error.to_string().contains(path.to_str().unwrap()));
            error
        }
    }
}

#[test]
fn a_second_open_is_refused_as_locked() {
    let bench = Bench::new();
    let _store = bench.open();
    assert!(matches!(refused(&bench, false), OpenError::Locked(_)));
}

#[test]
fn a_missing_or_empty_database_is_refused_where_one_is_required() {
    let bench = Bench::new();
    assert!(matches!(refused(&bench, true), OpenError::Absent(_)));
    assert_eq!(fs::read_dir(bench.folder.path()).unwrap().count(), 0);
    fs::write(bench.path(), "").unwrap();
    assert!(matches!(refused(&bench, true), OpenError::Empty(_)));
    drop(bench.open());
    assert!(bench.try_open(true).is_ok());
}

#[test]
fn a_new_database_that_was_never_used_can_be_opened_again() {
    let bench = Bench::new();
    let store = bench.open();
    let id = store.inner.id.clone();
    drop(store);
    let left: BTreeSet<_> = fs::read_dir(bench.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["a.db", "a.db.lock"].map(Into::into).into());
    for require_existing in [true, false] {
        let store = bench.try_open(require_existing).unwrap();
        assert_eq!(store.inner.id, id);
    }
}

#[test]
fn a_foreign_file_is_refused_and_left_as_it_was() {
    let unchanged = |bench: &Bench, kind: fn(&OpenError) -> bool| {
        let before = fs::read(bench.path()).unwrap();
        let error = refused(bench, false);
        assert!(kind(&error), "{error:?}");
        assert!(before == fs::read(bench.path()).unwrap());
    };
    let bench = Bench::new();
    fs::write(bench.path(), "a shopping list\n").unwrap();
    unchanged(&bench, |error| matches!(error, OpenError::NotDatabase(_)));
    for sql in [
        "CREATE TABLE songs (title TEXT)",
        "PRAGMA application_id = 17",
    ] {
        let bench = Bench::new();
        bench.raw().execute_batch(sql).unwrap();
        unchanged(&bench, |error| matches!(error, OpenError::Foreign { .. }));
    }
    // It says that it is ours, and is not whole.
    let bench = Bench::new();
    let sql = "PRAGMA application_id = 0x74617574; CREATE TABLE songs (title TEXT)";
    bench.raw().execute_batch(sql).unwrap();
    unchanged(
        &bench,
        |error| matches!(error, OpenError::Io { reason, .. } if reason.contains("damaged")),
    );
}

#[test]
fn a_database_for_newer_readers_is_refused() {
    let bench = Bench::new();
    drop(bench.open());
    let newer = "UPDATE meta SET schema = 8, min_reader = 7";
    bench.raw().execute(newer, []).unwrap();
    let error = refused(&bench, false);
    assert!(matches!(error, OpenError::Newer { min_reader: 7, .. }));
    let older = "UPDATE meta SET min_reader = 1";
    bench.raw().execute(older, []).unwrap();
    drop(bench.open());
    let kept = |row: &rusqlite::Row<'_>| row.get::<_, u32>(0);
    let schema = bench.raw().query_row("SELECT schema FROM meta", [], kept);
    assert_eq!(schema, Ok(8));
}

#[test]
fn a_folder_is_no_database_and_a_missing_folder_is_named() {
    let bench = Bench::new();
    fs::create_dir(bench.path()).unwrap();
    assert!(matches!(refused(&bench, false), OpenError::Io { .. }));
    let absent = SqliteStore::open(SqliteOptions {
        path: Path::new("/absent/folder/a.db").to_owned(),
        require_existing: false,
        peppers: Vec::new(),
        clock: bench.clock.clone(),
        retention: Retention::default(),
        alarms: Alarms::default(),
        events: EventBounds::default(),
        keeping: Keeping::default(),
    });
    let reason = absent.err().map(|error| error.to_string());
    assert!(reason.is_some_and(|reason| reason.contains("/absent/folder/a.db")));
}
