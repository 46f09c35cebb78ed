//! Audit lines in a file and on standard output, and what happens when they cannot be written.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    DeleteRequest, GetRequest, ListRequest, RevokeRequest, Verdict,
};
use tonic::{Code, Request};

use crate::harness::{Authority, Client, command, create, named, reason, until, verdict};
use crate::leasing::{Held, any, fill, forced, token_beat, waiting};
use crate::scrape::Scrape;

/// Starts it again with audit lines at the end of a file, and answers the file.
fn to_file(authority: Authority) -> (Authority, PathBuf) {
    let path = authority.folder.path().join("audit");
    let place = format!("audit.to=file:{}", path.display());
    (again(authority, &place), path)
}

fn again(mut authority: Authority, setting: &str) -> Authority {
    authority.stop("TERM");
    let mut authority = authority.with(&["--set", setting]);
    authority.start();
    authority
}

fn as_call<T>(message: T, id: &str) -> Request<T> {
    let mut request = Request::new(message);
    let id = id.parse().expect("visible ASCII");
    request.metadata_mut().insert("x-request-id", id);
    request
}

fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

/// Calls of every kind, each with an id; answers the id of the token.
async fn calls_of_every_kind(authority: &Authority) -> String {
    let mut root = authority.root().await;
    let created = root.create(as_call(named("t"), "create")).await.unwrap();
    let created = created.into_inner();
    let token_id = created.token.unwrap().token_id;
    let get = |token_id: &str| GetRequest {
        token_id: token_id.to_owned(),
    };
    root.get(as_call(get(&token_id), "get")).await.unwrap();
    let list = ListRequest::default();
    root.list(as_call(list, "list")).await.unwrap();
    let revoke = RevokeRequest {
        target: Some(Target::Secret(created.secret.clone())),
        reason: String::new(),
    };
    let mut stranger = authority.client(None);
    stranger.revoke(as_call(revoke, "surrender")).await.unwrap();
    assert_eq!(verdict(&mut root, &created.secret).await, Verdict::Revoked);
    let delete = DeleteRequest {
        token_id: token_id.clone(),
    };
    root.delete(as_call(delete, "delete")).await.unwrap();
    let gone = as_call(get(&token_id), "get-again");
    root.get(gone).await.unwrap_err();
    let list = as_call(ListRequest::default(), "refused");
    stranger.list(list).await.unwrap_err();
    token_id
}

fn check(lines: &[Value], token_id: &str) {
    let expected = [
        (
            "create",
            "Create",
            "root:environment",
            token_id,
            "default",
            "done",
        ),
        (
            "get",
            "Get",
            "root:environment",
            token_id,
            "default",
            "done",
        ),
        ("list", "List", "root:environment", "", "default", "done"),
        ("surrender", "Revoke", "secret", token_id, "", "done"),
        (
            "delete",
            "Delete",
            "root:environment",
            token_id,
            "default",
            "done",
        ),
        (
            "get-again",
            "Get",
            "root:environment",
            token_id,
            "",
            "not_found",
        ),
        ("refused", "List", "unknown", "", "", "unauthenticated"),
    ];
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let found: Vec<_> = lines
        .iter()
        .map(|line| {
            assert_eq!(line["peer"], "127.0.0.1");
            let time = text(line, "time");
            assert!(time.len() == 27 && time.ends_with('Z'), "{time}");
            [
                "request_id",
                "rpc",
                "caller",
                "token_id",
                "namespace",
                "outcome",
            ]
            .map(|key| text(line, key))
        })
        .collect();
    let expected = expected.map(|(id, rpc, caller, token_id, namespace, outcome)| {
        [id, rpc, caller, token_id, namespace, outcome].map(str::to_owned)
    });
    assert_eq!(found, expected);
}

pub(crate) async fn every_management_call_leaves_one_line_in_the_file(authority: Authority) {
    let (authority, path) = to_file(authority);
    let token_id = calls_of_every_kind(&authority).await;
    // Each answer left after its line was written.
    check(&lines(&fs::read_to_string(&path).unwrap()), &token_id);
    assert!(!authority.log().contains(" audit: "), "not twice");
}

pub(crate) async fn audit_lines_on_standard_output_are_the_same(authority: Authority) {
    let authority = again(authority, "audit.to=stdout");
    let token_id = calls_of_every_kind(&authority).await;
    until(|| (authority.stdout().lines().count() == 7).then_some(())).await;
    check(&lines(&authority.stdout()), &token_id);
}

pub(crate) async fn leases_leave_lines_and_their_beats_none(authority: Authority) {
    let (authority, path) = to_file(authority);
    let mut root = authority.root().await;
    let (token, _) = fill(&mut root, 1).await.remove(0);
    let acquired = root.acquire(as_call(any(), "acquire")).await.unwrap();
    let held = Held::of(acquired.into_inner());
    root.acquire(as_call(any(), "full")).await.unwrap_err();
    let waits = waiting(Duration::from_millis(100));
    root.acquire(as_call(waits, "waited")).await.unwrap_err();
    root.keep_alive(as_call(held.beat(), "beat")).await.unwrap();
    let by_token = token_beat(&token.token_id);
    root.keep_alive(as_call(by_token, "by-token"))
        .await
        .unwrap();
    root.release(as_call(held.release(), "release"))
        .await
        .unwrap();
    let force = forced(&token.token_id);
    root.release(as_call(force, "force")).await.unwrap();
    let mut stranger = authority.client(None);
    let beat = as_call(held.beat(), "stranger");
    stranger.keep_alive(beat).await.unwrap_err();
    let text = fs::read_to_string(&path).unwrap();
    let told: Vec<_> = lines(&text)
        .iter()
        .filter(|line| line["rpc"] != "Create")
        .map(|line| {
            let words = ["request_id", "rpc", "token_id", "outcome"];
            words.map(|key| line[key].as_str().unwrap_or_default().to_owned())
        })
        .collect();
    let id = token.token_id.as_str();
    let expected = [
        ["acquire", "Acquire", id, "done"],
        ["full", "Acquire", "", "pool_exhausted"],
        ["waited", "Acquire", "", "pool_exhausted"],
        ["by-token", "KeepAlive", id, "done"],
        ["release", "Release", id, "done"],
        ["force", "Release", id, "done"],
        ["stranger", "KeepAlive", "", "unauthenticated"],
    ];
    assert_eq!(told, expected.map(|line| line.map(str::to_owned)));
    let mark = &held.lease.lease_id[22..];
    assert!(!text.contains(mark) && !authority.log().contains(mark));
}

