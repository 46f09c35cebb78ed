//! The real program as a client, against a server whose answers are known.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, in helpers too"
)]

mod canned;
mod changes;
mod lease_run;
mod leases;
mod polish;
mod program;
mod usages;
mod watching;

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;

use canned::{CALLER, ID, SECRET};
use program::{Fixture, Ran, program};

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn create_prints_the_secret_once_and_says_so_elsewhere() {
    let fixture = Fixture::new();
    let ran = fixture.run("token create --name ci --label a=b --ttl 1h");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.out.lines().next(), Some(SECRET));
    assert_eq!(ran.out.matches(SECRET).count(), 1);
    assert!(
        ran.out.contains(&format!("token_id        {ID}\n")),
        "{}",
        ran.out
    );
    assert!(ran.err.contains("this one time"), "{}", ran.err);
    let (_, timeout, message) = fixture.asked().remove(0);
    assert!(timeout.is_some());
    assert!(
        message.contains("seconds: 3600") && message.contains(r#"{"a": "b"}"#),
        "{message}"
    );
    let ran = fixture.run("token create --secret-only");
    assert_eq!((ran.out, ran.err), (format!("{SECRET}\n"), String::new()));
}

#[test]
fn answers_are_canonical_json_on_request() {
    let fixture = Fixture::new();
    let created = json(&fixture.run("token create --name ci --json").out);
    assert_eq!(created["secret"], SECRET);
    assert_eq!(created["token"]["revision"], "1700000000123456");
    assert_eq!(
        created["token"]["createTime"],
        "2023-11-14T22:13:20.123456Z"
    );
    assert_eq!(
        json(&fixture.run("--json token delete x").out),
        serde_json::json!({})
    );
    let whoami = json(&fixture.run("whoami --json").out);
    assert_eq!(whoami, serde_json::json!({"permissions": ["admin@*"]}));
}

#[test]
fn list_follows_pages_up_to_the_limit() {
    let fixture = Fixture::new();
    let ran = fixture.run("token list");
    let ends: Vec<usize> = ran
        .out
        .lines()
        .map(|line| line.find("ann").unwrap_or(0))
        .collect();
    assert_eq!(ran.out.lines().count(), 8, "{}", ran.out);
    assert!(ends[1..].iter().all(|end| *end == ends[1]), "{}", ran.out);
    assert_eq!(ran.err, "");
    let ran = fixture.run("token list --limit 3");
    assert_eq!(ran.out.lines().count(), 4, "{}", ran.out);
    assert!(ran.err.contains("--all"), "{}", ran.err);
    let cut = json(&fixture.run("token list --limit 3 --json").out);
    assert_eq!(cut["tokens"].as_array().unwrap().len(), 3);
    assert_eq!(cut["nextPageToken"], "3");
    let all = json(&fixture.run("token list --all --json").out);
    assert_eq!(all["tokens"].as_array().unwrap().len(), 7);
    assert_eq!(all.get("nextPageToken"), None);
}

#[test]
fn namespaces_are_listed_over_pages_up_to_the_limit() {
    let fixture = Fixture::new();
    let ran = fixture.run("namespace list");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let table = "\
NAMESPACE  TOKENS
n0         1
n1         1024
n2         1048576
n3         1073741824
n4         1099511627776
";
    assert_eq!((ran.out.as_str(), ran.err.as_str()), (table, ""));
    let ran = fixture.run("namespace list --limit 3");
    assert_eq!(ran.out.lines().count(), 4, "{}", ran.out);
    assert!(ran.err.contains("--all"), "{}", ran.err);
    let all = json(&fixture.run("namespace list --all --json").out);
    let namespaces = all["namespaces"].as_array().unwrap();
    assert_eq!(namespaces.len(), 5);
    let last = serde_json::json!({"namespace": "n4", "tokens": "1099511627776"});
    assert_eq!(namespaces[4], last);
    assert_eq!(all.get("nextPageToken"), None);
    let cut = json(&fixture.run("namespace list --limit 1 --json").out);
    assert_eq!(cut["nextPageToken"], "1");
    assert_eq!(fixture.program("namespace list", "", &[]).code, 4);
    assert_eq!(fixture.run("namespace").code, 2);
}

#[test]
fn get_revoke_delete_and_whoami_answer_people() {
    let fixture = Fixture::new();
    let ran = fixture.run(&format!("token get {ID}"));
    assert!(
        ran.out
            .contains("created         2023-11-14T22:13:20.123Z\n"),
        "{}",
        ran.out
    );
    let ran = fixture.run("token revoke x --reason leaked");
    assert_eq!(ran.out, "revoked at 2023-11-14T22:13:20Z\n");
    assert_eq!(fixture.run("token delete x").out, "deleted x\n");
    let whoami = "caller       root, without a token of its own\npermissions  admin@*\n";
    assert_eq!(fixture.run("whoami").out, whoami);
}

