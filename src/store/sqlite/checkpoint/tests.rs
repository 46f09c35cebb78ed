//! How the log grows and shrinks, with and without readers that keep it.

use super::*;
use tempfile::TempDir;

struct Bench {
    folder: TempDir,
    writer: Connection,
    folding: Folding,
}

impl Bench {
    fn new(due: i64, too_many: i64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let writer = Connection::open(folder.path().join("a.db")).unwrap();
        let sql = "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (n)";
        writer.execute_batch(sql).unwrap();
        Self {
            folder,
            writer,
            folding: Folding::at(due, too_many),
        }
    }

    /// One commit of one page, and what comes after it; answers the log.
    fn commit(&mut self) -> Log {
        self.writer
            .execute("REPLACE INTO t VALUES (1)", [])
            .unwrap();
        self.folding.after_commit(&self.writer).unwrap();
        checkpoint(&self.writer, "NOOP").unwrap()
    }

    /// Somebody who reads the database as it is now until dropped.
    fn reader(&self) -> Connection {
        let reader = Connection::open(self.folder.path().join("a.db")).unwrap();
        reader.execute_batch("BEGIN").unwrap();
        let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        reader
            .query_row("SELECT count(*) FROM t", [], count)
            .unwrap();
        reader
    }
}

#[test]
fn the_log_is_folded_when_due_and_begun_anew() {
    let mut bench = Bench::new(10, 1_000);
    let longest = (0..100).map(|_| bench.commit().pages).max();
    assert!(
        longest.is_some_and(|pages| (10..=13).contains(&pages)),
        "{longest:?}"
    );
}

#[test]
fn what_a_reader_kept_in_the_log_is_folded_by_the_next_commit_after_it() {
    let mut bench = Bench::new(10, 1_000);
    while bench.commit().pages < 7 {}
    let reader = bench.reader();
    let kept = (0..5).map(|_| bench.commit()).last().unwrap();
    // Less than would be due by itself.
    let left = kept.pages - kept.folded;
    assert!(kept.folded > 0 && (1..9).contains(&left), "{kept:?}");
    drop(reader);
    let folded = bench.commit();
    assert_eq!(folded.folded, folded.pages);
    assert!(bench.commit().pages < 10);
}

#[test]
fn readers_that_relieve_each_other_cannot_keep_the_log_for_ever() {
    let mut bench = Bench::new(10, 40);
    let mut reader = bench.reader();
    // The next one always begins before the last one ends.
    while bench.commit().pages < 39 {
        reader = bench.reader();
    }
    let ends = std::thread::spawn(move || {
        std::thread::sleep(PATIENCE / 10);
        drop(reader);
    });
    let longest = (0..4).map(|_| bench.commit().pages).last().unwrap();
    ends.join().unwrap();
    assert!(longest < 10, "{longest}");
}

#[test]
fn a_reader_that_never_ends_is_waited_for_once_in_a_while_only() {
    let mut bench = Bench::new(10, 40);
    let _reader = bench.reader();
    let began = std::time::Instant::now();
    let grown = (0..100).map(|_| bench.commit().pages).last().unwrap();
    assert!(grown > 100, "{grown}");
    assert!(began.elapsed() >= 2 * PATIENCE);
    assert!(began.elapsed() < 20 * PATIENCE, "{:?}", began.elapsed());
}

#[test]
fn an_error_of_the_database_is_told() {
    let bench = Bench::new(10, 40);
    bench.writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(fold_all(&bench.writer).is_err());
}
