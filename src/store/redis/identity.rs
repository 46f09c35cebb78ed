//! Whose data a Redis holds: the marker, its first writing, and what makes a Redis acceptable.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Value, cmd};

use super::error::{read, understand};
use super::keys::Keys;
use super::options::{OptionsError, RedisOptions};
use super::scripts::INIT_STORE;
use crate::entropy::{self, EntropyError};
use crate::store::{Durability, MIN_READER, SCHEMA, StoreError, StoreId};

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
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// Makes the Redis of `options` a store, once, and answers its id; where it is one already, its id.
///
/// The new id is `options.store_id` if given, else random. Refused where the prefix holds anything
/// but a store. It walks all keys of the Redis: an act of an administrator, not of a service.
pub async fn init(options: &RedisOptions) -> Result<StoreId, InitError> {
    let keys = Keys::new(&options.prefix);
    let limit = options.longest_timeout();
    let pool = options.pool()?;
    let mut connection = match pool.get().await {
        Ok(connection) => deadpool_redis::Connection::take(connection),
        Err(deadpool_redis::PoolError::Backend(error)) => Err(understand(&error, limit).0)?,
        Err(error) => Err(StoreError::Unreachable(error.to_string()))?,
    };
    let found = match Marker::read(ask(&mut connection, &marker(&keys), limit).await?)? {
        Some(marker) => marker.id,
        None => {
            refuse_foreign(&mut connection, &keys, options, limit).await?;
            let id = match &options.store_id {
                Some(id) => id.to_string(),
                None => entropy::digits(22)?.to_string(),
            };
            let call = INIT_STORE
                .call([keys.marker()])
                .arg(id)
                .arg(SCHEMA.to_string())
                .arg(MIN_READER.to_string());
            let id: String = read(ask(&mut connection, &call.whole(), limit).await?)?;
            store_id(&id)?
        }
    };
    match &options.store_id {
        Some(demanded) if *demanded != found => Err(InitError::Other {
            found,
            demanded: demanded.clone(),
        }),
        _ => Ok(found),
    }
}

async fn refuse_foreign(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    options: &RedisOptions,
    limit: Duration,
) -> Result<(), InitError> {
    let mut cursor = 0u64;
    loop {
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(keys.pattern());
        scan.arg("COUNT").arg(1000);
        let (next, found): (u64, Vec<Vec<u8>>) = read(ask(connection, &scan, limit).await?)?;
        // Another init may have written the marker meanwhile; then its id is the answer.
        let marker = keys.marker().into_bytes();
        if found.iter().any(|key| *key != marker) {
            return Err(InitError::Foreign {
                prefix: options.prefix.clone(),
            });
        }
        if next == 0 {
            return Ok(());
        }
        cursor = next;
    }
}

/// Asks over a connection that nobody else uses yet.
async fn ask(
    connection: &mut MultiplexedConnection,
    command: &Cmd,
    limit: Duration,
) -> Result<Value, StoreError> {
    let answer = tokio::time::timeout(limit, connection.req_packed_command(command)).await;
    let answer = answer.map_err(|_| StoreError::Slow(limit))?;
    answer
        .and_then(Value::extract_error)
        .map_err(|error| understand(&error, limit).0)
}

/// The command that reads the marker.
pub(super) fn marker(keys: &Keys) -> Cmd {
    let mut command = cmd("HMGET");
    command.arg(keys.marker()).arg("id").arg("min_reader");
    command
}

/// What a store says about itself.
struct Marker {
    id: StoreId,
    min_reader: u32,
}

impl Marker {
    fn read(value: Value) -> Result<Option<Self>, StoreError> {
        let (id, min_reader): (Option<String>, Option<String>) = read(value)?;
        let Some(id) = id else {
            return Ok(None);
        };
        let min_reader = min_reader.and_then(|text| text.parse().ok());
        let unreadable = || StoreError::Unacceptable("the store marker is damaged".to_owned());
        Ok(Some(Self {
            id: store_id(&id)?,
            min_reader: min_reader.ok_or_else(unreadable)?,
        }))
    }
}

fn store_id(text: &str) -> Result<StoreId, StoreError> {
    StoreId::parse(text)
        .map_err(|flaw| StoreError::Unacceptable(format!("the id in the store marker {flaw}")))
}

