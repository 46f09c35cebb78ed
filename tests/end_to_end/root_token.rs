//! The root token that a first start makes: where it is written, who finds it, what replaces it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use crate::startup::{serve, sqlite};

#[test]
fn without_a_place_for_the_root_token_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(&folder.path().join("t.db"));
    let occupied = folder.path().join("occupied");
    fs::write(&occupied, "").unwrap();
    let below = occupied.join("root-token");
    let not_ours = folder.path().join("open");
    fs::write(&not_ours, "x".repeat(40)).unwrap();
    fs::set_permissions(&not_ours, fs::Permissions::from_mode(0o644)).unwrap();
    for (file, words) in [
        (None, "no place"),
        (Some(&below), "occupied"),
        (Some(&occupied), "remove it"),
        (Some(&not_ours), "chmod 600"),
    ] {
        let mut flags = vec!["--store", &store];
        flags.extend(
            file.into_iter()
                .flat_map(|file| ["--root-token-file", file.to_str().unwrap()]),
        );
        let (code, log) = serve(&flags, Path::new(""), &[]);
        assert!(code == Some(2) && log.contains(words), "{words}: {log}");
        assert_eq!(crate::harness::files_below(folder.path()).len(), 2, "{log}");
    }
}

#[test]
fn a_root_token_file_to_read_is_not_taken_for_one_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(&folder.path().join("t.db"));
    let absent = folder.path().join("absent");
    let variable = ("TOKEN_AUTHORITY_ROOT_TOKEN_FILE", absent.to_str().unwrap());
    let (code, log) = serve(&["--store", &store], folder.path(), &[variable]);
    assert!(
        code == Some(2) && log.contains("--root-token-file"),
        "{log}"
    );
}

/// Starts with nothing configured, as a new user would, and answers the root token it made.
struct FirstStart {
    folder: tempfile::TempDir,
}

impl FirstStart {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn root_token(&self) -> std::path::PathBuf {
        let home = self.folder.path();
        home.join(".config/token-authority/root-token")
    }

    /// What the last server said on standard error.
    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Runs a server, and `token list` against it, with this environment.
    fn list(
        &self,
        database: &str,
        server_token: Option<&str>,
        client_token: Option<&str>,
    ) -> Output {
        use crate::support::child::OwnedChild;
        use std::io::BufRead;
        use std::process::{Command, Stdio};
        let plain = |arguments: &[&str]| {
            let mut command = crate::harness::command(arguments);
            command
                .env_remove("TOKEN_AUTHORITY_ROOT_TOKEN")
                .env("HOME", self.folder.path());
            command.env_remove("XDG_CONFIG_HOME");
            command
        };
        let store = sqlite(&self.folder.path().join(database));
        let mut serve: Command = plain(&["serve", "--listen", "127.0.0.1:0", "--store", &store]);
        serve.envs(server_token.map(|token| ("TOKEN_AUTHORITY_ROOT_TOKEN", token)));
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let mut child = OwnedChild::spawn(serve.stdout(Stdio::piped()).stderr(log)).unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.0.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .expect("it listens")
            .to_owned();
        let mut list = plain(&["token", "list"]);
        list.env("TOKEN_AUTHORITY_SERVER", address);
        list.envs(client_token.map(|token| ("TOKEN_AUTHORITY_TOKEN", token)));
        let output = list.output().unwrap();
        child.signal("TERM");
        assert!(child.0.wait().unwrap().success());
        output
    }
}

#[test]
fn the_first_start_makes_a_root_token_that_the_command_line_finds() {
    let first = FirstStart::new();
    let path = first.root_token();
    let output = first.list("a.db", None, None);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let token = fs::read_to_string(&path).unwrap();
    assert!(token.trim_end().len() >= 32);
    // It is kept as a digest: it works without its file, and is not made anew.
    fs::remove_file(&path).unwrap();
    assert!(
        first
            .list("a.db", None, Some(token.trim_end()))
            .status
            .success()
    );
    assert!(!path.exists());
    // A configured one replaces it for good.
    let configured = "configured-configured-configured";
    assert!(
        !first
            .list("a.db", Some(configured), Some(token.trim_end()))
            .status
            .success()
    );
    assert!(
        first
            .list("a.db", Some(configured), Some(configured))
            .status
            .success()
    );
    assert!(
        !first
            .list("a.db", None, Some(token.trim_end()))
            .status
            .success()
    );
    assert!(
        path.exists(),
        "with none configured again, a new one was made"
    );
    assert_ne!(fs::read_to_string(&path).unwrap(), token);
    // Another database of the same person takes over the token that is there.
    assert!(first.list("b.db", None, None).status.success());
}

#[test]
fn a_replaced_root_token_is_not_taken_over_again() {
    let first = FirstStart::new();
    let path = first.root_token();
    assert!(first.list("a.db", None, None).status.success());
    assert!(
        first.log().contains(&format!("$(cat {})", path.display())),
        "{}",
        first.log()
    );
    let generated = fs::read_to_string(&path).unwrap();
    // Configuring the very token that was generated replaces nothing.
    assert!(
        first
            .list("a.db", Some(generated.trim_end()), None)
            .status
            .success()
    );
    assert!(first.list("a.db", None, None).status.success());
    let configured = "configured-configured-configured";
    assert!(
        first
            .list("a.db", Some(configured), Some(configured))
            .status
            .success()
    );
    assert!(first.log().contains("remove its file"), "{}", first.log());
    assert!(first.log().contains("Bearer $TOKEN"), "{}", first.log());
    let store = sqlite(&first.folder.path().join("a.db"));
    let (code, log) = serve(&["--store", &store], first.folder.path(), &[]);
    assert!(code == Some(2) && log.contains("replaced"), "{log}");
    fs::remove_file(&path).unwrap();
    assert!(first.list("a.db", None, None).status.success());
    assert_ne!(fs::read_to_string(&path).unwrap(), generated);
}

#[test]
fn a_file_that_does_not_hold_the_root_token_is_pointed_out_and_not_offered() {
    let first = FirstStart::new();
    let path = first.root_token();
    assert!(first.list("a.db", None, None).status.success());
    let generated = fs::read_to_string(&path).unwrap();
    for (text, words) in [
        (None, "is not there"),
        (Some("x".repeat(40)), "another token"),
    ] {
        fs::remove_file(&path).unwrap();
        if let Some(text) = &text {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        assert!(
            first
                .list("a.db", None, Some(generated.trim_end()))
                .status
                .success()
        );
        let log = first.log();
        assert!(log.contains(words) && !log.contains("$(cat"), "{log}");
        fs::write(&path, &generated).unwrap();
    }
}
