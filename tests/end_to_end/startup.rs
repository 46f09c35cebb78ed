//! Starting: what is refused, with which words and exit code, and what is made on the first start.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use token_authority::transport::grpc::pb::ListRequest;

use crate::harness::{Authority, BINARY, create, named};

/// Runs a `serve` that is expected to end by itself.
fn serve(flags: &[&str], home: &Path, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = crate::harness::command(&["serve"]);
    command
        .args(flags)
        .env_remove("TOKEN_AUTHORITY_ROOT_TOKEN")
        .env("HOME", home)
        .env_remove("XDG_CONFIG_HOME");
    command.env("TOKEN_AUTHORITY_LISTEN", "127.0.0.1:0");
    command.envs(environment.iter().copied());
    let Output { status, stderr, .. } = command.output().expect("the binary runs");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

fn sqlite(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

#[test]
fn a_database_that_cannot_be_used_refuses_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(
        at("text.db"),
        "this is no database, but long enough to be looked at".repeat(100),
    )
    .unwrap();
    fs::create_dir(at("folder.db")).unwrap();
    rusqlite::Connection::open(at("foreign.db"))
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    for (name, words) in [
        ("text.db", "not an SQLite database"),
        ("folder.db", "folder.db"),
        ("foreign.db", "application_id"),
        ("no/such/folder.db", "no/such"),
    ] {
        let (code, log) = serve(&["--store", &sqlite(&at(name))], folder.path(), &[]);
        assert_eq!(code, Some(6), "{name}: {log}");
        assert!(log.contains(words), "{name}: {log}");
    }
    let (code, log) = serve(
        &["--store", &sqlite(&at("absent.db")), "--require-existing"],
        folder.path(),
        &[],
    );
    assert_eq!(code, Some(6), "{log}");
    assert!(
        log.contains("absent.db") && !at("absent.db").exists(),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_same_database_is_refused() {
    let authority = Authority::on_sqlite();
    let path = authority.folder.path().join("token-authority.db");
    let (code, log) = serve(&["--store", &sqlite(&path)], authority.folder.path(), &[]);
    assert_eq!(code, Some(6), "{log}");
    assert!(log.contains("another process"), "{log}");
    create(&mut authority.root().await, named("undisturbed")).await;
}

#[test]
fn a_wrong_configuration_refuses_the_start_and_names_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    fs::write(
        &file,
        "[server]\nlisten = \"127.0.0.1:0\"\n\n[stoer]\nurl = \"x\"\n",
    )
    .unwrap();
    for (flags, words) in [
        (vec!["--config", file.to_str().unwrap()], "stoer"),
        (
            vec!["--set", "limits.mesage_bytes=1"],
            "limits.mesage_bytes",
        ),
        (vec!["--store", "mysql://x"], "mysql"),
        (
            vec!["--store", "redis://127.0.0.1:1"],
            "TOKEN_AUTHORITY_ROOT_TOKEN",
        ),
        (vec!["--listen", "0.0.0.0:0"], "allow_plaintext"),
        (vec!["--set", "log.filter=a=b=c"], "log.filter"),
        (vec!["--store", "hunter2"], "store.url"),
        (vec!["--store", "redis://hunter2@h/x"], "store.url"),
    ] {
        let (code, log) = serve(&flags, folder.path(), &[]);
        assert_eq!(code, Some(2), "{flags:?}: {log}");
        assert!(log.contains(words), "{flags:?}: {log}");
        assert!(!log.contains("hunter2"), "{log}");
        // Looking at a configuration refuses the same, in the same words, and shows nothing of it.
        let looked = crate::harness::command(&["config"])
            .args(&flags)
            .env_remove("TOKEN_AUTHORITY_ROOT_TOKEN")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&looked.stderr).into_owned();
        assert_eq!((looked.status.code(), looked.stdout.len()), (Some(2), 0));
        assert_eq!(said, log, "{flags:?}");
    }
    let short = [("TOKEN_AUTHORITY_ROOT_TOKEN", "canary")];
    let (code, log) = serve(&[], folder.path(), &short);
    assert!(
        code == Some(2) && log.contains("32") && !log.contains("canary"),
        "{log}"
    );
}

#[test]
fn an_address_in_use_refuses_the_start_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let store = sqlite(&folder.path().join("t.db"));
    let (code, log) = serve(
        &["--listen", &address, "--store", &store],
        folder.path(),
        &[],
    );
    assert!(code == Some(6) && log.contains(&address), "{log}");
    assert_eq!(crate::harness::files_below(folder.path()).len(), 0, "{log}");
}

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

