//! `doctor` beside a real server and without one: what it says of each thing that can be wrong, and
//! that it changes nothing.

mod certificates;
mod files;
mod listeners;
pub(crate) mod patient;
mod redis;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use token_authority::transport::grpc::pb::Verdict;

use crate::harness::{Authority, PATIENCE, create, named, verdict};
use crate::support::redis_server::free_port;

use patient::Patient;

/// All files in a folder, by name.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = paths
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).expect("a file")))
        .collect();
    files.sort();
    files
}

pub(crate) async fn a_sound_server_is_told_as_such_and_goes_on(authority: Authority) {
    let mut client = authority.root().await;
    let (_, secret) = create(&mut client, named("kept")).await;
    let url = match &authority.redis {
        Some(redis) => redis.url(),
        None => format!("sqlite:{}", authority.database().display()),
    };
    // What listens nowhere yet is as sound as what runs.
    for address in [authority.address.as_str(), "127.0.0.1:0"] {
        let patient = Patient::new()
            .with(&["--store", &url, "--listen", address])
            .set("store.read_timeout=5s");
        let said = patient.asks(&[]);
        said.nothing();
        let place = match address == authority.address {
            true => "and serves",
            false => "is free",
        };
        said.tells("ok", "server.listen", place);
        assert_eq!(verdict(&mut client, &secret).await, Verdict::Valid);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_changes_beside_a_server_that_stands_still_nor_after_it_was_killed() {
    let mut authority = Authority::on_sqlite();
    create(&mut authority.root().await, named("kept")).await;
    let url = format!("sqlite:{}", authority.database().display());
    let patient = Patient::new().with(&["--store", &url]);
    let folder = authority.database();
    let folder = folder.parent().unwrap();
    authority.signal("STOP");
    let before = contents(folder);
    for flags in [&[][..], &["--deep"]] {
        let said = patient.asks(flags);
        said.nothing();
        said.tells("ok", "store lock", "holds the database");
    }
    assert!(before == contents(folder), "the files changed");
    // It hangs, and so does not say that it serves.
    let hung = Patient::new().with(&["--store", &url, "--listen", &authority.address]);
    let said = hung.asks(&["--timeout", "5s"]);
    said.only("FAIL", "server.listen", "does not answer");
    authority.kill();
    let before = contents(folder);
    let said = patient.asks(&["--deep"]);
    said.nothing();
    said.tells("ok", "store lock", "there is a log");
    said.tells("ok", "integrity", "every page and index entry is sound");
    assert!(before == contents(folder), "the files changed");
}

#[test]
fn before_the_first_start_nothing_is_made() {
    let patient = Patient::new();
    patient.asks(&[]).nothing();
    assert!(contents(patient.folder.path()).is_empty());
    assert!(!patient.path("home").exists());
    let missing = patient
        .with(&["--set", "store.require_existing=true"])
        .asks(&[]);
    missing.only("FAIL", "store", "does not exist");
    assert_eq!(missing.code, 1);
}

#[test]
fn a_configuration_that_cannot_be_read_is_told_with_all_its_mistakes() {
    let patient = Patient::new()
        .set("limits.streams=0")
        .set("log.format=xml")
        .set("secrets.peppers=[{ id = 1, pepper = \"canary\" }]")
        .set("no.such=1");
    let said = patient.asks(&[]);
    assert_eq!(said.code, 2);
    assert_eq!(said.of_level("ok").len(), 0);
    for words in ["limits.streams", "log.format", "secrets.peppers", "no.such"] {
        said.tells("FAIL", "configuration", words);
    }
    assert_eq!(said.of_level("FAIL").len(), 4);
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let said = Patient::new()
        .with(&["--listen", &address])
        .set(&format!("server.metrics_listen={address}"))
        .asks(&[]);
    said.only("FAIL", "configuration", "is taken by server.listen");
    assert_eq!(said.code, 2);
    let said = Patient::new()
        .rootless()
        .with(&["--store", "redis://:canary@127.0.0.1:1"])
        .asks(&[]);
    said.only("FAIL", "configuration", "a root token must be configured");
    assert_eq!(said.code, 2);
}

#[test]
fn a_file_that_hangs_holds_nobody_up() {
    let patient = Patient::new();
    let pipe = patient.path("pepper");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let setting = format!("secrets.peppers=[{{ id = 1, pepper_file = {pipe:?} }}]");
    let begun = Instant::now();
    let said = patient.set(&setting).asks(&["--timeout", "500ms"]);
    assert!(begun.elapsed() < PATIENCE);
    said.only("FAIL", "configuration", "no answer within 500ms");
    assert_eq!(said.code, 2);
}

#[test]
fn settings_that_may_surprise_are_told() {
    let secret = "canary-0123456789-0123456789-0123456789";
    let second = format!("access.root_tokens=[{{ name = \"second\", token = \"{secret}\" }}]");
    let pepper = format!("secrets.peppers=[{{ id = 1, pepper = \"{secret}\" }}]");
    for (setting, subject, words) in [
        ("log.filter=off", "log", "no error is told"),
        ("retention.ended=1m", "retention", "vanish after 1m"),
        (&pepper, "configuration", "a secret stands in --set"),
    ] {
        let said = Patient::new().set(setting).asks(&[]);
        said.only("warn", subject, words);
        assert_eq!(said.code, 0, "{setting}");
    }
    let said = Patient::new().set(&second).asks(&[]);
    said.tells("warn", "root tokens", "second, environment");
    let said = Patient::new()
        .knowing("TOKEN_AUTHORITY_STOER", "sqlite:canary.db")
        .asks(&[]);
    said.only(
        "warn",
        "configuration",
        "nothing reads TOKEN_AUTHORITY_STOER",
    );
    let said = Patient::new()
        .with(&["--listen", "0.0.0.0:0"])
        .set("server.allow_plaintext=true")
        .asks(&[]);
    said.only("warn", "protection", "in plaintext to 0.0.0.0:0");
    let said = Patient::new()
        .set("server.metrics_listen=0.0.0.0:0")
        .set("server.allow_plaintext=true")
        .asks(&[]);
    said.only("warn", "protection", "metrics are read in plaintext");
}

pub(crate) async fn a_wrong_pepper_is_told(authority: Authority) {
    let url = match &authority.redis {
        Some(redis) => redis.url(),
        None => format!("sqlite:{}", authority.database().display()),
    };
    drop(authority.root().await);
    let patient = |byte: &str| {
        let patient = Patient::new();
        let text = format!("canary{}", byte.repeat(64));
        let path = patient.write("pepper", &text, 0o600);
        patient
            .with(&["--store", &url])
            .set("store.read_timeout=5s")
            .set(&format!(
                "secrets.peppers=[{{ id = 1, pepper_file = {path:?} }}]"
            ))
    };
    let first = patient("a");
    let said = first.asks(&[]);
    said.nothing();
    said.tells("ok", "peppers", "new to the store");
    // The store learns it.
    let mut authority = authority;
    assert_eq!(authority.stop("TERM").0, Some(0));
    first.served_once_serving();
    let said = first.asks(&[]);
    said.nothing();
    said.tells("ok", "peppers", "the store's");
    let without = Patient::new()
        .with(&["--store", &url])
        .set("store.read_timeout=5s");
    let said = without.asks(&[]);
    said.only(
        "warn",
        "peppers",
        "used with pepper 1, which is not configured",
    );
    assert_eq!(said.code, 0);
    let said = patient("b").asks(&[]);
    said.only("FAIL", "peppers", "pepper 1 is not the one");
    assert_eq!(said.code, 1);
}
