//! Looks at a Redis from outside, with commands that only read, and stops when its time is over.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use deadpool_redis::{Connection, PoolError};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, cmd};

use super::error::{read, understand, unexpected};
use super::identity::{Marker, ask, marker, no_marker};
use super::keys::Keys;
use super::options::RedisOptions;
use super::peppers::{Peppers, ask_kept};
use super::server::{Info, Keeping};
use crate::clock::Clock;
use crate::store::{Durability, StoreError, StoreId};

/// How often Redis is asked for nothing, to see how long that takes.
const PINGS: usize = 20;

/// How many steps of a scan look for keys under the prefix.
const SCANS_MAX: usize = 20;

/// How far a Redis was reached.
#[derive(Debug)]
pub enum Reached {
    /// Its name has no address; what the resolver says.
    Unresolved(String),
    /// No connection to any of the addresses of its name, and why.
    Unconnected(Vec<SocketAddr>, String),
    /// A connection, and no answer that lets one in.
    Unanswered(StoreError),
    Whole(Box<Insight>),
}

/// What a Redis says.
#[derive(Debug)]
pub struct Insight {
    pub server: Result<Server, StoreError>,
    pub durability: Result<Flushing, StoreError>,
    pub marker: Result<Option<Mark>, StoreError>,
    /// Without a marker: whether there are keys under the prefix all the same, as far as looked.
    pub foreign_keys: bool,
    pub latency: Result<Latency, StoreError>,
    pub clock: Result<Offset, StoreError>,
    pub permissions: Permissions,
}

/// The answer to `INFO`.
#[derive(Clone, Debug)]
pub struct Server(String);

impl Server {
    /// The value of `name`; empty where Redis does not say.
    pub fn get(&self, name: &str) -> &str {
        Info(&self.0).get(name)
    }

    /// A value that is a number; `None` where Redis does not say.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name).parse().ok()
    }

    /// Whether a server accepts this Redis, durability and marker left aside.
    pub fn acceptable(&self, accept_eviction: bool) -> Result<(), StoreError> {
        Info(&self.0).check(accept_eviction)
    }

    /// How many replicas follow it and have caught up once.
    pub fn replicas(&self) -> usize {
        let replica = |line: &&str| line.starts_with("slave") && line.contains("state=online");
        self.0.lines().filter(replica).count()
    }

    #[doc(hidden)]
    pub fn of_text(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// How what Redis acknowledged reaches the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flushing {
    /// Together with the replicas that changes wait for.
    pub class: Durability,
    /// Whether it is what is demanded, or better.
    pub suffices: bool,
    pub append_only: bool,
    /// `None` where Redis does not tell: many hosted ones refuse `CONFIG`.
    pub appendfsync: Option<String>,
}

/// The marker that a Redis carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub id: StoreId,
    /// Oldest schema whose readers understand what is stored.
    pub min_reader: u32,
    /// The peppers in use that it does not know yet; an error if one is another than it was used with.
    pub unkept_peppers: Result<Vec<u32>, StoreError>,
    /// The peppers that it was used with and that are not in use; `None` where Redis does not tell.
    pub missing_peppers: Option<Vec<u32>>,
}

/// How long an empty exchange takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    pub median: Duration,
    pub longest: Duration,
}

/// How far the clock of Redis is from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    pub span: Duration,
    pub ahead: bool,
    /// Half of the exchange that told it: it may be so much less or more.
    pub uncertainty: Duration,
}

/// What the user of the connection may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permissions {
    /// The user may do everything that a server does.
    Enough(String),
    /// The commands that the user may not use.
    Missing { user: String, commands: Vec<String> },
    /// Redis does not tell; so it is with users who may not ask.
    NotTold,
}

/// Looks at the Redis of `options`, until `until` at the latest.
pub async fn inspect(options: &RedisOptions, clock: &dyn Clock, until: Instant) -> Reached {
    let addresses = match resolve(options, until).await {
        Ok(addresses) => addresses,
        Err(why) => return Reached::Unresolved(why),
    };
    if let Err(why) = dial(&addresses, until).await {
        return Reached::Unconnected(addresses, why);
    }
    let mut probe = match Probe::begin(options, until).await {
        Ok(probe) => probe,
        Err(error) => return Reached::Unanswered(error),
    };
    let marker = probe.marker(options).await;
    let foreign_keys = match &marker {
        Ok(None) => probe.foreign_keys().await.unwrap_or(false),
        _ => false,
    };
    let server = probe.server().await;
    let durability = probe.durability(options, &server).await;
    Reached::Whole(Box::new(Insight {
        durability,
        server,
        marker,
        foreign_keys,
        latency: probe.latency().await,
        clock: probe.offset(clock).await,
        permissions: probe
            .permissions(options)
            .await
            .unwrap_or(Permissions::NotTold),
    }))
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

async fn resolve(options: &RedisOptions, until: Instant) -> Result<Vec<SocketAddr>, String> {
    let (host, port) = options.host().map_err(|error| error.to_string())?;
    let looking = tokio::net::lookup_host((host, port));
    match tokio::time::timeout(left(until), looking).await {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the resolver does not answer".to_owned()),
    }
}

/// Makes a connection, and drops it.
async fn dial(addresses: &[SocketAddr], until: Instant) -> Result<(), String> {
    let dialling = tokio::net::TcpStream::connect(addresses);
    match tokio::time::timeout(left(until), dialling).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("nobody answers".to_owned()),
    }
}

