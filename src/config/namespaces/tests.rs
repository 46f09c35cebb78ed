//! What a policy's section may say, and what a person is told who gets it wrong.

use super::*;
use crate::config::args::ServeArgs;
use crate::config::{Config, Environment};
use crate::domain::policy::Bounds;
use crate::domain::token::Expiration;

fn with(file: &str, settings: &[&str]) -> Result<(Config, String), ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, file).unwrap();
    let args = ServeArgs {
        config: Some(path),
        settings: settings.iter().map(|text| (*text).to_owned()).collect(),
        ..ServeArgs::default()
    };
    Config::load_and_print(&args, &Environment::new())
}

fn policies(file: &str, settings: &[&str]) -> Policies {
    with(file, settings).unwrap().0.policies
}

fn error(file: &str) -> String {
    with(file, &[]).unwrap_err().to_string()
}

fn name(text: &str) -> Namespace {
    Namespace::parse(text).unwrap()
}

const SHOP: &str = r#"
[namespaces.shop]
default_ttl = "30d"
max_ttl = "1year"
max_tokens = 1000
default_rate_limits = [
  { requests = 200 },
  { name = "daily", requests = 10000, period = "1day", burst = 500 },
]
cache_ttl = "5s"
max_staleness = "1m"

[namespaces.ci-runs]
max_ttl = "1h"
"#;

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn a_section_is_the_policy_of_its_namespace() {
    let policies = policies(SHOP, &[]);
    let shop = policies.of(&name("shop"));
    let unsaid = shop.expiration(Expiration::Unsaid).unwrap();
    assert_eq!(unsaid, Expiration::After(30 * DAY));
    let bounds = shop.bounds();
    assert_eq!(bounds.tokens_max, Some(1000));
    assert_eq!(bounds.lifetime_max, Some(Duration::from_secs(31_557_600)));
    let limits = shop.rate_limits(RateLimits::default());
    let limits: Vec<_> = limits
        .iter()
        .map(|limit| {
            let (name, requests) = (limit.name().as_str(), limit.requests());
            (name.to_owned(), requests, limit.period(), limit.burst())
        })
        .collect();
    let minute = Duration::from_secs(60);
    let expected = [
        ("default".to_owned(), 200, minute, 200),
        ("daily".to_owned(), 10_000, DAY, 500),
    ];
    assert_eq!(limits, expected);
    let (ttl, staleness) = (Duration::from_secs(5), Duration::from_secs(60));
    assert_eq!(shop.freshness(), Freshness::new(ttl, staleness).unwrap());
    let other = policies.of(&name("ci-runs")).freshness();
    assert_eq!(other, Freshness::default());
    let runs = policies.of(&name("ci-runs")).bounds();
    assert_eq!(runs.lifetime_max, Some(Duration::from_secs(3600)));
    assert_eq!(policies.of(&name("default")).bounds(), Bounds::default());
}

#[test]
fn flags_set_single_keys_of_sections_that_are_there_or_not() {
    let settings = [
        "namespaces.shop.max_tokens=5",
        "namespaces.new.default_ttl=90m",
        "namespaces.new.max_staleness=30s",
        "namespaces.new.default_rate_limits=[{ requests = 1 }]",
    ];
    let policies = policies(SHOP, &settings);
    let shop = policies.of(&name("shop")).bounds();
    assert_eq!(shop.tokens_max, Some(5));
    assert!(shop.lifetime_max.is_some(), "the file's other keys stand");
    let new = policies.of(&name("new"));
    let unsaid = new.expiration(Expiration::Unsaid).unwrap();
    assert_eq!(unsaid, Expiration::After(Duration::from_secs(5400)));
    assert!(!new.rate_limits(RateLimits::default()).is_empty());
    let staleness = new.freshness().max_staleness();
    assert_eq!(staleness, Some(Duration::from_secs(30)));
    for (setting, told) in [
        ("namespaces.shop=1", "namespaces.shop: must be followed by"),
        ("namespaces.Shop.max_ttl=1d", "namespaces.Shop: a namespace"),
        ("namespaces.shop.max_tll=1d", "unknown key max_tll"),
        ("namespaces.shop.max_tokens=many", "must be a whole number"),
        (
            "namespaces.shop.default_rate_limits=[",
            "must be a TOML array",
        ),
        (
            "namespaces.shop.default_rate_limits=7",
            "must be of type array",
        ),
    ] {
        let message = with(SHOP, &[setting]).unwrap_err().to_string();
        assert!(message.contains(told), "{setting}: {message}");
    }
}

