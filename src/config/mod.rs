//! The configuration: read once, parsed into values that cannot be wrong, secrets redacted.

pub mod args;
mod at_hand;
mod audit;
mod cache;
mod certificates;
mod console;
mod events;
mod layers;
mod leases;
mod limits;
mod listen;
mod namespaces;
mod peppers;
mod problems;
mod retention;
mod roots;
mod routes;
mod server;
mod sidecars;
mod sources;
mod store;
mod supervision;
mod tls;
mod usage;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::domain::flaw::quoted;
use crate::domain::pepper::Keyring;
use crate::domain::policy::Policies;
use crate::domain::secret::Brand;

pub use at_hand::AtHand;
pub use audit::AuditPlace;
pub use cache::CacheConfig;
pub use certificates::CertificateCaller;
pub use console::ConsoleConfig;
pub use events::EventsConfig;
pub use layers::DEFAULTS;
pub use leases::LeasesConfig;
pub use limits::LimitsConfig;
pub use listen::Listen;
pub use namespaces::NAMESPACE_KEYS;
pub use retention::RetentionConfig;
pub use roots::RootToken;
pub use server::{MetricsPlace, RuntimeShape, ServerConfig};
pub use sidecars::{ExtAuthzConfig, ForwardAuthConfig, Limited, Reset};
pub use sources::Sources;
pub use store::{RedisTlsFiles, StoreConfig, StoreUrl};
pub use supervision::Supervision;
pub use tls::TlsConfig;
pub use usage::UsageConfig;

use args::ServeArgs;
use audit::AuditTable;
use cache::CacheTable;
use console::ConsoleTable;
use events::EventsTable;
use leases::LeasesTable;
use limits::LimitsTable;
use retention::RetentionTable;
use server::ServerTable;
use sidecars::{ExtAuthzTable, ForwardAuthTable};
use store::StoreTable;
use tls::TlsTable;
use usage::UsageTable;

/// What a person must mend, naming the key. A value is repeated only where no secret belongs.
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

/// Reads the environment; the only place that does. What is not UTF-8 is none of ours, unless its
/// name says that it is: then it is an error, since leaving it out would mean the default.
pub fn environment() -> Result<Environment, ConfigError> {
    let mut environment = Environment::new();
    for (name, value) in std::env::vars_os() {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => {
                environment.insert(name, value);
            }
            (Ok(name), Err(_)) if name.starts_with(layers::PREFIX) => {
                return Err(ConfigError(format!("{name}: the value is not UTF-8")));
            }
            _ => {}
        }
    }
    Ok(environment)
}

