//! Files: whose they are, who else may read or write them, and how much room their disk has.

use std::fs::{self, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::Access;

use crate::config::AuditPlace;

use super::{Case, Finding, Findings};

/// Below it a disk is as good as full.
const ROOM_LEAST: u64 = 16 << 20;
/// Below it a disk may be full soon.
const ROOM_LITTLE: u64 = 256 << 20;

/// What others may at most do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Openness {
    /// Nothing: whoever reads it knows a secret, or could.
    Closed,
    /// Its group may read it, as is usual where secrets are mounted for a service.
    Secret,
    /// Its group may read it.
    GroupReads,
    /// Everybody may read it, and its owner alone change it.
    AllRead,
}

impl Openness {
    /// The bits of a mode that go beyond.
    fn excess(self) -> u32 {
        match self {
            Self::Closed => 0o077,
            Self::Secret | Self::GroupReads => 0o037,
            Self::AllRead => 0o022,
        }
    }

    fn mended(self) -> &'static str {
        match self {
            Self::Closed | Self::Secret => "600",
            Self::GroupReads => "640",
            Self::AllRead => "644",
        }
    }
}

/// Judges who else may touch a file that is there.
pub(super) fn privacy(subject: &str, path: &Path, openness: Openness) -> Finding {
    match fs::metadata(path) {
        Ok(found) => privacy_of(subject, path, &found, openness, own_user()),
        Err(error) => unreadable(subject, path, &error),
    }
}

fn privacy_of(
    subject: &str,
    path: &Path,
    found: &Metadata,
    openness: Openness,
    own: u32,
) -> Finding {
    let (path, mode) = (path.display(), found.mode() & 0o7777);
    let told = format!(
        "{path} has mode {mode:04o} and belongs to user {}",
        found.uid()
    );
    if mode & openness.excess() != 0 {
        let others = match mode & 0o022 & openness.excess() {
            0 => "read",
            _ => "change",
        };
        let advice = match own == 0 || own == found.uid() {
            true => format!("chmod {} {path}", openness.mended()),
            false => format!(
                "let its owner close it: mode 0440 and a group of user {own}. Where it is mounted into \
                 a container in which nobody else runs, only those outside matter"
            ),
        };
        let found = format!("{told}: others may {others} it");
        return Finding::warn(subject, found, advice);
    }
    // Whoever mounts a secret for a group means this.
    let lent = openness == Openness::Secret && found.mode() & 0o040 != 0;
    if !lent && ![own, 0].contains(&found.uid()) {
        return Finding::warn(
            subject,
            format!("{told}, but this is user {own}"),
            "look as the user who serves, or give the file to that user",
        );
    }
    Finding::ok(subject, told)
}

pub(super) fn unreadable(subject: &str, path: &Path, error: &std::io::Error) -> Finding {
    Finding::fail(
        subject,
        format!("{}: {error}", path.display()),
        "let the user who serves reach it, or name another",
    )
}

/// The user that this process acts as.
pub(super) fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The folder that a file is in.
pub(super) fn folder(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    folder.unwrap_or(Path::new("."))
}

/// Judges a folder in which files are made.
pub(super) fn workable(subject: &str, path: &Path) -> Finding {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) => return unreadable(subject, path, &error),
    };
    let shown = path.display();
    if !found.is_dir() {
        return Finding::fail(
            subject,
            format!("{shown} is no folder"),
            "name another place",
        );
    }
    if let Err(error) = rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK) {
        return Finding::fail(
            subject,
            format!("no file can be made in the folder {shown}: {error}"),
            "give it to the user who serves, or name another place",
        );
    }
    let mode = found.mode() & 0o7777;
    // Sticky: one may not exchange files of others.
    if mode & 0o022 != 0 && mode & 0o1000 == 0 {
        return Finding::warn(
            subject,
            format!("others may exchange files in the folder {shown} (mode {mode:04o})"),
            format!("chmod go-w {shown}"),
        );
    }
    Finding::ok(subject, format!("files can be made in the folder {shown}"))
}

