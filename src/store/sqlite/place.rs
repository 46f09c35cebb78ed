//! Where a database lives: its absolute path, its lock file, and whether it is still the same file.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::OpenError;
use crate::store::StoreError;

/// Who may touch the files: their owner only, since whoever can write them can issue tokens.
const MODE: u32 = 0o600;

/// The absolute path of `path`, symbolic links resolved, so that two names of one database share
/// one lock file.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    let absolute = std::path::absolute(path).map_err(|error| OpenError::of_file(path, &error))?;
    let flawed = |error: io::Error| OpenError::of_file(&absolute, &error);
    match fs::canonicalize(&absolute) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match (absolute.parent(), absolute.file_name()) {
                (Some(folder), Some(name)) => {
                    Ok(fs::canonicalize(folder).map_err(flawed)?.join(name))
                }
                _ => Err(flawed(error)),
            }
        }
        other => other.map_err(flawed),
    }
}

/// The file whose name is that of the database and `ending`.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

/// An exclusive hold on a database, as long as the value lives.
///
/// The lock file stays behind: to remove it would let two holders lock two files of one name.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "its drop lets go")] File);

impl Lock {
    /// Takes the lock beside the database `path`, or refuses at once.
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        let lock = beside(path, ".lock");
        let flawed = |error| OpenError::of_file(&lock, &error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .open(&lock)
            .map_err(flawed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(flawed(error)),
        }
    }
}

/// Makes sure that a readable and writable file is at `path`; creates it if it may. The lock must
/// be held.
pub(super) fn secure(path: &Path, require_existing: bool) -> Result<(), OpenError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && require_existing => {
            Err(OpenError::Absent(path.to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            options
                .create_new(true)
                .mode(MODE)
                .open(path)
                .map_err(|error| OpenError::of_file(path, &error))?;
            tracing::warn!(path = %path.display(), "created a new, empty database");
            Ok(())
        }
        Err(error) => Err(OpenError::of_file(path, &error)),
    }
}

/// Which file was opened.
///
/// SQLite goes on with an open file that was removed or replaced; what it then acknowledges, the
/// next start would not find.
#[derive(Debug)]
pub(super) struct FileIdentity {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

impl FileIdentity {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            device_and_inode: device_and_inode(path)?,
        })
    }

    /// An error once the path no longer leads to the file that was opened.
    pub(super) fn confirm(&self) -> Result<(), StoreError> {
        let found = device_and_inode(&self.path);
        if found.is_ok_and(|found| found == self.device_and_inode) {
            return Ok(());
        }
        Err(StoreError::Unacceptable(format!(
            "the database {} was removed or replaced while in use",
            self.path.display()
        )))
    }
}

fn device_and_inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn two_names_of_one_database_share_one_lock() {
        let folder = tempfile::tempdir().unwrap();
        let (real, alias) = (
            folder.path().join("real.db"),
            folder.path().join("alias.db"),
        );
        secure(&real, false).unwrap();
        symlink(&real, &alias).unwrap();
        let _lock = Lock::take(&resolve(&real).unwrap()).unwrap();
        let second = Lock::take(&resolve(&alias).unwrap());
        assert!(matches!(second, Err(OpenError::Locked(_))), "{second:?}");
    }

    #[test]
    fn new_files_belong_to_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new.db");
        let _lock = Lock::take(&path).unwrap();
        secure(&path, false).unwrap();
        for name in ["new.db", "new.db.lock"] {
            let mode = fs::metadata(folder.path().join(name))
                .unwrap()
                .permissions();
            assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_replaced_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        fs::write(&path, "one").unwrap();
        let identity = FileIdentity::of(&path).unwrap();
        assert_eq!(identity.confirm(), Ok(()));
        fs::rename(&path, folder.path().join("b.db")).unwrap();
        fs::write(&path, "two").unwrap();
        assert!(matches!(
            identity.confirm(),
            Err(StoreError::Unacceptable(_))
        ));
    }
}
