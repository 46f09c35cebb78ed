//! Root tokens: read from the configuration, kept as digests from then on.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::domain::flaw::quoted;

use super::layers::from_file;
use super::{ConfigError, Environment};

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
    /// The root token of a secret that the authority made or read itself.
    pub fn of_secret(name: &str, secret: &str) -> Result<Self, ConfigError> {
        let sound = (SECRET_CHARS_MIN..=SECRET_CHARS_MAX).contains(&secret.len())
            && secret.bytes().all(|byte| byte.is_ascii_graphic());
        if !sound {
            return Err(ConfigError(format!(
                "root token {name}: must be {SECRET_CHARS_MIN} to {SECRET_CHARS_MAX} visible ASCII \
                 characters, or sha256: and 64 hex digits; this one has {} bytes",
                secret.len()
            )));
        }
        Ok(Self {
            name: name.to_owned(),
            digest: Sha256::digest(secret.as_bytes()).into(),
        })
    }

    fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let Some(hex) = text.strip_prefix("sha256:") else {
            return Self::of_secret(name, text);
        };
        let byte = |at: usize| u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok();
        let digits = hex.len() == 64 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
        let mut digest = [0; 32];
        for (at, place) in digest.iter_mut().enumerate() {
            let read = if digits { byte(at) } else { None };
            *place = read.ok_or_else(|| {
                ConfigError(format!(
                    "root token {name}: after sha256: there must be 64 hex digits"
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
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RootTokenTable {
    name: String,
    token: Option<Zeroizing<String>>,
    token_file: Option<PathBuf>,
}

/// All root tokens of the file and of the environment.
pub(super) fn parse(
    tables: Vec<RootTokenTable>,
    environment: &Environment,
) -> Result<Vec<RootToken>, ConfigError> {
    let mut roots: Vec<RootToken> = Vec::new();
    for RootTokenTable {
        name,
        token,
        token_file,
    } in tables
    {
        let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > 63 || !name.chars().all(known) {
            let why = format!(
                "a name must be 1 to 63 of a-z, A-Z, 0-9, '-', '_', '.'; got {}",
                quoted(&name)
            );
            return Err(ConfigError::key("access.root_tokens", why));
        }
        let text = match (token, token_file) {
            (Some(token), None) => token,
            (None, Some(path)) => {
                let text = fs::read_to_string(&path).map_err(|error| {
                    ConfigError(format!(
                        "root token {name}: token_file {}: {error}",
                        path.display()
                    ))
                })?;
                Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            _ => {
                return Err(ConfigError(format!(
                    "root token {name}: give either token or token_file"
                )));
            }
        };
        if roots.iter().any(|root| root.name == name) {
            return Err(ConfigError(format!(
                "root token {name}: the name is there twice"
            )));
        }
        roots.push(RootToken::parse(&name, &text)?);
    }
    let direct = environment.get("TOKEN_AUTHORITY_ROOT_TOKEN").cloned();
    if let Some(text) = from_file("ROOT_TOKEN", environment)?.or(direct) {
        roots.push(RootToken::parse("environment", &Zeroizing::new(text))?);
    }
    Ok(roots)
}
