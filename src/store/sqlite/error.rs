//! What can go wrong with an SQLite file, said in the words of the stores' contract.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{ErrorCode, ffi};

use crate::store::StoreError;

/// How long a connection waits for another one's lock. Only a foreign process ever holds one.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a database could not be opened. Every path is absolute, symbolic links resolved.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the database {} does not exist", .0.display())]
    Absent(PathBuf),
    /// The file is there, but was never initialised, or was emptied.
    #[error("the file {} is empty, and an existing database is required", .0.display())]
    Empty(PathBuf),
    #[error("the database {} is in use by another process", .0.display())]
    Locked(PathBuf),
    #[error("{} cannot be read and written: {reason}", path.display())]
    Denied { path: PathBuf, reason: String },
    #[error("{} is not an SQLite database", .0.display())]
    NotDatabase(PathBuf),
    #[error("{} is an SQLite database, but not of a token authority: {reason}", path.display())]
    Foreign { path: PathBuf, reason: String },
    #[error(
        "the database {} needs a newer release: it demands readers of schema {min_reader}, \
         this release knows schema {known}",
        path.display()
    )]
    Newer {
        path: PathBuf,
        min_reader: u32,
        known: u32,
    },
    #[error("the database {} cannot be opened: {reason}", path.display())]
    Io { path: PathBuf, reason: String },
}

impl OpenError {
    pub(super) fn of_file(path: &Path, error: &io::Error) -> Self {
        let (path, reason) = (path.to_owned(), error.to_string());
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Denied { path, reason }
            }
            _ => Self::Io { path, reason },
        }
    }

    pub(super) fn of_fault(path: &Path, fault: &Fault) -> Self {
        let (path, reason) = (path.to_owned(), fault.to_string());
        match fault.code() {
            Some(ErrorCode::NotADatabase) => Self::NotDatabase(path),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                Self::Denied { path, reason }
            }
            _ => Self::Io { path, reason },
        }
    }
}

/// Anything that stops an act on the database; never leaves this folder.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::types::FromSqlError> for Fault {
    fn from(error: rusqlite::types::FromSqlError) -> Self {
        Self::Store(StoreError::Corrupt(error.to_string()))
    }
}

impl Fault {
    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Sqlite(error) => error.sqlite_error_code(),
            Self::Store(_) => None,
        }
    }

    /// Whether a COMMIT or a checkpoint that ended thus may have lost what earlier flushes were
    /// thought to hold.
    ///
    /// A write that failed is none of these: it left no commit behind, and is made anew by the next
    /// transaction or checkpoint. It is also what an exhausted quota looks like.
    pub(super) fn flush_failed(&self) -> bool {
        match self {
            Self::Sqlite(rusqlite::Error::SqliteFailure(error, _)) => {
                error.code == ErrorCode::SystemIoFailure
                    && error.extended_code != ffi::SQLITE_IOERR_WRITE
            }
            _ => false,
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        let error = match fault {
            Fault::Store(error) => return error,
            Fault::Sqlite(error) => error,
        };
        let reason = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull | ErrorCode::ReadOnly) => Self::ReadOnly(reason),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Slow(BUSY_TIMEOUT),
            Some(
                ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::PermissionDenied,
            ) => Self::Unreachable(reason),
            // The file is damaged, a table is missing or looks different: somebody's hand, or a
            // broken disk, was in it, and no record in it is to be believed.
            Some(
                ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::Unknown
                | ErrorCode::SchemaChanged,
            ) => Self::Unacceptable(reason),
            _ => Self::Corrupt(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: i32) -> Fault {
        Fault::Sqlite(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    #[test]
    fn a_full_disk_and_a_read_only_file_system_only_refuse_writes() {
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_READONLY_DBMOVED] {
            assert!(!failure(code).flush_failed());
            assert!(matches!(failure(code).into(), StoreError::ReadOnly(_)));
        }
    }

    #[test]
    fn only_a_failed_flush_is_beyond_repair() {
        assert!(failure(ffi::SQLITE_IOERR_FSYNC).flush_failed());
        assert!(failure(ffi::SQLITE_IOERR_DIR_FSYNC).flush_failed());
        assert!(!failure(ffi::SQLITE_IOERR_WRITE).flush_failed());
        assert!(!failure(ffi::SQLITE_BUSY).flush_failed());
        assert!(!Fault::Store(StoreError::Closed).flush_failed());
    }

    #[test]
    fn a_damaged_file_is_an_outage() {
        for code in [
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_CORRUPT_INDEX,
            ffi::SQLITE_NOTADB,
            ffi::SQLITE_ERROR,
        ] {
            assert!(matches!(failure(code).into(), StoreError::Unacceptable(_)));
        }
    }
}
