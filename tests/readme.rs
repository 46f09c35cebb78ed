//! The README's table of configuration keys is held to the configuration: every key, its default,
//! its variable and its flag stand there, and nothing else does; and so are its metrics and its worker.

#![allow(clippy::unwrap_used, reason = "a failed expectation ends a test")]

use std::collections::BTreeMap;

use clap::{Args, Command};
use token_authority::config::args::ServeArgs;
use token_authority::config::{DEFAULTS, NAMESPACE_KEYS};
use toml::{Table, Value};

const README: &str = include_str!("../README.md");
const EXPOSITION: &str = include_str!("../src/metrics/exposition.rs");
const CACHE: &str = include_str!("../src/metrics/cache.rs");
const USAGE: &str = include_str!("../src/metrics/usage.rs");

const HEAD: &str = "| key | default | environment | flag | meaning |";

const NAMESPACE_HEAD: &str = "| key of `[namespaces.NAME]` | value | meaning |";

/// What the README's table says about one key.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    default: Value,
    variables: Vec<String>,
    flag: String,
}

/// The rows of the table by their keys; a key that stands there twice, or a row that cannot be
/// read, is an error that names it.
fn rows(readme: &str) -> Result<BTreeMap<String, Row>, String> {
    let table = readme.lines().skip_while(|line| *line != HEAD).skip(2);
    let mut rows = BTreeMap::new();
    for line in table.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [key, default, variables, flag, meaning] = cells[..] else {
            return Err(format!("not five cells: {line}"));
        };
        let key = code(key).next().ok_or(format!("no key: {line}"))?;
        let default = code(default)
            .next()
            .and_then(|text| format!("value = {text}").parse::<Table>().ok())
            .and_then(|mut table| table.remove("value"))
            .ok_or(format!("no default in TOML: {line}"))?;
        let row = Row {
            default,
            variables: code(variables).map(str::to_owned).collect(),
            flag: code(flag).next().unwrap_or_default().to_owned(),
        };
        if meaning.is_empty() {
            return Err(format!("no meaning: {line}"));
        }
        if rows.insert(key.to_owned(), row).is_some() {
            return Err(format!("twice: {key}"));
        }
    }
    Ok(rows)
}

/// What stands between backticks in a cell.
fn code(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The keys of a namespace's section that the README's other table names.
fn namespace_keys(readme: &str) -> Vec<String> {
    let table = readme
        .lines()
        .skip_while(|line| *line != NAMESPACE_HEAD)
        .skip(2);
    let rows = table.take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| code(row).next().map(str::to_owned))
        .collect()
}

/// All keys and their defaults.
fn defaults() -> BTreeMap<String, Value> {
    let sections: Table = DEFAULTS.parse().unwrap();
    let keys = sections.into_iter().flat_map(|(section, entries)| {
        let Value::Table(entries) = entries else {
            panic!("{section} is no section");
        };
        let named = move |(key, value)| (format!("{section}.{key}"), value);
        entries.into_iter().map(named)
    });
    keys.collect()
}

/// The long flags of a server, except those that name no one key.
fn flags() -> Vec<String> {
    let command = ServeArgs::augment_args(Command::new("serve"));
    let longs = command.get_arguments().filter_map(clap::Arg::get_long);
    let own = longs.filter(|long| !["config", "set"].contains(long));
    own.map(|long| format!("--{long}")).collect()
}

/// What is wrong with a README's table.
fn faults(readme: &str) -> Vec<String> {
    let rows = match rows(readme) {
        Ok(rows) => rows,
        Err(fault) => return vec![fault],
    };
    let defaults = defaults();
    let mut faults: Vec<String> = rows
        .keys()
        .filter(|key| !defaults.contains_key(*key))
        .map(|key| format!("there is no key {key}"))
        .collect();
    for (key, default) in &defaults {
        let Some(row) = rows.get(key) else {
            faults.push(format!("{key} is missing"));
            continue;
        };
        if row.default != *default {
            faults.push(format!("{key} is {default} and not {}", row.default));
        }
        let variable = format!("TOKEN_AUTHORITY_{}", key.replace('.', "_").to_uppercase());
        if !row.variables.contains(&variable) {
            faults.push(format!("{key} lacks {variable}"));
        }
        if row.flag != "--set" && !flags().contains(&row.flag) {
            faults.push(format!("{key} has no flag {:?}", row.flag));
        }
    }
    let named = |flag: &String| rows.values().any(|row| row.flag == *flag);
    let missing = flags().into_iter().filter(|flag| !named(flag));
    faults.extend(missing.map(|flag| format!("{flag} is missing")));
    faults
}