/// Judges how much room there is for files in a folder.
pub(super) fn room(subject: &str, folder: &Path) -> Finding {
    match rustix::fs::statvfs(folder) {
        Ok(disk) => room_of(subject, folder, disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(error) => unreadable(subject, folder, &error.into()),
    }
}

fn room_of(subject: &str, folder: &Path, bytes: u64) -> Finding {
    let found = format!("{} free in {}", megabytes(bytes), folder.display());
    let advice = "make room, or move it to a larger disk; a full one refuses changes";
    if bytes < ROOM_LEAST {
        return Finding::fail(subject, found, advice);
    }
    if bytes < ROOM_LITTLE {
        return Finding::warn(subject, found, advice);
    }
    Finding::ok(subject, found)
}

pub(super) fn megabytes(bytes: u64) -> String {
    match bytes {
        0..=999_999 => format!("{} kB", bytes.div_ceil(1000)),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

/// The files that hold secrets, and the configuration file.
pub(super) fn check_secrets(case: &Case) -> Findings {
    let sources = &case.sources;
    let mut findings = Vec::new();
    if let Some(path) = &sources.file {
        let openness = match sources.file_holds_secret {
            true => Openness::Secret,
            false => Openness::AllRead,
        };
        findings.push(privacy("configuration file", path, openness));
    }
    for (name, path) in &sources.secret_files {
        findings.push(privacy(name, path, Openness::Secret));
    }
    findings
}

/// The file of audit lines.
pub(super) fn check_audit(case: &Case) -> Findings {
    const SUBJECT: &str = "audit.to";
    let path = match &case.config.audit {
        AuditPlace::File(path) => path,
        AuditPlace::Log => return vec![Finding::ok(SUBJECT, "the log")],
        AuditPlace::Stdout => return vec![Finding::ok(SUBJECT, "standard output")],
    };
    let folder = folder(path);
    let room = room(SUBJECT, folder);
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return vec![workable(SUBJECT, folder), room];
        }
        Err(error) => return vec![unreadable(SUBJECT, path, &error)],
    };
    if found.is_dir() {
        let told = format!("{} is a folder", path.display());
        return vec![Finding::fail(SUBJECT, told, "name a file in it")];
    }
    // A pipe would wait for its reader.
    if found.is_file()
        && let Err(error) = OpenOptions::new().append(true).open(path)
    {
        return vec![unreadable(SUBJECT, path, &error)];
    }
    vec![privacy(SUBJECT, path, Openness::GroupReads), room]
}

#[cfg(test)]
mod tests {
    use super::super::finding::Judgement;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_that_is_lent_to_a_group_is_fine_and_advice_is_what_the_user_can_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        let judged = |mode: u32, user: fn(u32) -> u32| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let found = fs::metadata(&path).unwrap();
            let user = user(found.uid());
            privacy_of("x", &path, &found, Openness::Secret, user).judgement
        };
        let (owner, other) = (|user| user, |user| user + 1);
        for mode in [0o600, 0o640, 0o440] {
            assert_eq!(judged(mode, owner), Judgement::Ok, "{mode:o}");
        }
        assert_eq!(judged(0o440, other), Judgement::Ok);
        let advice = |judged| match judged {
            Judgement::Warn { advice } => advice,
            other => panic!("{other:?}"),
        };
        assert!(advice(judged(0o644, owner)).starts_with("chmod 600 "));
        assert!(advice(judged(0o444, other)).starts_with("let its owner close it"));
    }

    #[test]
    fn a_file_is_as_open_as_its_content_allows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        let judged = |mode: u32, openness: Openness| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            privacy("x", &path, openness).judgement.word()
        };
        for (mode, closed, group, all) in [
            (0o600, "ok", "ok", "ok"),
            (0o400, "ok", "ok", "ok"),
            (0o640, "warn", "ok", "ok"),
            (0o644, "warn", "warn", "ok"),
            (0o660, "warn", "warn", "warn"),
            (0o606, "warn", "warn", "warn"),
        ] {
            assert_eq!(judged(mode, Openness::Closed), closed, "{mode:o}");
            assert_eq!(judged(mode, Openness::GroupReads), group, "{mode:o}");
            assert_eq!(judged(mode, Openness::AllRead), all, "{mode:o}");
        }
    }

    #[test]
    fn a_file_of_another_user_is_told_unless_it_is_roots() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let found = fs::metadata(&path).unwrap();
        let own = found.uid();
        let judged = |user| {
            privacy_of("x", &path, &found, Openness::Closed, user)
                .judgement
                .word()
        };
        assert_eq!(judged(own), "ok");
        let other = if own == 0 { "ok" } else { "warn" };
        assert_eq!(judged(own + 1), other);
    }

    #[test]
    fn a_disk_that_fills_up_is_told_before_it_is_full() {
        let judged = |bytes| room_of("x", Path::new("/"), bytes).judgement.word();
        assert_eq!(judged(ROOM_LITTLE), "ok");
        assert_eq!(judged(ROOM_LITTLE - 1), "warn");
        assert_eq!(judged(ROOM_LEAST), "warn");
        assert_eq!(judged(ROOM_LEAST - 1), "FAIL");
    }

    #[test]
    fn a_folder_that_others_may_change_is_told_unless_it_is_sticky() {
        let folder = tempfile::tempdir().unwrap();
        let judged = |mode: u32| {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            workable("x", folder.path()).judgement.word()
        };
        assert_eq!(judged(0o755), "ok");
        assert_eq!(judged(0o777), "warn");
        assert_eq!(judged(0o1777), "ok");
        assert_eq!(
            workable("x", &folder.path().join("absent"))
                .judgement
                .word(),
            "FAIL"
        );
    }
}
