//! Root tokens: read from the configuration, kept as digests from then on.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use toml::Value;
use zeroize::Zeroizing;

use crate::domain::flaw::quoted;

use super::layers::{from_file, holds_long_run, shown_path};
use super::{ConfigError, Environment};

const KEY: &str = "access.root_tokens";
const VARIABLE: &str = "TOKEN_AUTHORITY_ROOT_TOKEN";

/// The variables that name a root token.
pub(super) const VARIABLES: [&str; 2] = [VARIABLE, "TOKEN_AUTHORITY_ROOT_TOKEN_FILE"];

/// What the root token of the environment is called, and no other.
const ENVIRONMENT: &str = "environment";

const SECRET_CHARS_MIN: usize = 32;
const SECRET_CHARS_MAX: usize = 512;

/// A root token: a name for the audit log, and the SHA-256 of the secret.
#[derive(Clone)]
pub struct RootToken {
    pub name: String,
    pub digest: [u8; 32],
}

impl fmt::Debug for RootToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootToken({})", self.name)
    }
}

impl RootToken {
    /// The root token of a secret that the authority made or read itself. `place` says in errors
    /// where it was read.
    pub fn of_secret(name: &str, place: &str, secret: &str) -> Result<Self, ConfigError> {
        let sound = (SECRET_CHARS_MIN..=SECRET_CHARS_MAX).contains(&secret.len())
            && secret.bytes().all(|byte| byte.is_ascii_graphic());
        if !sound {
            return Err(ConfigError(format!(
                "{place}: a root token must be {SECRET_CHARS_MIN} to {SECRET_CHARS_MAX} visible \
                 ASCII characters, or sha256: and 64 hex digits; this one has {} bytes",
                secret.len()
            )));
        }
        Ok(Self {
            name: name.to_owned(),
            digest: Sha256::digest(secret.as_bytes()).into(),
        })
    }

    /// What is printed in the secret's place.
    pub(super) fn redacted(&self) -> &'static str {
        match self.name == ENVIRONMENT {
            true => "redacted; from TOKEN_AUTHORITY_ROOT_TOKEN or TOKEN_AUTHORITY_ROOT_TOKEN_FILE",
            false => "redacted",
        }
    }

    fn parse(name: &str, place: &str, text: &str) -> Result<Self, ConfigError> {
        let Some(hex) = text.strip_prefix("sha256:") else {
            return Self::of_secret(name, place, text);
        };
        let byte = |at: usize| u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok();
        let digits = hex.len() == 64 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
        let mut digest = [0; 32];
        for (at, place) in digest.iter_mut().enumerate() {
            let read = if digits { byte(at) } else { None };
            *place = read.ok_or_else(|| {
                ConfigError(format!(
                    "{place}: in a root token, after sha256: there must be 64 hex digits"
                ))
            })?;
        }
        Ok(Self {
            name: name.to_owned(),
            digest,
        })
    }
}

/// One entry of `access.root_tokens`.
struct Entry {
    name: String,
    token: Option<Zeroizing<String>>,
    token_file: Option<PathBuf>,
}

impl Entry {
    /// Reads an entry, whose `place` errors name. They repeat no value: one may be a secret.
    fn read(place: &str, value: Value) -> Result<Self, ConfigError> {
        let refuse = |why: &str| ConfigError::key(place, why);
        let Value::Table(table) = value else {
            return Err(refuse("must be a table with name, and token or token_file"));
        };
        let (mut name, mut token, mut token_file) = (None, None, None);
        for (key, value) in table {
            let slot = match key.as_str() {
                "name" => &mut name,
                "token" => &mut token,
                "token_file" => &mut token_file,
                _ => {
                    let known = "there are name, token and token_file";
                    return Err(refuse(&format!("unknown key {}; {known}", quoted(&key))));
                }
            };
            let Value::String(text) = value else {
                return Err(ConfigError(format!("{place}.{key}: must be a string")));
            };
            *slot = Some(text);
        }
        let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let fit = |name: &String| {
            (1..=63).contains(&name.len()) && name.chars().all(known) && !holds_long_run(name)
        };
        let name = name.filter(fit).ok_or_else(|| {
            let why = "must be 1 to 63 of a-z, A-Z, 0-9, '-', '_', '.', without 32 letters and \
                       digits in a row";
            ConfigError(format!("{place}.name: {why}"))
        })?;
        if name == ENVIRONMENT {
            let why = format!("{ENVIRONMENT:?} is the name of the one in {VARIABLE}");
            return Err(ConfigError(format!("{place}.name: {why}")));
        }
        Ok(Self {
            name,
            token: token.map(Zeroizing::new),
            token_file: token_file.map(PathBuf::from),
        })
    }

    fn parse(self) -> Result<RootToken, ConfigError> {
        let Self {
            name,
            token,
            token_file,
        } = self;
        let place = format!("root token {name}");
        let text = match (token, token_file) {
            (Some(token), None) => token,
            (None, Some(path)) => {
                let text = fs::read_to_string(&path).map_err(|error| {
                    let path = shown_path(&path.to_string_lossy());
                    ConfigError(format!("{place}: token_file {path}: {error}"))
                })?;
                Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            _ => {
                let why = "give either token or token_file";
                return Err(ConfigError::key(&place, why));
            }
        };
        RootToken::parse(&name, &place, &text)
    }
}

/// All root tokens of the file and of the environment.
pub(super) fn parse(
    values: Vec<Value>,
    environment: &Environment,
) -> Result<Vec<RootToken>, ConfigError> {
    let mut roots: Vec<RootToken> = Vec::new();
    for (at, value) in values.into_iter().enumerate() {
        let entry = Entry::read(&format!("{KEY}[{at}]"), value)?;
        if roots.iter().any(|root| root.name == entry.name) {
            let why = format!("root token {}: the name is there twice", entry.name);
            return Err(ConfigError(why));
        }
        roots.push(entry.parse()?);
    }
    roots.extend(of_environment(environment)?);
    Ok(roots)
}

fn of_environment(environment: &Environment) -> Result<Option<RootToken>, ConfigError> {
    let variable = format!("{VARIABLE}_FILE");
    let missing = environment.get(&variable).is_some_and(
        |path| matches!(fs::metadata(path), Err(error) if error.kind() == ErrorKind::NotFound),
    );
    let direct = environment
        .get(VARIABLE)
        .map(|text| (VARIABLE.to_owned(), text.clone()));
    let file = from_file(&["ROOT_TOKEN"], environment).map_err(|error| match missing {
        // The likely mistake: its name is like that of the key that says where one is written.
        true => ConfigError(format!(
            "{error}. It names a file that you wrote, and that is only read. Where a root token \
             that SQLite generates is written, say TOKEN_AUTHORITY_ACCESS_ROOT_TOKEN_FILE and \
             --root-token-file"
        )),
        false => error,
    })?;
    let Some((variable, text)) = file.or(direct) else {
        return Ok(None);
    };
    let place = format!("root token of {variable}");
    RootToken::parse(ENVIRONMENT, &place, &Zeroizing::new(text)).map(Some)
}
