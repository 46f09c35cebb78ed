//! Unix sockets: who may connect, what becomes of the file, and calls without an address.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::token_service_client::TokenServiceClient;
use token_authority::transport::grpc::pb::{RevokeRequest, Verdict};
use tonic::transport::Endpoint;

use crate::cli_tls::ran;
use crate::harness::{Authority, BINARY, ROOT_TOKEN, create, named, until, verdict};
use crate::startup::{serve, sqlite};

/// A user and a group without rights.
const NOBODY: u32 = 65534;

/// An authority that listens on a socket in its own folder, and wherever else is said; not started.
fn beside(others: &str) -> (Authority, PathBuf) {
    let authority = Authority::before_sqlite_start();
    let socket = authority.folder.path().join("ta.sock");
    let listen = format!("server.listen={}{others}", address(&socket));
    (authority.with(&["--set", &listen]), socket)
}

fn address(socket: &Path) -> String {
    format!("unix:{}", socket.display())
}

/// Runs a `serve` on this socket that is expected to be refused.
fn refused(socket: &Path) -> String {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(&folder.path().join("other.db"));
    let flags = ["--listen", &address(socket), "--store", &store];
    let (code, log) = serve(
        &flags[2..],
        folder.path(),
        &[("TOKEN_AUTHORITY_LISTEN", &address(socket))],
    );
    assert_eq!(code, Some(6), "{log}");
    let made = folder.path().join("other.db").exists();
    assert!(!made, "a start that cannot succeed leaves nothing behind");
    log
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_has_the_configured_mode_and_goes_with_its_server() {
    let (mut authority, socket) = beside("");
    authority = authority.with(&["--set", "server.unix_mode=0600"]);
    authority.start();
    assert_eq!(authority.address, address(&socket));
    let found = fs::symlink_metadata(&socket).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o7777, 0o600);
    let (code, out, err) = ran(&["whoami", "--server", &authority.address]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("caller       root"), "{out}");
    assert_eq!(authority.stop("TERM").0, Some(0), "{}", authority.log());
    assert!(!socket.exists(), "the socket is left behind");
    let (code, _, err) = ran(&["whoami", "--server", &authority.address]);
    assert_eq!(code, Some(6));
    assert!(err.contains("there is no such socket"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_a_dead_server_left_is_replaced_and_a_living_ones_is_not() {
    let (mut authority, socket) = beside("");
    authority.start();
    let default = fs::symlink_metadata(&socket).unwrap().permissions();
    assert_eq!(default.mode() & 0o7777, 0o660);
    let said = refused(&socket);
    assert!(said.contains("another process listens there"), "{said}");
    authority.kill();
    assert!(socket.exists(), "nobody tidied up");
    let (code, _, err) = ran(&["whoami", "--server", &address(&socket)]);
    assert_eq!(code, Some(6));
    assert!(err.contains("a server that died left"), "{err}");
    authority.start();
    let (code, _, err) = ran(&["whoami", "--server", &address(&socket)]);
    assert_eq!(code, Some(0), "{err}");
    // Another server's socket of that name is not this one's to remove.
    fs::remove_file(&socket).unwrap();
    let other = UnixListener::bind(&socket).unwrap();
    assert_eq!(authority.stop("TERM").0, Some(0));
    assert!(socket.exists(), "somebody else's socket was removed");
    drop(other);
}

#[test]
fn a_file_that_is_no_socket_is_refused_and_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes");
    fs::write(&path, "keep me").unwrap();
    let said = refused(&path);
    assert!(said.contains("it is no socket"), "{said}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "keep me");
    let (code, _, err) = ran(&["whoami", "--server", &address(&path)]);
    assert_eq!(code, Some(6));
    assert!(err.contains("that file is no socket"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_not_write_the_socket_is_told_what_that_takes() {
    let (mut authority, socket) = beside("");
    authority = authority.with(&["--set", "server.unix_mode=0000"]);
    authority.start();
    // Somebody else's program, in a folder that everybody may enter.
    fs::set_permissions(authority.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = authority.folder.path().join("program");
    fs::hard_link(BINARY, &program)
        .or_else(|_| fs::copy(BINARY, &program).map(drop))
        .unwrap();
    let mut command = Command::new(&program);
    if fs::metadata(&program).unwrap().uid() == 0 {
        // Nothing is closed to root.
        command.uid(NOBODY).gid(NOBODY);
    }
    command.args(["whoami", "--server", &address(&socket)]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(
        said.contains("this user may not connect: it needs"),
        "{said}"
    );
    assert!(said.contains("server.unix_mode"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_and_unix_are_served_at_once_and_calls_need_no_address() {
    let (authority, socket) = beside(",127.0.0.1:0");
    let file = authority.folder.path().join("audit.log");
    let mut authority = authority.with(&["--set", &format!("audit.to=file:{}", file.display())]);
    authority.start();
    let second = until(|| {
        let said = authority.stdout();
        let place = said.strip_prefix("listening on ").map(str::trim_end);
        place.map(str::to_owned)
    });
    authority.address = second.await;
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, named("on both")).await;
    let way = Endpoint::from_shared(address(&socket)).unwrap();
    let mut near = TokenServiceClient::new(way.connect().await.unwrap());
    // By the secret itself, without any credential.
    near.revoke(RevokeRequest {
        target: Some(Target::Secret(secret.clone())),
        reason: "found".to_owned(),
    })
    .await
    .unwrap();
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Revoked);
    let (code, _, err) = ran(&[
        "token",
        "delete",
        &token.token_id,
        "--server",
        &address(&socket),
    ]);
    assert_eq!(code, Some(0), "{err}");
    let lines = fs::read_to_string(&file).unwrap();
    let line = |rpc: &str| {
        let rpc = format!("\"rpc\":\"{rpc}\"");
        let found = lines.lines().find(|line| line.contains(&rpc));
        found.unwrap_or_else(|| panic!("{rpc}: {lines}")).to_owned()
    };
    assert!(line("Create").contains("\"peer\":\"127.0.0.1\""), "{lines}");
    for rpc in ["Revoke", "Delete"] {
        let line = line(rpc);
        assert!(line.contains("\"outcome\":\"done\""), "{line}");
        assert!(!line.contains("127.0.0.1"), "{line}");
    }
    assert!(!lines.contains(&secret) && !lines.contains(ROOT_TOKEN));
}