#[test]
fn the_readme_names_every_key_with_its_default_variable_and_flag() {
    assert_eq!(faults(README), Vec::<String>::new());
}

#[test]
fn the_readme_and_the_annotated_defaults_name_every_key_of_a_namespace() {
    let mut named = namespace_keys(README);
    named.sort();
    let mut keys = NAMESPACE_KEYS.map(str::to_owned);
    keys.sort();
    assert_eq!(named, keys);
    for key in NAMESPACE_KEYS {
        let example = format!("#   {key} = ");
        assert!(DEFAULTS.contains(&example), "{key}");
    }
}

#[test]
fn a_missing_key_a_wrong_default_and_an_invented_key_are_found() {
    let line = |key: &str| {
        let begins = format!("| `{key}` |");
        let line = README.lines().find(|line| line.starts_with(&begins));
        line.unwrap().to_owned()
    };
    let drain = line("server.drain_deadline");
    let cases = [
        (drain.clone(), String::new(), "server.drain_deadline"),
        (drain.clone(), drain.replace("10s", "11s"), "11s"),
        (drain.clone(), format!("{drain}\n{drain}"), "twice"),
        (
            drain.clone(),
            drain.replace("server.drain_deadline", "server.no_such"),
            "no_such",
        ),
        (
            line("store.id"),
            line("store.id").replace("--store-id", "--set"),
            "--store-id is missing",
        ),
        (
            line("log.format"),
            line("log.format").replace("LOG_FORMAT", "LOG_FORM"),
            "TOKEN_AUTHORITY_LOG_FORMAT",
        ),
    ];
    for (whole, broken, told) in cases {
        // An empty line would end the table.
        let readme = match broken.as_str() {
            "" => README.replace(&format!("{whole}\n"), ""),
            broken => README.replace(&whole, broken),
        };
        let faults = faults(&readme).join("; ");
        assert!(faults.contains(told), "{told}: {faults}");
    }
    assert!(!faults("no table").is_empty());
}

#[test]
fn the_worker_that_is_shown_is_the_one_that_is_tried() {
    let worker = include_str!("../examples/worker.py");
    let shown = format!("\n```python\n{worker}```\n");
    assert!(README.contains(&shown));
}

/// The names under which metrics are registered, as they are written there.
fn registered(source: &str) -> Vec<String> {
    let calls = source.split("registry.register").skip(1);
    let name = |call: &str| call.split('"').nth(1).map(str::to_owned);
    calls.filter_map(name).collect()
}

#[test]
fn the_table_names_every_metric() {
    let table: Vec<&str> = README
        .lines()
        .filter(|line| line.starts_with("| `token_authority_"))
        .collect();
    let names = [EXPOSITION, CACHE, USAGE].map(registered).concat();
    assert!(names.len() > 25, "{names:?}");
    for name in names {
        let begin = format!("token_authority_{name}");
        // What may follow is a unit, `_total` or labels, and no other metric's word.
        let ends = ["_seconds", "_bytes", "_total", "`", "{"].map(|end| format!("{begin}{end}"));
        let told = |row: &&str| ends.iter().any(|end| row.contains(end));
        assert!(table.iter().any(told), "{begin} is missing");
    }
}

/// What follows the name of a histogram in what is scraped.
const PARTS_OF_HISTOGRAMS: [&str; 3] = ["_bucket", "_count", "_sum"];

#[test]
fn the_rules_and_the_dashboard_ask_for_metrics_that_there_are() {
    let texts = [
        include_str!("../deploy/prometheus/rules.yaml"),
        include_str!("../deploy/prometheus/rules.test.yaml"),
        include_str!("../deploy/grafana/token-authority.json"),
    ];
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let asked = texts
        .iter()
        .flat_map(|text| text.split(|letter| !is_of_name(letter)))
        .filter(|word| word.starts_with("token_authority_"));
    let mut found = 0;
    for name in asked {
        let whole = PARTS_OF_HISTOGRAMS
            .iter()
            .find_map(|part| name.strip_suffix(part));
        let name = whole.unwrap_or(name);
        let told = ["`", "{"].map(|end| README.contains(&format!("`{name}{end}")));
        assert!(told.contains(&true), "{name} is not in the README");
        found += 1;
    }
    assert!(found > 30, "{found}");
}
