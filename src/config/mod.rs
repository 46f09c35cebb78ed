//! The configuration: read once, parsed into values that cannot be wrong, secrets redacted.

pub mod args;
mod layers;
mod roots;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::domain::flaw::quoted;
use crate::domain::secret::Brand;

pub use layers::{DEFAULTS, effective};
pub use roots::RootToken;

use args::ServeArgs;

/// What a person must mend, naming the key and the value (never a secret).
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    fn key(key: &str, why: impl fmt::Display) -> Self {
        Self(format!("{key}: {why}"))
    }
}

/// The variables of the process's environment.
pub type Environment = BTreeMap<String, String>;

/// Reads the environment; the only place that does. Variables that are not UTF-8 are none of ours.
pub fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The effective configuration of a server.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: ServerConfig,
    pub store: StoreConfig,
    pub brand: Brand,
    /// `brand` first, then earlier ones.
    pub accepted_brands: Vec<Brand>,
    pub root_tokens: Vec<RootToken>,
    /// `None` when neither the configuration nor the environment says where.
    pub root_token_file: Option<PathBuf>,
    pub limits: LimitsConfig,
    pub log: LogConfig,
}

/// Listening and stopping.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    pub listen: SocketAddr,
    pub drain_delay: Duration,
    pub drain_deadline: Duration,
}

/// Which store, and how it is used.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub url: StoreUrl,
    pub require_existing: bool,
    pub id: Option<String>,
    pub min_durability: String,
    pub accept_eviction: bool,
    pub redis_prefix: String,
    pub redis_connections: usize,
    pub read_timeout: Duration,
    pub write_timeout: Duration,
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
        if text
            .strip_prefix("redis://")
            .is_some_and(|rest| !rest.is_empty())
        {
            return Ok(Self::Redis(text.to_owned()));
        }
        let scheme = text.split(':').next().unwrap_or_default();
        let why =
            "must be sqlite:PATH or redis://[user:password@]host:port[/database]; got the scheme";
        Err(ConfigError::key(
            "store.url",
            format!("{why} {}", quoted(scheme)),
        ))
    }
}

/// The URL without its password.
impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Redis(url) => f.write_str(&layers::without_password(url)),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Bounds on what callers may ask at once.
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    pub message_bytes: usize,
    pub calls_in_flight: usize,
    pub calls_per_connection: u32,
    pub call_deadline: Duration,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct LogConfig {
    pub filter: String,
    pub json: bool,
}

impl Config {
    /// The configuration of a server: defaults, file, environment, flags, in that order.
    pub fn load(args: &ServeArgs, environment: &Environment) -> Result<Self, ConfigError> {
        let table = layers::merged(args, environment)?;
        let file: File = toml::Table::try_into(table)
            .map_err(|error| ConfigError(error.message().to_owned()))?;
        file.parse(environment)
    }
}

