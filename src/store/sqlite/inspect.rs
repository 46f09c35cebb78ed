//! Looks at a database from outside, beside a server or without one, and changes nothing: neither
//! the file nor what lies beside it, nor any lock that a server could meet.
//!
//! A database without a log is read as if it could not change (`immutable=1`), since SQLite would
//! else make a log to read it. One with a log has a server, or had one that was killed: it is read
//! through the log's index as that lies there (`readonly_shm=1`). <https://sqlite.org/wal.html#readonly>

use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Instant;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::GeneratedRoot;
use super::error::{Fault, OpenError};
use super::peppers;
use super::place::{beside, resolve};
use super::schema::{self, Kind};
use crate::domain::pepper::PepperCheck;
use crate::domain::time::Timestamp;
use crate::store::{StoreError, StoreId};

/// Most damages that are told.
const DAMAGES_MAX: u8 = 5;

/// Where SQLite's header says by which format the file is read; 2 means with a log.
/// <https://sqlite.org/fileformat.html#file_format_version_numbers>
const READ_VERSION_AT: usize = 19;

/// A database and what lies beside it.
#[derive(Clone, Debug)]
pub struct Files {
    pub database: PathBuf,
    /// What was committed and not yet folded into the database.
    pub log: PathBuf,
    /// SQLite's index of the log.
    pub index: PathBuf,
    /// What a server locks as long as it runs.
    pub lock: PathBuf,
}

impl Files {
    /// Of the database at `path`, symbolic links resolved as a server does.
    pub fn at(path: &Path) -> Result<Self, OpenError> {
        let database = resolve(path)?;
        Ok(Self {
            log: beside(&database, "-wal"),
            index: beside(&database, "-shm"),
            lock: beside(&database, ".lock"),
            database,
        })
    }

    /// Who holds the lock, by what the kernel lists. Trying to take it would tell, too, and could
    /// turn a server away that starts meanwhile.
    pub fn holder(&self) -> Holder {
        let Ok(lock) = fs::metadata(&self.lock) else {
            return Holder::Nobody;
        };
        match fs::read_to_string("/proc/locks") {
            Ok(locks) => holder(&locks, (lock.dev(), lock.ino())),
            Err(_) => Holder::Unknown,
        }
    }
}

/// Who holds the lock of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Process(u32),
    /// Nobody whom this process can see; it sees nobody outside of its container.
    Nobody,
    Unknown,
}

/// Finds a lock in `/proc/locks` (proc_locks(5)): `1: FLOCK ADVISORY WRITE 4711 08:02:131 0 EOF`.
fn holder(locks: &str, (device, inode): (u64, u64)) -> Holder {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let place = format!("{major:02x}:{minor:02x}:{inode}");
    let process = locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["FLOCK", _, "WRITE", process, found, ..] = words.get(1..)? else {
            return None;
        };
        (*found == place).then(|| process.parse().ok())?
    });
    process.map_or(Holder::Nobody, Holder::Process)
}

/// How closely a database is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Scrutiny {
    /// Whether every page and every index entry is read, and even beside a server. Else every page
    /// is, and only without one: reading long keeps its log from being begun anew.
    pub deep: bool,
    /// When to stop.
    pub until: Instant,
}

/// What a database was found to be.
#[derive(Debug)]
pub struct Condition {
    pub id: StoreId,
    pub schema: u32,
    /// Whether it has a write-ahead log, as a server sets it up.
    pub logged: bool,
    /// The latest time that any decision was known to be made at.
    pub mark: Timestamp,
    pub tokens: u64,
    pub namespaces: u64,
    pub root: GeneratedRoot,
    /// The peppers in use that it does not know yet; an error if one is another than it was used with.
    pub unkept_peppers: Result<Vec<u32>, StoreError>,
    /// The peppers that it was used with and that are not in use.
    pub missing_peppers: Vec<u32>,
    pub database_bytes: u64,
    pub log_bytes: u64,
    pub integrity: Integrity,
}

/// What there is to say of a database that could be opened.
#[derive(Debug)]
pub enum Contents {
    /// Nothing was ever stored in it.
    Empty,
    /// It has a log without the index of that, which only a server makes: it is a copy, or was
    /// restored.
    Unindexed,
    Store(Box<Condition>),
}

