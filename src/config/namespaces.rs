//! Policies of namespaces: sections `[namespaces.NAME]`, of which there are as many as are given.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use toml::{Table, Value};

use crate::domain::flaw::quoted;
use crate::domain::freshness::Freshness;
use crate::domain::limit::{LimitName, RateLimit, RateLimits};
use crate::domain::name::Namespace;
use crate::domain::policy::{Policies, Policy};

use super::ConfigError;
use super::layers::holds_long_run;

/// The section that holds one section for each namespace.
pub(super) const SECTION: &str = "namespaces";

/// The keys of a namespace's section. None has a default.
pub const NAMESPACE_KEYS: [&str; 6] = [
    "default_ttl",
    "max_ttl",
    "max_tokens",
    "default_rate_limits",
    "cache_ttl",
    "max_staleness",
];

const LIMIT_KEYS: [&str; 4] = ["name", "requests", "period", "burst"];

/// Longest name that an error repeats.
const SHOWN_BYTES_MAX: usize = 64;

/// Puts `upper` over `lower`, both of which hold namespaces.
pub(super) fn overlay(lower: &mut Table, upper: Table) -> Result<(), ConfigError> {
    for (name, entries) in upper {
        let Value::Table(entries) = entries else {
            let why = "must be a section, such as [namespaces.shop]";
            return Err(ConfigError::key(&place(&name), why));
        };
        let section = section(lower, &name)?;
        for (key, value) in entries {
            known(&place(&name), &key, &NAMESPACE_KEYS)?;
            section.insert(key, value);
        }
    }
    Ok(())
}

/// Sets one key, named as `NAME.key`, from text.
pub(super) fn set(lower: &mut Table, path: &str, text: &str) -> Result<(), ConfigError> {
    let Some((name, key)) = path.split_once('.') else {
        let why = "must be followed by a key, as in namespaces.shop.max_ttl";
        return Err(ConfigError::key(&place(path), why));
    };
    let section = section(lower, name)?;
    known(&place(name), key, &NAMESPACE_KEYS)?;
    let refuse = |kind: &str| ConfigError::key(&format!("{}.{key}", place(name)), kind);
    let value = match key {
        "max_tokens" => text
            .parse()
            .map(Value::Integer)
            .map_err(|_| refuse("must be a whole number"))?,
        "default_rate_limits" => format!("value = {text}")
            .parse::<Table>()
            .ok()
            .and_then(|mut parsed| parsed.remove("value"))
            .ok_or_else(|| refuse("must be a TOML array"))?,
        _ => Value::String(text.to_owned()),
    };
    section.insert(key.to_owned(), value);
    Ok(())
}

/// Reads the policies of all namespaces.
pub(super) fn parse(sections: Table) -> Result<Policies, ConfigError> {
    let mut policies = BTreeMap::new();
    for (name, section) in sections {
        let namespace = namespace(&name)?;
        let Value::Table(section) = section else {
            return Err(ConfigError::key(&place(&name), "must be a section"));
        };
        policies.insert(namespace, policy(&place(&name), &section)?);
    }
    Ok(Policies::new(policies))
}

fn policy(place: &str, entries: &Table) -> Result<Policy, ConfigError> {
    let section = Entries { place, entries };
    let default_ttl = section.span("default_ttl")?;
    let max_ttl = section.span("max_ttl")?;
    let max_tokens = section.count("max_tokens")?;
    let key = format!("{place}.default_rate_limits");
    let limits = match entries.get("default_rate_limits") {
        None => RateLimits::default(),
        Some(Value::Array(limits)) => rate_limits(&key, limits)?,
        Some(other) => return Err(wrong_type(&key, "array", other)),
    };
    let refuse = |(part, flaw)| ConfigError::key(&format!("{place}.{part}"), flaw);
    let freshness = Freshness::new(
        section.span("cache_ttl")?.unwrap_or_default(),
        section.span("max_staleness")?.unwrap_or_default(),
    );
    let freshness = freshness.map_err(refuse)?;
    let policy = Policy::new(default_ttl, max_ttl, limits, max_tokens).map_err(refuse)?;
    Ok(policy.with_freshness(freshness))
}

