//! The layers and their errors.

use super::*;
use crate::domain::event::Alarms;
use crate::domain::retention::Retention;
use crate::store::events::EventBounds;

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

/// All addresses that are listened on.
fn tcp(config: &Config) -> Vec<std::net::SocketAddr> {
    let places = config.server.listen.iter();
    let addresses = places.map(|place| match place {
        Listen::Tcp(addresses) => addresses.clone(),
        Listen::Unix(_) => Vec::new(),
    });
    addresses.flatten().collect()
}

fn ports(config: &Config) -> Vec<u16> {
    let addresses = tcp(config);
    addresses.iter().map(std::net::SocketAddr::port).collect()
}

#[test]
fn several_places_are_parted_by_commas() {
    let config = load(
        &[("server.listen", "127.0.0.1:1, unix:/run/a b,[::1]:2")],
        &[],
    )
    .unwrap();
    assert_eq!(ports(&config), [1, 2]);
    assert_eq!(config.server.listen[1], Listen::Unix("/run/a b".into()));
    assert!(load(&[("server.listen", "127.0.0.1:0,127.0.0.1:0")], &[]).is_ok());
    let long = format!("unix:/{}", "a".repeat(103));
    for wrong in [
        "",
        "unix:",
        &long,
        "127.0.0.1:1,",
        "unix:a,unix:a",
        "[::1]:1,[::1]:1",
    ] {
        assert!(
            error(&[("server.listen", wrong)], &[]).contains("server.listen"),
            "{wrong}"
        );
    }
}

#[test]
fn the_annotated_file_is_the_defaults() {
    let config = load(&[], &[]).unwrap();
    assert_eq!(ports(&config), [50051]);
    assert_eq!(config.server.unix_mode, 0o660);
    assert!(config.tls.is_none());
    assert_eq!(
        config.store.url,
        StoreUrl::Sqlite("token-authority.db".into())
    );
    assert_eq!(config.limits.call_deadline, Duration::from_secs(10));
    assert!(config.root_tokens.is_empty());
    assert_eq!(config.retention.retention, Retention::default());
    assert_eq!(config.retention.sweep_every, Duration::from_secs(10));
    assert_eq!(config.events.alarms, Alarms::default());
    assert_eq!(config.events.bounds, EventBounds::default());
    assert_eq!(config.cache.max_entries, 200_000);
    assert_eq!(config.cache.max_bytes, 256 << 20);
    assert_eq!(config.limits.failures_per_minute, 600);
}

#[test]
fn the_cache_and_the_budget_of_failures_can_be_turned_off() {
    let off = load(
        &[
            ("cache.max_entries", "0"),
            ("limits.failures_per_minute", "0"),
        ],
        &[],
    )
    .unwrap();
    assert_eq!(off.cache.max_entries, 0);
    assert_eq!(off.limits.failures_per_minute, 0);
}

#[test]
fn ended_tokens_may_be_kept_for_years() {
    let config = load(&[("retention.ended", "10years")], &[]).unwrap();
    assert!(config.retention.retention.ended > Duration::from_secs(3650 * 24 * 3600));
}