/// What is demanded of a Redis, and what was learned of the one that fulfilled it.
pub(super) struct Acceptance {
    /// Where the Redis is, for messages that say what to do.
    place: String,
    pinned: Option<StoreId>,
    min_durability: Durability,
    accept_eviction: bool,
    seen: OnceLock<StoreId>,
    /// Index into [`Durability::ALL`]; beyond it while unknown.
    durability: AtomicU8,
}

impl Acceptance {
    pub(super) fn new(options: &RedisOptions) -> Result<Self, OptionsError> {
        Ok(Self {
            place: options.place()?,
            pinned: options.store_id.clone(),
            min_durability: options.min_durability,
            accept_eviction: options.accept_eviction,
            seen: OnceLock::new(),
            durability: AtomicU8::new(u8::MAX),
        })
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn store_id(&self) -> Option<&StoreId> {
        self.seen.get()
    }

    pub(super) fn durability(&self) -> Option<Durability> {
        let index = usize::from(self.durability.load(Ordering::Relaxed));
        Durability::ALL.get(index).copied()
    }

    /// Checks a connection before its first use, and again and again after it.
    pub(super) async fn verify(
        &self,
        connection: &mut MultiplexedConnection,
        keys: &Keys,
        limit: Duration,
    ) -> Result<(), StoreError> {
        let info: String = read(ask(connection, &cmd("INFO"), limit).await?)?;
        let info = Info(&info);
        self.check_server(&info)?;
        let durability = self.check_durability(&info, connection, limit).await?;
        self.check_marker(ask(connection, &marker(keys), limit).await?)?;
        // The discriminants are the places in `Durability::ALL`.
        self.durability.store(durability as u8, Ordering::Relaxed);
        Ok(())
    }

    /// Judges what reading the marker answered; the first marker seen is the only one from then on.
    pub(super) fn check_marker(&self, value: Value) -> Result<(), StoreError> {
        let unacceptable = |why: String| Err(StoreError::Unacceptable(why));
        let Some(Marker { id, min_reader }) = Marker::read(value)? else {
            return unacceptable(format!(
                "this Redis holds no store marker; if it is new, run `token-authority init \
                 --store {}`; if it should hold data, it was emptied",
                self.place
            ));
        };
        if min_reader > SCHEMA {
            return unacceptable(format!(
                "the store needs a release that reads schema {min_reader}; this one reads {SCHEMA}"
            ));
        }
        if let Some(pinned) = self.pinned.as_ref().filter(|pinned| **pinned != id) {
            return unacceptable(format!(
                "this Redis holds the store {id}; configured is {pinned}"
            ));
        }
        let first = self.seen.get_or_init(|| id.clone());
        if *first != id {
            return unacceptable(format!(
                "this Redis holds the store {id} now; before it held {first}"
            ));
        }
        Ok(())
    }

    fn check_server(&self, info: &Info<'_>) -> Result<(), StoreError> {
        let unacceptable = |why: String| Err(StoreError::Unacceptable(why));
        let version = info.get("redis_version");
        let major = version.split('.').next().and_then(|text| text.parse().ok());
        if major.is_none_or(|major: u32| major < 7) {
            return unacceptable(format!("Redis 7 or newer is needed; this is {version:?}"));
        }
        let mode = info.get("redis_mode");
        if mode != "standalone" {
            return unacceptable(format!(
                "this Redis runs in {mode} mode; this release supports a standalone one"
            ));
        }
        if info.get("loading") == "1" {
            return Err(StoreError::Unreachable("Redis is loading its data".into()));
        }
        if info.get("role") != "master" {
            return unacceptable("this Redis is a replica; the master must be named".to_owned());
        }
        let policy = info.get("maxmemory_policy");
        let evicts = info.get("maxmemory") != "0" && policy != "noeviction";
        if evicts && !self.accept_eviction {
            return unacceptable(format!(
                "this Redis may evict tokens (maxmemory-policy {policy}); set maxmemory-policy \
                 noeviction, or accept eviction explicitly"
            ));
        }
        Ok(())
    }

    async fn check_durability(
        &self,
        info: &Info<'_>,
        connection: &mut MultiplexedConnection,
        limit: Duration,
    ) -> Result<Durability, StoreError> {
        let mut command = cmd("CONFIG");
        command.arg("GET").arg("appendfsync");
        let answer = match ask(connection, &command, limit).await {
            Err(lost @ (StoreError::Slow(_) | StoreError::Unreachable(_))) => return Err(lost),
            // Many hosted Redis refuse CONFIG; then the weakest policy must be assumed.
            Err(_) => None,
            Ok(answer) => read::<Vec<String>>(answer)?.into_iter().nth(1),
        };
        let durability = class(info.get("aof_enabled") == "1", answer.as_deref());
        if durability < self.min_durability {
            let seen = match (info.get("aof_enabled"), answer.as_deref()) {
                ("1", Some(policy)) => format!("appendonly yes, appendfsync {policy}"),
                ("1", None) => "appendonly yes, appendfsync unknown: CONFIG GET is refused".into(),
                _ => "appendonly no".to_owned(),
            };
            return Err(StoreError::Unacceptable(format!(
                "this Redis has durability \"{durability}\" ({seen}); demanded is \"{}\" or \
                 better: change Redis, or lower the minimum durability",
                self.min_durability
            )));
        }
        Ok(durability)
    }
}

/// The durability of a Redis with or without append-only file, flushed by `appendfsync`.
fn class(append_only: bool, appendfsync: Option<&str>) -> Durability {
    match (append_only, appendfsync) {
        (true, Some("always")) => Durability::Strict,
        (true, Some("everysec")) => Durability::OneSecond,
        _ => Durability::None,
    }
}

/// The answer to `INFO`.
struct Info<'a>(&'a str);