fn rate_limits(key: &str, values: &[Value]) -> Result<RateLimits, ConfigError> {
    let mut limits = Vec::new();
    for (at, value) in values.iter().enumerate() {
        limits.push(rate_limit(&format!("{key}[{at}]"), value)?);
    }
    RateLimits::new(limits).map_err(|(at, flaw)| match at {
        Some(at) => ConfigError::key(&format!("{key}[{at}].name"), flaw),
        None => ConfigError::key(key, flaw),
    })
}

fn rate_limit(place: &str, value: &Value) -> Result<RateLimit, ConfigError> {
    let Value::Table(entries) = value else {
        return Err(wrong_type(place, "table", value));
    };
    for key in entries.keys() {
        known(place, key, &LIMIT_KEYS)?;
    }
    let limit = Entries { place, entries };
    let name = LimitName::parse(limit.text("name")?.unwrap_or_default())
        .map_err(|flaw| ConfigError::key(&format!("{place}.name"), flaw))?;
    let requests = limit.count("requests")?.unwrap_or(0);
    let burst = limit.count("burst")?;
    if burst == Some(0) {
        let why = "must be at least 1; leave it out for as many as requests";
        return Err(ConfigError::key(&format!("{place}.burst"), why));
    }
    RateLimit::new(name, requests, limit.span("period")?, burst.unwrap_or(0))
        .map_err(|(part, flaw)| ConfigError::key(&format!("{place}.{part}"), flaw))
}

/// The entries of a table, and where that stands.
struct Entries<'a> {
    place: &'a str,
    entries: &'a Table,
}

impl<'a> Entries<'a> {
    fn text(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        match self.entries.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(&self.path(key), "string", other)),
        }
    }

    fn span(&self, key: &str) -> Result<Option<Duration>, ConfigError> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        let span = humantime::parse_duration(text).map_err(|_| {
            let why = "must be a span, such as \"90m\" or \"30d\"; got";
            ConfigError::key(&self.path(key), format!("{why} {}", quoted(text)))
        })?;
        Ok(Some(span))
    }

    fn count(&self, key: &str) -> Result<Option<u64>, ConfigError> {
        match self.entries.get(key) {
            None => Ok(None),
            Some(Value::Integer(number)) => u64::try_from(*number).map(Some).map_err(|_| {
                let why = format!("must not be negative; got {number}");
                ConfigError::key(&self.path(key), why)
            }),
            Some(other) => Err(wrong_type(&self.path(key), "integer", other)),
        }
    }

    fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.place)
    }
}

/// The section of a namespace, made if there is none.
fn section<'a>(sections: &'a mut Table, name: &str) -> Result<&'a mut Table, ConfigError> {
    namespace(name)?;
    let section = sections.entry(name);
    section
        .or_insert_with(|| Value::Table(Table::new()))
        .as_table_mut()
        .ok_or_else(|| ConfigError::key(&place(name), "must be a section"))
}

fn namespace(name: &str) -> Result<Namespace, ConfigError> {
    // The flaw is dropped: it quotes a name that may be anything.
    Namespace::parse(name).map_err(|_| {
        let why = "a namespace's name must be 1 to 63 of a-z, 0-9, '-', and not \"-\"";
        ConfigError::key(&place(name), why)
    })
}

fn known(place: &str, key: &str, keys: &[&str]) -> Result<(), ConfigError> {
    if keys.contains(&key) {
        return Ok(());
    }
    let keys = keys.join(", ");
    let why = format!("unknown key {}; there are {keys}", Shown(key));
    Err(ConfigError::key(place, why))
}

fn place(name: &str) -> String {
    format!("{SECTION}.{}", Shown(name))
}

fn wrong_type(key: &str, wanted: &str, given: &Value) -> ConfigError {
    let given = given.type_str();
    ConfigError::key(key, format!("must be of type {wanted}, not {given}"))
}

/// A name of a key or a section, unless it may be a secret that stands in the wrong place.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0;
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if name.len() <= SHOWN_BYTES_MAX && name.chars().all(plain) && !holds_long_run(name) {
            f.write_str(name)
        } else {
            f.write_str("(a name that is not shown)")
        }
    }
}

#[cfg(test)]
mod tests;