pub(crate) async fn a_hangup_opens_the_file_again(authority: Authority) {
    let (mut authority, path) = to_file(authority);
    let mut root = authority.root().await;
    create(&mut root, named("before")).await;
    let moved = path.with_extension("1");
    fs::rename(&path, &moved).unwrap();
    create(&mut root, named("moved away, and still open")).await;
    authority.signal("HUP");
    until(|| path.exists().then_some(())).await;
    create(&mut root, named("after")).await;
    let count = |path| lines(&fs::read_to_string(path).unwrap()).len();
    assert_eq!((count(&moved), count(&path)), (2, 1));
    // A start goes on where the file ends.
    authority.stop("TERM");
    authority.start();
    create(&mut authority.root().await, named("next")).await;
    assert_eq!(count(&path), 2);
}

async fn refused(root: &mut Client) {
    let error = root.create(named("refused")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert_eq!(reason(&error), "AUDIT_UNAVAILABLE");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_management_until_every_line_is_written_and_validate_goes_on() {
    let authority = Authority::on_sqlite();
    let path = authority.folder.path().join("audit");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let (mut authority, path) = to_file(authority);
    let mut root = authority.root().await;
    // This one was begun before anybody knew, and so is done.
    let first = as_call(named("t"), "first");
    let secret = root.create(first).await.unwrap().into_inner().secret;
    for _ in 0..3 {
        refused(&mut root).await;
    }
    let surrender = RevokeRequest {
        target: Some(Target::Secret(secret.clone())),
        reason: String::new(),
    };
    let error = authority.client(None).revoke(surrender).await.unwrap_err();
    assert_eq!(reason(&error), "AUDIT_UNAVAILABLE");
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);
    assert_eq!(Scrape::of(&authority).value("audit_pending"), 1.0);
    let errors = |authority: &Authority| {
        let log = authority.log();
        log.matches("audit lines cannot be written;").count()
    };
    assert_eq!(errors(&authority), 1, "said once");

    fs::remove_file(&path).unwrap();
    authority.signal("HUP");
    until(|| (Scrape::of(&authority).value("audit_pending") == 0.0).then_some(())).await;
    let second = as_call(named("u"), "second");
    root.create(second).await.unwrap();
    let written = lines(&fs::read_to_string(&path).unwrap());
    let ids: Vec<_> = written.iter().map(|line| &line["request_id"]).collect();
    assert_eq!(ids, ["first", "second"]);
    assert_eq!(authority.stop("TERM").0, Some(0));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_is_never_written_ends_in_the_log() {
    let mut authority = again(Authority::on_sqlite(), "audit.to=file:/dev/full");
    let mut root = authority.root().await;
    root.create(as_call(named("t"), "first")).await.unwrap();
    refused(&mut root).await;
    assert_eq!(authority.stop("TERM").0, Some(0), "{}", authority.log());
    let log = authority.log();
    let kept = |line: &&str| line.contains(" audit: ") && line.contains("first");
    assert_eq!(log.lines().filter(kept).count(), 1, "{log}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_leaves_what_waits_to_the_log() {
    let authority = Authority::on_sqlite().with(&["--set", "server.drain_delay=60s"]);
    let mut authority = again(authority, "audit.to=file:/dev/full");
    let mut root = authority.root().await;
    root.create(as_call(named("t"), "first")).await.unwrap();
    authority.signal("TERM");
    authority.serving(false).await;
    assert_eq!(authority.stop("TERM").0, Some(143), "{}", authority.log());
    let log = authority.log();
    let kept = |line: &&str| line.contains(" audit: ") && line.contains("first");
    assert_eq!(log.lines().filter(kept).count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_level_of_the_log_hides_no_audit_line() {
    let lines = async |filter: &str| {
        let mut authority = again(Authority::on_sqlite(), filter);
        let mut root = authority.root().await;
        root.create(as_call(named("t"), "first")).await.unwrap();
        authority.stop("TERM");
        let log = authority.log();
        let lines = log.lines().filter(|line| line.contains(" audit: "));
        lines.filter(|line| line.contains("first")).count()
    };
    for filter in ["off", "error", "token_authority=debug"] {
        assert_eq!(lines(&format!("log.filter={filter}")).await, 1, "{filter}");
    }
    assert_eq!(lines("log.filter=info,audit=off").await, 0, "said so");
}

#[test]
fn a_file_that_cannot_be_opened_refuses_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("ta.db");
    for place in ["no/such/folder/audit", "."] {
        let place = folder.path().join(place);
        let mut serve = command(&["serve", "--listen", "127.0.0.1:0"]);
        serve.args(["--store", &format!("sqlite:{}", database.display())]);
        serve.args(["--set", &format!("audit.to=file:{}", place.display())]);
        let ended = serve.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{said}");
        let names_it = format!("audit.to: {}", place.display());
        assert!(said.contains(&names_it), "{said}");
        assert!(!database.exists(), "nothing is made before");
    }
}
