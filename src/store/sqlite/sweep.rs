//! One step of a sweep: tokens that were kept long enough go, and the file gives back their pages.

use rusqlite::Connection;

use super::error::Fault;
use super::tokens::{Acts, Entry, columns, read_id, read_kept};
use crate::domain::time::Timestamp;
use crate::store::{SWEPT_MAX, StoreError, Swept, UNREADABLE_POSTPONED};

/// Most tokens of one step: few enough that others who write do not wait for long, and enough that
/// the flush of each step is worth it. Where tokens do not go in the order in which they came, each
/// takes a handful of pages from disk and back.
const STEP: u32 = 256;
const _: () = assert!(STEP <= SWEPT_MAX);
/// Free pages that the file keeps for what comes next, 1 MB, and one in so many of all its pages.
const FREE_KEPT: i64 = 256;
const FREE_SHARE_KEPT: i64 = 20;
/// SQLite's usual size of a page.
const PAGE_BYTES: i64 = 4096;
/// Most pages that one step gives back: each may cost the move of another page.
const GIVEN_BACK_MAX: i64 = 128;

/// Most rows that one step removes, but for those of its last token: one that was used for weeks has
/// a row for each hour.
const ROWS_MAX: u64 = 16 * 1024;

/// By the index alone: nothing that is not due is looked at.
const DUE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM tokens INDEXED BY tokens_vanish WHERE vanish_time <= ?1 ORDER BY vanish_time LIMIT ?2"
);

/// What becomes of a token that was due when it was last written.
enum Fate {
    Vanish(Box<Entry>),
    /// It is kept until then; for ever where that is `None`.
    Stay(Box<Entry>, Option<Timestamp>),
    Unreadable(i64),
}

impl Acts<'_> {
    /// Carries out [`crate::store::Sweeping::sweep`].
    pub(super) fn sweep(&self) -> Result<Swept, Fault> {
        let now = self.time.now();
        let due = self.due(now)?;
        let (mut removed, mut unfinished) = (0, false);
        let before = self.connection.total_changes();
        for fate in &due {
            unfinished = self.connection.total_changes() - before > ROWS_MAX;
            if unfinished {
                break;
            }
            match fate {
                Fate::Vanish(entry) => {
                    self.note_last(entry, now)?;
                    removed += usize::from(self.remove(entry)?);
                }
                Fate::Stay(entry, until) => {
                    self.postpone(entry.row, *until)?;
                    // Its deadline may be another since it was put there. Others that went have
                    // moved it.
                    if let Some(kept) = self.by_row(entry.row)? {
                        self.notice(&kept.at(now, self.seen), now)?;
                    }
                }
                // It may be mended, so it is kept; and must not stand before all others.
                Fate::Unreadable(row) => {
                    self.postpone(*row, Some(now.saturating_add(UNREADABLE_POSTPONED)))?;
                }
            }
        }
        let purged = self.purge(now, STEP)?;
        let shrinking = give_back(self.connection, self.unfolded.room_on_disk())?;
        Ok(Swept {
            removed,
            more: unfinished || due.len().max(purged) == STEP as usize || shrinking,
        })
    }

    fn postpone(&self, row: i64, until: Option<Timestamp>) -> Result<(), Fault> {
        let until = until.map(|until| until.micros().cast_signed());
        self.connection
            .prepare_cached("UPDATE tokens SET vanish_time = ?2 WHERE rowid = ?1")?
            .execute((row, until))?;
        Ok(())
    }

    /// The rows of some due tokens, judged as they stand: the retention may have been another when
    /// they were written, and somebody may have kept them alive.
    fn due(&self, now: Timestamp) -> Result<Vec<Fate>, Fault> {
        let mut statement = self.connection.prepare_cached(DUE)?;
        let mut rows = statement.query((now.micros().cast_signed(), STEP))?;
        let mut due = Vec::new();
        while let Some(row) = rows.next()? {
            let fate = match read_kept(row) {
                Ok(kept) => {
                    let entry = Box::new(kept.at(now, self.seen));
                    match entry.token.vanish_time(&self.retention) {
                        Some(time) if time <= now => Fate::Vanish(entry),
                        _ => {
                            let later = entry.token.may_vanish(&self.retention, now);
                            Fate::Stay(entry, later)
                        }
                    }
                }
                Err(Fault::Store(StoreError::Corrupt(reason))) => {
                    let id = read_id(row).map(|id| id.to_string()).unwrap_or_default();
                    tracing::error!(id, reason, "a due record cannot be read, and is kept");
                    Fate::Unreadable(row.get(4)?)
                }
                Err(fault) => return Err(fault),
            };
            due.push(fate);
        }
        Ok(due)
    }
}

/// Gives free pages back to the file system where there are many, beside those of so many bytes that
/// are needed again, and says whether there still are. The file itself shrinks when the log is folded
/// into it.
fn give_back(connection: &Connection, needed: usize) -> Result<bool, Fault> {
    let count = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (free, all) = (count("freelist_count")?, count("page_count")?);
    let spare = free - FREE_KEPT - all / FREE_SHARE_KEPT - needed as i64 / PAGE_BYTES;
    if spare <= 0 {
        return Ok(false);
    }
    let pages = spare.min(GIVEN_BACK_MAX);
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    // One page for each row that is asked for.
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    // A database of an early release cannot give anything back.
    Ok(spare > pages && count("freelist_count")? < free)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::tests::Bench;

    #[test]
    fn a_sweep_seeks_in_the_index_of_what_vanishes() {
        let bench = Bench::new();
        drop(bench.open());
        let connection = bench.raw();
        let mut plan = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {DUE}"))
            .unwrap();
        let steps: Vec<String> = plan
            .query_map([1, 1], |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(
            steps,
            ["SEARCH tokens USING INDEX tokens_vanish (vanish_time<?)"]
        );
    }

    #[test]
    fn a_new_database_can_give_pages_back() {
        let bench = Bench::new();
        drop(bench.open());
        let mode: i64 = bench
            .raw()
            .pragma_query_value(None, "auto_vacuum", |row| row.get(0))
            .unwrap();
        assert_eq!(mode, 2, "incremental");
    }
}
