//! The file of contexts: servers and callers under names, kept as TOML; no secret is ever in it.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use toml::{Table, Value};

use crate::config::{Environment, default_root_token_file};
use crate::domain::flaw::quoted;

use super::failure::Failure;
use super::server::Server;

const FILE_VARIABLE: &str = "TOKEN_AUTHORITY_CONTEXTS";

/// Longest name of a context, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// What a context may say, under these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Key {
    Server,
    TokenFile,
    Namespace,
    CaFile,
    ServerName,
    CertFile,
    #[value(name = "key_file")]
    PrivateKeyFile,
}

impl Key {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::TokenFile => "token_file",
            Self::Namespace => "namespace",
            Self::CaFile => "ca_file",
            Self::ServerName => "server_name",
            Self::CertFile => "cert_file",
            Self::PrivateKeyFile => "key_file",
        }
    }

    /// The variable that says the same, where there is one.
    pub(super) fn variable(self) -> Option<&'static str> {
        match self {
            Self::Server => Some("TOKEN_AUTHORITY_SERVER"),
            Self::TokenFile => Some("TOKEN_AUTHORITY_TOKEN_FILE"),
            Self::Namespace => None,
            Self::CaFile => Some("TOKEN_AUTHORITY_CA_FILE"),
            Self::ServerName => Some("TOKEN_AUTHORITY_SERVER_NAME"),
            Self::CertFile => Some("TOKEN_AUTHORITY_CERT_FILE"),
            Self::PrivateKeyFile => Some("TOKEN_AUTHORITY_KEY_FILE"),
        }
    }

    fn of(name: &str) -> Option<Self> {
        let mut keys = Self::value_variants().iter();
        keys.find(|key| key.name() == name).copied()
    }

    /// Whether it names a file, which must not depend on the folder that a command is run in.
    fn is_path(self) -> bool {
        matches!(
            self,
            Self::TokenFile | Self::CaFile | Self::CertFile | Self::PrivateKeyFile
        )
    }

    fn is_of_tls(self) -> bool {
        matches!(
            self,
            Self::CaFile | Self::ServerName | Self::CertFile | Self::PrivateKeyFile
        )
    }
}

/// What one context says; nothing of it is empty.
pub(super) type Context = BTreeMap<Key, String>;

/// The file and what it holds; a file that is not there holds nothing.
#[derive(Debug)]
pub(super) struct Contexts {
    path: PathBuf,
    pub(super) current: Option<String>,
    pub(super) named: BTreeMap<String, Context>,
}