impl Info<'_> {
    /// The value of `name`; empty where Redis does not say.
    fn get(&self, name: &str) -> &str {
        self.0
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim_end)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acceptance(pinned: Option<&str>) -> Acceptance {
        let mut options = RedisOptions::new("redis://localhost:6379");
        options.store_id = pinned.map(|id| StoreId::parse(id).unwrap());
        Acceptance::new(&options).unwrap()
    }

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn marker_of(id: &str, min_reader: &str) -> Value {
        Value::Array(vec![bulk(id), bulk(min_reader)])
    }

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn the_first_store_seen_is_the_only_one_accepted() {
        let acceptance = acceptance(None);
        assert_eq!(acceptance.check_marker(marker_of(A, "1")), Ok(()));
        assert_eq!(acceptance.check_marker(marker_of(A, "1")), Ok(()));
        let error = acceptance.check_marker(marker_of(B, "1")).unwrap_err();
        assert!(error.to_string().contains(B), "{error}");
    }

    #[test]
    fn a_pinned_store_is_the_only_one_accepted() {
        let acceptance = acceptance(Some(A));
        assert!(acceptance.check_marker(marker_of(B, "1")).is_err());
        assert_eq!(acceptance.check_marker(marker_of(A, "1")), Ok(()));
    }

    #[test]
    fn a_missing_a_damaged_and_a_newer_marker_are_refused() {
        for (marker, told) in [
            (
                Value::Array(vec![Value::Nil, Value::Nil]),
                "token-authority init",
            ),
            (marker_of(A, "2"), "schema 2"),
            (marker_of(A, "x"), "damaged"),
            (marker_of("short", "1"), "22 base62"),
        ] {
            let error = acceptance(None).check_marker(marker).unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
    }

    #[test]
    fn the_server_must_be_new_alone_a_master_and_keep_what_it_got() {
        let good = "redis_version:7.0.15\r\nredis_mode:standalone\r\nloading:0\r\nrole:master\r\n\
                    maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n";
        assert_eq!(acceptance(None).check_server(&Info(good)), Ok(()));
        for (from, to) in [
            ("7.0.15", "6.2.1"),
            ("standalone", "cluster"),
            ("loading:0", "loading:1"),
            ("master", "slave"),
            ("maxmemory:0", "maxmemory:9"),
        ] {
            let bad = good.replace(from, to);
            assert!(acceptance(None).check_server(&Info(&bad)).is_err(), "{to}");
        }
    }

    #[test]
    fn an_unknown_flush_policy_counts_as_the_weakest() {
        assert_eq!(class(true, None), Durability::None);
        assert_eq!(class(true, Some("no")), Durability::None);
        assert_eq!(class(false, Some("always")), Durability::None);
        assert_eq!(class(true, Some("everysec")), Durability::OneSecond);
        assert_eq!(class(true, Some("always")), Durability::Strict);
    }

    #[test]
    fn the_classes_are_stored_by_their_place_in_the_list() {
        for (index, durability) in Durability::ALL.into_iter().enumerate() {
            assert_eq!(durability as usize, index);
        }
    }
}