/// Whether a database is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Integrity {
    Sound,
    /// What SQLite says of it, the first few.
    Damaged(Vec<String>),
    /// It took longer than it may; nothing was found until then.
    Unfinished,
    /// Not asked, and why.
    NotAsked(&'static str),
}

/// Looks at the database of `files`, which exists. Blocking. `served` says whether a server holds
/// it, and `used` the peppers in use.
pub fn inspect(
    files: &Files,
    served: bool,
    used: &[PepperCheck],
    scrutiny: Scrutiny,
) -> Result<Contents, OpenError> {
    let path = &files.database;
    let faulty = |fault: Fault| OpenError::of_fault(path, &fault);
    let logged = files.log.exists();
    if bytes(&files.log) > 0 && !files.index.exists() {
        return Ok(Contents::Unindexed);
    }
    // Before SQLite has it open: to close a file gives up all locks of the process on it.
    let header = header(path).map_err(|error| OpenError::of_file(path, &error))?;
    let connection = connect(path, logged && files.index.exists());
    let connection = connection.map_err(|error| faulty(error.into()))?;
    if schema::inspect(&connection, path)? == Kind::Empty {
        return Ok(Contents::Empty);
    }
    let condition = condition(&connection, files, used).map_err(faulty)?;
    let integrity = match served && !scrutiny.deep {
        true => Integrity::NotAsked("a server uses it"),
        false => integrity(&connection, scrutiny).map_err(faulty)?,
    };
    Ok(Contents::Store(Box::new(Condition {
        logged: header.get(READ_VERSION_AT) == Some(&2),
        integrity: match !logged && files.log.exists() {
            // It did change, so that what seems to be a damage need not be one.
            true => Integrity::NotAsked("a server began to use it meanwhile"),
            false => integrity,
        },
        ..condition
    })))
}

/// All but whether it is whole, and has a log.
fn condition(
    connection: &Connection,
    files: &Files,
    used: &[PepperCheck],
) -> Result<Condition, Fault> {
    let meta = schema::read_meta(connection)?;
    let populations = "SELECT coalesce(sum(tokens), 0), count(*) FROM namespaces";
    let (tokens, namespaces): (i64, i64) =
        connection.query_row(populations, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let schema = connection.query_row("SELECT schema FROM meta", [], |row| row.get(0))?;
    let unkept = peppers::unkept(connection, used);
    Ok(Condition {
        id: meta.id,
        schema,
        logged: false,
        mark: meta.mark,
        tokens: tokens.cast_unsigned(),
        namespaces: namespaces.cast_unsigned(),
        root: schema::generated_root(connection)?,
        unkept_peppers: unkept
            .map(|checks| checks.iter().map(|check| check.id).collect())
            .map_err(StoreError::from),
        // A page that is damaged there is told with the rest of the damage.
        missing_peppers: peppers::missing(connection, used).unwrap_or_default(),
        database_bytes: bytes(&files.database),
        log_bytes: bytes(&files.log),
        integrity: Integrity::NotAsked("it was not asked yet"),
    })
}

fn bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

fn header(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut header = Vec::new();
    fs::File::open(path)?.take(100).read_to_end(&mut header)?;
    Ok(header)
}

fn connect(path: &Path, logged: bool) -> rusqlite::Result<Connection> {
    let how = match logged {
        true => "mode=ro&readonly_shm=1",
        false => "mode=ro&immutable=1",
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri(path, how), flags)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// The absolute path as a URI, everything but plain characters percent-encoded (RFC 3986).
fn uri(path: &Path, how: &str) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            // Writing into a text does not fail.
            other => drop(write!(uri, "%{other:02X}")),
        }
    }
    uri.push('?');
    uri.push_str(how);
    uri
}

fn integrity(connection: &Connection, scrutiny: Scrutiny) -> Result<Integrity, Fault> {
    let Scrutiny { deep, until } = scrutiny;
    let alarm = alarm(connection, until);
    let check = if deep {
        "integrity_check"
    } else {
        "quick_check"
    };
    let told = connection
        .prepare(&format!("PRAGMA {check}({DAMAGES_MAX})"))
        .and_then(|mut statement| {
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            rows.collect::<Result<Vec<_>, _>>()
        });
    drop(alarm);
    match told {
        Ok(told) if told == ["ok"] => Ok(Integrity::Sound),
        Ok(damages) => Ok(Integrity::Damaged(damages)),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            Ok(Integrity::Unfinished)
        }
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
            Ok(Integrity::Damaged(vec![error.to_string()]))
        }
        Err(error) => Err(error.into()),
    }
}

