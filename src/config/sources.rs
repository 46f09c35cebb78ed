//! Where a configuration comes from: which layer set how much, and where its secrets lie.

use std::path::PathBuf;

use toml::{Table, Value};

use super::Environment;
use super::args::ServeArgs;
use super::layers::{FROM_FILES, Layers, PREFIX, SHORT_NAMES};
use super::roots;

/// Variables that the command line reads as a client.
const OF_CLIENTS: [&str; 7] = [
    "SERVER",
    "SERVER_NAME",
    "TOKEN",
    "TOKEN_FILE",
    "CA_FILE",
    "CERT_FILE",
    "KEY_FILE",
];

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The configuration file, if one is named.
    pub file: Option<PathBuf>,
    /// How many keys the file sets.
    pub keys_of_file: usize,
    /// How many variables set something.
    pub variables: usize,
    /// How many flags do.
    pub flags: usize,
    /// Whether a secret itself stands in the file.
    pub file_holds_secret: bool,
    /// The flags that hold a secret, which other processes of the machine can see.
    pub flags_with_secret: Vec<&'static str>,
    /// Files that hold one secret each, by what names them.
    pub secret_files: Vec<(String, PathBuf)>,
    /// Variables that begin like ours, and that nothing reads.
    pub unread_variables: Vec<String>,
}

impl Sources {
    pub(super) fn of(layers: &Layers, args: &ServeArgs, environment: &Environment) -> Self {
        let (file, of_file) = layers.file.clone().unzip();
        let of_file: Table = of_file.unwrap_or_default();
        let read = read_variables(&layers.table);
        let clients = OF_CLIENTS.map(|name| format!("{PREFIX}{name}"));
        let unread = |name: &&String| {
            name.starts_with(PREFIX)
                && !read.contains(name)
                && !clients.contains(name)
                && !made_by_platform(name)
        };
        Self {
            keys_of_file: of_file
                .values()
                .map(|section| section.as_table().map_or(0, Table::len))
                .sum(),
            file,
            variables: environment
                .keys()
                .filter(|name| read.contains(name))
                .count(),
            flags: args.keys().len() + args.settings.len(),
            file_holds_secret: holds_secret(&of_file),
            flags_with_secret: flags_with_secret(args),
            secret_files: secret_files(&layers.table, environment),
            unread_variables: environment.keys().filter(unread).cloned().collect(),
        }
    }
}

/// All variables that configure a server.
fn read_variables(table: &Table) -> Vec<String> {
    let mut names: Vec<String> = table
        .iter()
        .flat_map(|(section, entries)| {
            let keys = entries.as_table().into_iter().flat_map(Table::keys);
            keys.map(move |key| format!("{section}_{key}").to_uppercase())
        })
        .collect();
    names.extend(SHORT_NAMES.map(|(name, _)| name.to_owned()));
    for (_, variables) in FROM_FILES {
        names.extend(variables.iter().map(|name| format!("{name}_FILE")));
    }
    names.push("CONFIG".to_owned());
    let names = names.into_iter().map(|name| format!("{PREFIX}{name}"));
    names.chain(roots::VARIABLES.map(str::to_owned)).collect()
}

/// Whether a container platform makes such a variable up for a service of our name.
fn made_by_platform(name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).unwrap_or_default();
    rest.starts_with("SERVICE_") || rest == "PORT" || rest.starts_with("PORT_")
}

/// The entries of a list of tables.
fn entries<'a>(table: &'a Table, section: &str, key: &str) -> impl Iterator<Item = &'a Table> {
    let list = table.get(section).and_then(|section| section.get(key));
    let list = list.and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_table)
}

/// Whether secrets themselves stand in the table, rather than digests or names of files.
fn holds_secret(table: &Table) -> bool {
    let text = |entry: &Table, key: &str| {
        let text = entry.get(key).and_then(Value::as_str)?;
        Some(text.to_owned())
    };
    let token = |entry: &Table| text(entry, "token").is_some_and(|t| !t.starts_with("sha256:"));
    let url = table.get("store").and_then(|store| store.get("url"));
    entries(table, "access", "root_tokens").any(token)
        || entries(table, "secrets", "peppers").any(|entry| entry.contains_key("pepper"))
        || url.and_then(Value::as_str).is_some_and(has_password)
}

/// Whether a store's URL has user information, all of which may be a password.
fn has_password(url: &str) -> bool {
    url.split_once("://")
        .is_some_and(|(_, rest)| rest.contains('@'))
}

fn flags_with_secret(args: &ServeArgs) -> Vec<&'static str> {
    let store = args.store.as_deref().is_some_and(has_password);
    let setting = args.settings.iter().any(|setting| {
        let Some((key, value)) = setting.split_once('=') else {
            return false;
        };
        match key.split_once('.') {
            Some(("store", "url")) => has_password(value),
            Some((section, key)) => {
                let parsed = format!("{section} = {{ {key} = {value} }}").parse::<Table>();
                parsed.is_ok_and(|table| holds_secret(&table))
            }
            None => false,
        }
    });
    let flags = [("--store", store), ("--set", setting)];
    flags
        .into_iter()
        .filter_map(|(flag, holds)| holds.then_some(flag))
        .collect()
}

