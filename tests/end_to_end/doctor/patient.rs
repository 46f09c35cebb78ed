//! Somebody who asks the doctor, and what it says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{BINARY, PATIENCE, ROOT_TOKEN};
use crate::support::child::OwnedChild;

/// Found in nothing that is printed.
const CANARY: &str = "canary";

/// What a doctor said.
pub(crate) struct Said {
    pub(crate) code: i32,
    findings: Vec<Value>,
}

impl Said {
    /// The findings of one level, as `subject: found`.
    pub(crate) fn of_level(&self, level: &str) -> Vec<String> {
        let findings = self.findings.iter().filter(|f| f["level"] == level);
        findings.map(line).collect()
    }

    /// Asserts that exactly one finding, of this level and subject, is not ok, and says `words`.
    #[track_caller]
    pub(crate) fn only(&self, level: &str, subject: &str, words: &str) {
        let odd: Vec<&Value> = self
            .findings
            .iter()
            .filter(|f| f["level"] != "ok")
            .collect();
        assert_eq!(odd.len(), 1, "{subject}: {odd:#?}");
        self.tells(level, subject, words);
    }

    /// Asserts that a finding of this level and subject says `words`, and what to do.
    #[track_caller]
    pub(crate) fn tells(&self, level: &str, subject: &str, words: &str) {
        let found = self.findings.iter().find(|finding| {
            finding["level"] == level
                && finding["subject"] == subject
                && line(finding).contains(words)
        });
        let Some(found) = found else {
            panic!("no {level} {subject} {words:?}: {:#?}", self.findings)
        };
        let advised = found["advice"]
            .as_str()
            .is_some_and(|advice| !advice.is_empty());
        assert_eq!(advised, level != "ok", "{found:#?}");
    }

    /// Asserts that everything is sound.
    #[track_caller]
    pub(crate) fn nothing(&self) {
        let odd: Vec<&Value> = self
            .findings
            .iter()
            .filter(|f| f["level"] != "ok")
            .collect();
        assert!(odd.is_empty(), "{odd:#?}");
        assert_eq!(self.code, 0);
    }
}

fn line(finding: &Value) -> String {
    let text = |key: &str| finding[key].as_str().expect("a text").to_owned();
    format!("{}: {}", text("subject"), text("found"))
}

/// Somebody who asks the doctor, with a home of their own.
pub(crate) struct Patient {
    pub(crate) folder: TempDir,
    flags: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Patient {
    /// On SQLite, in a folder of its own, with the tests' root token.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = format!("sqlite:{}", folder.path().join("a.db").display());
        let patient = Self {
            folder,
            flags: Vec::new(),
            variables: Vec::new(),
        };
        // So that every machine may open as many files.
        let few = ["--listen", "127.0.0.1:0", "--set", "limits.connections=64"];
        patient
            .with(&["--store", &store])
            .with(&few)
            .knowing("TOKEN_AUTHORITY_ROOT_TOKEN", ROOT_TOKEN)
    }

    /// With further flags, which win over earlier ones.
    pub(crate) fn with(mut self, flags: &[&str]) -> Self {
        for pair in flags.chunks(2) {
            // A flag may be given once.
            if let Some(at) = self
                .flags
                .iter()
                .position(|flag| *flag == pair[0] && pair[0] != "--set")
            {
                self.flags.drain(at..at + 2);
            }
            self.flags
                .extend(pair.iter().map(|text| (*text).to_owned()));
        }
        self
    }

    /// With one setting.
    pub(crate) fn set(self, setting: &str) -> Self {
        self.with(&["--set", setting])
    }

    pub(crate) fn knowing(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a flag that names the store.
    pub(crate) fn without_store(mut self) -> Self {
        self.flags.drain(..2);
        self
    }

    /// A server with the same flags, which prints nothing.
    pub(crate) fn serving(&self) -> Command {
        let mut command = self.command("serve", &[]);
        command.stdout(Stdio::null());
        command
    }

    /// Without a configured root token.
    pub(crate) fn rootless(mut self) -> Self {
        self.variables.clear();
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a file");
        chmod(&path, mode);
        path
    }

    /// A server with the same flags ran once, and ended.
    pub(crate) fn served_once(&self) {
        let mut child = self
            .command("serve", &[])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let mut stdout = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
        std::io::BufRead::read_line(&mut stdout, &mut line).expect("a line");
        let ended = Command::new("kill").arg(child.id().to_string()).status();
        assert!(ended.expect("kill runs").success());
        assert!(child.wait().expect("it ends").success(), "{line}");
    }

    /// As [`Self::served_once`], but not before it knew its store.
    pub(crate) fn served_once_serving(&self) {
        let child = OwnedChild::spawn(&mut self.serving()).expect("it starts");
        let patience = Instant::now() + PATIENCE;
        while !self
            .asks(&[])
            .of_level("ok")
            .contains(&"peppers: the store's".to_owned())
        {
            assert!(
                Instant::now() < patience,
                "the store never learned the pepper"
            );
        }
        drop(child);
    }

    pub(crate) fn command(&self, what: &str, flags: &[&str]) -> Command {
        let mut command = Command::new("sh");
        // A developer's machine may keep core dumps.
        command.args(["-c", "ulimit -c 0; exec \"$0\" \"$@\"", BINARY, what]);
        command.args(&self.flags).args(flags);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TOKEN_AUTHORITY_") {
                command.env_remove(name);
            }
        }
        command.env("XDG_CONFIG_HOME", self.path("home"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Asks for both forms, which say the same, and in which no secret is.
    pub(crate) fn asks(&self, flags: &[&str]) -> Said {
        let patient = format!("{}s", PATIENCE.as_secs());
        let timeout = ["--timeout", &patient];
        let flags = match flags.contains(&"--timeout") {
            true => flags.to_vec(),
            false => [&timeout, flags].concat(),
        };
        let output = self.command("doctor", &[&flags[..], &["--json"]].concat());
        let output = { output }.stderr(Stdio::piped()).output().expect("it runs");
        let text = String::from_utf8(output.stdout).expect("text");
        let notes = String::from_utf8(output.stderr).expect("text");
        assert!(
            !text.contains(CANARY) && !notes.contains(CANARY),
            "{text}{notes}"
        );
        let whole: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{notes}"));
        Said {
            code: output.status.code().expect("a code"),
            findings: whole["findings"].as_array().expect("findings").clone(),
        }
    }
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}
