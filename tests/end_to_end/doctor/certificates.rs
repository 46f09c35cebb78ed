//! `doctor` on certificates: when they end, whom they name, whose key they have.

use std::path::Path;

use crate::encrypted::{Encrypted, REQUIRED};
use crate::harness::until;
use crate::support::certificates::{DAY, Issued, TestAuthority, Wanted};

use super::patient::{Patient, chmod};

/// A server's certificate that holds from one day to another, counted from now.
fn lasting(wanted: Wanted, from: i64, to: i64) -> Issued {
    TestAuthority::new("an authority").issue(wanted.holding(from * DAY, to * DAY))
}

/// One for `localhost`.
fn certificate(from: i64, to: i64) -> Issued {
    lasting(Wanted::server(), from, to)
}

/// Somebody whose server has this certificate and key.
fn patient(issued: &Issued) -> Patient {
    patient_with(&issued.chain, &issued.key)
}

fn patient_with(certificate: &str, key: &str) -> Patient {
    let patient = Patient::new();
    let certificate = patient.write("certificate.pem", certificate, 0o644);
    let key = patient.write("key.pem", key, 0o600);
    patient
        .set(&format!("tls.certificate_file={}", certificate.display()))
        .set(&format!("tls.key_file={}", key.display()))
}

const FILE: &str = "tls.certificate_file";

#[test]
fn a_certificate_is_told_before_it_ends() {
    patient(&certificate(-1, 90)).asks(&[]).nothing();
    // One that is renewed each day is told by its own life.
    patient(&certificate(-1, 2)).asks(&[]).nothing();
    let said = patient(&certificate(-100, 20)).asks(&[]);
    said.only("warn", FILE, "ends in");
    assert_eq!(said.code, 0);
    let said = patient(&certificate(-100, 4)).asks(&[]);
    said.only("FAIL", FILE, "ends in");
    assert_eq!(said.code, 1);
    let said = patient(&certificate(-30, -3)).asks(&[]);
    said.tells("FAIL", FILE, "ended");
    said.tells("FAIL", "tls", "the certificate ended at");
    let said = patient(&certificate(3, 90)).asks(&[]);
    said.tells("FAIL", FILE, "holds only in");
    said.tells("FAIL", "tls", "holds only from");
}

#[test]
fn a_certificate_that_cannot_be_used_is_told() {
    let sound = certificate(-1, 90);
    let other = certificate(-1, 90);
    let said = patient_with(&sound.chain, &other.key).asks(&[]);
    said.only("FAIL", "tls", "does not go with the private key");
    let said = patient_with(&sound.chain, "no key").asks(&[]);
    said.only("FAIL", "tls", "holds no private key");
    let said = patient_with("no certificate", &sound.key).asks(&[]);
    said.only("FAIL", "tls", "holds no certificate");
    let open = patient(&sound);
    chmod(&open.path("key.pem"), 0o644);
    open.asks(&[])
        .only("warn", "tls.key_file", "others may read it");
    std::fs::remove_file(open.path("key.pem")).unwrap();
    open.asks(&[]).tells("FAIL", "tls", "No such file");
}

#[test]
fn a_certificate_that_clients_cannot_call_is_told() {
    let called = |names: fn(Wanted) -> Wanted| {
        let wanted = names(Wanted::server().nameless());
        patient(&lasting(wanted, -1, 90))
    };
    let said = called(|none| none).asks(&[]);
    said.only("warn", "tls names", "no DNS name and no address");
    let address = called(|none| none.address([127, 0, 0, 1]));
    address.asks(&[]).tells("ok", "tls names", "127.0.0.1");
    let elsewhere = address.with(&["--listen", "192.0.2.1:50051"]);
    let said = elsewhere.asks(&[]);
    said.tells("warn", "tls names", "not 192.0.2.1, which is listened on");
    let named = called(|none| none.dns("*.example.org"));
    named.asks(&[]).tells("ok", "tls names", "*.example.org");
}

#[test]
fn authorities_of_clients_and_what_they_revoked_are_told_by_their_age() {
    let own = certificate(-1, 90);
    let asks = |to: i64, next: i64| {
        let clients = TestAuthority::until("clients", to * DAY);
        let patient = patient(&own);
        let authority = patient.write("clients.pem", &clients.pem(), 0o644);
        let list = clients.revoking(&[7], next * DAY);
        let list = patient.write("revoked.pem", &list, 0o644);
        let setting = |key: &str, path: &Path| format!("tls.{key}={}", path.display());
        patient
            .set(&setting("client_ca_file", &authority))
            .set(&setting("client_crl_file", &list))
            .set("access.certificate_callers=[{ name = \"all\", dns = \"a.example\", permissions = [\"admin@*\"] }]")
            .asks(&[])
    };
    let said = asks(90, 30);
    said.only("warn", "certificate callers", "all may do everything");
    said.tells("ok", "tls.client_crl_file", "1 revoked by CN=clients");
    asks(90, -2).tells("warn", "tls.client_crl_file", "overdue");
    asks(15, 30).tells("warn", "tls.client_ca_file", "ends in");
    asks(-2, 30).tells("FAIL", "tls.client_ca_file", "ended");
}

#[tokio::test]
async fn a_server_is_known_by_the_certificate_that_it_shows() {
    for (encrypted, wanted) in [
        (Encrypted::before_start(&[]), "and serves"),
        (
            Encrypted::before_mutual_start(&REQUIRED),
            "wants one of its clients",
        ),
    ] {
        let another = || Wanted::server().holding(-DAY, 90 * DAY);
        encrypted.put(&encrypted.servers.issue(another()));
        let encrypted = encrypted.started();
        let file = |name: &str| encrypted.file(name).display().to_string();
        let patient = Patient::new()
            .with(&["--listen", &encrypted.authority.address])
            .set(&format!("tls.certificate_file={}", file("server.pem")))
            .set(&format!("tls.key_file={}", file("server.key")));
        until(|| {
            let lines = patient.asks(&[]).of_level("ok");
            let told = lines.iter().any(|line| line.ends_with(wanted));
            told.then_some(())
        })
        .await;
        patient.asks(&[]).nothing();
        encrypted.put(&encrypted.servers.issue(another()));
        let said = patient.asks(&[]);
        said.only("warn", "server.listen", "shows another certificate");
    }
}
