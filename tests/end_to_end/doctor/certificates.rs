//! `doctor` on certificates: when they end, whom they name, whose key they have.

use std::path::PathBuf;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use token_authority::clock::{Clock, SystemClock};

use crate::harness::until;
use crate::support::child::OwnedChild;

use super::patient::{Patient, chmod};

/// So many days from now on.
type Days = i64;

/// Midnight of a day, as `rcgen` takes it.
macro_rules! day {
    ($days:expr) => {{
        let micros = i64::try_from(SystemClock.now().micros()).unwrap();
        let seconds = u64::try_from(micros / 1_000_000 + $days * 86_400).unwrap();
        let instant = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
        let text = humantime::format_rfc3339_seconds(instant).to_string();
        let number = |at: std::ops::Range<usize>| text[at].parse::<u16>().unwrap();
        let (month, day) = (number(5..7), number(8..10));
        date_time_ymd(
            number(0..4).into(),
            month.try_into().unwrap(),
            day.try_into().unwrap(),
        )
    }};
}

/// A certificate that signs itself, in PEM, and its key.
fn certificate(names: &[&str], from: Days, to: Days) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "authority");
    (params.not_before, params.not_after) = (day!(from), day!(to));
    let key = KeyPair::generate().unwrap();
    let signed = params.self_signed(&key).unwrap();
    (signed.pem(), key.serialize_pem())
}

/// Somebody whose server has this certificate and key.
fn patient((certificate, key): &(String, String)) -> Patient {
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
    let names = ["localhost"];
    patient(&certificate(&names, -1, 90)).asks(&[]).nothing();
    // One that is renewed each day is told by its own life.
    patient(&certificate(&names, -1, 2)).asks(&[]).nothing();
    let said = patient(&certificate(&names, -100, 20)).asks(&[]);
    said.only("warn", FILE, "ends in");
    assert_eq!(said.code, 0);
    let said = patient(&certificate(&names, -100, 4)).asks(&[]);
    said.only("FAIL", FILE, "ends in");
    assert_eq!(said.code, 1);
    let said = patient(&certificate(&names, -30, -3)).asks(&[]);
    said.tells("FAIL", FILE, "ended");
    said.tells("FAIL", "tls", "the certificate ended at");
    let said = patient(&certificate(&names, 3, 90)).asks(&[]);
    said.tells("FAIL", FILE, "holds only in");
    said.tells("FAIL", "tls", "holds only from");
}

#[test]
fn a_certificate_that_cannot_be_used_is_told() {
    let sound = certificate(&["localhost"], -1, 90);
    let other = certificate(&["localhost"], -1, 90);
    let said = patient(&(sound.0.clone(), other.1)).asks(&[]);
    said.only("FAIL", "tls", "does not go with the private key");
    let said = patient(&(sound.0.clone(), "no key".to_owned())).asks(&[]);
    said.only("FAIL", "tls", "holds no private key");
    let said = patient(&("no certificate".to_owned(), sound.1.clone())).asks(&[]);
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
    let said = patient(&certificate(&[], -1, 90)).asks(&[]);
    said.only("warn", "tls names", "no DNS name and no address");
    let address = certificate(&["127.0.0.1"], -1, 90);
    let elsewhere = patient(&address).with(&["--listen", "192.0.2.1:50051"]);
    let said = elsewhere.asks(&[]);
    said.tells("warn", "tls names", "not 192.0.2.1, which is listened on");
    patient(&address)
        .asks(&[])
        .tells("ok", "tls names", "127.0.0.1");
    let named = patient(&certificate(&["*.example.org"], -1, 90));
    named.asks(&[]).tells("ok", "tls names", "*.example.org");
}

/// An authority whose certificate and revocation list end on these days, both in PEM.
fn authority(to: Days, next: Days) -> (String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "clients");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (day!(-100), day!(to));
    let key = KeyPair::generate().unwrap();
    let signed = params.self_signed(&key).unwrap();
    let list = CertificateRevocationListParams {
        this_update: day!(-9),
        next_update: day!(next),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(7),
            revocation_time: day!(-9),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let issuer = Issuer::from_params(&params, &key);
    (
        signed.pem(),
        list.signed_by(&issuer).unwrap().pem().unwrap(),
    )
}

#[test]
fn authorities_of_clients_and_what_they_revoked_are_told_by_their_age() {
    let own = certificate(&["localhost"], -1, 90);
    let asks = |to: Days, next: Days| {
        let (authority, list) = authority(to, next);
        let patient = patient(&own);
        let authority = patient.write("clients.pem", &authority, 0o644);
        let list = patient.write("revoked.pem", &list, 0o644);
        let setting = |key: &str, path: &PathBuf| format!("tls.{key}={}", path.display());
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
    let first = certificate(&["localhost"], -1, 90);
    for demanding in [false, true] {
        let port = crate::support::redis_server::free_port();
        let address = format!("127.0.0.1:{port}");
        let mut patient = patient(&first).with(&["--listen", &address]);
        if demanding {
            let clients = patient.write("clients.pem", &authority(90, 30).0, 0o644);
            patient = patient
                .set(&format!("tls.client_ca_file={}", clients.display()))
                .set("tls.client_certificate_required=true");
        }
        patient = patient.set("tls.reload_every=24h");
        let mut command = patient.serving();
        let _server = OwnedChild::spawn(&mut command).unwrap();
        let wanted = match demanding {
            true => "wants one of its clients",
            false => "and serves",
        };
        until(|| {
            let lines = patient.asks(&[]).of_level("ok");
            lines
                .iter()
                .any(|line| line.ends_with(wanted))
                .then_some(())
        })
        .await;
        patient.asks(&[]).nothing();
        let second = certificate(&["localhost"], -1, 90);
        patient.write("certificate.pem", &second.0, 0o644);
        patient.write("key.pem", &second.1, 0o600);
        let said = patient.asks(&[]);
        said.only("warn", "server.listen", "shows another certificate");
    }
}
