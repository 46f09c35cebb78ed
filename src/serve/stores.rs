//! Opening the store that the configuration names, and settling who is root.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::SystemClock;
use crate::config::{Config, RedisTlsFiles, StoreUrl};
use crate::store::redis::{self, OwnCertificate, RedisOptions, RedisStore, RedisTls};
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::store::{Store, StoreId};
use zeroize::Zeroizing;

use super::ServeError;
use super::root_token::{self, Roots};

const NO_INIT: &str = "a SQLite store needs no init: serve creates it";

/// Time between two attempts to mark a store that cannot be reached.
const INIT_AGAIN: Duration = Duration::from_millis(500);

/// Refuses what would be refused only later, when something has been done already.
pub(super) fn check(config: &Config) -> Result<(), ServeError> {
    let StoreUrl::Redis(url) = &config.store.url else {
        return Ok(());
    };
    check_place(config, url)?;
    if config.root_tokens.is_empty() {
        return Err(ServeError::Config(
            "with Redis a root token must be configured: set TOKEN_AUTHORITY_ROOT_TOKEN, \
             TOKEN_AUTHORITY_ROOT_TOKEN_FILE or access.root_tokens"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Opens the store; for Redis, which may come later, begins to.
pub(super) async fn open(
    config: &Config,
    init_store: bool,
) -> Result<(Arc<dyn Store>, Roots), ServeError> {
    match &config.store.url {
        StoreUrl::Sqlite(_) if init_store => Err(ServeError::Config(NO_INIT.to_owned())),
        StoreUrl::Sqlite(path) => {
            let prepared = root_token::prepare(config, path)?;
            let options = SqliteOptions {
                path: path.clone(),
                require_existing: config.store.require_existing,
                peppers: config.keyring.checks(),
                clock: Arc::new(SystemClock),
                retention: config.retention.retention,
                alarms: config.events.alarms.clone(),
                events: config.events.bounds,
                keeping: config.usage.terms.keeping,
            };
            let store =
                SqliteStore::open(options).map_err(|error| ServeError::Store(error.to_string()))?;
            let roots = root_token::settle(config, &store, prepared).await?;
            Ok((Arc::new(store), roots))
        }
        StoreUrl::Redis(url) => {
            let options = redis_options(config, url)?;
            if init_store {
                init_in_time(&options).await?;
            }
            let store = RedisStore::start(options)
                .map_err(|error| ServeError::Config(format!("store.url: {error}")))?;
            Ok((Arc::new(store), Roots::configured(config)))
        }
    }
}

/// Writes the marker, now or, where the Redis cannot be reached yet, as soon as it can: meanwhile
/// the server runs and says that it does not serve, as it does without a marker.
async fn init_in_time(options: &RedisOptions) -> Result<(), ServeError> {
    let told = |id: StoreId| tracing::info!(store_id = %id, "the store carries its marker");
    match redis::init(options).await {
        Ok(id) => told(id),
        Err(error) if error.may_pass() => {
            tracing::warn!(%error, "the store is marked as soon as it can be reached");
            let options = options.clone();
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(INIT_AGAIN).await;
                    match redis::init(&options).await {
                        Ok(id) => return told(id),
                        Err(error) if error.may_pass() => {}
                        Err(error) => return tracing::error!(%error, "the store is not marked"),
                    }
                }
            });
        }
        Err(error) => return Err(ServeError::Store(error.to_string())),
    }
    Ok(())
}

/// Writes the identity marker of a store that has none, and answers its id.
pub(super) async fn init(config: &Config) -> Result<StoreId, ServeError> {
    match &config.store.url {
        StoreUrl::Sqlite(_) => Err(ServeError::Config(NO_INIT.to_owned())),
        StoreUrl::Redis(url) => {
            check_place(config, url)?;
            init_redis(config, url).await
        }
    }
}

async fn init_redis(config: &Config, url: &str) -> Result<StoreId, ServeError> {
    redis::init(&redis_options(config, url)?)
        .await
        .map_err(|error| ServeError::Store(error.to_string()))
}

fn check_place(config: &Config, url: &str) -> Result<(), ServeError> {
    let place = redis_options(config, url)?.place();
    place
        .map(drop)
        .map_err(|error| ServeError::Config(format!("store.url: {error}")))
}

pub(super) fn redis_options(config: &Config, url: &str) -> Result<RedisOptions, ServeError> {
    let store = &config.store;
    Ok(RedisOptions {
        url: url.to_owned(),
        tls: redis_tls(&store.redis_tls)?,
        prefix: store.redis_prefix.clone(),
        store_id: store.id.clone(),
        min_durability: store.min_durability,
        replicas: store.replicas,
        accept_eviction: store.accept_eviction,
        connections: store.redis_connections,
        read_timeout: store.read_timeout,
        write_timeout: store.write_timeout,
        peppers: config.keyring.checks(),
        clock: None,
        retention: config.retention.retention,
        alarms: config.events.alarms.clone(),
        events: config.events.bounds,
        keeping: config.usage.terms.keeping,
    })
}

fn redis_tls(files: &RedisTlsFiles) -> Result<RedisTls, ServeError> {
    let read = |key: &str, path: &Path| {
        fs::read(path).map_err(|error| {
            ServeError::Config(format!("store.{key}: {}: {error}", path.display()))
        })
    };
    let authorities = files.authorities.as_deref();
    let own = files.own.as_ref().map(|(certificate, key)| {
        Ok::<_, ServeError>(OwnCertificate {
            certificate: read("redis_certificate_file", certificate)?,
            key: Zeroizing::new(read("redis_key_file", key)?),
        })
    });
    Ok(RedisTls {
        authorities: authorities
            .map(|path| read("redis_ca_file", path))
            .transpose()?,
        own: own.transpose()?,
    })
}
