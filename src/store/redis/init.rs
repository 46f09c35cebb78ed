//! The first writing of the marker.

use std::time::Duration;

use deadpool_redis::{Connection, PoolError};
use redis::aio::MultiplexedConnection;
use redis::cmd;

use super::error::{read, understand};
use super::identity::{Acceptance, Marker, ask, marker, store_id};
use super::keys::Keys;
use super::options::{OptionsError, RedisOptions};
use super::registry::making;
use super::scripts::INIT_STORE;
use super::server::Info;
use crate::domain::coherence::Epoch;
use crate::entropy::{self, EntropyError};
use crate::store::{MIN_READER, SCHEMA, StoreError, StoreId};

/// Why a store could not be initialized.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error(
        "keys that begin with \"{prefix}:\" are there, but no store marker: either another \
         program uses this prefix (choose another), or a store lost its marker (restore it)"
    )]
    Foreign { prefix: String },
    #[error("this Redis already holds the store {found}; demanded was {demanded}")]
    Other { found: StoreId, demanded: StoreId },
    #[error("{place}: {error}")]
    Store { place: String, error: StoreError },
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl InitError {
    /// Whether trying again later may help: the Redis could not be reached, or did not answer.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Store {
                error: StoreError::Unreachable(_) | StoreError::Slow(_),
                ..
            }
        )
    }
}

/// Makes the Redis of `options` a store, once, and answers its id; where it is one already, its id.
///
/// The new id is `options.store_id` if given, else random. Refused where the prefix holds anything
/// but a store; a Redis that no store would accept is told in the log. It walks all keys of the
/// Redis: an act of an administrator, not of a service.
pub async fn init(options: &RedisOptions) -> Result<StoreId, InitError> {
    let acceptance = Acceptance::new(options)?;
    let keys = Keys::new(&options.prefix);
    let limit = options.longest_timeout();
    let mut connection = connect(options).await?;
    let at = |error| failed(options, error);
    let mut standing = standing(&mut connection, &keys, limit).await.map_err(at)?;
    if standing.is_none()
        && holds_others(&mut connection, &keys, limit)
            .await
            .map_err(at)?
    {
        // They may be of a store that another init has made meanwhile.
        standing = self::standing(&mut connection, &keys, limit)
            .await
            .map_err(at)?;
        if standing.is_none() {
            return Err(InitError::Foreign {
                prefix: options.prefix.clone(),
            });
        }
    }
    let found = match standing {
        Some(id) => id,
        None => {
            let id = match &options.store_id {
                Some(id) => id.to_string(),
                None => entropy::digits(22)?.to_string(),
            };
            let epoch = entropy::epoch()?;
            make(&mut connection, &keys, id, epoch, limit)
                .await
                .map_err(at)?
        }
    };
    if let Some(demanded) = options
        .store_id
        .clone()
        .filter(|demanded| *demanded != found)
    {
        return Err(InitError::Other { found, demanded });
    }
    // The marker stands, and the operator may mend the rest before anything is served.
    if let Err(reason) = acceptance.verify(&mut connection, &keys, limit).await {
        let place = acceptance.place();
        tracing::warn!(place, %reason, "initialized, but this Redis would not be served");
    }
    Ok(found)
}

async fn connect(options: &RedisOptions) -> Result<MultiplexedConnection, InitError> {
    let error = match options.pool()?.get().await {
        Ok(connection) => return Ok(Connection::take(connection)),
        Err(PoolError::Backend(error)) => understand(&error, options.longest_timeout()).0,
        Err(error) => StoreError::Unreachable(error.to_string()),
    };
    Err(failed(options, error))
}

/// An error that names the Redis it came from: whoever initializes has typed its address, or not.
fn failed(options: &RedisOptions, error: StoreError) -> InitError {
    match options.place() {
        Ok(place) => InitError::Store { place, error },
        Err(error) => error.into(),
    }
}

/// The id of the store that is there.
async fn standing(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    limit: Duration,
) -> Result<Option<StoreId>, StoreError> {
    let answer = ask(connection, &marker(keys), limit).await?;
    Ok(Marker::read(answer)?.map(|marker| marker.id))
}

/// Writes the marker, unless another was faster, and answers whose id it has. Nobody can hold a lease of
/// a store that is new, so its registry is settled from the beginning.
async fn make(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    id: String,
    epoch: Epoch,
    limit: Duration,
) -> Result<StoreId, StoreError> {
    let info: String = read(ask(connection, &cmd("INFO"), limit).await?)?;
    let call = INIT_STORE
        .call([keys.marker()])
        .arg(id)
        .arg(SCHEMA.to_string())
        .arg(MIN_READER.to_string());
    let answer = ask(connection, &call.whole(), limit).await?;
    let (id, made): (String, bool) = read(answer)?;
    if made && let Some(run) = Info(&info).run() {
        let call = making(keys, run, epoch, true);
        ask(connection, &call.whole(), limit).await?;
    }
    store_id(&id)
}

/// Whether any key of the prefix is there but the marker, and what an authority may leave behind in a
/// store that is emptied while it makes the registry.
async fn holds_others(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    limit: Duration,
) -> Result<bool, StoreError> {
    let mut cursor = 0u64;
    loop {
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(keys.pattern());
        scan.arg("COUNT").arg(1000);
        let answer = ask(connection, &scan, limit).await?;
        let (next, found): (u64, Vec<Vec<u8>>) = read(answer)?;
        let own = [keys.marker(), keys.registry(), keys.log()].map(String::into_bytes);
        if found.iter().any(|key| !own.contains(key)) {
            return Ok(true);
        }
        if next == 0 {
            return Ok(false);
        }
        cursor = next;
    }
}