/// Ends what the connection does at `until`, unless what is answered is dropped before.
fn alarm(connection: &Connection, until: Instant) -> Sender<()> {
    let handle = connection.get_interrupt_handle();
    let (keep, waiting) = mpsc::channel();
    std::thread::spawn(move || {
        let left = until.saturating_duration_since(Instant::now());
        if waiting.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            handle.interrupt();
        }
    });
    keep
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::tests::{Bench, created, fresh};
    use std::time::Duration;

    fn scrutiny(deep: bool) -> Scrutiny {
        let until = Instant::now() + Duration::from_secs(60);
        Scrutiny { deep, until }
    }

    /// The names and contents of all files in a folder.
    fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(folder).unwrap();
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    }

    fn looked_at(files: &Files, deep: bool) -> Condition {
        let folder = files.database.parent().unwrap();
        let before = contents(folder);
        let served = files.holder() != Holder::Nobody;
        let found = inspect(files, served, &[], scrutiny(deep)).unwrap();
        assert!(before == contents(folder), "looking changed something");
        let Contents::Store(condition) = found else {
            panic!("no store: {found:?}")
        };
        *condition
    }

    #[tokio::test]
    async fn looking_changes_nothing_beside_a_log_or_without_one() {
        let bench = Bench::new();
        let store = bench.open();
        created(&store, fresh()).await;
        created(&store, fresh()).await;
        let files = Files::at(&bench.path()).unwrap();
        let holder = Holder::Process(std::process::id());
        assert_eq!(files.holder(), holder);
        // The locks of SQLite are of processes, and this one has the database open: a copy is as
        // what a killed server leaves.
        let copy = Bench::new();
        for path in [&files.database, &files.log, &files.index] {
            fs::copy(path, copy.path().with_file_name(path.file_name().unwrap())).unwrap();
        }
        let left = Files::at(&copy.path()).unwrap();
        let condition = looked_at(&left, true);
        assert_eq!(left.holder(), Holder::Nobody);
        assert_eq!((condition.tokens, condition.namespaces), (2, 1));
        assert_eq!(condition.integrity, Integrity::Sound);
        fs::remove_file(&left.index).unwrap();
        let found = inspect(&left, false, &[], scrutiny(false)).unwrap();
        assert!(matches!(found, Contents::Unindexed), "{found:?}");

        drop(store);
        let condition = looked_at(&files, false);
        assert_eq!(files.holder(), Holder::Nobody);
        assert_eq!((condition.tokens, condition.namespaces), (2, 1));
        assert_eq!(condition.integrity, Integrity::Sound);
        assert!(condition.logged);
    }

    #[tokio::test]
    async fn a_check_ends_when_its_time_is_over() {
        let bench = Bench::new();
        let store = bench.open();
        drop(store);
        let files = Files::at(&bench.path()).unwrap();
        let connection = connect(&files.database, false).unwrap();
        // It takes so long that the time is over before.
        let endless =
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
        let begun = Instant::now();
        let until = begun + Duration::from_millis(50);
        let alarm = alarm(&connection, until);
        let ended = connection.query_row(endless, [], |row| row.get::<_, i64>(0));
        drop(alarm);
        assert_eq!(
            ended.unwrap_err().sqlite_error_code(),
            Some(ErrorCode::OperationInterrupted)
        );
        assert!(begun.elapsed() >= Duration::from_millis(50));
    }

    #[test]
    fn a_lock_is_found_by_its_file() {
        let device = rustix::fs::makedev(0xfd, 2);
        let locks = "1: POSIX  ADVISORY  WRITE 7 fd:02:131 0 EOF\n\
                     2: FLOCK  ADVISORY  READ 8 fd:02:131 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 9 fd:02:132 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 4711 fd:02:131 0 EOF\n";
        assert_eq!(holder(locks, (device, 131)), Holder::Process(4711));
        assert_eq!(holder(locks, (device, 133)), Holder::Nobody);
        assert_eq!(holder("", (device, 131)), Holder::Nobody);
    }

    #[test]
    fn odd_names_stay_names() {
        let path = Path::new("/a b/c?d#e%f.db");
        assert_eq!(uri(path, "mode=ro"), "file:/a%20b/c%3Fd%23e%25f.db?mode=ro");
    }
}
