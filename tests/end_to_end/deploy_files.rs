//! What lies in `deploy/` is held to what the server knows: its variables, its keys, its times.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use token_authority::config::DEFAULTS;
use toml::{Table, Value};

use crate::harness::{ROOT_TOKEN, command, files_below};

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy"))
}

fn text(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap()
}

fn defaults() -> Table {
    DEFAULTS.parse().unwrap()
}

/// The names of variables in a text, as far as their characters go.
fn variables(text: &str) -> impl Iterator<Item = String> {
    let rests = text.split("TOKEN_AUTHORITY_").skip(1);
    rests.map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_');
        format!("TOKEN_AUTHORITY_{}", &rest[..end.unwrap_or(rest.len())])
    })
}

#[test]
fn every_variable_that_is_set_for_a_deployment_is_one_that_is_read() {
    let short = [
        // Of whoever asks, as a proxy does.
        "TOKEN",
        "CONFIG",
        "LISTEN",
        "STORE",
        "STORE_FILE",
        "ROOT_TOKEN",
        "ROOT_TOKEN_FILE",
    ];
    let short = short.map(|name| format!("TOKEN_AUTHORITY_{name}"));
    let mut known = BTreeSet::from(short);
    for (section, keys) in defaults() {
        for key in keys.as_table().into_iter().flat_map(Table::keys) {
            known.insert(format!("TOKEN_AUTHORITY_{section}_{key}").to_uppercase());
        }
    }
    let mut seen = 0;
    for file in files_below(folder()) {
        for name in variables(&fs::read_to_string(&file).unwrap()) {
            assert!(known.contains(&name), "{name} in {}", file.display());
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} were found");
}

/// What follows `mark` in each line that begins with it, in seconds.
fn seconds(text: &str, mark: &str) -> Vec<u64> {
    let lines = text.lines().map(str::trim);
    let spans = lines.filter_map(|line| line.strip_prefix(mark));
    let seconds = |span: &str| span.trim().trim_end_matches('s').parse().unwrap();
    spans.map(seconds).collect()
}

#[test]
fn whoever_stops_the_server_waits_longer_than_its_drain() {
    let server = defaults()["server"].clone();
    let span = |key: &str| {
        let text = server.get(key).and_then(Value::as_str).unwrap();
        humantime::parse_duration(text).unwrap()
    };
    let drain = span("drain_delay") + span("drain_deadline");
    let unit = seconds(&text("token-authority.service"), "TimeoutStopSec=");
    let sqlite = seconds(&text("compose.sqlite.yaml"), "stop_grace_period:");
    let redis = seconds(&text("compose.redis.yaml"), "stop_grace_period:");
    assert_eq!((unit.len(), sqlite.len(), redis.len()), (1, 1, 2));
    for waited in unit.into_iter().chain(sqlite).chain(redis) {
        assert!(Duration::from_secs(waited) > drain, "{waited}s");
    }
}

#[test]
fn the_example_configuration_is_accepted_with_its_root_token() {
    let scratch = tempfile::tempdir().unwrap();
    let (token, file) = (
        scratch.path().join("root"),
        scratch.path().join("config.toml"),
    );
    fs::write(&token, ROOT_TOKEN).unwrap();
    let example = text("token-authority.example.toml");
    let example = example.replace("/run/secrets/root-token", token.to_str().unwrap());
    fs::write(&file, example).unwrap();
    let output = command(&["config", "--config", file.to_str().unwrap()]).output();
    let output = output.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
}
