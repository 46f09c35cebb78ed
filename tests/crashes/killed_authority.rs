//! `kill -9` of an authority on SQLite, amid writes.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::audit::Books;
use crate::callers::Round;
use crate::harness::Authority;
use crate::kit::{connect, is_an_answer, quiet, rounds};

/// One of so many times it is killed once more as soon as it listens: what a start recovered must
/// not need a clean end to last.
const AGAIN_EVERY: usize = 4;

/// The file has no damage, and nothing is kept of tokens that are not there.
fn is_sound(database: &Path) {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let connection = connection.unwrap();
    let ask = |question: &str| -> String {
        let answer = connection.query_row(question, [], |row| row.get(0));
        answer.unwrap_or_else(|error| panic!("{question}: {error}"))
    };
    assert_eq!(ask("PRAGMA integrity_check"), "ok");
    for table in ["quota_spending", "rate_spending"] {
        let orphans = format!(
            "SELECT CAST(count(*) AS TEXT) FROM {table} WHERE id NOT IN (SELECT id FROM tokens)"
        );
        assert_eq!(ask(&orphans), "0", "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_after_kill_of_the_authority() {
    let mut authority = quiet(Authority::before_sqlite_start());
    authority.start();
    let mut books = Books::open(&mut authority.root().await).await;
    for number in 0..rounds() {
        let round = Round::begin(number, &books.purses, || vec![connect(&authority)]);
        round.is_under_way().await;
        authority.kill();
        let told = round.over().await;
        for caller in &told {
            let status = &caller.status;
            assert!(!is_an_answer(status), "round {number}: {status:?}");
        }
        authority.start();
        if number % AGAIN_EVERY == 0 {
            authority.kill();
            authority.start();
        }
        let root = authority.root().await;
        books.settle(&[root], told).await;
        is_sound(&authority.database());
    }
    books.are_true(&[connect(&authority)]).await;
}