/// Where a generated root token is kept unless the configuration says otherwise; `None` without a
/// home directory.
pub fn default_root_token_file(environment: &Environment) -> Option<PathBuf> {
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let home = || set("HOME").map(|home| PathBuf::from(home).join(".config"));
    let base = set("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home)?;
    Some(base.join("token-authority").join("root-token"))
}

/// The configuration file's shape; every key is given, by the defaults at least.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    server: ServerTable,
    store: StoreTable,
    secrets: SecretsTable,
    access: AccessTable,
    limits: LimitsTable,
    log: LogTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerTable {
    listen: String,
    allow_plaintext: bool,
    drain_delay: String,
    drain_deadline: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreTable {
    url: String,
    require_existing: bool,
    id: String,
    min_durability: String,
    accept_eviction: bool,
    redis_prefix: String,
    redis_connections: usize,
    read_timeout: String,
    write_timeout: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretsTable {
    brand: String,
    accepted_brands: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessTable {
    root_tokens: Vec<roots::RootTokenTable>,
    root_token_file: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    message_bytes: usize,
    calls_in_flight: usize,
    calls_per_connection: u32,
    call_deadline: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogTable {
    filter: String,
    format: String,
}

impl File {
    fn parse(self, environment: &Environment) -> Result<Config, ConfigError> {
        let Self {
            server,
            store,
            secrets,
            access,
            limits,
            log,
        } = self;
        let brand =
            |key: &str, text: &str| Brand::parse(text).map_err(|flaw| ConfigError::key(key, flaw));
        let current = brand("secrets.brand", &secrets.brand)?;
        let mut accepted_brands = vec![current.clone()];
        for earlier in &secrets.accepted_brands {
            accepted_brands.push(brand("secrets.accepted_brands", earlier)?);
        }
        let root_token_file = match access.root_token_file.as_str() {
            "" => default_root_token_file(environment),
            path => Some(PathBuf::from(path)),
        };
        Ok(Config {
            server: server.parse()?,
            store: store.parse()?,
            brand: current,
            accepted_brands,
            root_tokens: roots::parse(access.root_tokens, environment)?,
            root_token_file,
            limits: limits.parse()?,
            log: log.parse()?,
        })
    }
}

impl ServerTable {
    fn parse(self) -> Result<ServerConfig, ConfigError> {
        let Self {
            listen,
            allow_plaintext,
            drain_delay,
            drain_deadline,
        } = self;
        let address: SocketAddr = listen.parse().map_err(|_| {
            let why = format!(
                "must be an address and a port such as 127.0.0.1:50051; got {}",
                quoted(&listen)
            );
            ConfigError::key("server.listen", why)
        })?;
        if !address.ip().is_loopback() && !allow_plaintext {
            return Err(ConfigError::key(
                "server.listen",
                format!(
                    "{address} is beyond loopback and would carry secrets in plaintext; \
                     set server.allow_plaintext (--allow-plaintext) if something in front protects them"
                ),
            ));
        }
        Ok(ServerConfig {
            listen: address,
            drain_delay: span("server.drain_delay", &drain_delay, Duration::ZERO)?,
            drain_deadline: span(
                "server.drain_deadline",
                &drain_deadline,
                Duration::from_millis(1),
            )?,
        })
    }
}

impl StoreTable {
    fn parse(self) -> Result<StoreConfig, ConfigError> {
        let Self {
            url,
            require_existing,
            id,
            min_durability,
            accept_eviction,
            redis_prefix,
            redis_connections,
            read_timeout,
            write_timeout,
        } = self;
        let smallest = Duration::from_millis(1);
        Ok(StoreConfig {
            url: StoreUrl::parse(&url)?,
            require_existing,
            id: (!id.is_empty()).then_some(id),
            min_durability,
            accept_eviction,
            redis_prefix,
            redis_connections: within("store.redis_connections", redis_connections, 1, 4)?,
            read_timeout: span("store.read_timeout", &read_timeout, smallest)?,
            write_timeout: span("store.write_timeout", &write_timeout, smallest)?,
        })
    }
}

impl LimitsTable {
    fn parse(self) -> Result<LimitsConfig, ConfigError> {
        let Self {
            message_bytes,
            calls_in_flight,
            calls_per_connection,
            call_deadline,
        } = self;
        Ok(LimitsConfig {
            message_bytes: within("limits.message_bytes", message_bytes, 1024, 16 << 20)?,
            calls_in_flight: within("limits.calls_in_flight", calls_in_flight, 1, 1 << 20)?,
            calls_per_connection: within(
                "limits.calls_per_connection",
                calls_per_connection,
                1,
                1 << 20,
            )?,
            call_deadline: span(
                "limits.call_deadline",
                &call_deadline,
                Duration::from_millis(1),
            )?,
        })
    }
}

impl LogTable {
    fn parse(self) -> Result<LogConfig, ConfigError> {
        let json = match self.format.as_str() {
            "text" => false,
            "json" => true,
            other => {
                let why = format!("must be \"text\" or \"json\"; got {}", quoted(other));
                return Err(ConfigError::key("log.format", why));
            }
        };
        Ok(LogConfig {
            filter: self.filter,
            json,
        })
    }
}

/// Reads a span such as "500ms", at least `smallest`, at most a day.
fn span(key: &str, text: &str, smallest: Duration) -> Result<Duration, ConfigError> {
    let longest = Duration::from_secs(24 * 3600);
    match humantime::parse_duration(text) {
        Ok(span) if span >= smallest && span <= longest => Ok(span),
        _ => Err(ConfigError::key(
            key,
            format!(
                "must be a span of {smallest:?} to 24h, such as \"500ms\" or \"10s\"; got {}",
                quoted(text)
            ),
        )),
    }
}

fn within<T: PartialOrd + fmt::Display>(
    key: &str,
    value: T,
    least: T,
    most: T,
) -> Result<T, ConfigError> {
    if value < least || value > most {
        return Err(ConfigError::key(
            key,
            format!("must be {least} to {most}; got {value}"),
        ));
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
