//! Starting: what is refused, with which words and exit code, and stopping at once.

use std::fs;
use std::path::Path;
use std::process::Output;

use token_authority::transport::grpc::pb::ListRequest;

use crate::harness::{Authority, BINARY, create, named};

/// Runs a `serve` that is expected to end by itself.
pub(crate) fn serve(
    flags: &[&str],
    home: &Path,
    environment: &[(&str, &str)],
) -> (Option<i32>, String) {
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

pub(crate) fn sqlite(path: &Path) -> String {
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
