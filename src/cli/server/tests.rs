//! What names a server, and what the way to it is.

use super::super::args::Cli;
use super::*;
use clap::Parser;

fn found(flags: &str, variables: &[(&str, &str)]) -> Result<Server, String> {
    let words = ["token-authority", "whoami"].into_iter();
    let cli = Cli::try_parse_from(words.chain(flags.split_whitespace())).unwrap();
    let pairs = variables.iter();
    let environment: Environment = pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Server::find(&cli.client, &environment).map_err(|failure| {
        assert_eq!(failure.exit_code(), 2, "{failure:?}");
        failure.lines().join("\n")
    })
}

fn named(server: &str) -> Result<Server, String> {
    found("", &[("TOKEN_AUTHORITY_SERVER", server)])
}

#[test]
fn a_server_without_a_scheme_is_spoken_to_in_plaintext_on_loopback_only() {
    for (text, shown, local) in [
        ("127.0.0.1:1", "http://127.0.0.1:1", true),
        ("localhost:1", "http://localhost:1", true),
        ("LOCALHOST:1", "http://LOCALHOST:1", true),
        ("[::1]:1", "http://[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", "http://[::ffff:127.0.0.1]:1", true),
        ("there:1", "https://there:1", false),
        ("10.0.0.1:1", "https://10.0.0.1:1", false),
        ("localhost.there:1", "https://localhost.there:1", false),
        ("http://there:1", "http://there:1", false),
        ("http://there:1/", "http://there:1", false),
        ("https://there:1", "https://there:1", false),
        ("https://localhost:1", "https://localhost:1", true),
        ("unix:/run/ta.sock", "unix:/run/ta.sock", true),
    ] {
        let server = named(text).unwrap();
        assert_eq!(
            (
                server.to_string().as_str(),
                server.no_root_token().is_none()
            ),
            (shown, local)
        );
    }
    assert_eq!(found("", &[]).unwrap().to_string(), DEFAULT_SERVER);
}

#[test]
fn what_is_no_server_is_wrong_usage() {
    for text in [
        "there",
        "there:0",
        "there:99999",
        "ftp://there:1",
        "http://there",
        "http://there:1/path",
        "unix:",
        "u:p@there:1",
        ":1",
        "a b:1",
    ] {
        let why = named(text).unwrap_err();
        assert!(why.contains("HOST:PORT"), "{text}: {why}");
    }
}

#[test]
fn flags_win_over_variables() {
    let variables = [
        ("TOKEN_AUTHORITY_SERVER", "https://variable:1"),
        ("TOKEN_AUTHORITY_CA_FILE", "variable.pem"),
        ("TOKEN_AUTHORITY_CERT_FILE", "cert.pem"),
        ("TOKEN_AUTHORITY_KEY_FILE", "key.pem"),
        ("TOKEN_AUTHORITY_SERVER_NAME", "name"),
    ];
    let to = |host: &str| HostPort {
        host: host.to_owned(),
        port: 1,
    };
    let own = Some(("cert.pem".into(), "key.pem".into()));
    let by_variables = Server::Tls {
        to: to("variable"),
        name: "name".to_owned(),
        trust: Trust::File("variable.pem".into()),
        own: own.clone(),
    };
    assert_eq!(found("", &variables), Ok(by_variables));
    let flags = "--server flag:1 --ca-file flag.pem --server-name other";
    let by_flags = Server::Tls {
        to: to("flag"),
        name: "other".to_owned(),
        trust: Trust::File("flag.pem".into()),
        own,
    };
    assert_eq!(found(flags, &variables), Ok(by_flags));
}

#[test]
fn without_a_file_the_systems_authorities_count_and_the_host_is_the_name() {
    let Ok(Server::Tls { name, trust, .. }) = named("https://[2001:db8::1]:1") else {
        panic!("no TLS");
    };
    assert_eq!((name.as_str(), trust), ("2001:db8::1", Trust::System));
    let empty = [
        ("TOKEN_AUTHORITY_SERVER", "https://there:1"),
        ("TOKEN_AUTHORITY_CA_FILE", ""),
        ("TOKEN_AUTHORITY_SERVER_NAME", ""),
    ];
    assert_eq!(found("", &empty), named("https://there:1"));
}

#[test]
fn who_asks_for_tls_is_not_sent_on_without_it() {
    for (flags, told) in [
        (
            "--server 127.0.0.1:1 --ca-file a",
            "write https://127.0.0.1:1",
        ),
        ("--ca-file a", "--ca-file is for TLS"),
        (
            "--server http://there:1 --server-name a",
            "--server-name is",
        ),
        ("--server unix:/a --cert-file a", "--cert-file is for TLS"),
        ("--server there:1 --cert-file a", "needs --key-file"),
        ("--server there:1 --key-file a", "needs --cert-file"),
        ("--server there:1 --server-name a/b", "--server-name must"),
    ] {
        let why = found(flags, &[]).unwrap_err();
        assert!(why.contains(told), "{flags}: {why}");
    }
    // A variable may be meant for other servers.
    let variable = [("TOKEN_AUTHORITY_CA_FILE", "a")];
    assert!(matches!(found("", &variable), Ok(Server::Plain(_))));
}

#[test]
fn calls_name_an_authority_that_every_server_takes() {
    for (text, origin) in [
        ("http://there:1", "http://there:1"),
        ("https://[::1]:1", "https://[::1]:1"),
        ("unix:/run/ta.sock", "http://localhost"),
    ] {
        assert_eq!(named(text).unwrap().origin(), origin);
    }
    let flags = "--server https://10.0.0.1:1 --server-name ta.example";
    assert_eq!(found(flags, &[]).unwrap().origin(), "https://ta.example:1");
}
