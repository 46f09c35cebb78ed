//! Opens a database: finds it, locks it, makes sure it is ours, brings its schema up to date.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::checkpoint::Folding;
use super::error::{BUSY_TIMEOUT, Fault, OpenError};
use super::events::Log;
use super::limiter::Limiter;
use super::peppers::Peppers;
use super::place::{self, FileIdentity, Lock};
use super::queue::Queues;
use super::reader::{self, Readers};
use super::registry::HeldRegistry;
use super::schema::{self, Kind};
use super::seen::Seen;
use super::time::StoreTime;
use super::usage::{self, Folder};
use super::writer::{Desk, Writer};
use super::{Inner, LISTS_AT_ONCE, SqliteOptions};
use crate::domain::absence::Absences;
use crate::domain::time::Timestamp;
use crate::domain::usage::Keeping;
use crate::store::bells::Bells;

/// Most connections for point reads; each may cache 2 MB of pages.
const POINT_READERS_MAX: usize = 8;
/// Statements that the writer keeps prepared: all it has.
const STATEMENTS: usize = 128;
/// Pages that the writer caches, in KiB.
const WRITER_CACHE_KIB: i64 = 8 * 1024;
/// Size that the write-ahead log is cut back to after a burst, in bytes.
const LOG_KEPT: i64 = 64 * 1024 * 1024;

pub(super) fn open(options: SqliteOptions) -> Result<Inner, OpenError> {
    let SqliteOptions {
        path,
        require_existing,
        peppers,
        clock,
        retention,
        alarms,
        events,
        keeping,
    } = options;
    let path = place::resolve(&path)?;
    let (lock, file) = claim(&path, require_existing)?;
    let faulty = |fault: Fault| OpenError::of_fault(&path, &fault);
    let mut connection = own(&path, require_existing)?;
    let meta = schema::migrate(&mut connection).map_err(faulty)?;
    let peppers = Peppers::settle(&mut connection, peppers).map_err(faulty)?;
    let peppers = Arc::new(peppers);

    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let points = Readers::open(&path, cores.clamp(2, POINT_READERS_MAX)).map_err(faulty)?;
    let lists = Readers::open(&path, LISTS_AT_ONCE).map_err(faulty)?;
    let time = Arc::new(StoreTime::resume(clock, meta.mark));
    let seen = Arc::new(sight(&connection, &time, meta.mark).map_err(faulty)?);
    let queues = Arc::new(Queues::default());
    let log = Arc::new(Log::resume(alarms, events, time.now()));
    let bells = Bells::default();
    let registry = registry(&path)?;
    let limiter = Arc::new(Limiter::default());
    let unfolded = Arc::new(usage::replay(&connection).map_err(faulty)?);
    let desk = Desk {
        connection,
        id: meta.id.clone(),
        time: Arc::clone(&time),
        retention,
        file: Arc::clone(&file),
        kept: meta.mark,
        limiter: Arc::clone(&limiter),
        peppers: Arc::clone(&peppers),
        seen: Arc::clone(&seen),
        queues: Arc::clone(&queues),
        log: Arc::clone(&log),
        unfolded: Arc::clone(&unfolded),
        bells: bells.clone(),
        flushed: None,
        folding: Folding::default(),
        lock,
    };
    let (writer, folder) = start(desk, &path, keeping)?;
    Ok(Inner {
        id: meta.id,
        time,
        retention,
        file,
        points,
        lists,
        list_room: Arc::new(Semaphore::new(LISTS_AT_ONCE)),
        limiter,
        seen,
        queues,
        log,
        bells,
        registry,
        peppers,
        unfolded,
        folder,
        writer,
    })
}

/// Takes the file for this process alone.
fn claim(path: &Path, require_existing: bool) -> Result<(Lock, Arc<FileIdentity>), OpenError> {
    // Before the lock, which would leave a file behind beside nothing.
    if require_existing && matches!(path.try_exists(), Ok(false)) {
        return Err(OpenError::Absent(path.to_owned()));
    }
    let lock = Lock::take(path)?;
    place::secure(path, require_existing)?;
    let file = FileIdentity::of(path).map_err(|error| OpenError::of_file(path, &error))?;
    Ok((lock, Arc::new(file)))
}

/// Starts the threads that write, and that fold usage.
fn start(desk: Desk, path: &Path, keeping: Keeping) -> Result<(Arc<Writer>, Folder), OpenError> {
    let unstarted = |error| OpenError::of_file(path, &error);
    let connection = reader::connect(path).map_err(|fault| OpenError::of_fault(path, &fault))?;
    let (unfolded, time) = (Arc::clone(&desk.unfolded), Arc::clone(&desk.time));
    let writer = Arc::new(Writer::start(desk).map_err(unstarted)?);
    let bench = usage::Bench {
        connection,
        writer: Arc::clone(&writer),
        unfolded,
        time,
        keeping,
    };
    let folder = Folder::start(bench).map_err(unstarted)?;
    Ok((writer, folder))
}

/// The connection that writes, once the file is known to be ours, or to be made so.
fn own(path: &Path, require_existing: bool) -> Result<Connection, OpenError> {
    let connection = connect(path).map_err(|fault| OpenError::of_fault(path, &fault))?;
    match schema::inspect(&connection, path)? {
        Kind::Empty if require_existing => return Err(OpenError::Empty(path.to_owned())),
        Kind::Empty | Kind::Own => {}
    }
    tune(&connection, path)?;
    Ok(connection)
}

fn registry(path: &Path) -> Result<HeldRegistry, OpenError> {
    HeldRegistry::new().map_err(|error| OpenError::Io {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// When the authority was seen, which is back now.
fn sight(connection: &Connection, time: &StoreTime, mark: Timestamp) -> Result<Seen, Fault> {
    let now = time.now();
    // A store that knows of no sight was seen, if ever, when it decided last.
    let last = match mark == Timestamp::default() {
        true => now,
        false => mark,
    };
    let known = schema::absences(connection)?;
    let known = known.unwrap_or_else(|| Absences::new(Vec::new(), last));
    Ok(Seen::resume(known, now))
}

fn connect(path: &Path) -> Result<Connection, Fault> {
    // Without CREATE: the file is there, with the right mode.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Settings of the writing connection. The first two change the file.
fn tune(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let set = || -> Result<String, rusqlite::Error> {
        // So that the file can shrink. It counts for a file without any page only, so it comes first.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        let mode = connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "trusted_schema", false)?;
        // Savepoints keep their undo pages in memory.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
        connection.pragma_update(None, "journal_size_limit", LOG_KEPT)?;
        // The writer folds the log itself: SQLite would not say whether that went well.
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(mode)
    };
    let mode = set().map_err(|error| OpenError::of_fault(path, &error.into()))?;
    if mode.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    Err(OpenError::Io {
        path: path.to_owned(),
        reason: format!(
            "its file system allows no write-ahead log (journal_mode is {mode}); \
             a network file system cannot hold it"
        ),
    })
}

#[cfg(test)]
mod tests;