fn secret_files(table: &Table, environment: &Environment) -> Vec<(String, PathBuf)> {
    let of_list = |section: &str, key: &str, file: &str| -> Vec<(String, PathBuf)> {
        let paths = entries(table, section, key).enumerate();
        paths
            .filter_map(|(at, entry)| {
                let path = entry.get(file).and_then(Value::as_str)?;
                Some((format!("{section}.{key}[{at}].{file}"), PathBuf::from(path)))
            })
            .collect()
    };
    let mut files = of_list("access", "root_tokens", "token_file");
    files.extend(of_list("secrets", "peppers", "pepper_file"));
    let variables = FROM_FILES.iter().flat_map(|(_, names)| names.iter());
    let variables = variables.map(|name| format!("{PREFIX}{name}_FILE"));
    let roots = roots::VARIABLES
        .into_iter()
        .filter(|name| name.ends_with("_FILE"));
    files.extend(
        variables
            .chain(roots.map(str::to_owned))
            .filter_map(|name| {
                let path = PathBuf::from(environment.get(&name)?);
                Some((name, path))
            }),
    );
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layers;

    fn sources(file: &str, args: ServeArgs, variables: &[(&str, &str)]) -> Sources {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, file).unwrap();
        let args = ServeArgs {
            config: Some(path),
            ..args
        };
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment = variables.iter().map(pair).collect();
        Sources::of(&layers::gathered(&args, &environment), &args, &environment)
    }

    #[test]
    fn each_layer_is_counted() {
        let args = ServeArgs {
            listen: Some("127.0.0.1:0".to_owned()),
            settings: vec!["log.filter=warn".to_owned()],
            ..ServeArgs::default()
        };
        let found = sources(
            "[log]\nfilter = \"info\"\nformat = \"json\"\n[limits]\nstreams = 7\n",
            args,
            &[
                ("TOKEN_AUTHORITY_LISTEN", "x"),
                ("TOKEN_AUTHORITY_ROOT_TOKEN", "x"),
                ("HOME", "/root"),
            ],
        );
        let counts = (found.keys_of_file, found.variables, found.flags);
        assert_eq!(counts, (3, 2, 2));
        assert!(!found.file_holds_secret && found.flags_with_secret.is_empty());
    }

    #[test]
    fn a_variable_that_nothing_reads_is_named_unless_a_platform_made_it() {
        let found = sources(
            "",
            ServeArgs::default(),
            &[
                ("TOKEN_AUTHORITY_STOER", "x"),
                ("TOKEN_AUTHORITY_SERVER", "x"),
                ("TOKEN_AUTHORITY_SERVICE_HOST", "x"),
                ("TOKEN_AUTHORITY_PORT_50051_TCP", "x"),
                ("TOKEN_AUTHORITY_LIMITS_STREAMS", "7"),
            ],
        );
        assert_eq!(found.unread_variables, ["TOKEN_AUTHORITY_STOER"]);
    }

    #[test]
    fn secrets_are_found_where_they_stand_and_digests_are_none() {
        let digest = "[access]\nroot_tokens = [{ name = \"a\", token = \"sha256:00\" }]\n";
        assert!(!sources(digest, ServeArgs::default(), &[]).file_holds_secret);
        for secret in [
            "[access]\nroot_tokens = [{ name = \"a\", token = \"s\" }]\n",
            "[secrets]\npeppers = [{ id = 1, pepper = \"s\" }]\n",
            "[store]\nurl = \"redis://:s@host\"\n",
        ] {
            assert!(sources(secret, ServeArgs::default(), &[]).file_holds_secret);
        }
        let args = ServeArgs {
            store: Some("redis://:s@host".to_owned()),
            settings: vec!["secrets.peppers=[{ id = 1, pepper = \"s\" }]".to_owned()],
            ..ServeArgs::default()
        };
        let found = sources("", args, &[]);
        assert_eq!(found.flags_with_secret, ["--store", "--set"]);
    }

    #[test]
    fn files_of_secrets_are_named_by_what_names_them() {
        let file = "[access]\nroot_tokens = [{ name = \"a\", token_file = \"/r\" }]\n\
                    [secrets]\npeppers = [{ id = 1, pepper_file = \"/p\" }]\n";
        let variables = [("TOKEN_AUTHORITY_ROOT_TOKEN_FILE", "/e")];
        let found = sources(file, ServeArgs::default(), &variables);
        let names: Vec<String> = found
            .secret_files
            .iter()
            .map(|(name, path)| format!("{name} {}", path.display()))
            .collect();
        assert_eq!(
            names,
            [
                "access.root_tokens[0].token_file /r",
                "secrets.peppers[0].pepper_file /p",
                "TOKEN_AUTHORITY_ROOT_TOKEN_FILE /e",
            ]
        );
    }
}
