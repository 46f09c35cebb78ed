//! The command line over TLS: whom it trusts, what it shows, and what it says when that fails.

use std::process::{Command, Stdio};

use crate::harness::{Authority, ROOT_TOKEN, command, until};
use crate::papers::{Holds, Papers, mutual};

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
    let papers = Papers::new();
    let (namesake, stranger) = (Papers::new(), Papers::of("a stranger"));
    let ca = papers.authority();
    let server = papers.issue("localhost", Holds::Now);
    let mut authority = server.shown_by(Authority::before_sqlite_start());
    authority.start();
    let port = authority.address.rsplit_once(':').unwrap().1.to_owned();
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
            vec!["--server", &by_name, "--ca-file", &stranger.authority()],
            "none of the authorities in",
        ),
        (
            vec!["--server", &by_name, "--ca-file", &namesake.authority()],
            "none of the authorities in",
        ),
        (
            vec!["--server", &by_address, "--ca-file", &ca],
            "not for 127.0.0.1, but for localhost;",
        ),
        (
            vec!["--server", &authority.address],
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_out_of_its_time_and_a_server_without_tls_are_explained() {
    let papers = Papers::new();
    let ca = papers.authority();
    for (holds, told) in [
        (Holds::NoMore, "certificate ended at 2021-01-01T00:00:00Z;"),
        (Holds::NotYet, "holds only from 2110-01-01T00:00:00Z on;"),
    ] {
        let address = papers.issue("localhost", holds).shown_unchecked().await;
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
    let papers = Papers::new();
    let strangers = [Papers::new(), Papers::of("a stranger")];
    let server = papers.issue("localhost", Holds::Now);
    let mut authority = mutual(&papers, server.shown_by(Authority::before_sqlite_start()));
    authority.start();
    let port = authority.address.rsplit_once(':').unwrap().1;
    let (address, ca) = (format!("https://localhost:{port}"), papers.authority());
    let way = ["--server", &address, "--ca-file", &ca];
    let own = papers.issue("client.example", Holds::Now);
    let shown = ["--cert-file", &own.certificate, "--key-file", &own.key];
    let (code, _, err) = ran(&[&["whoami"], &way[..], &shown[..]].concat());
    assert_eq!(code, Some(0), "{err}");
    let foreign = strangers.each_ref().map(|strangers| {
        let issued = strangers.issue("client.example", Holds::Now);
        (issued.certificate, issued.key)
    });
    // The server's word comes after the handshake and at times after the connection has ended.
    for _ in 0..10 {
        let said = refused(&way);
        let told = "takes clients with a certificate only; give one by --cert-file";
        assert!(said.contains(told), "{said}");
        for (certificate, key) in &foreign {
            let shown = ["--cert-file", certificate, "--key-file", key];
            let said = refused(&[&way[..], &shown[..]].concat());
            let told = format!("refuses the certificate in {certificate}");
            assert!(said.contains(&told), "{said}");
        }
    }
    let mixed = ["--cert-file", &own.certificate, "--key-file", &foreign[0].1];
    let (code, _, err) = ran(&[&["whoami"], &way[..], &mixed[..]].concat());
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("does not go with the key in"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_line_that_a_server_suggests_works() {
    let papers = Papers::new();
    let own = papers.issue("client.example", Holds::Now);
    let socket = papers.authority().replace("ca.pem", "ta.sock");
    let with_tls = |name: &str| {
        let server = papers.issue(name, Holds::Now);
        server.shown_by(Authority::before_sqlite_start())
    };
    let unix = format!("server.listen=unix:{socket}");
    for authority in [
        Authority::before_sqlite_start(),
        with_tls("localhost"),
        mutual(&papers, with_tls("ta.example")),
        with_tls("localhost").with(&["--set", &unix]),
    ] {
        let mut authority = authority;
        authority.start();
        let line = until(|| {
            let log = authority.log();
            let mut lines = log.lines().skip_while(|line| !line.starts_with("Try it"));
            lines.nth(1).map(str::to_owned)
        });
        let line = line.await;
        let tried = Command::new("sh")
            .args(["-c", &line])
            .env("CA", papers.authority())
            .env("CERT", &own.certificate)
            .env("KEY", &own.key)
            .env("TOKEN", ROOT_TOKEN)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&tried.stderr);
        assert!(tried.status.success(), "{line}\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shows_a_certificate_is_not_root_unless_a_secret_is_given_too() {
    let papers = Papers::new();
    let server = papers.issue("localhost", Holds::Now);
    let known = "access.certificate_callers=[{ name = \"gateway\", dns = \"client.example\", \
                 permissions = [\"validate@*\"] }]";
    let authority = mutual(&papers, server.shown_by(Authority::before_sqlite_start()));
    let mut authority = authority.with(&["--set", known]);
    authority.start();
    let port = authority.address.rsplit_once(':').unwrap().1;
    let (address, ca) = (format!("https://localhost:{port}"), papers.authority());
    let own = papers.issue("client.example", Holds::Now);
    let root = authority.folder.path().join("root-of-this-machine");
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
    let flags = ["--cert-file", &own.certificate, "--key-file", &own.key];
    let variables = [
        ("TOKEN_AUTHORITY_CERT_FILE", own.certificate.as_str()),
        ("TOKEN_AUTHORITY_KEY_FILE", own.key.as_str()),
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