/// A connection over which a Redis is asked.
struct Probe {
    connection: MultiplexedConnection,
    keys: Keys,
    until: Instant,
}

impl Probe {
    /// Connects and logs in.
    async fn begin(options: &RedisOptions, until: Instant) -> Result<Self, StoreError> {
        let mut options = options.clone();
        (options.read_timeout, options.write_timeout) = (left(until), left(until));
        let limit = options.longest_timeout();
        let unusable = |error: super::OptionsError| StoreError::Unacceptable(error.to_string());
        let pool = options.pool().map_err(unusable)?;
        let connected = tokio::time::timeout(limit, pool.get()).await;
        let connection = match connected.map_err(|_| StoreError::Slow(limit))? {
            Ok(connection) => Connection::take(connection),
            Err(PoolError::Backend(error)) => return Err(understand(&error, limit).0),
            Err(error) => return Err(StoreError::Unreachable(error.to_string())),
        };
        let keys = Keys::new(&options.prefix);
        let mut probe = Self {
            connection,
            keys,
            until,
        };
        probe.ask(&cmd("PING")).await?;
        Ok(probe)
    }

    async fn ask(&mut self, command: &Cmd) -> Result<redis::Value, StoreError> {
        ask(&mut self.connection, command, left(self.until)).await
    }

    async fn marker(&mut self, options: &RedisOptions) -> Result<Option<Mark>, StoreError> {
        let peppers = Peppers::new(options.peppers.clone());
        let answer = self.ask(&peppers.ask(marker(&self.keys))).await;
        let marker = answer.and_then(Marker::read).map_err(no_marker)?;
        let Some(marker) = marker else {
            return Ok(None);
        };
        let kept = match self.ask(&ask_kept(&self.keys)).await {
            Err(lost @ (StoreError::Slow(_) | StoreError::Unreachable(_))) => return Err(lost),
            Err(_) => None,
            Ok(fields) => Some(peppers.missing(fields)?),
        };
        Ok(Some(Mark {
            missing_peppers: kept,
            unkept_peppers: peppers.judge(&marker.peppers),
            id: marker.id,
            min_reader: marker.min_reader,
        }))
    }

    async fn foreign_keys(&mut self) -> Result<bool, StoreError> {
        let mut cursor = 0u64;
        for _ in 0..SCANS_MAX {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(self.keys.pattern());
            scan.arg("COUNT").arg(1000);
            let (next, found): (u64, Vec<Vec<u8>>) = read(self.ask(&scan).await?)?;
            if !found.is_empty() {
                return Ok(true);
            }
            if next == 0 {
                break;
            }
            cursor = next;
        }
        Ok(false)
    }

    async fn server(&mut self) -> Result<Server, StoreError> {
        read(self.ask(&cmd("INFO")).await?).map(Server)
    }

    async fn durability(
        &mut self,
        options: &RedisOptions,
        server: &Result<Server, StoreError>,
    ) -> Result<Flushing, StoreError> {
        let append_only = server.as_ref().map_err(StoreError::clone)?;
        let append_only = append_only.get("aof_enabled") == "1";
        let mut command = cmd("CONFIG");
        command.arg("GET").arg("appendfsync");
        let appendfsync = match self.ask(&command).await {
            Err(lost @ (StoreError::Slow(_) | StoreError::Unreachable(_))) => return Err(lost),
            Err(_) => None,
            Ok(answer) => read::<Vec<String>>(answer)?.into_iter().nth(1),
        };
        let keeping = Keeping::new(append_only, appendfsync.as_deref(), options.replicas);
        Ok(Flushing {
            class: keeping.class(),
            suffices: keeping.meets(options.min_durability),
            append_only,
            appendfsync,
        })
    }

    async fn latency(&mut self) -> Result<Latency, StoreError> {
        let mut spans = Vec::with_capacity(PINGS);
        for _ in 0..PINGS {
            let begun = Instant::now();
            self.ask(&cmd("PING")).await?;
            spans.push(begun.elapsed());
        }
        spans.sort();
        Ok(Latency {
            median: spans[PINGS / 2],
            longest: spans[PINGS - 1],
        })
    }

