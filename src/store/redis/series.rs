//! The listing indexes: series of entries in the order of their times, split into buckets.
//!
//! A bucket that is full is sealed, and the next one begins after the time of the seal. So buckets
//! do not overlap in time, each can live in a slot of its own, and whoever reads newest first
//! walks them from the last. The directory learns of a bucket before anything is added to it.
//!
//! An entry of a token is its id and the time since when it belongs to the series: its creation, or
//! the hand-over to its owner. Creations of one id at once, and hand-overs of one token, therefore
//! have an entry each, and none can move or remove that of another. An entry counts whose record was
//! created at the entry's time, and is what was asked for.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::{Cmd, Value, cmd};

use super::Access;
use super::error::{micros, read, unexpected};
use super::index::Entry;
use super::keys::SeriesName;
use super::line::Line;
use super::pools::listed_name;
use super::scripts::ADD_ENTRY;
use crate::domain::name::Namespace;
use crate::domain::pool::Pool;
use crate::store::StoreError;

/// Entries that make a bucket full. Those that belong before its seal may still join it: some that
/// race with the seal, and old tokens that are handed over to another owner.
const BUCKET_ENTRIES: usize = 65_536;
/// Series, and namespaces, that are remembered in memory.
const LEARNED_MAX: usize = 10_000;
/// Buckets that may become full while one entry is added.
const ROLLS_MAX: usize = 100;

/// When an entry is.
#[derive(Clone, Copy)]
pub(super) enum At {
    /// At the next free instant.
    Next,
    /// At `time`, of what belongs there since `since`, in microseconds since 1970.
    Given { time: u64, since: u64 },
}

/// One bucket of a series, and the earliest time of its entries in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) number: u64,
    pub(super) start: u64,
}

impl Bucket {
    const FIRST: Self = Self {
        number: 0,
        start: 0,
    };
}

/// What was learned from Redis and saves asking again; never more than a hint.
#[derive(Default)]
struct Learned {
    /// [`super::link::Links::verified`] when it was learned.
    verified: u64,
    /// A late bucket of a series, the last one at best.
    buckets: HashMap<SeriesName, Bucket>,
    /// Namespaces that are among those that are listed.
    namespaces: HashSet<Namespace>,
    /// Pools that are among those that are listed.
    pools: HashSet<Pool>,
}

/// All series of one store.
pub(super) struct Series {
    access: Arc<Access>,
    bucket_entries: usize,
    learned: Mutex<Learned>,
}

impl Series {
    pub(super) fn new(access: Arc<Access>) -> Self {
        Self {
            access,
            bucket_entries: BUCKET_ENTRIES,
            learned: Mutex::default(),
        }
    }

    pub(super) fn set_bucket_size(&mut self, entries: usize) {
        self.bucket_entries = entries.max(1);
    }

    /// Adds an entry and answers its time.
    pub(super) async fn add(
        &self,
        line: &Line<'_>,
        name: &SeriesName,
        entry: &str,
        at: At,
    ) -> Result<u64, StoreError> {
        let (time, _) = self.place(line, name, entry, at).await?;
        Ok(time)
    }

    /// Adds an entry and answers its time and its bucket.
    pub(super) async fn place(
        &self,
        line: &Line<'_>,
        name: &SeriesName,
        entry: &str,
        at: At,
    ) -> Result<(u64, Bucket), StoreError> {
        let (given, since) = match at {
            At::Next => (None, String::new()),
            At::Given { time, since } => (Some(time), since.to_string()),
        };
        let mut bucket = self.locate(line, name, given).await?;
        for _ in 0..ROLLS_MAX {
            let call = ADD_ENTRY
                .call([
                    self.access.keys.entries(name, bucket.number),
                    self.access.keys.seal(name, bucket.number),
                ])
                .arg(entry)
                .arg(given.map_or(String::new(), |time| time.to_string()))
                .arg(bucket.start.to_string())
                .arg(self.bucket_entries.to_string())
                .arg(self.access.now())
                .arg(since.as_str());
            let limit = self.access.write_timeout;
            let answer = line.marked_script(limit, &call).await?;
            let (outcome, time): (String, String) = read(answer)?;
            let time = micros(&time)?;
            if outcome == "added" {
                self.learn(name, bucket);
                return Ok((time, bucket));
            }
            bucket = self.after_seal(line, name, bucket, time, given).await?;
        }
        Err(StoreError::Contended(ROLLS_MAX))
    }

    /// Tells the directory what follows the bucket that was sealed at `seal`, and answers where to
    /// go on. Whoever meets a seal does so, and all say the same; nobody has to be the one.
    async fn after_seal(
        &self,
        line: &Line<'_>,
        name: &SeriesName,
        sealed: Bucket,
        seal: u64,
        time: Option<u64>,
    ) -> Result<Bucket, StoreError> {
        let mut tell = cmd("ZADD");
        tell.arg(self.access.keys.directory(name)).arg("NX");
        tell.arg(seal + 1).arg(sealed.number + 1);
        let ask = self.ask_directory(name, time);
        let limit = self.access.write_timeout;
        let answers = line.commands(limit, vec![tell, ask]).await?;
        let last = answers.into_iter().nth(1).unwrap_or_default();
        read_directory(last)
    }

    /// Removes this very entry of a token, and no other of its entries.
    pub(super) async fn remove(&self, line: &Line<'_>, entry: &Entry) -> Result<(), StoreError> {
        let (name, time) = (&entry.series, Some(entry.time));
        let likely = self.locate(line, name, time).await?;
        if self.remove_from(line, likely, entry).await? {
            return Ok(());
        }
        let sure = self.look_up(line, name, time).await?;
        if sure != likely {
            self.remove_from(line, sure, entry).await?;
        }
        Ok(())
    }

