//! The layers of the configuration, later over earlier: defaults, file, environment, flags.

use std::fs;

use toml::{Table, Value};

use super::args::ServeArgs;
use super::{ConfigError, Environment};

/// The annotated default configuration; it is the defaults.
pub const DEFAULTS: &str = include_str!("../../config.default.toml");

const PREFIX: &str = "TOKEN_AUTHORITY_";

/// Variables whose names are shorter than section and key.
const SHORT_NAMES: [(&str, &str); 2] = [("LISTEN", "server.listen"), ("STORE", "store.url")];

/// Keys whose values may hold a secret and can come from a file, named by `…_FILE`.
const FROM_FILES: [&str; 1] = ["STORE"];

/// All layers as one table. Types are those of the defaults, so a variable is read as what it sets.
pub(super) fn merged(args: &ServeArgs, environment: &Environment) -> Result<Table, ConfigError> {
    let mut table: Table = DEFAULTS
        .parse()
        .map_err(|error: toml::de::Error| ConfigError(error.message().to_owned()))?;
    let variable = |name: &str| environment.get(&format!("{PREFIX}{name}"));
    let named = args
        .config
        .clone()
        .or_else(|| variable("CONFIG").map(Into::into));
    if let Some(path) = named {
        let fail =
            |why: String| ConfigError(format!("configuration file {}: {why}", path.display()));
        let text = fs::read_to_string(&path).map_err(|error| fail(error.to_string()))?;
        // Only the message: the error's own rendering quotes the line, which may hold a secret.
        let file: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(0, |span| {
                text[..span.start.min(text.len())].matches('\n').count() + 1
            });
            fail(format!("line {line}: {}", error.message()))
        })?;
        overlay(&mut table, file).map_err(|error| fail(error.to_string()))?;
    }
    for (key, value) in from_environment(&table, environment)? {
        set(&mut table, &key, &value)?;
    }
    for (key, value) in args.keys() {
        set(&mut table, key, &value)?;
    }
    for setting in &args.settings {
        let pair = setting.split_once('=');
        let (key, value) =
            pair.ok_or_else(|| ConfigError("--set: must be KEY=VALUE".to_owned()))?;
        set(&mut table, key, value)?;
    }
    Ok(table)
}

/// The effective configuration as TOML, with every secret redacted.
pub fn effective(args: &ServeArgs, environment: &Environment) -> Result<String, ConfigError> {
    let mut table = merged(args, environment)?;
    if let Some(Value::String(url)) = table
        .get_mut("store")
        .and_then(|store| store.get_mut("url"))
    {
        *url = without_password(url);
    }
    let roots = table
        .get_mut("access")
        .and_then(|access| access.get_mut("root_tokens"));
    for root in roots.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(token) = root.get_mut("token") {
            *token = Value::String("redacted".to_owned());
        }
    }
    toml::to_string_pretty(&table).map_err(|error| ConfigError(error.to_string()))
}

/// A URL with `***` for everything between the first `:` of its user information and the last `@`.
pub(super) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let Some((user_info, place)) = rest.rsplit_once('@') else {
        return url.to_owned();
    };
    let user = user_info.split(':').next().unwrap_or_default();
    format!("{scheme}://{user}:***@{place}")
}

/// Puts `upper` over `lower`, whose keys are all there are.
fn overlay(lower: &mut Table, upper: Table) -> Result<(), ConfigError> {
    for (section, entries) in upper {
        let unknown = |key: &str| ConfigError(format!("unknown key {key}"));
        let known = lower
            .get_mut(&section)
            .and_then(Value::as_table_mut)
            .ok_or_else(|| unknown(&section))?;
        let Value::Table(entries) = entries else {
            return Err(ConfigError(format!("{section} must be a section")));
        };
        for (key, value) in entries {
            let path = format!("{section}.{key}");
            let default = known.get_mut(&key).ok_or_else(|| unknown(&path))?;
            if !default.same_type(&value) {
                let (wanted, given) = (default.type_str(), value.type_str());
                return Err(ConfigError::key(
                    &path,
                    format!("must be of type {wanted}, not {given}"),
                ));
            }
            *default = value;
        }
    }
    Ok(())
}

/// Sets one key from text, read as the type that the key has.
fn set(table: &mut Table, path: &str, text: &str) -> Result<(), ConfigError> {
    let place = path
        .split_once('.')
        .and_then(|(section, key)| table.get_mut(section)?.get_mut(key));
    let place = place.ok_or_else(|| ConfigError(format!("unknown key {path}")))?;
    let refuse = |kind: &str| ConfigError::key(path, format!("must be {kind}"));
    *place = match place {
        Value::String(_) => Value::String(text.to_owned()),
        Value::Boolean(_) => Value::Boolean(text.parse().map_err(|_| refuse("true or false"))?),
        Value::Integer(_) => Value::Integer(text.parse().map_err(|_| refuse("a whole number"))?),
        _ => format!("value = {text}")
            .parse::<Table>()
            .ok()
            .and_then(|mut parsed| parsed.remove("value"))
            .filter(Value::is_array)
            .ok_or_else(|| refuse("a TOML array"))?,
    };
    Ok(())
}

/// The keys that the environment sets. Variables that begin like ours but name no key are left
/// alone: container platforms make such names up.
fn from_environment(
    table: &Table,
    environment: &Environment,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut keys = Vec::new();
    let mut take = |name: &str, key: &str| {
        if let Some(value) = environment.get(&format!("{PREFIX}{name}")) {
            keys.push((key.to_owned(), value.clone()));
        }
    };
    for (section, entries) in table {
        for key in entries.as_table().into_iter().flat_map(Table::keys) {
            take(
                &format!("{section}_{key}").to_uppercase(),
                &format!("{section}.{key}"),
            );
        }
    }
    for (name, key) in SHORT_NAMES {
        take(name, key);
    }
    for name in FROM_FILES {
        let key = SHORT_NAMES
            .iter()
            .find(|(short, _)| *short == name)
            .map_or(name, |(_, key)| key);
        if let Some(value) = from_file(name, environment)? {
            keys.push((key.to_owned(), value));
        }
    }
    Ok(keys)
}

/// The content of the file that `TOKEN_AUTHORITY_<name>_FILE` names, without its line's end.
pub(super) fn from_file(
    name: &str,
    environment: &Environment,
) -> Result<Option<String>, ConfigError> {
    let variable = format!("{PREFIX}{name}_FILE");
    let Some(path) = environment.get(&variable) else {
        return Ok(None);
    };
    if environment.contains_key(&format!("{PREFIX}{name}")) {
        return Err(ConfigError(format!(
            "{variable} and {PREFIX}{name} are both set; set one"
        )));
    }
    let text = fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("{variable}: {path}: {error}")))?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}