impl Contexts {
    /// Reads the file that the environment means, and holds every value in it to what it must be.
    pub(super) fn load(environment: &Environment) -> Result<Self, Failure> {
        let path = place(environment)?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Failure::Usage(format!("{}: {error}", path.display()))),
        };
        let mut contexts = Self {
            path,
            current: None,
            named: BTreeMap::new(),
        };
        contexts.read(&text).map_err(|why| contexts.refusal(&why))?;
        Ok(contexts)
    }

    fn read(&mut self, text: &str) -> Result<(), String> {
        let table = text.parse::<Table>().map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.unwrap_or_default().matches('\n').count() + 1;
            format!("line {line}: {}", error.message())
        })?;
        for (key, value) in table {
            match (key.as_str(), value) {
                ("current", Value::String(name)) => self.current = Some(name),
                ("current", other) => {
                    return Err(format!("current: must be a string; got {}", kind(&other)));
                }
                ("contexts", Value::Table(contexts)) => {
                    for (name, context) in contexts {
                        let context = read_context(&name, context)?;
                        self.named.insert(name, context);
                    }
                }
                ("contexts", other) => {
                    return Err(format!("contexts: must be a table; got {}", kind(&other)));
                }
                _ => {
                    let key = quoted(&key);
                    return Err(format!("unknown key {key}; there are current and contexts"));
                }
            }
        }
        match &self.current {
            Some(name) if !self.named.contains_key(name) => Err(format!(
                "current: there is no context {}; {}",
                quoted(name),
                self.known()
            )),
            _ => Ok(()),
        }
    }

    /// What is wrong with the file.
    pub(super) fn refusal(&self, why: &str) -> Failure {
        Failure::Usage(format!("{}: {why}", self.path.display()))
    }

    /// The context of that name, of which `asked` says who asked for it.
    pub(super) fn find(&self, name: &str, asked: &str) -> Result<&Context, Failure> {
        self.named.get(name).ok_or_else(|| {
            let why = format!("there is no context {}", quoted(name));
            self.refusal(&format!("{asked}{why}; {}", self.known()))
        })
    }

    fn known(&self) -> String {
        let names: Vec<&str> = self.named.keys().map(String::as_str).collect();
        match names.as_slice() {
            [] => "there are none yet; context set makes one".to_owned(),
            names => format!("there are {}", names.join(", ")),
        }
    }

    /// Holds a context that was made or changed to the same rules as one that is read.
    pub(super) fn put(&mut self, name: &str, context: Context) -> Result<(), Failure> {
        check(name, &context).map_err(Failure::Usage)?;
        self.named.insert(name.to_owned(), context);
        Ok(())
    }

    /// Writes the file whole, for its owner only: whoever reads it meanwhile sees it before or after.
    pub(super) fn save(&self) -> Result<(), Failure> {
        let failed =
            |error: io::Error| self.refusal(&format!("the contexts cannot be written: {error}"));
        // The file itself, where its name is a link to it.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let mut maker = DirBuilder::new();
        maker.recursive(true).mode(0o700);
        maker.create(folder).map_err(failed)?;
        let temporary = folder.join(format!(".contexts.{}.new", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| {
                file.write_all(self.text().as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&temporary, &path));
        written.map_err(|error| {
            // It is of no use to anybody; the error that matters is told.
            let _ = fs::remove_file(&temporary);
            failed(error)
        })
    }

    fn text(&self) -> String {
        let contexts = self.named.iter().map(|(name, context)| {
            let values = context.iter();
            let values = values.map(|(key, text)| (key.name().to_owned(), text.clone().into()));
            (name.clone(), Value::Table(values.collect()))
        });
        let mut table = Table::new();
        table.extend(
            self.current
                .clone()
                .map(|name| ("current".to_owned(), name.into())),
        );
        table.insert("contexts".to_owned(), Value::Table(contexts.collect()));
        let head =
            "# Written by token-authority context; secrets stay in the files that it names.\n";
        format!("{head}{table}")
    }
}

/// Where the file is.
fn place(environment: &Environment) -> Result<PathBuf, Failure> {
    let named = environment
        .get(FILE_VARIABLE)
        .filter(|path| !path.is_empty());
    let beside = || Some(default_root_token_file(environment)?.with_file_name("contexts.toml"));
    let place = named.map(PathBuf::from).or_else(beside);
    place.ok_or_else(|| {
        let why = "there is no place for contexts: set HOME, XDG_CONFIG_HOME or";
        Failure::Usage(format!("{why} {FILE_VARIABLE}"))
    })
}

fn read_context(name: &str, value: Value) -> Result<Context, String> {
    let Value::Table(table) = value else {
        let got = kind(&value);
        return Err(format!("contexts.{name}: must be a table; got {got}"));
    };
    let mut context = Context::new();
    for (key, value) in table {
        let at = format!("contexts.{name}.{key}");
        let known = Key::of(&key).ok_or_else(|| unknown(&key, &at))?;
        let Value::String(text) = value else {
            return Err(format!("{at}: must be a string; got {value}"));
        };
        context.insert(known, text);
    }
    check(name, &context)?;
    Ok(context)
}

/// Never with the value: it may be a secret that somebody meant to keep there.
fn unknown(key: &str, at: &str) -> String {
    if matches!(key, "token" | "secret") {
        return format!(
            "{at}: a context holds no secret; write it to a file of mode 0600, and name that in token_file"
        );
    }
    let names: Vec<&str> = Key::value_variants().iter().map(|key| key.name()).collect();
    format!("{at}: unknown key; there are {}", names.join(", "))
}

/// What a context must be, whoever wrote it.
fn check(name: &str, context: &Context) -> Result<(), String> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(sound) {
        return Err(format!(
            "the name of a context must be 1 to {NAME_BYTES_MAX} letters, digits, dots, dashes and \
             underscores; got {}",
            quoted(name)
        ));
    }
    for (key, text) in context {
        let at = format!("contexts.{name}.{}", key.name());
        if text.is_empty() || text.chars().any(char::is_control) {
            let got = quoted(text);
            return Err(format!("{at}: must be visible text; got {got}"));
        }
        if key.is_path() && !Path::new(text).is_absolute() {
            let got = quoted(text);
            return Err(format!(
                "{at}: must be a path that begins with /; got {got}"
            ));
        }
    }
    let Some(server) = context.get(&Key::Server) else {
        return Err(format!("contexts.{name}.server: is missing; give --server"));
    };
    let at = |key: Key| format!("contexts.{name}.{}", key.name());
    let way = |why: Failure| format!("{}: {}", at(Key::Server), why.in_one_line());
    let server = Server::named(server).map_err(way)?;
    let of_tls = context.keys().find(|key| key.is_of_tls());
    if let Some(key) = of_tls.filter(|_| !matches!(server, Server::Tls { .. })) {
        let at = at(*key);
        return Err(format!("{at}: is for TLS, which is not spoken to {server}"));
    }
    for (given, missing) in [
        (Key::CertFile, Key::PrivateKeyFile),
        (Key::PrivateKeyFile, Key::CertFile),
    ] {
        if context.contains_key(&given) && !context.contains_key(&missing) {
            return Err(format!("{}: needs {} beside it", at(given), missing.name()));
        }
    }
    Ok(())
}

/// What a value is, without what it says.
fn kind(value: &Value) -> &'static str {
    value.type_str()
}

#[cfg(test)]
mod tests;