    /// Asks for the time, as in Cristian's algorithm: the answer is held to be from the middle of
    /// the exchange.
    async fn offset(&mut self, clock: &dyn Clock) -> Result<Offset, StoreError> {
        let begun = Instant::now();
        let answer = self.ask(&cmd("TIME")).await?;
        let uncertainty = begun.elapsed() / 2;
        let ours = clock.now().micros().saturating_sub(micros(uncertainty));
        let (seconds, part): (u64, u64) = read(answer)?;
        let theirs = seconds
            .checked_mul(1_000_000)
            .and_then(|whole| whole.checked_add(part))
            .ok_or_else(|| unexpected("a time beyond all times"))?;
        Ok(Offset {
            span: Duration::from_micros(theirs.abs_diff(ours)),
            ahead: theirs > ours,
            uncertainty,
        })
    }

    /// Asks what the user may do; an error where Redis does not tell.
    async fn permissions(&mut self, options: &RedisOptions) -> Result<Permissions, StoreError> {
        let mut who = cmd("ACL");
        who.arg("WHOAMI");
        let user: String = read(self.ask(&who).await?)?;
        let mut commands = Vec::new();
        for words in needed(&self.keys, options.replicas) {
            let mut question = cmd("ACL");
            question.arg("DRYRUN").arg(&user).arg(&words);
            let answer: String = read(self.ask(&question).await?)?;
            if answer != "OK" {
                commands.push(words[0].clone());
            }
        }
        Ok(match commands.is_empty() {
            true => Permissions::Enough(user),
            false => Permissions::Missing { user, commands },
        })
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Every command that a server sends, or that its scripts do, each with arguments as it may have.
fn needed(keys: &Keys, replicas: usize) -> Vec<Vec<String>> {
    let key = keys.marker();
    let commands = [
        "PING",
        "INFO",
        "TIME",
        "GET KEY",
        "MGET KEY",
        "SET KEY v",
        "APPEND KEY v",
        "DEL KEY",
        "PEXPIRE KEY 1",
        "HGET KEY f",
        "HMGET KEY f",
        "HSET KEY f v",
        "HSETNX KEY f v",
        "HEXISTS KEY f",
        "HGETALL KEY",
        "HLEN KEY",
        "HDEL KEY f",
        "RPUSH KEY v",
        "LTRIM KEY 0 1",
        "LRANGE KEY 0 1",
        "LLEN KEY",
        "ZADD KEY 1 m",
        "ZREM KEY m",
        "ZCARD KEY",
        "ZCOUNT KEY 0 1",
        "ZSCORE KEY m",
        "ZRANGE KEY 0 1",
        "ZLEXCOUNT KEY - +",
        "XADD KEY * e v",
        "XLEN KEY",
        "XRANGE KEY - +",
        "XREVRANGE KEY + -",
        "XTRIM KEY MAXLEN 1",
        "PUBLISH NEWS m",
        "SUBSCRIBE WAKES NEWS",
        "EVAL s 1 KEY",
        "EVALSHA s 1 KEY",
    ];
    let words = |line: &str| {
        let word = |word: &str| match word {
            "KEY" => key.clone(),
            "WAKES" => keys.wake_channel(),
            "NEWS" => keys.news_channel(),
            other => other.to_owned(),
        };
        line.split(' ').map(word).collect()
    };
    let waits = (replicas > 0).then_some("WAIT 1 1");
    let commands = commands.into_iter().chain(waits);
    commands.map(words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    /// Sent by people only, or not needed: their refusal is borne.
    const BEYOND: [&str; 4] = ["ACL", "CONFIG", "HKEYS", "SCAN"];

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// The words in quotes behind each `before`.
    fn quoted_behind(text: &str, before: &str, into: &mut BTreeSet<String>) {
        for part in text.split(before).skip(1) {
            let word = part.trim_start_matches(['"', '\'']);
            let end = word.find(|c: char| !c.is_ascii_uppercase());
            let word = &word[..end.unwrap_or(word.len())];
            if !word.is_empty() {
                into.insert(word.to_owned());
            }
        }
    }

    #[test]
    fn every_command_that_is_sent_is_asked_for() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/redis");
        let mut sent = BTreeSet::from(["EVAL", "EVALSHA", "SUBSCRIBE"].map(str::to_owned));
        let mut folders = vec![folder.clone()];
        while let Some(folder) = folders.pop() {
            for path in files(&folder) {
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = fs::read_to_string(path).unwrap();
                quoted_behind(&text, "cmd(\"", &mut sent);
            }
        }
        for path in files(&folder.join("scripts")) {
            quoted_behind(&fs::read_to_string(path).unwrap(), "call(", &mut sent);
        }
        let asked: BTreeSet<String> = needed(&Keys::new("ta"), 1)
            .into_iter()
            .map(|words| words[0].clone())
            .chain(BEYOND.map(str::to_owned))
            .collect();
        assert_eq!(asked, sent);
    }
}
