//! `healthcheck`: exit codes and words for containers, on both stores and over every kind of way.

use std::fs;
use std::process::Command;

use crate::encrypted::{Encrypted, REQUIRED};
use crate::harness::{Authority, BINARY, PATIENCE};
use crate::support::certificates::Wanted;

/// Exit code and all that it says; generous, where the machine is busy.
fn asked(flags: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let timeout: &[&str] = match flags.contains(&"--timeout") {
        true => &[],
        false => &["--timeout", "20s"],
    };
    let output = Command::new(BINARY)
        .env_clear()
        .arg("healthcheck")
        .args(timeout)
        .args(flags)
        .envs(variables.iter().copied())
        .output()
        .expect("the command line runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("UTF-8");
    assert_eq!(text.lines().count(), 1, "one line: {text}");
    (output.status.code(), text.trim_end().to_owned())
}

/// Asks until the answer is this one.
fn comes_to(code: i32, word: &str, flags: &[&str], variables: &[(&str, &str)]) {
    let begun = std::time::Instant::now();
    let wanted = (Some(code), word.to_owned());
    loop {
        let answer = asked(flags, variables);
        if answer == wanted {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer:?}, not {wanted:?}");
    }
}

const SERVING: &str = "SERVING";
const NOT_SERVING: &str = "NOT_SERVING";
const MANAGEMENT: [&str; 2] = ["--service", "tokenauthority.v1.TokenService.management"];

pub(crate) async fn a_serving_and_a_draining_server_are_told_apart(authority: Authority) {
    let mut authority = authority;
    authority.stop("TERM");
    let mut authority = authority.with(&["--set", "server.drain_delay=1h"]);
    authority.start();
    let address = authority.address.clone();
    let server = ["--server", address.as_str()];
    comes_to(0, SERVING, &server, &[]);
    comes_to(0, SERVING, &[&server[..], &MANAGEMENT[..]].concat(), &[]);
    // By the server's own configuration, in each of its layers; whom others call does not count.
    let elsewhere = ("TOKEN_AUTHORITY_SERVER", "127.0.0.1:1");
    comes_to(0, SERVING, &["--listen", &address], &[elsewhere]);
    let variable = [("TOKEN_AUTHORITY_LISTEN", address.as_str()), elsewhere];
    comes_to(0, SERVING, &[], &variable);
    let file = authority.folder.path().join("config.toml");
    fs::write(&file, format!("[server]\nlisten = \"{address}\"\n")).unwrap();
    let file = file.to_str().unwrap();
    comes_to(0, SERVING, &["--config", file], &[]);
    comes_to(0, SERVING, &[], &[("TOKEN_AUTHORITY_CONFIG", file)]);
    let (code, said) = asked(&[&server[..], &["--service", "no.such"]].concat(), &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("no health service named \"no.such\""),
        "{said}"
    );
    authority.signal("TERM");
    comes_to(1, NOT_SERVING, &server, &[]);
    authority.kill();
    let (code, said) = asked(&server, &[]);
    assert_eq!(code, Some(6), "{said}");
    assert!(said.starts_with("error: cannot reach http://"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_down_is_a_server_that_does_not_serve() {
    let mut authority = Authority::on_redis();
    let server = ["--server", &authority.address.clone()];
    comes_to(0, SERVING, &server, &[]);
    authority.redis = None;
    comes_to(1, NOT_SERVING, &server, &[]);
    comes_to(
        1,
        NOT_SERVING,
        &[&server[..], &MANAGEMENT[..]].concat(),
        &[],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_the_certificate_is_verified_only_where_a_server_is_named() {
    let encrypted = Encrypted::before_start(&[]).called("ta.example").started();
    let port = encrypted.port();
    // Of these files it needs to know no more than that they are named.
    let configured = [
        ("TOKEN_AUTHORITY_LISTEN", &*format!("0.0.0.0:{port}")),
        ("TOKEN_AUTHORITY_TLS_CERTIFICATE_FILE", "/no/such.pem"),
        ("TOKEN_AUTHORITY_TLS_KEY_FILE", "/no/such.key"),
        ("TOKEN_AUTHORITY_STORE_FILE", "/no/such/store"),
        ("TOKEN_AUTHORITY_ROOT_TOKEN_FILE", "/no/such/root"),
    ];
    comes_to(0, SERVING, &[], &configured);
    let server = format!("https://127.0.0.1:{port}");
    let (code, said) = asked(&["--server", &server], &configured);
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("no authority that this machine"), "{said}");
    let ca = encrypted.ca_file();
    let named = ["--server", &server, "--ca-file", &ca, "--server-name"];
    comes_to(0, SERVING, &[&named[..], &["ta.example"]].concat(), &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_certificates_are_required_a_unix_socket_needs_none() {
    let mut encrypted = Encrypted::before_mutual_start(&REQUIRED);
    let listen = format!("127.0.0.1:0,unix:{}", encrypted.file("ta.sock").display());
    let authority = encrypted.authority.listening_on(&listen);
    encrypted = Encrypted {
        authority,
        ..encrypted
    }
    .started();
    let address = encrypted.authority.address.clone();
    let tls = [
        ("TOKEN_AUTHORITY_TLS_CERTIFICATE_FILE", "a"),
        ("TOKEN_AUTHORITY_TLS_KEY_FILE", "b"),
    ];
    for _ in 0..5 {
        let (code, said) = asked(&["--listen", &address], &tls);
        assert_eq!(code, Some(6), "{said}");
        let told = "--cert-file and --key-file, or let the server listen on a Unix socket, too";
        assert!(said.contains(told), "{said}");
    }
    let own = encrypted.clients.issue(Wanted::client());
    let [certificate, key] = encrypted.kept_pair("own", &own);
    let shown = ["--cert-file", &certificate, "--key-file", &key];
    comes_to(
        0,
        SERVING,
        &[&["--listen", &address], &shown[..]].concat(),
        &tls,
    );
    comes_to(0, SERVING, &["--listen", &listen], &tls);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_know_that_the_server_speaks_tls_is_told_to_give_its_configuration() {
    let authority = Encrypted::before_start(&[]).started().authority;
    let (code, said) = asked(&["--listen", &authority.address], &[]);
    assert_eq!(code, Some(6), "{said}");
    let told = "the server's configuration (--config, TOKEN_AUTHORITY_CONFIG)";
    assert!(said.contains(told) && !said.contains("https://"), "{said}");
    let (code, said) = asked(&["--server", &authority.address], &[]);
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("write https://"), "{said}");
}

#[test]
fn what_cannot_be_asked_is_wrong_usage() {
    for (flags, told) in [
        (["--listen", "127.0.0.1:0"], "port 0"),
        (["--listen", "nonsense"], "server.listen"),
        (["--set", "no.such=1"], "unknown key no.such"),
        (["--config", "/no/such.toml"], "/no/such.toml"),
        (["--ca-file", "nosuch.pem"], "--ca-file needs --server"),
        (["--server-name", "there"], "--server-name needs --server"),
    ] {
        let (code, said) = asked(&flags, &[]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(told), "{said}");
    }
}

#[test]
fn a_server_that_says_nothing_does_not_hold_the_question_up() {
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap().to_string();
    let mut command = Command::new(BINARY);
    command
        .env_clear()
        .args(["healthcheck", "--server", &address, "--timeout", "300ms"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("within 300ms"), "{said}");
}

/// A pipe that nobody writes to, as a file on a network that is gone.
#[test]
fn a_file_that_hangs_does_not_keep_the_answer_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let pipe = pipe.to_str().unwrap();
    for flags in [
        &["--config", pipe][..],
        &["--server", "https://127.0.0.1:1", "--ca-file", pipe],
    ] {
        let (code, said) = asked(&[flags, &["--timeout", "100ms"]].concat(), &[]);
        assert_eq!(code, Some(6), "{said}");
        assert!(said.contains("no answer within 100ms"), "{said}");
    }
}