#[test]
fn a_signal_right_after_the_announcement_ends_in_order() {
    let mut authority = Authority::on_sqlite();
    for _ in 0..10 {
        // `start` returns as soon as the line is there.
        assert_eq!(authority.stop("TERM").0, Some(0), "{}", authority.log());
        authority.start();
    }
}

#[test]
fn a_second_signal_ends_the_drain_at_once() {
    for (second, code) in [("TERM", 143), ("INT", 130)] {
        let mut authority =
            Authority::before_redis_start().with(&["--set", "server.drain_delay=1h"]);
        authority.start();
        authority.signal("TERM");
        let patience = std::time::Instant::now() + crate::harness::PATIENCE;
        while !authority.log().contains("draining") {
            assert!(std::time::Instant::now() < patience, "{}", authority.log());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(authority.stop(second).0, Some(code), "{}", authority.log());
    }
}

#[test]
fn a_sqlite_store_is_not_marked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.db");
    let (code, log) = serve(
        &["--init-store", "--store", &sqlite(&path)],
        folder.path(),
        &[],
    );
    assert!(code == Some(2) && log.contains("needs no init"), "{log}");
    assert!(!path.exists());
}

#[test]
fn a_variable_of_ours_that_is_not_utf8_refuses_the_start() {
    use std::os::unix::ffi::OsStrExt;
    let value = std::ffi::OsStr::from_bytes(b"sqlite:/tmp/\xff.db");
    let mut config = crate::harness::command(&["config"]);
    let output = config.env("TOKEN_AUTHORITY_STORE", value).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("TOKEN_AUTHORITY_STORE"));
    let mut foreign = crate::harness::command(&["config"]);
    let output = foreign.env("SOMEBODY_ELSES", value).output().unwrap();
    assert!(output.status.success());
}

#[test]
fn the_version_is_told() {
    let output = std::process::Command::new(BINARY)
        .arg("--version")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        text.trim(),
        format!("token-authority {}", env!("CARGO_PKG_VERSION"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_is_idempotent_and_refuses_what_is_not_empty() {
    let authority = Authority::before_redis_start();
    let init = || {
        let output = crate::harness::command(&["init", "--store", &authority.redis().url()])
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let (code, id) = init();
    assert_eq!((code, id.trim().len()), (Some(0), 22));
    assert_eq!(init(), (Some(0), id));
    authority.redis().run("FLUSHALL").await;
    authority.redis().run("SET ta:foreign 1").await;
    let (code, _) = init();
    assert_eq!(code, Some(6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_carries_a_token_through_its_life() {
    for authority in [Authority::on_sqlite(), {
        let mut it = Authority::before_redis_start();
        it.start();
        it
    }] {
        let mut root = authority.root().await;
        let run = |arguments: &[&str]| {
            let output = authority.cli(arguments);
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            (
                output.status.code(),
                text,
                String::from_utf8_lossy(&output.stderr).into_owned(),
            )
        };
        let (code, secret, log) = run(&[
            "token",
            "create",
            "--name",
            "ci",
            "--scope",
            "orders:*",
            "--ttl",
            "1h",
            "--secret-only",
        ]);
        assert_eq!((code, secret.len()), (Some(0), 74), "{log}");
        let id = secret[3..25].to_owned();
        let (code, text, _) = run(&["token", "validate", &secret, "--scope", "orders:read"]);
        assert!(code == Some(0) && text.starts_with("VALID"), "{text}");
        let (code, text, _) = run(&["token", "validate", &secret, "--scope", "refunds"]);
        assert!(code == Some(1) && text.contains("SCOPE_DENIED"), "{text}");
        let (code, text, _) = run(&["token", "list"]);
        assert!(
            code == Some(0) && text.contains(&id) && text.contains("ci"),
            "{text}"
        );
        let (code, text, _) = run(&["token", "get", &id, "--json"]);
        assert!(code == Some(0) && text.contains("\"tokenId\""), "{text}");
        let (code, _, _) = run(&["token", "revoke", &id, "--reason", "done"]);
        assert_eq!(code, Some(0));
        let (code, text, _) = run(&["token", "validate", &secret]);
        assert!(code == Some(1) && text.contains("REVOKED"), "{text}");
        let (code, _, _) = run(&["token", "delete", &id]);
        assert_eq!(code, Some(0));
        let (code, _, log) = run(&["token", "get", &id]);
        assert!(code == Some(3) && log.contains("TOKEN_NOT_FOUND"), "{log}");
        let (code, text, _) = run(&["whoami"]);
        assert!(code == Some(0) && text.contains("admin@*"), "{text}");
        assert!(
            root.list(ListRequest::default())
                .await
                .unwrap()
                .into_inner()
                .tokens
                .is_empty()
        );
    }
}
