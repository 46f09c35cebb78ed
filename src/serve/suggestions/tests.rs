//! What people are told for each kind of place.

use super::*;

fn acquaintance(root_token: Option<&str>, found: Option<&str>) -> Acquaintance {
    Acquaintance {
        program: "/opt/ta".into(),
        root_token: root_token.map(PathBuf::from),
        found: found.map(PathBuf::from),
        tls: None,
    }
}

fn tcp(address: &str) -> Place {
    Place::Tcp(address.parse().unwrap())
}

fn lines(address: &str, root_token: Option<&str>, found: Option<&str>) -> String {
    let known = acquaintance(root_token, found);
    known.suggestions(&[tcp(address)]).unwrap()
}

fn with_tls(names: &[&str], mutual: bool, places: &[Place]) -> String {
    let names = names.iter().map(|name| PeerName::dns(name).unwrap());
    let tls = Tls {
        names: names.collect(),
        mutual,
    };
    let known = Acquaintance {
        tls: Some(tls),
        ..acquaintance(Some("/r"), Some("/r"))
    };
    known.suggestions(places).unwrap()
}

#[test]
fn at_the_default_place_nothing_needs_to_be_said() {
    let text = lines("127.0.0.1:50051", Some("/r"), Some("/r"));
    assert!(text.starts_with("Try it:\n"), "{text}");
    assert!(
        text.contains("\n  /opt/ta token create --name hello\n"),
        "{text}"
    );
    assert!(text.contains("Bearer $(cat /r)\""), "{text}");
}

#[test]
fn another_address_and_another_file_are_named_and_quoted() {
    let text = lines("[::]:7", Some("/my root"), Some("/r"));
    let flags = "--server '[::1]:7' --token-file '/my root' token create";
    assert!(text.contains(flags), "{text}");
    assert!(text.contains("Bearer $(cat '/my root')\""), "{text}");
    assert!(text.contains("\n    '[::1]:7' tokenauthority.v1"), "{text}");
    assert_eq!(quoted("it's"), r"'it'\''s'");
}

#[test]
fn beyond_loopback_plaintext_is_asked_for_and_the_file_named_even_in_its_default_place() {
    let text = lines("10.0.0.5:50051", Some("/r"), Some("/r"));
    let flags = "/opt/ta --server http://10.0.0.5:50051 --token-file /r token";
    assert!(text.contains(flags), "{text}");
    assert!(text.contains("-plaintext 10.0.0.5:50051 desc"), "{text}");
}

#[test]
fn a_configured_root_token_is_the_readers_to_fill_in() {
    let text = lines("0.0.0.0:50051", None, Some("/r"));
    assert!(
        text.starts_with("Try it, with a root token in TOKEN:\n"),
        "{text}"
    );
    assert!(
        text.contains("TOKEN_AUTHORITY_TOKEN=\"$TOKEN\" /opt/ta token"),
        "{text}"
    );
    assert!(
        text.contains("Bearer $TOKEN\"") && !text.contains("/r"),
        "{text}"
    );
}

#[test]
fn a_server_with_tls_is_called_by_a_name_in_its_certificate() {
    let text = with_tls(&["ta.example", "localhost"], false, &[tcp("0.0.0.0:7")]);
    let own = "/opt/ta --server https://localhost:7 --ca-file \"$CA\" token create";
    assert!(text.contains(own), "{text}");
    let grpcurl = "grpcurl -cacert \"$CA\" localhost:7 describe";
    assert!(text.contains(grpcurl), "{text}");
    assert!(text.contains("authority's certificate in the file CA:"));
    let text = with_tls(&["ta.example"], true, &[tcp("10.0.0.5:7")]);
    for told in [
        "--server https://10.0.0.5:7 --ca-file \"$CA\" --server-name ta.example --cert-file \"$CERT\"",
        "-cacert \"$CA\" -authority ta.example -cert \"$CERT\" -key \"$KEY\" 10.0.0.5:7",
        "--token-file /r token",
        "your own with its key in the files CERT and KEY:",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    let text = with_tls(&[], false, &[tcp("[::1]:7")]);
    assert!(text.contains("--server 'https://[::1]:7' --ca"), "{text}");
    assert!(!text.contains("name ta"), "{text}");
}

#[test]
fn a_unix_socket_is_called_where_tcp_wants_a_certificate_or_is_not_there() {
    let unix = Place::Unix("/run/my ta.sock".into());
    let known = acquaintance(Some("/r"), Some("/r"));
    let alone = known.suggestions(std::slice::from_ref(&unix)).unwrap();
    let own = "/opt/ta --server 'unix:/run/my ta.sock' token create";
    let grpcurl = "grpcurl -plaintext 'unix:/run/my ta.sock' describe";
    assert!(alone.contains(own) && alone.contains(grpcurl), "{alone}");
    let both = [tcp("127.0.0.1:50051"), unix];
    let plain = known.suggestions(&both).unwrap();
    assert!(!plain.contains("unix"), "{plain}");
    assert_eq!(with_tls(&[], false, &both), alone);
    assert_eq!(known.suggestions(&[]), None);
}
