//! TLS of the server, as its clients see it: versions, protocols, chains, and a start that is
//! refused.

use std::time::{Duration, Instant};

use rcgen::PKCS_ED25519;
use rustls::ProtocolVersion;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::encrypted::{Encrypted, TLS12, TLS13, Visitor, greeted, server_certificate, shake};
use crate::harness::{Authority, PATIENCE, command, create, named, presenting, until};
use crate::support::certificates::{HOUR, TestAuthority, Wanted};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_are_spoken_and_1_3_alone_where_it_is_demanded() {
    let open = Encrypted::start(&[]);
    let strict = Encrypted::start(&["--set", "tls.min_version=1.3"]);
    for (version, expected) in [
        (TLS12, ProtocolVersion::TLSv1_2),
        (TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let visitor = open.stranger().speaking(version);
        let stream = greeted(open.connect(&visitor).await).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(expected));
    }
    let old = strict.stranger().speaking(TLS12);
    strict.refuses(&old, "ProtocolVersion").await;
    let stream = greeted(strict.connect(&strict.stranger()).await).await;
    let version = stream.unwrap().get_ref().1.protocol_version();
    assert_eq!(version, Some(ProtocolVersion::TLSv1_3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_over_tls_and_the_metrics_page_too() {
    let mut encrypted = Encrypted::before_start(&["--set", "server.metrics_listen="]);
    encrypted.authority.start();
    let mut root = encrypted.root().await;
    let (_, secret) = create(&mut root, named("t")).await;
    assert!(
        root.validate(presenting(&secret))
            .await
            .unwrap()
            .into_inner()
            .valid
    );
    let old = encrypted.stranger().offering(&[b"http/1.1"]);
    let mut stream = encrypted.connect(&old).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    let end = page
        .lines()
        .find_map(|line| line.strip_prefix("token_authority_certificate_end_timestamp_seconds "));
    assert!(
        end.unwrap().parse::<u64>().unwrap() > 1_700_000_000,
        "{page}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_offers_no_protocol_speaks_http2_by_prior_knowledge() {
    let encrypted = Encrypted::start(&[]);
    let silent = encrypted.stranger().offering(&[]);
    let stream = greeted(encrypted.connect(&silent).await).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
    let other = encrypted.stranger().offering(&[b"spdy/3"]);
    encrypted.refuses(&other, "NoApplicationProtocol").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_speaks_no_tls_is_not_served() {
    let encrypted = Encrypted::start(&[]);
    let answer = encrypted
        .authority
        .client_as_root()
        .create(named("t"))
        .await;
    answer.unwrap_err();
    encrypted.root().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chain_is_sent_whole() {
    let mut encrypted = Encrypted::before_start(&[]);
    let between = encrypted.servers.below("between");
    let lower = between.below("lower");
    encrypted.put(&lower.issue(Wanted::server().signing_with(&PKCS_ED25519)));
    encrypted.authority.start();
    let stream = greeted(encrypted.connect(&encrypted.stranger()).await)
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_is_resumed() {
    let encrypted = Encrypted::start(&[]);
    for versions in [TLS12, TLS13] {
        let config = encrypted.stranger().speaking(versions).config();
        for _ in 0..3 {
            let address = &encrypted.authority.address;
            let stream = shake(config.clone(), "localhost", address).await;
            let stream = greeted(stream).await.unwrap();
            let kind = stream.get_ref().1.handshake_kind();
            assert_eq!(kind, Some(rustls::HandshakeKind::Full), "{versions:?}");
            // The last bytes of the server, tickets among them, would be read here.
            assert_eq!(stream.get_ref().1.tls13_tickets_received(), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_sees_through_a_server_that_is_another() {
    let encrypted = Encrypted::start(&[]);
    let stranger = encrypted.stranger();
    for (name, why) in [
        ("elsewhere", "UnknownIssuer"),
        ("authority of servers", "BadSignature"),
    ] {
        let elsewhere = Visitor::trusting(&TestAuthority::new(name));
        encrypted.refuses(&elsewhere, why).await;
    }
    let other_name = stranger.clone().calling("other.example");
    encrypted.refuses(&other_name, "not valid for name").await;
    let by_address = stranger.clone().calling("127.0.0.1");
    greeted(encrypted.connect(&by_address).await).await.unwrap();

    // A certificate may end while it is in use.
    let brief = Wanted::server().holding(-HOUR, 10);
    encrypted.put(&encrypted.servers.issue(brief));
    encrypted
        .look("the certificates that were read are in use")
        .await;
    let patience = Instant::now() + PATIENCE;
    while encrypted.connect(&stranger).await.is_ok() {
        assert!(Instant::now() < patience, "it never ends");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    encrypted.refuses(&stranger, "expired").await;
    encrypted.look("the certificate in use has ended").await;
}

/// What an authority says that does not start, and with which exit code.
fn refused(encrypted: &Encrypted, flags: &[&str]) -> (Option<i32>, String) {
    let database = encrypted.authority.database();
    let file = |name| encrypted.file(name).display().to_string();
    let mut serve = command(&["serve", "--listen", "127.0.0.1:0"]);
    serve.args(["--store", &format!("sqlite:{}", database.display())]);
    for (key, name) in [("certificate", "server.pem"), ("key", "server.key")] {
        serve.args(["--set", &format!("tls.{key}_file={}", file(name))]);
    }
    let ended = serve.args(flags).output().unwrap();
    assert!(!database.exists(), "nothing is made before");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    (ended.status.code(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_is_refused_with_a_certificate_that_does_not_hold() {
    let encrypted = Encrypted::before_start(&[]);
    let path = encrypted.file("server.pem").display().to_string();
    for (from, until, told) in [
        (-2 * HOUR, -HOUR, "the certificate ended at"),
        (HOUR, 2 * HOUR, "the certificate holds only from"),
    ] {
        encrypted.put(
            &encrypted
                .servers
                .issue(Wanted::server().holding(from, until)),
        );
        let (code, said) = refused(&encrypted, &[]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(&path) && said.contains(told), "{said}");
        assert!(said.contains("; it is 20"), "{said}");
    }
    encrypted.put(&encrypted.servers.server());
    encrypted.write("server.key", &encrypted.servers.server().key);
    let (code, said) = refused(&encrypted, &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("does not go with the private key in"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls_all_addresses_may_be_listened_on_but_not_for_metrics_alone() {
    let everywhere = ["--listen", "0.0.0.0:0"];
    let serve = |flags: &[&str]| {
        let mut serve = command(&["config", "--store", "sqlite:/nowhere"]);
        serve.args(flags).output().unwrap()
    };
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let plain = serve(&everywhere);
    assert_eq!(plain.status.code(), Some(2));
    assert!(
        said(&plain).contains("--allow-plaintext"),
        "{}",
        said(&plain)
    );
    let tls = ["--set", "tls.certificate_file=c", "--set", "tls.key_file=k"];
    let encrypted = serve(&[&everywhere[..], &tls].concat());
    assert_eq!(encrypted.status.code(), Some(0), "{}", said(&encrypted));
    let metrics = ["--set", "server.metrics_listen=0.0.0.0:0"];
    let beyond = serve(&[&tls[..], &metrics].concat());
    assert_eq!(beyond.status.code(), Some(2));
    assert!(
        said(&beyond).contains("server.metrics_listen"),
        "{}",
        said(&beyond)
    );
    let told = serve(&[&tls[..], &metrics, &["--allow-plaintext"]].concat());
    assert_eq!(told.status.code(), Some(0), "{}", said(&told));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_never_ends_a_server() {
    let mut authority = Authority::on_sqlite();
    let mut root = authority.root().await;
    authority.signal("HUP");
    let told = "SIGHUP: there is nothing to read again";
    until(|| authority.log().contains(told).then_some(())).await;
    create(&mut root, named("t")).await;
    assert_eq!(authority.stop("TERM").0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_shows_the_certificate_of_its_file() {
    let mut encrypted = Encrypted::before_start(&[]);
    let issued = encrypted.servers.server();
    encrypted.put(&issued);
    encrypted.authority.start();
    let stream = encrypted.connect(&encrypted.stranger()).await.unwrap();
    assert_eq!(server_certificate(&stream), issued.der);
}