#[test]
fn flags_win_over_environment_over_file() {
    let environment = [
        ("TOKEN_AUTHORITY_LISTEN", "127.0.0.1:2"),
        ("TOKEN_AUTHORITY_LIMITS_MESSAGE_BYTES", "2048"),
    ];
    let from_environment = load(&[], &environment).unwrap();
    assert_eq!(ports(&from_environment), [2]);
    assert_eq!(from_environment.limits.message_bytes, 2048);
    let from_flags = load(&[("server.listen", "127.0.0.1:3")], &environment).unwrap();
    assert_eq!(ports(&from_flags), [3]);
    let from_file = with_file("[server]\nlisten = \"127.0.0.1:1\"\n").unwrap();
    assert_eq!(ports(&from_file), [1]);
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
        ("server.runtime", "per-thread"),
        ("server.workers", "-1"),
        ("server.workers", "257"),
        ("server.drain_deadline", "-1s"),
        ("server.drain_deadline", "0s"),
        ("limits.call_deadline", "100years"),
        ("limits.message_bytes", "0"),
        ("limits.message_bytes", "-5"),
        ("store.redis_connections", "5"),
        ("store.url", "mysql://u:hunter2@h"),
        ("store.url", "sqlite:"),
        ("store.redis_connections", "99999999999999"),
        ("store.id", "short"),
        ("store.min_durability", "embedded"),
        ("store.replicas", "6"),
        ("store.replicas", "-1"),
        ("store.replicas", "1"),
        ("store.redis_prefix", "A"),
        ("secrets.accepted_brands", "[7]"),
        ("secrets.accepted_brands", "[\"T A\"]"),
        ("log.filter", "a=b=c"),
        ("log.format", "xml"),
        ("audit.to", ""),
        ("audit.to", "file:"),
        ("audit.to", "/var/log/audit"),
        ("server.metrics_listen", "on"),
        ("server.metrics_listen", "127.0.0.1"),
        ("secrets.brand", "T A"),
        ("retention.ended", "999ms"),
        ("retention.ended", "11years"),
        ("retention.short_lived", "0s"),
        ("retention.sweep_every", "25h"),
        ("events.expiring", "[7]"),
        ("events.expiring", "[\"0s\"]"),
        ("events.expiring", "[\"367days\"]"),
        (
            "events.expiring",
            "[\"1s\", \"2s\", \"3s\", \"4s\", \"5s\", \"6s\", \"7s\", \"8s\", \"9s\"]",
        ),
        ("events.keep", "59s"),
        ("events.max", "0"),
        ("leases.duration", "999ms"),
        ("leases.duration", "25h"),
        ("leases.max_duration", "11years"),
        ("leases.keep_alive_ttl", "1ms"),
        ("leases.max_keep_alive_ttl", "0s"),
        ("leases.max_wait", "25h"),
        ("leases.max_wait", "long"),
        ("leases.max_waiting", "0"),
        ("cache.max_entries", "-1"),
        ("cache.max_entries", "10000001"),
        ("cache.max_bytes", "1048575"),
        ("cache.max_bytes", "68719476737"),
        ("limits.failures_per_minute", "-1"),
        ("limits.failures_per_minute", "1000001"),
    ] {
        let message = error(&[(key, value)], &[]);
        assert!(message.contains(key), "{key}: {message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn a_named_store_is_never_a_new_sqlite_file() {
    let id = "x".repeat(22);
    assert!(error(&[("store.id", &id)], &[]).contains("TOKEN_AUTHORITY_STORE_FILE"));
    let redis = [
        ("store.url", "redis://localhost"),
        ("store.id", id.as_str()),
    ];
    assert!(load(&redis, &[]).is_ok());
    let replicated = [("store.url", "redis://localhost"), ("store.replicas", "5")];
    assert!(load(&replicated, &[]).is_ok());
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
    let metrics = ("server.metrics_listen", "0.0.0.0:9100");
    assert!(error(&[metrics], &[]).contains("server.metrics_listen"));
    assert!(load(&[metrics, ("server.allow_plaintext", "true")], &[]).is_ok());
}

#[test]
fn metrics_and_audit_lines_have_their_places() {
    let defaults = load(&[], &[]).unwrap();
    assert_eq!(defaults.server.metrics, MetricsPlace::Beside);
    assert_eq!(defaults.audit, AuditPlace::Log);
    let other = [
        ("server.metrics_listen", "127.0.0.1:0"),
        ("audit.to", "file:log"),
    ];
    let other = load(&other, &[]).unwrap();
    let own = MetricsPlace::Own(vec!["127.0.0.1:0".parse().unwrap()]);
    assert_eq!(other.server.metrics, own);
    assert_eq!(other.audit, AuditPlace::File("log".into()));
}

#[test]
fn root_tokens_come_as_secret_digest_or_file() {
    let secret = "s".repeat(32);
    let digest = RootToken::of_secret("x", "x", &secret).unwrap().digest;
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
fn what_is_later_is_told_apart_from_what_is_wrong() {
    for (key, value) in [
        ("store.url", "redis-sentinel://u:hunter2@h"),
        ("store.url", "redis-cluster://u:hunter2@h"),
    ] {
        let message = error(&[(key, value)], &[]);
        assert!(message.contains("not in this release"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn a_name_to_listen_on_is_resolved_and_must_mean_loopback() {
    let config = load(&[("server.listen", "localhost:7")], &[]).unwrap();
    let mut addresses = tcp(&config).into_iter();
    assert!(addresses.all(|address| address.ip().is_loopback() && address.port() == 7));
    for wrong in [
        "localhost",
        "no.such.name.invalid:7",
        ":",
        "127.0.0.1:99999",
    ] {
        assert!(error(&[("server.listen", wrong)], &[]).contains("server.listen"));
    }
}

#[test]
fn accepted_brands_are_the_earlier_ones_only() {
    let config = load(&[("secrets.accepted_brands", "[\"old\"]")], &[]).unwrap();
    assert_eq!(config.accepted_brands, [Brand::parse("old").unwrap()]);
}

#[test]
fn a_secret_in_the_wrong_place_is_never_repeated() {
    for list in [
        "[\"hunter2\"]",
        "\"hunter2\"",
        "[{ name = \"a\", token = [\"hunter2\"] }]",
        "[{ name = \"hunter2!\", token = \"a\" }]",
        "[{ name = [\"hunter2\"] }]",
        "[{ name = \"a\", token = \"hunter2\", token_file = \"x\" }]",
        "[{ name = \"a\", token = \"hunter2\" }, { name = \"a\", token = \"hunter2\" }]",
        "[{ name = \"a\", token = \"hunter2 }]",
    ] {
        let message = error(&[("access.root_tokens", list)], &[]);
        assert!(message.contains("root"), "{list}: {message}");
        assert!(!message.contains("hunter2"), "{message}");
        let file = format!("[access]\nroot_tokens = {list}\n");
        let message = with_file(&file).unwrap_err().to_string();
        assert!(!message.contains("hunter2"), "{message}");
    }
    for url in ["hunter2", "hunter2hunter2hunter2:x", "//hunter2@host"] {
        let message = error(&[], &[("TOKEN_AUTHORITY_STORE", url)]);
        assert!(message.contains("store.url"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    for text in [
        "store = \"redis://u:hunter2@h\"\n",
        "[store]\nurl = redis://u:hunter2@h\n",
        "[store]\nurl = [\"hunter2\"]\n",
        "redis://u:hunter2@h\n",
        "\"redis://u:hunter2@h\" = 1\n",
    ] {
        let message = with_file(text).unwrap_err().to_string();
        assert!(!message.contains("hunter2"), "{message}");
    }
    assert!(!error(&[("redis://u:hunter2@h", "")], &[]).contains("hunter2"));
    let secret = "k".repeat(43);
    let message = error(&[], &[("TOKEN_AUTHORITY_STORE_FILE", &secret)]);
    assert!(!message.contains(&secret), "{message}");
    let args = ServeArgs {
        store: Some("redis://u:hunter2@h".to_owned()),
        ..ServeArgs::default()
    };
    assert!(!format!("{args:?}").contains("hunter2"));
}

#[test]
fn a_store_is_named_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("url");
    std::fs::write(&path, "sqlite:x.db\n").unwrap();
    let path = path.to_str().unwrap();
    for variable in [
        "TOKEN_AUTHORITY_STORE_FILE",
        "TOKEN_AUTHORITY_STORE_URL_FILE",
    ] {
        let config = load(&[], &[(variable, path)]).unwrap();
        assert_eq!(config.store.url, StoreUrl::Sqlite("x.db".into()));
        for other in ["TOKEN_AUTHORITY_STORE", "TOKEN_AUTHORITY_STORE_URL"] {
            let message = error(&[], &[(variable, path), (other, "sqlite:y.db")]);
            assert!(message.contains("both set"), "{message}");
            assert!(message.contains(variable) && message.contains(other));
        }
    }
    let both = [
        ("TOKEN_AUTHORITY_STORE_FILE", path),
        ("TOKEN_AUTHORITY_STORE_URL_FILE", path),
    ];
    assert!(error(&[], &both).contains("both set"));
}

#[test]
fn a_root_token_file_that_is_missing_is_told_apart_from_one_to_write() {
    let message = error(&[], &[("TOKEN_AUTHORITY_ROOT_TOKEN_FILE", "/no/such/file")]);
    for words in [
        "/no/such/file",
        "TOKEN_AUTHORITY_ACCESS_ROOT_TOKEN_FILE",
        "--root-token-file",
    ] {
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn the_environments_root_token_has_its_variables_name_and_no_others() {
    let message = error(&[], &[("TOKEN_AUTHORITY_ROOT_TOKEN", "short")]);
    assert!(message.contains("TOKEN_AUTHORITY_ROOT_TOKEN:"), "{message}");
    let secret = "s".repeat(32);
    let list = format!("[{{ name = \"environment\", token = \"{secret}\" }}]");
    assert!(error(&[("access.root_tokens", &list)], &[]).contains("TOKEN_AUTHORITY_ROOT_TOKEN"));
}

#[test]
fn urls_are_shown_without_whatever_may_be_a_password() {
    for (url, shown) in [
        ("redis://user:hunter2@h:1/3", "redis://user:***@h:1/3"),
        ("redis://:hunter2@h", "redis://:***@h"),
        ("redis://hunter2@h", "redis://***@h"),
        ("redis://u:hunter@2@h", "redis://u:***@h"),
        ("redis://h?password=hunter2", "redis://h?***"),
        ("redis://h:1", "redis://h:1"),
    ] {
        assert_eq!(StoreUrl::parse(url).unwrap().to_string(), shown);
    }
}

#[test]
fn the_printed_configuration_holds_no_secret() {
    let secret = "canary".repeat(6);
    let hex = "ca".repeat(32);
    let list = format!(
        "[{{ name = \"a\", token = \"{secret}\" }}, {{ name = \"b\", token = \"sha256:{hex}\" }}]"
    );
    let settings = vec![
        format!("access.root_tokens={list}"),
        "store.url=redis://user:can:ary@localhost:6379".to_owned(),
    ];
    let args = ServeArgs {
        settings,
        ..ServeArgs::default()
    };
    let environment = variables(&[("TOKEN_AUTHORITY_ROOT_TOKEN", &secret)]);
    let (config, printed) = Config::load_and_print(&args, &environment).unwrap();
    for words in ["canary", "ary@", &hex] {
        assert!(!printed.contains(words), "{printed}");
    }
    let table: toml::Table = printed.parse().unwrap();
    let url = table["store"]["url"].as_str();
    assert_eq!(url, Some("redis://user:***@localhost:6379"));
    let roots = table["access"]["root_tokens"].as_array().unwrap();
    let names: Vec<_> = roots
        .iter()
        .map(|root| root["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a", "b", "environment"]);
    let from = roots[2]["token"].as_str().unwrap();
    assert!(from.contains("TOKEN_AUTHORITY_ROOT_TOKEN"), "{from}");
    assert!(!format!("{config:?}").contains("can:ary"));
}
