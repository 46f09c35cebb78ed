//! The registry on Redis: one script for each act, on the keys of one slot.
//!
//! It is of one run of the server: what another run kept may lack its last moments, and with them who
//! holds a lease. A registry is made beside the marker of a store only, so an emptied or exchanged Redis
//! gets none, and gives no lease. Nor does one that does not say which run it is: then each change waits
//! until whatever lease there may be has run out.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use redis::{Value, cmd};
use tokio::sync::broadcast;

use super::RedisStore;
use super::error::{micros, read, unexpected};
use super::keys::Keys;
use super::line::Line;
use super::scripts::{ANNOUNCE_CHANGES, Call, MAKE_REGISTRY, RENEW_REPLICA, STRIKE_REPLICAS};
use crate::domain::coherence::registry::{
    Absent, Announced, Attendance, Member, Members, News, Renewal, Renewed,
};
use crate::domain::coherence::{Epoch, Invalidation, LOG_MAX, Nudge, ReplicaId};
use crate::domain::time::Timestamp;
use crate::domain::token::TokenId;
use crate::entropy;
use crate::store::StoreError;
use crate::store::registry::{Heard, RegistryStore};

/// Length of a change in the log and in a nudge: the token's id, then a revision.
const ENTRY_BYTES: usize = TokenId::DIGITS + 8;

#[async_trait]
impl RegistryStore for RedisStore {
    fn is_shared(&self) -> bool {
        true
    }

    async fn renew(&self, renewal: &Renewal) -> Result<(Renewed, Timestamp), StoreError> {
        self.ear.listen();
        let keys = &self.access.keys;
        let limit = self.access.read_timeout;
        // Where replicas are waited for: a lease of a Redis that lost them would not be known to the
        // one that takes over.
        let line = &self.access.links.changing(limit).await?;
        let run = line.server_run().ok_or_else(nameless)?;
        let known = renewal.known.as_ref();
        let call = RENEW_REPLICA
            .call([keys.registry(), keys.log()])
            .arg(run.as_str())
            .arg(renewal.replica.as_str())
            .arg(known.map_or("", |known| known.epoch.as_str()))
            .arg(known.map_or(0, |known| known.applied).to_string())
            .arg(flag(known.is_some_and(|known| known.long)))
            .arg(self.access.now());
        read_renewed(self.registered(line, limit, &run, &call).await?)
    }

    async fn announce(&self, changes: &[Invalidation]) -> Result<Announced, StoreError> {
        let keys = &self.access.keys;
        let line = &self.access.changing().await?;
        let run = line.server_run();
        let call = ANNOUNCE_CHANGES
            .call([keys.registry(), keys.log()])
            .arg(run.as_deref().unwrap_or_default())
            .arg(LOG_MAX.to_string())
            .arg(keys.news_channel());
        let call = changes
            .iter()
            .fold(call, |call, change| call.arg(entry(change)));
        let limit = self.access.write_timeout;
        let Some(run) = run else {
            // Those who know the run, if anybody does, find it in their log.
            line.marked_script(limit, &call).await?;
            return Ok(Announced {
                // Whatever epoch it is was never seen before, for all that is known.
                epoch: drawn_epoch()?,
                settled: false,
                last: 0,
                members: Members::new(),
            });
        };
        let answer = self.registered(line, limit, &run, &call).await?;
        let kept = Kept::read(answer)?;
        Ok(Announced {
            epoch: kept.epoch,
            settled: kept.settled,
            last: kept.last,
            members: kept.members,
        })
    }

    async fn attendance(&self) -> Result<Attendance, StoreError> {
        let line = self.access.links.line()?;
        let run = line.server_run().ok_or_else(nameless)?;
        let mut command = cmd("HGETALL");
        command.arg(self.access.keys.registry());
        let answer = line.command(self.access.read_timeout, &command).await?;
        let kept = Kept::read(answer)?;
        if kept.run != run.as_bytes() {
            return Err(lost());
        }
        Ok(Attendance {
            epoch: kept.epoch,
            members: kept.members,
        })
    }

    async fn strike(&self, absent: &Absent) -> Result<(), StoreError> {
        let text = |(replica, renewal): &(ReplicaId, u64)| (*replica, renewal.to_string());
        let members = absent.members.iter().map(text);
        self.strike_off(absent.epoch.as_str(), members).await
    }

    async fn resign(&self, replica: ReplicaId) -> Result<(), StoreError> {
        let whoever = [(replica, String::new())].into_iter();
        self.strike_off("", whoever).await
    }

    fn nudges(&self) -> broadcast::Receiver<Heard> {
        self.ear.nudges()
    }
}

impl RedisStore {
    /// Runs a script on the registry of `run`, which it answers nothing without; then once more, behind
    /// one that makes it. Each time the store shows its marker behind it.
    async fn registered(
        &self,
        line: &Line<'_>,
        limit: Duration,
        run: &str,
        call: &Call,
    ) -> Result<Value, StoreError> {
        let answer = line.marked_script(limit, call).await?;
        if !is_nothing(&answer) {
            return Ok(answer);
        }
        let make = making(&self.access.keys, run, drawn_epoch()?, false);
        let answer = line.marked_script_behind(limit, &[make], call).await?;
        match is_nothing(&answer) {
            false => Ok(answer),
            true => Err(lost()),
        }
    }

    /// Strikes off each whose last renewal is still that one, or whichever, where none is said; in any
    /// epoch, where none is said.
    async fn strike_off(
        &self,
        epoch: &str,
        absent: impl Iterator<Item = (ReplicaId, String)>,
    ) -> Result<(), StoreError> {
        let line = self.access.links.line()?;
        let call = STRIKE_REPLICAS
            .call([self.access.keys.registry()])
            .arg(line.server_run().ok_or_else(nameless)?)
            .arg(epoch);
        let call = absent.fold(call, |call, (replica, renewal)| {
            call.arg(replica.as_str()).arg(renewal)
        });
        let answer = line.script(self.access.write_timeout, &call).await;
        answer.map(drop)
    }
}

