//! Tests of what is demanded of the keys of TLS together.

use super::*;

fn parse(settings: &[(&str, &str)]) -> Result<Option<TlsConfig>, String> {
    let mut table: toml::Table = r#"
        certificate_file = ""
        key_file = ""
        client_ca_file = ""
        client_crl_file = ""
        client_certificate_required = false
        min_version = "1.2"
        reload_every = "1m"
    "#
    .parse()
    .unwrap();
    for (key, value) in settings {
        let value = match *value {
            "true" => true.into(),
            text => text.into(),
        };
        table.insert((*key).to_owned(), value);
    }
    let table: TlsTable = table.try_into().unwrap();
    table.parse().map_err(|error| error.to_string())
}

const SERVER: [(&str, &str); 2] = [("certificate_file", "c"), ("key_file", "k")];

#[test]
fn without_a_certificate_there_is_no_tls() {
    assert!(parse(&[]).unwrap().is_none());
}

#[test]
fn a_key_that_needs_another_says_which() {
    for (settings, told) in [
        (&SERVER[..1], "tls.certificate_file: needs tls.key_file"),
        (&SERVER[1..], "tls.key_file: needs tls.certificate_file"),
        (
            &[("client_ca_file", "a")],
            "tls.client_ca_file: needs tls.certificate_file",
        ),
        (
            &[("client_crl_file", "r")],
            "tls.client_crl_file: needs tls.client_ca_file",
        ),
        (
            &[("client_certificate_required", "true")],
            "tls.client_certificate_required: needs tls.client_ca_file",
        ),
        (
            &[("min_version", "1.1")],
            "tls.min_version: must be \"1.2\" or \"1.3\"; got \"1.1\"",
        ),
        (&[("reload_every", "99ms")], "tls.reload_every"),
    ] {
        let why = parse(settings).unwrap_err();
        assert!(why.starts_with(told), "{why}");
    }
}

#[test]
fn files_and_versions_are_taken_as_they_are_named() {
    let clients = [
        ("client_ca_file", "a"),
        ("client_crl_file", "r"),
        ("client_certificate_required", "true"),
        ("min_version", "1.3"),
    ];
    let config = parse(&[&SERVER[..], &clients].concat()).unwrap().unwrap();
    let expected = ServerFiles {
        certificate: "c".into(),
        key: "k".into(),
        clients: Some(ClientCertificates {
            authorities: "a".into(),
            revoked: Some("r".into()),
            required: true,
        }),
        oldest: Oldest::Tls13,
    };
    assert_eq!(config.files, expected);
    assert_eq!(config.reload_every, Duration::from_secs(60));
}
