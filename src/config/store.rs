//! Which store holds the tokens, and what is demanded of it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::domain::flaw::quoted;
use crate::store::{Durability, StoreId};

use super::layers::without_password;
use super::{ConfigError, span, within};

const URL: &str = "store.url";

/// Longest text before a colon that an error repeats as a scheme.
const SCHEME_CHARS_MAX: usize = 16;

/// Schemes that mean something, only not yet.
const LATER_SCHEMES: [&str; 2] = ["redis-sentinel", "redis-cluster"];

/// Which store, and how it is used.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub url: StoreUrl,
    pub require_existing: bool,
    pub id: Option<StoreId>,
    pub min_durability: Durability,
    /// How many replicas must have a change before it is answered.
    pub replicas: usize,
    pub accept_eviction: bool,
    pub redis_prefix: String,
    pub redis_connections: usize,
    pub redis_tls: RedisTlsFiles,
    pub read_timeout: Duration,
    pub write_timeout: Duration,
}

/// Certificates for a Redis that speaks TLS, in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisTlsFiles {
    /// `None` means the authorities of the system.
    pub authorities: Option<PathBuf>,
    /// What is shown to Redis: a certificate, and its key.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// Where tokens are kept.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    Sqlite(PathBuf),
    /// The whole URL, which may hold a password.
    Redis(String),
}

impl StoreUrl {
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if let Some(path) = text.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
            return Ok(Self::Sqlite(PathBuf::from(path)));
        }
        let redis = text
            .strip_prefix("redis://")
            .or_else(|| text.strip_prefix("rediss://"));
        if redis.is_some_and(|rest| !rest.is_empty()) {
            return Ok(Self::Redis(text.to_owned()));
        }
        let forms = "must be sqlite:PATH or redis[s]://[user:password@]host:port[/database]";
        // Without a colon it may be a password by itself.
        let scheme = text.split_once(':').map(|(scheme, _)| scheme);
        let why = match scheme.filter(|scheme| scheme.len() <= SCHEME_CHARS_MAX) {
            Some(later) if LATER_SCHEMES.contains(&later) => {
                format!("{later}:// is not in this release; {forms}")
            }
            Some(scheme) => format!("{forms}; got the scheme {}", quoted(scheme)),
            None => forms.to_owned(),
        };
        Err(ConfigError::key(URL, why))
    }
}

/// The URL without its password.
impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Redis(url) => f.write_str(&without_password(url)),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoreTable {
    url: String,
    require_existing: bool,
    id: String,
    min_durability: String,
    replicas: i64,
    accept_eviction: bool,
    redis_prefix: String,
    redis_connections: i64,
    redis_ca_file: String,
    redis_certificate_file: String,
    redis_key_file: String,
    read_timeout: String,
    write_timeout: String,
}

impl StoreTable {
    pub(super) fn parse(self) -> Result<StoreConfig, ConfigError> {
        let Self {
            url,
            require_existing,
            id,
            min_durability,
            replicas,
            accept_eviction,
            redis_prefix,
            redis_connections,
            redis_ca_file,
            redis_certificate_file,
            redis_key_file,
            read_timeout,
            write_timeout,
        } = self;
        let id = Some(id).filter(|id| !id.is_empty());
        let id = id.map(|id| StoreId::parse(&id)).transpose();
        let id = id.map_err(|flaw| ConfigError::key("store.id", flaw))?;
        let smallest = Duration::from_millis(1);
        let url = StoreUrl::parse(&url)?;
        if let (StoreUrl::Sqlite(_), Some(_)) = (&url, &id) {
            // Whoever names a store means that one, not a new file that knows no token.
            let why = "names a Redis store, but store.url is an SQLite file; set store.url, \
                       TOKEN_AUTHORITY_STORE or TOKEN_AUTHORITY_STORE_FILE, or leave store.id empty";
            return Err(ConfigError::key("store.id", why));
        }
        let replicas = within("store.replicas", replicas, 0, 5)?;
        if matches!(url, StoreUrl::Sqlite(_)) && replicas > 0 {
            let why = format!(
                "asks for {replicas} replicas of a Redis, but store.url is an SQLite file, which has \
                 none; name a Redis, or set it to 0"
            );
            return Err(ConfigError::key("store.replicas", why));
        }
        Ok(StoreConfig {
            url,
            require_existing,
            id,
            min_durability: demandable(&min_durability)?,
            replicas,
            accept_eviction,
            redis_prefix: prefix(redis_prefix)?,
            redis_tls: tls_files(redis_ca_file, redis_certificate_file, redis_key_file)?,
            redis_connections: within("store.redis_connections", redis_connections, 1, 4)?,
            read_timeout: span("store.read_timeout", &read_timeout, smallest)?,
            write_timeout: span("store.write_timeout", &write_timeout, smallest)?,
        })
    }
}

fn tls_files(ca: String, certificate: String, key: String) -> Result<RedisTlsFiles, ConfigError> {
    let file = |text: String| {
        Some(text)
            .filter(|text| !text.is_empty())
            .map(PathBuf::from)
    };
    let needs = |key: &str, other: &str| ConfigError::key(key, format!("needs {other}"));
    let (certificate_key, key_key) = ("store.redis_certificate_file", "store.redis_key_file");
    let own = match (file(certificate), file(key)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => return Err(needs(certificate_key, key_key)),
        (None, Some(_)) => return Err(needs(key_key, certificate_key)),
    };
    Ok(RedisTlsFiles {
        authorities: file(ca),
        own,
    })
}

/// A class that a Redis can have.
fn demandable(text: &str) -> Result<Durability, ConfigError> {
    let mut classes = Durability::ALL.into_iter();
    let class = classes.find(|class| class.as_str() == text && *class < Durability::Embedded);
    class.ok_or_else(|| {
        let why = "must be \"none\", \"1s\", \"strict\" or \"replicated\"; got";
        ConfigError::key("store.min_durability", format!("{why} {}", quoted(text)))
    })
}

fn prefix(text: String) -> Result<String, ConfigError> {
    let known =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    if (1..=32).contains(&text.len()) && text.bytes().all(known) {
        return Ok(text);
    }
    let why = "must be 1 to 32 of a-z, 0-9, '_', '-'; got";
    let why = format!("{why} {}", quoted(&text));
    Err(ConfigError::key("store.redis_prefix", why))
}