/// Makes the registry of a run of Redis, unless it has one.
pub(super) fn making(keys: &Keys, run: &str, epoch: Epoch, settled: bool) -> Call {
    MAKE_REGISTRY
        .call([keys.registry(), keys.log()])
        .arg(run)
        .arg(epoch.as_str())
        .arg(flag(settled))
}

/// Reads a nudge; `None` where it is none.
pub(super) fn read_nudge(message: &[u8]) -> Option<Nudge> {
    let (epoch, rest) = message.split_at_checked(Epoch::DIGITS)?;
    let (last, entries) = rest.split_first_chunk()?;
    let (entries, []) = entries.as_chunks() else {
        return None;
    };
    let entries = entries.iter().map(read_entry).collect::<Option<_>>()?;
    Some(Nudge {
        epoch: read_epoch(epoch)?,
        last: u64::from_be_bytes(*last),
        entries,
    })
}

/// The registry as it is kept.
struct Kept {
    run: Vec<u8>,
    epoch: Epoch,
    settled: bool,
    last: u64,
    members: Members,
}

impl Kept {
    /// Reads the fields of the key; an error where there is none.
    fn read(value: Value) -> Result<Self, StoreError> {
        let mut fields: HashMap<Vec<u8>, Vec<u8>> = read(value)?;
        if fields.is_empty() {
            return Err(lost());
        }
        let mut head = |name: &str| fields.remove(name.as_bytes()).unwrap_or_default();
        let (run, epoch, settled, last) =
            (head("run"), head("epoch"), head("settled"), head("last"));
        // For scripts only, and no replica.
        head("renewals");
        // What else a later release may keep there is named otherwise than a replica.
        fields.retain(|name, _| name.len() == ReplicaId::DIGITS);
        let members = fields.iter().map(|(id, member)| read_member(id, member));
        Ok(Self {
            run,
            epoch: read_epoch(&epoch).ok_or_else(damaged)?,
            settled: read_flag(&settled)?,
            last: number(&last)?,
            members: members.collect::<Option<_>>().ok_or_else(damaged)?,
        })
    }
}

fn read_renewed(answer: Value) -> Result<(Renewed, Timestamp), StoreError> {
    type Answer = (
        Vec<u8>,
        Vec<u8>,
        Vec<u8>,
        Vec<u8>,
        u64,
        Option<Vec<Vec<u8>>>,
    );
    let (now, epoch, settled, last, members, entries): Answer = read(answer)?;
    let news = match entries {
        None => News::DropAll,
        Some(entries) => {
            let entry = |bytes: &Vec<u8>| read_entry(bytes.as_slice().try_into().ok()?);
            let entries = entries.iter().map(entry).collect::<Option<_>>();
            News::Entries(entries.ok_or_else(damaged)?)
        }
    };
    let renewed = Renewed {
        epoch: read_epoch(&epoch).ok_or_else(damaged)?,
        settled: read_flag(&settled)?,
        last: number(&last)?,
        members,
        news,
    };
    Ok((renewed, Timestamp::from_micros(number(&now)?)))
}

fn read_member(id: &[u8], member: &[u8]) -> Option<(ReplicaId, Member)> {
    let id = std::str::from_utf8(id).ok()?;
    let (applied, renewal) = member.split_first_chunk()?;
    let member = Member {
        applied: u64::from_be_bytes(*applied),
        renewal: u64::from_be_bytes(renewal.try_into().ok()?),
    };
    Some((ReplicaId::parse(id).ok()?, member))
}

fn entry(change: &Invalidation) -> Vec<u8> {
    let Invalidation { token, revision } = change;
    [token.as_str().as_bytes(), &revision.to_be_bytes()].concat()
}

fn read_entry(bytes: &[u8; ENTRY_BYTES]) -> Option<Invalidation> {
    let (token, revision) = bytes.split_at(TokenId::DIGITS);
    let token = std::str::from_utf8(token).ok()?;
    Some(Invalidation {
        token: TokenId::parse(token).ok()?,
        revision: u64::from_be_bytes(revision.try_into().ok()?),
    })
}

fn read_epoch(bytes: &[u8]) -> Option<Epoch> {
    Epoch::parse(std::str::from_utf8(bytes).ok()?).ok()
}

fn flag(yes: bool) -> &'static str {
    if yes { "1" } else { "0" }
}

fn read_flag(bytes: &[u8]) -> Result<bool, StoreError> {
    match bytes {
        b"1" => Ok(true),
        b"0" => Ok(false),
        _ => Err(damaged()),
    }
}

fn number(bytes: &[u8]) -> Result<u64, StoreError> {
    micros(std::str::from_utf8(bytes).unwrap_or_default())
}

/// Whether a script found no registry of the run that it was asked about.
fn is_nothing(answer: &Value) -> bool {
    matches!(answer, Value::Array(parts) if parts.is_empty())
}

fn drawn_epoch() -> Result<Epoch, StoreError> {
    entropy::epoch().map_err(|error| StoreError::Unreachable(error.to_string()))
}

fn nameless() -> StoreError {
    StoreError::Unacceptable(
        "this Redis tells no run_id, so nobody would notice that it was started anew: nothing is \
         answered from memory, and each change takes a second longer"
            .to_owned(),
    )
}

fn lost() -> StoreError {
    StoreError::Unreachable("the registry of replicas was lost; it is made anew".to_owned())
}

fn damaged() -> StoreError {
    unexpected("a registry that is damaged")
}
