//! The file of a generated root token: written whole or not at all, and read only where nobody else
//! could have written or read it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::RootToken;
use crate::entropy;

use super::ServeError;

/// What a generated root token is called in the audit log.
pub(super) const NAME: &str = "generated";

/// Longest content that is read, in bytes; a root token has at most 512.
const BYTES_MAX: u64 = 1024;

/// The root token in the file, `None` where there is no file. Whatever else is there is refused,
/// with words on what to do.
pub(super) fn read(path: &Path) -> Result<Option<RootToken>, ServeError> {
    let failed = |error| failed(path, &error);
    let refuse = |why: &str| ServeError::Config(format!("{}: {why}", label(path)));
    let seen = match fs::symlink_metadata(path) {
        Ok(seen) => seen,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if seen.is_symlink() {
        let why = "is a symbolic link, which is not followed; remove it, or name the file that it \
                   leads to with --root-token-file";
        return Err(refuse(why));
    }
    if !seen.is_file() {
        let why = "is not a regular file; remove it, or name another with --root-token-file";
        return Err(refuse(why));
    }
    let file = File::open(path).map_err(failed)?;
    let opened = file.metadata().map_err(failed)?;
    if (opened.dev(), opened.ino()) != (seen.dev(), seen.ino()) {
        return Err(refuse("was exchanged while it was read; start again"));
    }
    let own = rustix::process::geteuid().as_raw();
    if opened.uid() != own {
        return Err(refuse(&format!(
            "belongs to user {}, but this server runs as user {own}; remove it and start again, or \
             make it this user's if you wrote it",
            opened.uid()
        )));
    }
    if opened.mode() & 0o077 != 0 {
        return Err(refuse(&format!(
            "is open to others (mode {:04o}); remove it and start again, or, if nobody else has \
             used it, chmod 600 it",
            opened.mode() & 0o7777
        )));
    }
    let mut text = Zeroizing::new(String::new());
    let mut bounded = file.take(BYTES_MAX);
    bounded.read_to_string(&mut text).map_err(failed)?;
    let secret = text.trim_end_matches(['\r', '\n']);
    let again = "remove it and start again, and a new one is written";
    if secret.starts_with("sha256:") {
        let why = format!("holds a digest, which is no secret to call with; {again}");
        return Err(refuse(&why));
    }
    let root = RootToken::of_secret(NAME, &label(path), secret);
    root.map(Some)
        .map_err(|error| ServeError::Config(format!("{error}; {again}")))
}

/// A new root token in a file without its name yet, which goes away unless it is published.
pub(super) struct Staged {
    temporary: PathBuf,
    pub(super) root: RootToken,
}

impl Staged {
    /// Generates a token and writes it beside `path`, which shows that there is a place for it.
    pub(super) fn new(path: &Path) -> Result<Self, ServeError> {
        let entropy_failed = |error: entropy::EntropyError| ServeError::Failed(error.to_string());
        let folder = folder(path);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| unmade(path, &error))?;
        let random = entropy::secret_digits().map_err(entropy_failed)?;
        let secret = Zeroizing::new(format!("ta_root_{}", random.as_str()));
        let root = RootToken::of_secret(NAME, &label(path), &secret)?;
        let suffix = entropy::digits(8).map_err(entropy_failed)?;
        let temporary = folder.join(format!(".root-token.{}.new", suffix.as_str()));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(|error| unmade(path, &error))?;
        // From here on the file goes away with this value.
        let staged = Self { temporary, root };
        writeln!(file, "{}", secret.as_str())
            .and_then(|()| file.sync_all())
            .map_err(|error| failed(path, &error))?;
        Ok(staged)
    }

    /// Gives the file its name, for good. `false` where the name was taken meanwhile.
    pub(super) fn publish(&self, path: &Path) -> Result<bool, ServeError> {
        // A link, because renaming would replace what is there.
        match fs::hard_link(&self.temporary, path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(failed(path, &error)),
        }
        let synced = File::open(folder(path)).and_then(|folder| folder.sync_all());
        synced.map_err(|error| failed(path, &error))?;
        Ok(true)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // A file that cannot be removed is private and its token in force nowhere, or published.
        let _ = fs::remove_file(&self.temporary);
    }
}

fn folder(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    folder.unwrap_or(Path::new("."))
}

fn label(path: &Path) -> String {
    format!("root token file {}", path.display())
}

/// There is no place for it.
fn unmade(path: &Path, error: &io::Error) -> ServeError {
    ServeError::Config(format!(
        "{}: it cannot be made: {error}; name another place with --root-token-file \
         (access.root_token_file)",
        label(path)
    ))
}

fn failed(path: &Path, error: &io::Error) -> ServeError {
    ServeError::Config(format!("{}: {error}", label(path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const SECRET: &str = "canary-0123456789-0123456789-0123456789";

    fn refusal(path: &Path) -> String {
        let error = read(path).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert!(!error.contains("canary"), "{error}");
        error
    }

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_private_file_is_taken_over_and_anything_else_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root-token");
        assert!(read(&path).unwrap().is_none());
        write(&path, &format!("{SECRET}\n"), 0o600);
        let expected = RootToken::of_secret(NAME, "", SECRET).unwrap().digest;
        assert_eq!(read(&path).unwrap().unwrap().digest, expected);
        for mode in [0o644, 0o640, 0o602] {
            write(&path, SECRET, mode);
            assert!(refusal(&path).contains("chmod 600"));
        }
        for (text, words) in [
            ("", "0 bytes; remove it"),
            ("canary", "remove it"),
            (&format!("sha256:{}", "0".repeat(64)), "a digest"),
        ] {
            write(&path, text, 0o600);
            assert!(refusal(&path).contains(words), "{}", refusal(&path));
        }
        let link = folder.path().join("link");
        write(&path, SECRET, 0o600);
        symlink(&path, &link).unwrap();
        assert!(refusal(&link).contains("symbolic link"));
        assert!(refusal(folder.path()).contains("regular file"));
    }

    #[test]
    fn a_file_of_somebody_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root-token");
        write(&path, SECRET, 0o600);
        // Only a privileged user can give a file away; others have nothing to test here.
        if std::os::unix::fs::chown(&path, Some(12345), None).is_ok() {
            assert!(refusal(&path).contains("belongs to user 12345"));
        }
    }

    #[test]
    fn a_new_file_appears_whole_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/root-token");
        let names = || fs::read_dir(folder.path().join("deep")).unwrap().count();
        drop(Staged::new(&path).unwrap());
        assert_eq!(names(), 0, "what is not published goes away");
        let staged = Staged::new(&path).unwrap();
        assert!(staged.publish(&path).unwrap());
        let digest = staged.root.digest;
        drop(staged);
        assert_eq!(names(), 1);
        assert_eq!(read(&path).unwrap().unwrap().digest, digest);
        assert!(!Staged::new(&path).unwrap().publish(&path).unwrap());
        assert_eq!(read(&path).unwrap().unwrap().digest, digest);
    }
}
