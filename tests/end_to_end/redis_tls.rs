//! The whole binary on a Redis that speaks TLS and wants a certificate.

use token_authority::transport::grpc::pb::Verdict;

use crate::doctor::patient::Patient;
use crate::harness::{Authority, command, create, named, verdict};
use crate::support::certificates::{HOUR, Issued, TestAuthority, Wanted};
use crate::support::redis_server::RedisServer;

/// The flags for a server that calls such a Redis, whose files are the patient's.
fn flags(patient: &Patient, authority: &TestAuthority, own: &Issued) -> Vec<String> {
    let files = [
        ("ca", &authority.pem()),
        ("certificate", &own.chain),
        ("key", &own.key),
    ];
    let flag = |(key, text): (&str, &String)| {
        let path = patient.write(&format!("redis-{key}.pem"), text, 0o600);
        let setting = format!("store.redis_{key}_file={}", path.display());
        ["--set".to_owned(), setting]
    };
    files.into_iter().flat_map(flag).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_keeps_tokens_over_tls_and_doctor_says_that_all_is_well() {
    let servers = TestAuthority::new("authority of servers");
    let clients = TestAuthority::new("authority of clients");
    let shown = |from, until| servers.issue(Wanted::server().holding(from, until));
    let redis = RedisServer::over_tls(&shown(-HOUR, HOUR), Some(&clients));
    let (url, patient) = (redis.url(), Patient::new());
    let flags = flags(&patient, &servers, &clients.issue(Wanted::client()));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let init = [&["init", "--store", &url], &flags[..]].concat();
    let init = command(&init).output().unwrap();
    let said = String::from_utf8_lossy(&init.stderr);
    assert!(init.status.success(), "{said}");

    let mut authority = Authority::over(&url).with(&flags);
    authority.start();
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("kept")).await;
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);

    let patient = patient.with(&["--store", &url]).with(&flags);
    let patient = patient.set("store.read_timeout=5s");
    let said = patient.asks(&[]);
    said.nothing();
    said.tells("ok", "store", &format!("{url} answers"));
    redis.show(&shown(-2 * HOUR, -HOUR)).await;
    let said = patient.asks(&[]);
    said.only("FAIL", "store", "its certificate ended at 20");
}