/// The effective configuration of a server.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: ServerConfig,
    /// `None` where plaintext is spoken.
    pub tls: Option<TlsConfig>,
    pub store: StoreConfig,
    pub retention: RetentionConfig,
    pub events: EventsConfig,
    pub leases: LeasesConfig,
    pub usage: UsageConfig,
    pub cache: CacheConfig,
    pub brand: Brand,
    /// Earlier brands that stay accepted, without `brand`.
    pub accepted_brands: Vec<Brand>,
    /// The peppers in use, the present one first.
    pub keyring: Keyring,
    pub root_tokens: Vec<RootToken>,
    pub certificate_callers: Vec<CertificateCaller>,
    /// `None` when neither the configuration nor the environment says where.
    pub root_token_file: Option<PathBuf>,
    pub limits: LimitsConfig,
    pub log: LogConfig,
    pub audit: AuditPlace,
    pub ext_authz: ExtAuthzConfig,
    pub forward_auth: ForwardAuthConfig,
    pub console: ConsoleConfig,
    pub policies: Policies,
    /// `None` where no service manager wants to be told.
    pub supervision: Option<Supervision>,
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
        Self::parse(layers::merged(args, environment)?, environment)
    }

    /// The same, and with it as TOML, with every secret redacted. Nothing is printed of what does
    /// not parse: only then is it known which part of the text is a secret.
    pub fn load_and_print(
        args: &ServeArgs,
        environment: &Environment,
    ) -> Result<(Self, String), ConfigError> {
        let table = layers::merged(args, environment)?;
        let config = Self::parse(table.clone(), environment)?;
        let text = layers::printed(table, &config)?;
        Ok((config, text))
    }

    fn parse(table: toml::Table, environment: &Environment) -> Result<Self, ConfigError> {
        File::of(table)?.parse(environment)
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
    tls: TlsTable,
    store: StoreTable,
    retention: RetentionTable,
    events: EventsTable,
    leases: LeasesTable,
    usage: UsageTable,
    cache: CacheTable,
    secrets: SecretsTable,
    access: AccessTable,
    limits: LimitsTable,
    log: LogTable,
    audit: AuditTable,
    ext_authz: ExtAuthzTable,
    forward_auth: ForwardAuthTable,
    console: ConsoleTable,
    // Read by hand: serde's errors would not name the key.
    namespaces: toml::Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretsTable {
    brand: String,
    accepted_brands: Vec<toml::Value>,
    // Read by hand, as the root tokens are.
    peppers: Vec<toml::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessTable {
    // Read by hand: serde's errors would quote secrets that stand in the wrong place.
    root_tokens: Vec<toml::Value>,
    root_token_file: String,
    // Read by hand, too: serde's errors would not say which entry.
    certificate_callers: Vec<toml::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogTable {
    filter: String,
    format: String,
}

impl File {
    fn of(table: toml::Table) -> Result<Self, ConfigError> {
        // The layers have the types of the defaults, so this can hardly fail. The error is dropped
        // because it quotes values.
        table.try_into().map_err(|_| {
            ConfigError("the configuration has not the shape that it must have".to_owned())
        })
    }

    fn parse(self, environment: &Environment) -> Result<Config, ConfigError> {
        let Self {
            server,
            tls,
            store,
            retention,
            events,
            leases,
            usage,
            cache,
            secrets,
            access,
            limits,
            log,
            audit,
            ext_authz,
            forward_auth,
            console,
            namespaces,
        } = self;
        let brand =
            |key: &str, text: &str| Brand::parse(text).map_err(|flaw| ConfigError::key(key, flaw));
        let accepted = "secrets.accepted_brands";
        let accepted_brands = secrets.accepted_brands.iter().map(|earlier| {
            let text = earlier.as_str();
            brand(
                accepted,
                text.ok_or_else(|| ConfigError::key(accepted, "must hold strings"))?,
            )
        });
        let accepted_brands = accepted_brands.collect::<Result<_, _>>()?;
        let root_token_file = match access.root_token_file.as_str() {
            "" => default_root_token_file(environment),
            path => Some(PathBuf::from(path)),
        };
        let tls = tls.parse()?;
        let callers = certificates::parse(access.certificate_callers)?;
        let protection = server.protection(tls.is_some());
        let server = server.parse(tls.is_some())?;
        let ext_authz = ext_authz.parse()?;
        certificates::can_be_shown(&callers, tls.as_ref(), &ext_authz.certificate_peers)?;
        let forward_auth = forward_auth.parse(protection, &server.listen)?;
        let elsewhere = server.listen.iter().chain(&forward_auth.listen);
        Ok(Config {
            console: console.parse(protection, elsewhere)?,
            forward_auth,
            ext_authz,
            server,
            tls,
            store: store.parse()?,
            retention: retention.parse()?,
            events: events.parse()?,
            leases: leases.parse()?,
            usage: usage.parse()?,
            cache: cache.parse()?,
            brand: brand("secrets.brand", &secrets.brand)?,
            accepted_brands,
            keyring: peppers::parse(secrets.peppers)?,
            root_tokens: roots::parse(access.root_tokens, environment)?,
            certificate_callers: callers,
            root_token_file,
            limits: limits.parse()?,
            log: log.parse()?,
            audit: audit.parse()?,
            policies: namespaces::parse(namespaces)?,
            supervision: Supervision::parse(environment),
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
        // A bare word that is no level would be a target's name, and silence all others.
        let misspelt = |directive: &str| {
            let word = directive.trim();
            !word.contains(['=', '[', ':']) && word.parse::<LevelFilter>().is_err()
        };
        // The error is dropped: what it says is that a directive is wrong.
        if self.filter.split(',').any(misspelt) || EnvFilter::try_new(&self.filter).is_err() {
            let why = "must be a level, or directives such as \"info,token_authority=debug\"; got";
            let why = format!("{why} {}", quoted(&self.filter));
            return Err(ConfigError::key("log.filter", why));
        }
        Ok(LogConfig {
            filter: self.filter,
            json,
        })
    }
}

/// Reads a span such as "500ms", at least `smallest`, at most a day.
fn span(key: &str, text: &str, smallest: Duration) -> Result<Duration, ConfigError> {
    let longest = Duration::from_secs(24 * 3600);
    span_up_to(key, text, smallest, (longest, "24h"))
}

/// The same with another greatest span, and how a person writes that.
fn span_up_to(
    key: &str,
    text: &str,
    smallest: Duration,
    (longest, written): (Duration, &str),
) -> Result<Duration, ConfigError> {
    match humantime::parse_duration(text) {
        Ok(span) if span >= smallest && span <= longest => Ok(span),
        _ => Err(ConfigError::key(
            key,
            format!(
                "must be a span of {} to {written}, written as in \"500ms\", \"10s\" or \"7d\"; got {}",
                humantime::format_duration(smallest),
                quoted(text)
            ),
        )),
    }
}

/// Reads a whole number of `least` to `most`.
fn within<T: TryFrom<i64>>(key: &str, value: i64, least: i64, most: i64) -> Result<T, ConfigError> {
    let bounded = Some(value).filter(|value| (least..=most).contains(value));
    let number = bounded.and_then(|value| T::try_from(value).ok());
    number.ok_or_else(|| ConfigError::key(key, format!("must be {least} to {most}; got {value}")))
}

#[cfg(test)]
mod tests;
