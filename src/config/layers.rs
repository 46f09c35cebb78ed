//! The layers of the configuration, later over earlier: defaults, file, environment, flags.

use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::args::ServeArgs;
use super::{Config, ConfigError, Environment, namespaces, peppers};

/// The annotated default configuration; it is the defaults.
pub const DEFAULTS: &str = include_str!("../../config.default.toml");

pub(super) const PREFIX: &str = "TOKEN_AUTHORITY_";

/// Variables whose names are shorter than section and key.
pub(super) const SHORT_NAMES: [(&str, &str); 2] =
    [("LISTEN", "server.listen"), ("STORE", "store.url")];

/// Keys whose values may hold a secret, and their variables. The value can also come from a file,
/// which the variable with `_FILE` at its end names.
pub(super) const FROM_FILES: [(&str, &[&str]); 1] = [("store.url", &["STORE", "STORE_URL"])];

/// All layers, put together.
pub(super) struct Layers {
    /// Types are those of the defaults, so a variable is read as what it sets.
    pub(super) table: Table,
    /// Everything that is wrong with them, in their order.
    pub(super) problems: Vec<ConfigError>,
    /// The file that is named, and what it sets.
    pub(super) file: Option<(PathBuf, Table)>,
}

/// All layers as one table, or the first thing that is wrong with them.
pub(super) fn merged(args: &ServeArgs, environment: &Environment) -> Result<Table, ConfigError> {
    let Layers {
        table, problems, ..
    } = gathered(args, environment);
    problems.into_iter().next().map_or(Ok(table), Err)
}

/// The same, but what stands in files that variables name keeps its default.
pub(super) fn merged_without_files(
    args: &ServeArgs,
    environment: &Environment,
) -> Result<Table, ConfigError> {
    let Layers {
        table, problems, ..
    } = layered(args, environment, &[]);
    problems.into_iter().next().map_or(Ok(table), Err)
}

/// All layers; what is wrong is left out of the table.
pub(super) fn gathered(args: &ServeArgs, environment: &Environment) -> Layers {
    layered(args, environment, &FROM_FILES)
}

fn layered(args: &ServeArgs, environment: &Environment, from_files: &[(&str, &[&str])]) -> Layers {
    let mut problems = Vec::new();
    let mut table: Table = DEFAULTS.parse().unwrap_or_else(|error: toml::de::Error| {
        problems.push(ConfigError(error.message().to_owned()));
        Table::new()
    });
    let file = named_file(args, environment).map(|path| {
        let set = read_file(&path).unwrap_or_else(|problem| {
            problems.push(problem);
            Table::new()
        });
        let fail = |error| ConfigError(format!("configuration file {}: {error}", path.display()));
        problems.extend(overlay(&mut table, set.clone()).into_iter().map(fail));
        (path, set)
    });
    let (keys, unread) = from_environment(&table, environment, from_files);
    problems.extend(unread);
    for (key, value) in keys {
        problems.extend(set(&mut table, &key, &value).err());
    }
    for (key, value) in args.keys() {
        problems.extend(set(&mut table, key, &value).err());
    }
    for setting in &args.settings {
        let put = match setting.split_once('=') {
            Some((key, value)) => set(&mut table, key, value),
            None => Err(ConfigError("--set: must be KEY=VALUE".to_owned())),
        };
        problems.extend(put.err());
    }
    Layers {
        table,
        problems,
        file,
    }
}

fn named_file(args: &ServeArgs, environment: &Environment) -> Option<PathBuf> {
    let variable = environment.get(&format!("{PREFIX}CONFIG"));
    args.config.clone().or_else(|| variable.map(Into::into))
}

fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let fail = |why: String| ConfigError(format!("configuration file {}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    // Only the message: the error's own rendering quotes the line, which may hold a secret.
    text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(0, |span| {
            text[..span.start.min(text.len())].matches('\n').count() + 1
        });
        fail(format!("line {line}: {}", error.message()))
    })
}

/// The layers as TOML. What may hold a secret is taken from the parsed `config`, where it is known
/// what is what.
pub(super) fn printed(mut table: Table, config: &Config) -> Result<String, ConfigError> {
    let mut put = |section: &str, key: &str, value: Value| {
        if let Some(Value::Table(entries)) = table.get_mut(section) {
            entries.insert(key.to_owned(), value);
        }
    };
    put("store", "url", Value::String(config.store.url.to_string()));
    put("secrets", "peppers", peppers::redacted(&config.keyring));
    let roots = config.root_tokens.iter().map(|root| {
        let pairs = [("name", root.name.as_str()), ("token", root.redacted())];
        let pairs = pairs.map(|(key, text)| (key.to_owned(), Value::String(text.to_owned())));
        Value::Table(Table::from_iter(pairs))
    });
    put("access", "root_tokens", Value::Array(roots.collect()));
    toml::to_string_pretty(&table)
        .map_err(|_| ConfigError("the configuration cannot be printed".to_owned()))
}

