//! The command line over TLS: whom it trusts, what it shows, and what it says when that fails.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;

use crate::encrypted::{Encrypted, REQUIRED};
use crate::harness::{Authority, ROOT_TOKEN, command, until};
use crate::support::certificates::{HOUR, Issued, TestAuthority, Wanted};

/// Exit code, standard output and standard error of a command as root.
pub(crate) fn ran(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = command(arguments)
        .env("TOKEN_AUTHORITY_TOKEN", ROOT_TOKEN)
        .output()
        .expect("the command line runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// What `whoami` says when it does not get through.
fn refused(arguments: &[&str]) -> String {
    let (code, out, err) = ran(&[&["whoami"], arguments].concat());
    assert_eq!((code, out.as_str()), (Some(6), ""), "{arguments:?}: {err}");
    assert!(err.starts_with("error: cannot reach http"), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(!err.contains(ROOT_TOKEN));
    err
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_called_over_tls_and_every_distrust_is_explained() {
    let encrypted = Encrypted::before_start(&[]).called("localhost").started();
    let ca = encrypted.ca_file();
    let another = |file: &str, name: &str| encrypted.kept(file, &TestAuthority::new(name).pem());
    let stranger = another("stranger.pem", "a stranger");
    let namesake = another("namesake.pem", "authority of servers");
    let port = encrypted.port();
    let (by_name, by_address) = (
        format!("https://localhost:{port}"),
        format!("https://127.0.0.1:{port}"),
    );
    for right in [
        vec!["--server", &by_name, "--ca-file", &ca],
        vec![
            "--server",
            &by_address,
            "--ca-file",
            &ca,
            "--server-name",
            "localhost",
        ],
    ] {
        let (code, out, err) = ran(&[&["whoami"], &right[..]].concat());
        assert_eq!(code, Some(0), "{err}");
        assert!(out.starts_with("caller       root"), "{out}");
    }
    for (arguments, told) in [
        (
            vec!["--server", &by_name],
            "no authority that this machine trusts; give",
        ),
        (
            vec!["--server", &by_name, "--ca-file", &stranger],
            "none of the authorities in",
        ),
        (
            vec!["--server", &by_name, "--ca-file", &namesake],
            "none of the authorities in",
        ),
        (
            vec!["--server", &by_address, "--ca-file", &ca],
            "not for 127.0.0.1, but for localhost;",
        ),
        (
            vec!["--server", &encrypted.authority.address],
            "speaks TLS; write https://127.0.0.1:",
        ),
    ] {
        let said = refused(&arguments);
        assert!(said.contains(told), "{arguments:?}: {said}");
    }
    let (code, _, err) = ran(&["whoami", "--server", &by_name, "--ca-file", "/no/such.pem"]);
    assert_eq!(code, Some(2), "{err}");
    assert!(
        err.starts_with("error: /no/such.pem: No such file"),
        "{err}"
    );
}

/// A server that shows the certificate as it is, which the authority refuses to do with a bad one.
async fn shown_unchecked(issued: &Issued) -> SocketAddr {
    let chain = CertificateDer::pem_slice_iter(issued.chain.as_bytes());
    let chain = chain.collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_out_of_its_time_and_a_server_without_tls_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem").display().to_string();
    let servers = TestAuthority::new("authority of servers");
    std::fs::write(&ca, servers.pem()).unwrap();
    for (from, until, told) in [
        (-2 * HOUR, -HOUR, "certificate ended at 20"),
        (HOUR, 2 * HOUR, "holds only from 20"),
    ] {
        let issued = servers.issue(Wanted::server().holding(from, until));
        let address = shown_unchecked(&issued).await;
        let server = format!("https://localhost:{}", address.port());
        let asked = tokio::task::spawn_blocking({
            let ca = ca.clone();
            move || refused(&["--server", &server, "--ca-file", &ca])
        });
        let said = asked.await.unwrap();
        assert!(said.contains(told), "{said}");
    }
    let plain = Authority::on_sqlite();
    let server = format!("https://{}", plain.address);
    let said = refused(&["--server", &server, "--ca-file", &ca]);
    let told = format!("speaks no TLS; http://{} asks for plaintext", plain.address);
    assert!(said.contains(&told), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_wants_a_certificate_is_shown_one_and_a_missing_one_is_explained() {
    let encrypted = Encrypted::mutual(&REQUIRED);
    let address = format!("https://localhost:{}", encrypted.port());
    let ca = encrypted.ca_file();
    let way = ["--server", &address, "--ca-file", &ca];
    let issued = encrypted.clients.issue(Wanted::client());
    let [certificate, key] = encrypted.kept_pair("own", &issued);
    let shown = ["--cert-file", &certificate, "--key-file", &key];
    let (code, _, err) = ran(&[&["whoami"], &way[..], &shown[..]].concat());
    assert_eq!(code, Some(0), "{err}");
    let foreign = ["authority of clients", "a stranger"].map(|name| {
        let issued = TestAuthority::new(name).issue(Wanted::client());
        encrypted.kept_pair(name, &issued)
    });
    // The server's word comes after the handshake and at times after the connection has ended.
    for _ in 0..10 {
        let said = refused(&way);
        let told = "takes clients with a certificate only; give one by --cert-file";
        assert!(said.contains(told), "{said}");
        for [certificate, key] in &foreign {
            let shown = ["--cert-file", certificate, "--key-file", key];
            let said = refused(&[&way[..], &shown[..]].concat());
            let told = format!("refuses the certificate in {certificate}");
            assert!(said.contains(&told), "{said}");
        }
    }
    let mixed = ["--cert-file", &certificate, "--key-file", &foreign[0][1]];
    let (code, _, err) = ran(&[&["whoami"], &way[..], &mixed[..]].concat());
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("does not go with the key in"), "{err}");
}

/// Runs the command that a server's log suggests, as it stands there.
async fn tried(authority: &Authority, variables: &[(&str, &str)]) {
    let line = until(|| {
        let log = authority.log();
        let mut lines = log.lines().skip_while(|line| !line.starts_with("Try it"));
        lines.nth(1).map(str::to_owned)
    });
    let line = line.await;
    let tried = Command::new("sh")
        .args(["-c", &line])
        .envs(variables.iter().copied())
        .env("TOKEN", ROOT_TOKEN)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&tried.stderr);
    assert!(tried.status.success(), "{line}\n{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_line_that_a_server_suggests_works() {
    tried(&Authority::on_sqlite(), &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let unix = folder.path().join("ta.sock").display().to_string();
    let unix = format!("server.listen=unix:{unix}");
    for (encrypted, name) in [
        (Encrypted::before_start(&[]), "localhost"),
        (Encrypted::before_mutual_start(&REQUIRED), "ta.example"),
        (Encrypted::before_start(&["--set", &unix]), "localhost"),
    ] {
        let encrypted = encrypted.called(name).started();
        let own = encrypted.clients.issue(Wanted::client());
        let [certificate, key] = &encrypted.kept_pair("own", &own);
        let files = [
            ("CA", &*encrypted.ca_file()),
            ("CERT", certificate),
            ("KEY", key),
        ];
        tried(&encrypted.authority, &files).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shows_a_certificate_is_not_root_unless_a_secret_is_given_too() {
    let known = "access.certificate_callers=[{ name = \"gateway\", dns = \"client.example\", \
                 permissions = [\"validate@*\"] }]";
    let encrypted = Encrypted::mutual(&["--set", known]);
    let address = format!("https://localhost:{}", encrypted.port());
    let ca = encrypted.ca_file();
    let issued = Wanted::client().dns("client.example");
    let [certificate, key] = encrypted.kept_pair("own", &encrypted.clients.issue(issued));
    let root = encrypted.file("root-of-this-machine");
    std::fs::write(&root, ROOT_TOKEN).unwrap();
    let called = |flags: &[&str], variables: &[(&str, &str)]| {
        let way = ["whoami", "--server", &address, "--ca-file", &ca];
        let output = command(&[&way[..], flags].concat())
            .env("TOKEN_AUTHORITY_ROOT_TOKEN_FILE", &root)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    };
    let flags = ["--cert-file", &certificate, "--key-file", &key];
    let variables = [
        ("TOKEN_AUTHORITY_CERT_FILE", certificate.as_str()),
        ("TOKEN_AUTHORITY_KEY_FILE", key.as_str()),
    ];
    for said in [called(&flags, &[]), called(&[], &variables)] {
        assert!(said.contains("gateway, by its certificate"), "{said}");
    }
    for said in [
        called(&[&flags[..], &["--token", ROOT_TOKEN]].concat(), &[]),
        called(&flags, &[("TOKEN_AUTHORITY_TOKEN", ROOT_TOKEN)]),
    ] {
        assert!(said.starts_with("caller       root"), "{said}");
    }
}
