//! The layers and their errors.

use super::*;

fn load(args: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let settings = args
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    Config::load(
        &ServeArgs {
            settings,
            ..ServeArgs::default()
        },
        &variables(environment),
    )
}

fn variables(pairs: &[(&str, &str)]) -> Environment {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn error(args: &[(&str, &str)], environment: &[(&str, &str)]) -> String {
    load(args, environment).unwrap_err().to_string()
}

fn with_file(text: &str) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(
        &ServeArgs {
            config: Some(path),
            ..ServeArgs::default()
        },
        &Environment::new(),
    )
}

#[test]
fn the_annotated_file_is_the_defaults() {
    let config = load(&[], &[]).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:50051");
    assert_eq!(
        config.store.url,
        StoreUrl::Sqlite("token-authority.db".into())
    );
    assert_eq!(config.limits.call_deadline, Duration::from_secs(10));
    assert!(config.root_tokens.is_empty());
}

#[test]
fn flags_win_over_environment_over_file() {
    let environment = [
        ("TOKEN_AUTHORITY_LISTEN", "127.0.0.1:2"),
        ("TOKEN_AUTHORITY_LIMITS_MESSAGE_BYTES", "2048"),
    ];
    let from_environment = load(&[], &environment).unwrap();
    assert_eq!(from_environment.server.listen.port(), 2);
    assert_eq!(from_environment.limits.message_bytes, 2048);
    let from_flags = load(&[("server.listen", "127.0.0.1:3")], &environment).unwrap();
    assert_eq!(from_flags.server.listen.port(), 3);
    let from_file = with_file("[server]\nlisten = \"127.0.0.1:1\"\n").unwrap();
    assert_eq!(from_file.server.listen.port(), 1);
}

#[test]
fn unknown_keys_and_wrong_types_are_errors_that_name_the_key() {
    assert!(error(&[("server.listne", "x")], &[]).contains("server.listne"));
    assert!(error(&[("nothing", "x")], &[]).contains("nothing"));
    assert!(error(&[("limits.message_bytes", "many")], &[]).contains("limits.message_bytes"));
    let file = |text| with_file(text).unwrap_err().to_string();
    assert!(file("[server]\nlistne = \"x\"\n").contains("server.listne"));
    assert!(file("[serv]\n").contains("serv"));
    assert!(file("[server]\nlisten = 7\n").contains("must be of type string"));
    assert!(file("[server]\nlisten = \n").contains("line 2"));
}

#[test]
fn absurd_values_are_refused_with_their_limits() {
    for (key, value) in [
        ("server.listen", "nowhere"),
        ("server.drain_deadline", "-1s"),
        ("server.drain_deadline", "0s"),
        ("limits.call_deadline", "100years"),
        ("limits.message_bytes", "0"),
        ("limits.message_bytes", "-5"),
        ("store.redis_connections", "5"),
        ("store.url", "mysql://u:hunter2@h"),
        ("store.url", "sqlite:"),
        ("log.format", "xml"),
        ("secrets.brand", "T A"),
    ] {
        let message = error(&[(key, value)], &[]);
        assert!(
            message.contains(key) || message.contains("invalid value"),
            "{key}: {message}"
        );
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn plaintext_beyond_loopback_must_be_asked_for() {
    assert!(error(&[("server.listen", "0.0.0.0:50051")], &[]).contains("allow_plaintext"));
    assert!(
        load(
            &[
                ("server.listen", "0.0.0.0:50051"),
                ("server.allow_plaintext", "true")
            ],
            &[]
        )
        .is_ok()
    );
    assert!(load(&[("server.listen", "[::1]:0")], &[]).is_ok());
}

#[test]
fn root_tokens_come_as_secret_digest_or_file() {
    let secret = "s".repeat(32);
    let digest = RootToken::of_secret("x", &secret).unwrap().digest;
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root");
    std::fs::write(&path, format!("{secret}\n")).unwrap();
    let list = format!(
        "[{{ name = \"a\", token = \"{secret}\" }}, {{ name = \"b\", token = \"sha256:{hex}\" }}, \
         {{ name = \"c\", token_file = \"{}\" }}]",
        path.display()
    );
    let config = load(
        &[("access.root_tokens", &list)],
        &[("TOKEN_AUTHORITY_ROOT_TOKEN", &secret)],
    )
    .unwrap();
    assert_eq!(config.root_tokens.len(), 4);
    assert!(config.root_tokens.iter().all(|root| root.digest == digest));
    let from_file = load(
        &[],
        &[("TOKEN_AUTHORITY_ROOT_TOKEN_FILE", path.to_str().unwrap())],
    )
    .unwrap();
    assert_eq!(from_file.root_tokens[0].digest, digest);
}

#[test]
fn bad_root_tokens_are_refused_and_never_repeated() {
    for (list, environment) in [
        ("[{ name = \"a\", token = \"shortcanary\" }]", ""),
        ("[{ name = \"a\", token = \"sha256:canary\" }]", ""),
        ("[{ name = \"a\" }]", ""),
        (
            "[{ name = \"a b\", token = \"canarycanarycanarycanarycanarycanary\" }]",
            "",
        ),
        ("[]", "canary too short"),
    ] {
        let variables: &[(&str, &str)] = if environment.is_empty() {
            &[]
        } else {
            &[("TOKEN_AUTHORITY_ROOT_TOKEN", environment)]
        };
        let message = error(&[("access.root_tokens", list)], variables);
        assert!(
            message.contains("root") && !message.contains("canary"),
            "{message}"
        );
    }
}

#[test]
fn the_printed_configuration_holds_no_secret() {
    let secret = "canary".repeat(6);
    let list = format!("[{{ name = \"a\", token = \"{secret}\" }}]");
    let settings = vec![
        format!("access.root_tokens={list}"),
        "store.url=redis://user:can:ary@localhost:6379".to_owned(),
    ];
    let args = ServeArgs {
        settings,
        ..ServeArgs::default()
    };
    let printed = effective(&args, &Environment::new()).unwrap();
    assert!(
        printed.contains("redis://user:***@localhost:6379"),
        "{printed}"
    );
    assert!(
        !printed.contains("canary") && !printed.contains("ary@"),
        "{printed}"
    );
    let config = Config::load(&args, &Environment::new()).unwrap();
    assert!(!format!("{config:?}").contains("can:ary"));
}
