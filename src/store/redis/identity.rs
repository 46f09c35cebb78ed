//! Whose data a Redis holds: the marker, and what makes a Redis acceptable.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Value, cmd};

use super::error::{read, understand};
use super::keys::Keys;
use super::options::{OptionsError, RedisOptions};
use super::peppers::{Peppers, Unkept, ask_kept};
use super::server::{Info, Keeping};
use crate::store::{Durability, SCHEMA, StoreError, StoreId, peppers};

/// Asks over a connection that nobody else uses yet.
pub(super) async fn ask(
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

/// The command that reads the marker, as [`Marker::read`] expects it.
pub(super) fn marker(keys: &Keys) -> Cmd {
    let mut command = cmd("HMGET");
    command.arg(keys.marker()).arg("id").arg("min_reader");
    command
}

/// What stands where the marker should and cannot be read is no marker: an outage, not a record.
pub(super) fn no_marker(error: StoreError) -> StoreError {
    match error {
        StoreError::Corrupt(why) => StoreError::Unacceptable(format!(
            "the store marker is damaged, or its key is another program's ({why}); choose another \
             store.redis_prefix, or restore the store"
        )),
        other => other,
    }
}

/// What a store says about itself.
pub(super) struct Marker {
    pub(super) id: StoreId,
    pub(super) min_reader: u32,
    /// The check values that were asked for.
    pub(super) peppers: Vec<Option<Vec<u8>>>,
}

impl Marker {
    pub(super) fn read(value: Value) -> Result<Option<Self>, StoreError> {
        let fields: Vec<Option<Vec<u8>>> = read(value)?;
        let text = |at: usize| {
            let bytes = fields.get(at).and_then(Option::as_ref)?;
            Some(String::from_utf8_lossy(bytes))
        };
        let Some(id) = text(0) else {
            return Ok(None);
        };
        let min_reader = text(1).and_then(|text| text.parse().ok());
        let unreadable = || StoreError::Unacceptable("the store marker is damaged".to_owned());
        Ok(Some(Self {
            id: store_id(&id)?,
            min_reader: min_reader.ok_or_else(unreadable)?,
            peppers: fields.into_iter().skip(2).collect(),
        }))
    }
}

pub(super) fn store_id(text: &str) -> Result<StoreId, StoreError> {
    StoreId::parse(text)
        .map_err(|flaw| StoreError::Unacceptable(format!("the id in the store marker {flaw}")))
}

/// What was learned of a Redis that was accepted.
pub(super) struct Verified {
    /// Names the server's run, where it says which one it is.
    pub(super) run: Option<String>,
    /// The peppers that it could not be made to know, if so.
    pub(super) unkept: Option<Unkept>,
}

/// What is demanded of a Redis, and what was learned of the one that fulfilled it.
pub(super) struct Acceptance {
    /// Where the Redis is, for messages that say what to do.
    place: String,
    pinned: Option<StoreId>,
    min_durability: Durability,
    replicas: usize,
    accept_eviction: bool,
    peppers: Peppers,
    /// The peppers that were told to be missing; they are told again when others are.
    missing: Mutex<Vec<u32>>,
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
            replicas: options.replicas,
            accept_eviction: options.accept_eviction,
            peppers: Peppers::new(options.peppers.clone()),
            missing: Mutex::default(),
            seen: OnceLock::new(),
            durability: AtomicU8::new(u8::MAX),
        })
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn peppers(&self) -> &Peppers {
        &self.peppers
    }

    pub(super) fn store_id(&self) -> Option<&StoreId> {
        self.seen.get()
    }

    pub(super) fn durability(&self) -> Option<Durability> {
        let index = usize::from(self.durability.load(Ordering::Relaxed));
        Durability::ALL.get(index).copied()
    }

    /// The command that reads the marker, for [`Self::check_marker`].
    pub(super) fn read_marker(&self, keys: &Keys) -> Cmd {
        self.peppers.ask(marker(keys))
    }

    /// Checks a connection before its first use, and again and again after it.
    pub(super) async fn verify(
        &self,
        connection: &mut MultiplexedConnection,
        keys: &Keys,
        limit: Duration,
    ) -> Result<Verified, StoreError> {
        let info: String = read(ask(connection, &cmd("INFO"), limit).await?)?;
        let info = Info(&info);
        info.check(self.accept_eviction)?;
        let durability = self.check_durability(&info, connection, limit).await?;
        let answer = ask(connection, &self.read_marker(keys), limit).await;
        let unkept = self.check_marker(answer.map_err(no_marker)?)?;
        let unkept = match unkept.as_slice() {
            [] => None,
            _ => self.keep_peppers(unkept, connection, keys, limit).await?,
        };
        self.tell_missing(connection, keys, limit).await?;
        // The discriminants are the places in `Durability::ALL`.
        self.durability.store(durability as u8, Ordering::Relaxed);
        Ok(Verified {
            run: info.run().map(str::to_owned),
            unkept,
        })
    }

    /// Tells which peppers the store was used with that are not in use, once.
    async fn tell_missing(
        &self,
        connection: &mut MultiplexedConnection,
        keys: &Keys,
        limit: Duration,
    ) -> Result<(), StoreError> {
        let missing = match ask(connection, &ask_kept(keys), limit).await {
            Err(lost @ (StoreError::Slow(_) | StoreError::Unreachable(_))) => return Err(lost),
            // A user of an earlier release may lack the right; nothing else depends on the answer.
            Err(_) => return Ok(()),
            Ok(fields) => self.peppers.missing(fields)?,
        };
        let mut told = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != missing {
            peppers::tell_missing(&missing);
            *told = missing;
        }
        Ok(())
    }

    /// Writes the check values that the store does not keep yet. A Redis that does not take them,
    /// because it is full, say, is sound to read all the same.
    async fn keep_peppers(
        &self,
        ids: Vec<u32>,
        connection: &mut MultiplexedConnection,
        keys: &Keys,
        limit: Duration,
    ) -> Result<Option<Unkept>, StoreError> {
        match ask(connection, &self.peppers.keep(keys).whole(), limit).await {
            // Another may have been faster, with another pepper.
            Ok(marker) => self.check_marker(marker).map(|_| None),
            Err(lost @ (StoreError::Slow(_) | StoreError::Unreachable(_))) => Err(lost),
            Err(why) => Ok(Some(Unkept { ids, why })),
        }
    }

    /// Judges what reading the marker answered; the first marker accepted is the only one from then
    /// on. Answers the peppers whose check values it lacks.
    pub(super) fn check_marker(&self, value: Value) -> Result<Vec<u32>, StoreError> {
        let unacceptable = |why: String| Err(StoreError::Unacceptable(why));
        let marker = Marker::read(value).map_err(no_marker)?;
        let Some(Marker {
            id,
            min_reader,
            peppers,
        }) = marker
        else {
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
        if let Some(first) = self.seen.get().filter(|first| **first != id) {
            return unacceptable(other_than(first, &id));
        }
        let unkept = self.peppers.judge(&peppers)?;
        let first = self.seen.get_or_init(|| id.clone());
        if *first != id {
            return unacceptable(other_than(first, &id));
        }
        Ok(unkept)
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
        let append_only = info.get("aof_enabled") == "1";
        let keeping = Keeping::new(append_only, answer.as_deref(), self.replicas);
        let durability = keeping.class();
        if !keeping.meets(self.min_durability) {
            let seen = match (info.get("aof_enabled"), answer.as_deref()) {
                ("1", Some(policy)) => format!("appendonly yes, appendfsync {policy}"),
                ("1", None) => "appendonly yes, appendfsync unknown: CONFIG GET is refused".into(),
                _ => "appendonly no".to_owned(),
            };
            let replicas = self.replicas;
            return Err(StoreError::Unacceptable(format!(
                "this Redis has durability \"{durability}\" ({seen}; store.replicas = {replicas}); demanded is \"{}\" or \
                 better: change Redis, or lower store.min_durability (--min-durability)",
                self.min_durability
            )));
        }
        Ok(durability)
    }
}

fn other_than(first: &StoreId, id: &StoreId) -> String {
    format!(
        "this Redis holds the store {id} now; before it held {first}: bring that one back, or \
         restart this process to serve the new store"
    )
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
        assert_eq!(acceptance.check_marker(marker_of(A, "1")), Ok(vec![]));
        assert_eq!(acceptance.check_marker(marker_of(A, "1")), Ok(vec![]));
        let error = acceptance.check_marker(marker_of(B, "1")).unwrap_err();
        assert!(error.to_string().contains(B), "{error}");
    }

    #[test]
    fn a_pinned_store_is_the_only_one_accepted() {
        let acceptance = acceptance(Some(A));
        assert!(acceptance.check_marker(marker_of(B, "1")).is_err());
        assert_eq!(acceptance.check_marker(marker_of(A, "1")), Ok(vec![]));
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
    fn the_classes_are_stored_by_their_place_in_the_list() {
        for (index, durability) in Durability::ALL.into_iter().enumerate() {
            assert_eq!(durability as usize, index);
        }
    }
}