    /// Removes many entries, which may lie in any buckets.
    pub(super) async fn remove_all(
        &self,
        line: &Line<'_>,
        entries: &[Entry],
    ) -> Result<(), StoreError> {
        let limit = self.access.write_timeout;
        let ask = |entry: &Entry| self.ask_directory(&entry.series, Some(entry.time));
        let asked = entries.iter().map(ask).collect();
        let answers = line.commands(limit, asked).await?;
        let mut removals = Vec::with_capacity(entries.len());
        for (entry, answer) in entries.iter().zip(answers) {
            removals.push(self.removal(read_directory(answer)?, entry));
        }
        line.commands(limit, removals).await?;
        Ok(())
    }

    async fn remove_from(
        &self,
        line: &Line<'_>,
        bucket: Bucket,
        entry: &Entry,
    ) -> Result<bool, StoreError> {
        let limit = self.access.write_timeout;
        let removal = self.removal(bucket, entry);
        let removed: u64 = read(line.command(limit, &removal).await?)?;
        Ok(removed > 0)
    }

    fn removal(&self, bucket: Bucket, entry: &Entry) -> Cmd {
        let mut command = cmd("ZREM");
        command.arg(self.access.keys.entries(&entry.series, bucket.number));
        command.arg(entry.text());
        command
    }

    /// Makes sure that `namespace` is among the namespaces that are listed.
    pub(super) async fn register(
        &self,
        line: &Line<'_>,
        namespace: &Namespace,
    ) -> Result<(), StoreError> {
        if self.learned().namespaces.contains(namespace) {
            return Ok(());
        }
        let mut note = cmd("ZADD");
        note.arg(self.access.keys.namespaces()).arg("NX");
        note.arg(0).arg(namespace.as_str());
        let limit = self.access.write_timeout;
        line.marked_command(limit, note).await?;
        let mut learned = self.learned();
        if learned.namespaces.len() >= LEARNED_MAX {
            learned.namespaces.clear();
        }
        learned.namespaces.insert(namespace.clone());
        Ok(())
    }

    /// Makes sure that `pool` is among the pools that are listed.
    pub(super) async fn register_pool(
        &self,
        line: &Line<'_>,
        pool: &Pool,
    ) -> Result<(), StoreError> {
        if self.learned().pools.contains(pool) {
            return Ok(());
        }
        let mut note = cmd("ZADD");
        note.arg(self.access.keys.pools()).arg("NX");
        note.arg(0).arg(listed_name(pool));
        let limit = self.access.write_timeout;
        line.marked_command(limit, note).await?;
        let mut learned = self.learned();
        if learned.pools.len() >= LEARNED_MAX {
            learned.pools.clear();
        }
        learned.pools.insert(pool.clone());
        Ok(())
    }

    /// The bucket for an entry at `time`, or for the next entry; it may be an outdated one.
    async fn locate(
        &self,
        line: &Line<'_>,
        name: &SeriesName,
        time: Option<u64>,
    ) -> Result<Bucket, StoreError> {
        let known = self.learned().buckets.get(name).copied();
        match known.filter(|bucket| time.is_none_or(|time| time >= bucket.start)) {
            Some(bucket) => Ok(bucket),
            None => self.look_up(line, name, time).await,
        }
    }

    pub(super) async fn look_up(
        &self,
        line: &Line<'_>,
        name: &SeriesName,
        time: Option<u64>,
    ) -> Result<Bucket, StoreError> {
        let ask = self.ask_directory(name, time);
        let limit = self.access.write_timeout;
        read_directory(line.command(limit, &ask).await?)
    }

    /// Asks for the last bucket that begins at `time` or before; for the last of all without it.
    pub(super) fn ask_directory(&self, name: &SeriesName, time: Option<u64>) -> Cmd {
        let mut command = cmd("ZRANGE");
        command.arg(self.access.keys.directory(name));
        command.arg(time.map_or("+inf".to_owned(), |time| time.to_string()));
        command.arg("-inf").arg("BYSCORE").arg("REV");
        command.arg("LIMIT").arg(0).arg(1).arg("WITHSCORES");
        command
    }

    fn learn(&self, name: &SeriesName, bucket: Bucket) {
        let mut learned = self.learned();
        if learned.buckets.len() >= LEARNED_MAX {
            learned.buckets.clear();
        }
        let known = learned.buckets.entry(name.clone()).or_insert(bucket);
        if known.number < bucket.number {
            *known = bucket;
        }
    }

    /// What was learned over the present connections: a new one may lead to a Redis that was set
    /// back.
    fn learned(&self) -> MutexGuard<'_, Learned> {
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        let verified = self.access.links.verified();
        if learned.verified != verified {
            *learned = Learned {
                verified,
                ..Learned::default()
            };
        }
        learned
    }
}

/// Reads the answer to [`Series::ask_directory`]; what no directory knows is the first bucket.
pub(super) fn read_directory(answer: Value) -> Result<Bucket, StoreError> {
    match read::<Vec<String>>(answer)?.as_slice() {
        [] => Ok(Bucket::FIRST),
        [number, start] => Ok(Bucket {
            number: micros(number)?,
            start: micros(start)?,
        }),
        _ => Err(unexpected("more of a directory than was asked for")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_without_directory_has_its_first_bucket() {
        assert_eq!(read_directory(Value::Array(Vec::new())), Ok(Bucket::FIRST));
        let text = |text: &str| Value::BulkString(text.into());
        assert_eq!(
            read_directory(Value::Array(vec![text("7"), text("1700000000000001")])),
            Ok(Bucket {
                number: 7,
                start: 1_700_000_000_000_001
            })
        );
        assert!(read_directory(Value::Array(vec![text("x"), text("1")])).is_err());
    }
}