/// A URL with `***` for everything that may be a password: what follows the first `:` of the user
/// information, all of it where there is none, and a query.
pub(super) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "***".to_owned();
    };
    let (user_info, place) = match rest.rsplit_once('@') {
        Some((user_info, place)) => (Some(user_info), place),
        None => (None, rest),
    };
    let user = match user_info.map(|info| info.split_once(':')) {
        Some(Some((user, _))) => format!("{user}:***@"),
        Some(None) => "***@".to_owned(),
        None => String::new(),
    };
    match place.find(['?', '#']) {
        Some(end) => format!("{scheme}://{user}{}?***", &place[..end]),
        None => format!("{scheme}://{user}{place}"),
    }
}

/// Puts `upper` over `lower`, whose keys are all there are; answers what cannot be put there.
fn overlay(lower: &mut Table, upper: Table) -> Vec<ConfigError> {
    let mut problems = Vec::new();
    for (section, entries) in upper {
        let Some(known) = lower.get_mut(&section).and_then(Value::as_table_mut) else {
            problems.push(unknown_key(&section));
            continue;
        };
        let Value::Table(entries) = entries else {
            problems.push(ConfigError(format!("{section} must be a section")));
            continue;
        };
        if section == namespaces::SECTION {
            problems.extend(namespaces::overlay(known, entries).err());
            continue;
        }
        for (key, value) in entries {
            let path = format!("{section}.{key}");
            match known.get_mut(&key) {
                None => problems.push(unknown_key(&path)),
                Some(default) if default.same_type(&value) => *default = value,
                Some(default) => {
                    let (wanted, given) = (default.type_str(), value.type_str());
                    let why = format!("must be of type {wanted}, not {given}");
                    problems.push(ConfigError::key(&path, why));
                }
            }
        }
    }
    problems
}

/// Names a key that there is not, unless the text can be no key and so may be anything.
fn unknown_key(path: &str) -> ConfigError {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c);
    if path.len() <= 64 && path.chars().all(known) {
        return ConfigError(format!("unknown key {path}"));
    }
    ConfigError("unknown key, which is not shown: a key has a-z, 0-9, '_' and '.' only".to_owned())
}

/// Sets one key from text, read as the type that the key has.
fn set(table: &mut Table, path: &str, text: &str) -> Result<(), ConfigError> {
    let (section, key) = path.split_once('.').ok_or_else(|| unknown_key(path))?;
    let entries = table.get_mut(section).and_then(Value::as_table_mut);
    let entries = entries.ok_or_else(|| unknown_key(path))?;
    if section == namespaces::SECTION {
        return namespaces::set(entries, key, text);
    }
    let place = entries.get_mut(key);
    let place = place.ok_or_else(|| unknown_key(path))?;
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

/// The keys that the environment sets, those of namespaces left out: a variable's name has neither
/// small letters nor dashes, and could not say whose it is. Variables that begin like ours but name no key are left
/// alone: container platforms make such names up. The files that cannot be read come behind.
fn from_environment(
    table: &Table,
    environment: &Environment,
    from_files: &[(&str, &[&str])],
) -> (Vec<(String, String)>, Vec<ConfigError>) {
    let (mut keys, mut problems) = (Vec::new(), Vec::new());
    let mut take = |name: &str, key: &str| {
        if let Some(value) = environment.get(&format!("{PREFIX}{name}")) {
            keys.push((key.to_owned(), value.clone()));
        }
    };
    for (section, entries) in table {
        if section == namespaces::SECTION {
            continue;
        }
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
    for (key, names) in from_files {
        match from_file(names, environment) {
            Ok(found) => keys.extend(found.map(|(_, value)| ((*key).to_owned(), value))),
            Err(problem) => problems.push(problem),
        }
    }
    (keys, problems)
}

/// The variable with `_FILE` at its end that names a file, and the content of that file without its
/// line's end. `names` set the same thing, which must be said once.
pub(super) fn from_file(
    names: &[&str],
    environment: &Environment,
) -> Result<Option<(String, String)>, ConfigError> {
    let set = |name: &String| environment.contains_key(name);
    let files = names.iter().map(|name| format!("{PREFIX}{name}_FILE"));
    let files: Vec<String> = files.filter(set).collect();
    let Some(variable) = files.first() else {
        return Ok(None);
    };
    let direct = names.iter().map(|name| format!("{PREFIX}{name}"));
    if let Some(other) = direct
        .filter(set)
        .chain(files.iter().skip(1).cloned())
        .next()
    {
        let why = format!("{variable} and {other} are both set; set one");
        return Err(ConfigError(why));
    }
    let path = environment.get(variable).map_or("", String::as_str);
    let text = fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("{variable}: {}: {error}", shown_path(path))))?;
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    Ok(Some((variable.clone(), text)))
}

/// A path for an error, unless it may be a secret that was given instead of a file.
pub(super) fn shown_path(path: &str) -> String {
    match holds_long_run(path) {
        true => "the file (its name is withheld in case it is a secret)".to_owned(),
        false => path.to_owned(),
    }
}

/// Whether 32 letters and digits stand in a row, as in a secret.
pub(super) fn holds_long_run(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .any(|run| run.len() >= 32)
}