#[test]
fn validate_exits_with_its_verdict() {
    let fixture = Fixture::new();
    let caller = [("TOKEN_AUTHORITY_TOKEN", CALLER)];
    for line in ["token validate", "token validate -"] {
        let ran = fixture.program(line, &format!("{SECRET}\n"), &caller);
        assert_eq!(
            (ran.code, ran.out.lines().next()),
            (0, Some("VALID")),
            "{}",
            ran.err
        );
    }
    let ran = fixture.program("token validate wrong", "", &caller);
    assert_eq!((ran.code, ran.out.lines().next()), (1, Some("MALFORMED")));
    let ran = fixture.program("token validate wrong --json", "", &caller);
    assert_eq!(ran.code, 1);
    assert_eq!(json(&ran.out)["verdict"], "VERDICT_MALFORMED");
}

#[test]
fn a_secret_revokes_itself_without_any_credential() {
    let fixture = Fixture::new();
    let caller = [("TOKEN_AUTHORITY_TOKEN", CALLER)];
    let ran = fixture.program("token revoke --secret -", &format!("{SECRET}\n"), &caller);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(fixture.asked()[0].0, None);
}

#[test]
fn the_callers_secret_comes_from_standard_input_or_a_file() {
    let fixture = Fixture::new();
    let line = format!("{CALLER}\n");
    assert_eq!(fixture.program("whoami --token -", &line, &[]).code, 0);
    let file = fixture.home.path().join("secret");
    std::fs::write(&file, &line).unwrap();
    let path = file.to_str().unwrap();
    assert_eq!(
        fixture
            .program(&format!("whoami --token-file {path}"), "", &[])
            .code,
        0
    );
    let variable = [("TOKEN_AUTHORITY_TOKEN_FILE", path)];
    assert_eq!(fixture.program("whoami", "", &variable).code, 0);
    let both = fixture.program("token validate - --token -", &line, &[]);
    assert_eq!(both.code, 2, "{}", both.err);
    let generated = fixture.home.path().join(".config/token-authority");
    std::fs::create_dir_all(&generated).unwrap();
    std::fs::write(generated.join("root-token"), &line).unwrap();
    assert_eq!(fixture.program("whoami", "", &[]).code, 0);
    // The wrong one is refused, and the caller learns which file it came from.
    std::fs::write(&file, "a-secret-that-nobody-knows").unwrap();
    for variable in [
        "TOKEN_AUTHORITY_ROOT_TOKEN_FILE",
        "TOKEN_AUTHORITY_TOKEN_FILE",
    ] {
        let ran = fixture.program("whoami", "", &[(variable, path)]);
        assert_eq!(ran.code, 4);
        let hint = format!("hint: the secret sent is that in {path}");
        assert!(ran.err.contains(&hint), "{}", ran.err);
    }
}

#[test]
fn failures_have_exit_codes_and_reasons() {
    let fixture = Fixture::new();
    let ran = fixture.run("token get absent");
    let why = "error: there is no token absent\n  reason: ERROR_REASON_TOKEN_NOT_FOUND\n";
    assert_eq!((ran.code, ran.err.as_str()), (3, why));
    let ran = fixture.program("whoami", "", &[]);
    assert_eq!(ran.code, 4);
    assert!(
        ran.err.contains("ERROR_REASON_CREDENTIAL_INVALID"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("hint: no credential was sent"),
        "{}",
        ran.err
    );
    assert_eq!(fixture.run("token get denied").code, 4);
    let ran = fixture.run("token create --name bad");
    assert_eq!(ran.code, 5);
    let why = "error: invalid request\n  name: is bad\n  scopes[0]: is worse\n";
    assert!(ran.err.starts_with(why), "{}", ran.err);
    let ran = fixture.run("token get down");
    assert_eq!(ran.code, 6);
    assert!(ran.err.contains("try again in 500ms"), "{}", ran.err);
    let ran = fixture.run("token get slow --timeout 200ms");
    assert_eq!(ran.code, 6, "{}", ran.err);
    assert!(ran.err.contains("deadline"), "{}", ran.err);
    assert_eq!(fixture.run("token get").code, 2);
}

#[test]
fn a_server_that_is_not_there_is_unreachable() {
    let home = tempfile::tempdir().unwrap();
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let ran = program(&format!("whoami --server {gone}"), "", &[], home.path());
    assert_eq!(ran.code, 6, "{}", ran.err);
    assert!(
        ran.err.starts_with("error: cannot reach http://127.0.0.1:"),
        "{}",
        ran.err
    );
    // Something listens, but it speaks no gRPC.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = mute.accept() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let ran = program(&format!("whoami --server {address}"), "", &[], home.path());
    let why =
        format!("error: cannot reach http://{address}: whoever listens there speaks no gRPC\n");
    assert_eq!((ran.code, ran.err), (6, why));
}

#[test]
fn a_reader_that_goes_away_is_no_crash() {
    let fixture = Fixture::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_token-authority"))
        .args(["token", "list", "--server", &fixture.address.to_string()])
        .env_clear()
        .env("TOKEN_AUTHORITY_TOKEN", CALLER)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn help_and_version_are_answers() {
    let home = tempfile::tempdir().unwrap();
    let variable = [("TOKEN_AUTHORITY_TOKEN", CALLER)];
    let ran = program("--help", "", &variable, home.path());
    assert_eq!(ran.code, 0);
    assert!(ran.out.contains("Exit codes:"), "{}", ran.out);
    let ran = program("--version", "", &[], home.path());
    assert_eq!(
        ran.out,
        format!("token-authority {}\n", env!("CARGO_PKG_VERSION"))
    );
}