#[test]
fn no_variable_sets_a_policy() {
    let environment = [("TOKEN_AUTHORITY_NAMESPACES_SHOP", "x")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let args = ServeArgs {
        settings: vec!["namespaces.shop.max_tokens=5".to_owned()],
        ..ServeArgs::default()
    };
    let config = Config::load(&args, &environment.into()).unwrap();
    let shop = config.policies.of(&name("shop")).bounds();
    assert_eq!(shop.tokens_max, Some(5));
}

/// Each line of a section for `shop`, and what a person is told who writes it.
fn told(cases: &[(&str, &str)]) {
    for (line, told) in cases {
        let message = error(&format!("[namespaces.shop]\n{line}\n"));
        let whole = format!("namespaces.shop{told}");
        assert!(message.contains(&whole), "{line}: {message}");
    }
}

#[test]
fn a_wrong_key_or_value_is_named_precisely() {
    told(&[
        ("max_ttl = \"soon\"", ".max_ttl: must be a span"),
        (
            "max_ttl = 7",
            ".max_ttl: must be of type string, not integer",
        ),
        ("max_ttl = \"0s\"", ".max_ttl: must be 1 millisecond to"),
        (
            "max_ttl = \"101years\"",
            ".max_ttl: must be 1 millisecond to",
        ),
        (
            "max_ttl = \"1d\"\ndefault_ttl = \"2d\"",
            ".default_ttl: must be 1 millisecond to 86400 seconds; got 172800",
        ),
        ("max_tokens = 0", ".max_tokens: must be 1 to"),
        (
            "max_tokens = -1",
            ".max_tokens: must not be negative; got -1",
        ),
        ("max_tokens = \"7\"", ".max_tokens: must be of type integer"),
        ("cache_ttl = \"soon\"", ".cache_ttl: must be a span"),
        (
            "cache_ttl = \"1h1ms\"",
            ".cache_ttl: must be at most 3600 seconds; got 3600.001 seconds",
        ),
        (
            "max_staleness = \"1d\"",
            ".max_staleness: must be at most 3600 seconds; got 86400 seconds",
        ),
        (
            "max_staleness = 30",
            ".max_staleness: must be of type string",
        ),
        (
            "max_tll = \"1d\"",
            ": unknown key max_tll; there are default_ttl,",
        ),
    ]);
    let stray = error("[namespaces]\nmax_ttl = \"1d\"\n");
    assert!(
        stray.contains("namespaces.max_ttl: must be a section"),
        "{stray}"
    );
    assert!(error("namespaces = 7\n").contains("namespaces must be a section"));
    for name in ["Shop", "-"] {
        let message = error(&format!("[namespaces.{name}]\n"));
        let told = format!("namespaces.{name}: a namespace's name must be");
        assert!(message.contains(&told), "{message}");
    }
}

#[test]
fn a_wrong_rate_limit_is_named_precisely() {
    told(&[
        (
            "default_rate_limits = 7",
            ".default_rate_limits: must be of type array",
        ),
        (
            "default_rate_limits = [7]",
            ".default_rate_limits[0]: must be of type table",
        ),
        (
            "default_rate_limits = [{}]",
            ".default_rate_limits[0].requests: must be 1 to",
        ),
        (
            "default_rate_limits = [{ requests = 1, perod = \"1s\" }]",
            ".default_rate_limits[0]: unknown key perod; there are name, requests,",
        ),
        (
            "default_rate_limits = [{ requests = 1, period = \"soon\" }]",
            ".default_rate_limits[0].period: must be a span",
        ),
        (
            "default_rate_limits = [{ requests = 1, burst = 0 }]",
            ".default_rate_limits[0].burst: must be at least 1",
        ),
        (
            "default_rate_limits = [{ requests = 1, name = \"A\" }]",
            ".default_rate_limits[0].name: must be at most 63",
        ),
        (
            "default_rate_limits = [{ requests = 1 }, { requests = 2 }]",
            ".default_rate_limits[1].name: must differ",
        ),
    ]);
}

#[test]
fn what_may_be_a_secret_is_not_repeated() {
    let secret = "canary".repeat(6);
    for file in [
        "[namespaces.\"redis://u:canary@h\"]\n".to_owned(),
        format!("[namespaces.{secret}]\n{secret} = 1\n"),
        "[namespaces.shop]\n\"redis://u:canary@h\" = 1\n".to_owned(),
        format!("[namespaces.shop]\nmax_ttl = \"{secret}\"\n"),
    ] {
        let message = error(&file);
        assert!(!message.contains("canary"), "{message}");
    }
}

#[test]
fn the_printed_configuration_holds_every_policy() {
    let (_, printed) = with(SHOP, &["namespaces.new.max_tokens=5"]).unwrap();
    let table: Table = printed.parse().unwrap();
    let sections = table["namespaces"].as_table().unwrap();
    let given: Table = SHOP.parse().unwrap();
    let shop = &given["namespaces"].as_table().unwrap()["shop"];
    assert_eq!(&sections["shop"], shop);
    assert_eq!(sections["new"]["max_tokens"].as_integer(), Some(5));
    let again = policies(&printed, &[]);
    assert_eq!(again.of(&name("new")).bounds().tokens_max, Some(5));
}
