//! Events on Redis: the log, what comes to it, and that nothing is lost on the way.
//!
//! A script touches one slot, and the log has its own. So what happens to a token in a pool is noted in
//! the pool's slot, in the step itself, and moved from there ([`outbox`]); and a change of another token is
//! marked in the log's slot before it is made ([`mark`]). What the server that did it does not tell within
//! a moment ([`teller`]), any other does.

mod alarms;
mod log;
mod mark;
mod notice;
mod outbox;
mod stored;
mod teller;

use async_trait::async_trait;
use redis::cmd;

use self::log::{How, Item};
pub(super) use self::mark::Act;
use self::mark::Mark;
pub(super) use self::notice::kind_of_change;
use self::outbox::nonce;
pub(super) use self::stored::number;
pub(super) use self::teller::Teller;
use super::RedisStore;
use super::error::read;
use super::keys::{DueShard, Keys};
use super::leases::{id_in, place_of};
use super::line::Line;
use super::pools::parsed;
use super::scripts::TAKE_TURN;
use super::standing::Standing;
use crate::domain::event::EventCursor;
use crate::domain::pool::Pool;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::events::{EventStore, Events, Told};

/// Most marks that one step looks at.
const MARKS_MAX: usize = 1024;
/// Most pools that one step looks at.
const POOLS_MAX: usize = 512;
/// Most rounds in which one step moves what is in outboxes.
const ROUNDS_MAX: usize = 8;
/// How long nobody else tells what is due, in milliseconds, if whoever does dies.
const TURN_TAKES: &str = "2000";

/// How far earlier steps of this process came.
pub(super) struct Walked {
    /// The last mark that was looked at; empty at the end.
    mark: Vec<u8>,
    /// The name of the last pool; empty at the end.
    pool: Vec<u8>,
    /// How many entries of each shard of what is due can only wait.
    passed: Vec<usize>,
}

impl Default for Walked {
    fn default() -> Self {
        Self {
            mark: Vec::new(),
            pool: Vec::new(),
            passed: vec![0; DueShard::COUNT.into()],
        }
    }
}

#[async_trait]
impl EventStore for RedisStore {
    async fn events(&self, after: EventCursor) -> Result<Events, StoreError> {
        let line = self.access.links.line()?;
        self.access.read_events(&line, after).await
    }

    async fn last_event(&self) -> Result<EventCursor, StoreError> {
        self.teller.catch_up(self.access.read_timeout).await;
        let line = self.access.links.line()?;
        self.access.end_of_events(&line).await
    }

    async fn tell(&self) -> Result<Told, StoreError> {
        let line = &self.access.links.line()?;
        self.in_turn(line, self.tell_in_turn(line)).await
    }
}

impl RedisStore {
    /// Does `work`, unless another server tells what is due just now.
    pub(super) async fn in_turn(
        &self,
        line: &Line<'_>,
        work: impl Future<Output = Result<Told, StoreError>> + Send,
    ) -> Result<Told, StoreError> {
        // What is told by time alone comes behind what was done here.
        self.teller.catch_up(self.access.write_timeout).await;
        // An emptied store must not be written to.
        line.confirm(self.access.write_timeout).await?;
        let who = nonce()?;
        if !self.turn(line, &who, TURN_TAKES).await? {
            return Ok(Told::default());
        }
        let told = work.await;
        self.turn(line, &who, "").await?;
        told
    }

    async fn turn(&self, line: &Line<'_>, who: &str, span: &str) -> Result<bool, StoreError> {
        let call = TAKE_TURN.call([self.access.keys.turn()]);
        let answer = line
            .script(self.access.write_timeout, &call.arg(who).arg(span))
            .await?;
        read::<u64>(answer).map(|taken| taken > 0)
    }

    async fn tell_in_turn(&self, line: &Line<'_>) -> Result<Told, StoreError> {
        let now = self.time(line).await?;
        let parts = [
            self.tell_orphans(line, now).await?,
            self.tell_alarms(line, now).await?,
            self.tell_pools(line, now).await?,
        ];
        let dropping = self.access.drop_old(line, now).await?;
        Ok(Told {
            told: parts.iter().map(|part| part.told).sum(),
            more: dropping || parts.iter().any(|part| part.more),
        })
    }

    /// Tells what the dead have marked, and takes their marks away.
    async fn tell_orphans(&self, line: &Line<'_>, now: Timestamp) -> Result<Told, StoreError> {
        let limit = self.access.write_timeout;
        let from = behind(&self.walked().mark);
        let mut command = cmd("ZRANGE");
        command.arg(self.access.keys.marks()).arg(from).arg("+");
        command.arg("BYLEX").arg("LIMIT").arg(0).arg(MARKS_MAX);
        let texts: Vec<Vec<u8>> = read(line.command(limit, &command).await?)?;
        let full = texts.len() == MARKS_MAX;
        let last = texts.last().filter(|_| full).cloned();
        let mut orphans = Vec::new();
        let mut items = Vec::new();
        for text in texts {
            match Mark::read(&text) {
                Some(mark) if mark.is_orphaned(now) => orphans.push((mark, text)),
                Some(_) => {}
                None => {
                    tracing::error!("what is no mark stood among the marks of changes");
                    items.push(unmarked(text, Vec::new()));
                }
            }
        }
        let ask = |(mark, _): &(Mark, Vec<u8>)| {
            let mut get = cmd("GET");
            get.arg(self.access.keys.record(mark.id));
            get
        };
        let asked = orphans.iter().map(ask).chain([line.marker()]).collect();
        let mut answers = line.commands(limit, asked).await?;
        line.check_marker(limit, answers.pop().unwrap_or_default())?;
        let mut told = 0;
        for ((mark, text), answer) in orphans.into_iter().zip(answers) {
            let record: Option<Vec<u8>> = read(answer)?;
            let standing = Standing::read(mark.id, record.as_deref());
            match standing.and_then(|standing| mark.outcome(standing)) {
                Ok(event) => {
                    told += usize::from(event.is_some());
                    let event = event.as_ref().map(stored::encode);
                    items.push(unmarked(text, event.unwrap_or_default()));
                }
                // It may be mended; its mark stays.
                Err(error) => tracing::error!(id = %mark.id, %error, "a change cannot be told"),
            }
        }
        self.access.append(line, &items).await?;
        self.walked().mark = last.unwrap_or_default();
        let more = full && !items.is_empty();
        Ok(Told { told, more })
    }

    /// Looks at some pools, one after the other for ever: ends leases whose time is over, and moves what
    /// is left in outboxes.
    async fn tell_pools(&self, line: &Line<'_>, now: Timestamp) -> Result<Told, StoreError> {
        let from = behind(&self.walked().pool);
        let names = self.pool_names(line, &from, b"+", POOLS_MAX).await?;
        let last = names.last().filter(|_| names.len() == POOLS_MAX).cloned();
        let pools: Vec<Pool> = names.iter().filter_map(|name| parsed(name)).collect();
        let (overdue, filled) = self.look_at(line, &pools, now).await?;
        // Whoever counts them settles them.
        self.standings(line, &overdue).await?;
        let mut left = filled;
        left.extend(overdue);
        left.sort_unstable();
        left.dedup();
        let mut told = 0;
        for _ in 0..ROUNDS_MAX {
            if left.is_empty() {
                break;
            }
            let moved = self.access.move_outboxes(line, left).await?;
            told += moved.told;
            left = moved.left;
        }
        let more = !left.is_empty();
        left.into_iter()
            .for_each(|pool| self.teller.poke(Some(pool)));
        self.walked().pool = last.unwrap_or_default();
        Ok(Told { told, more })
    }

    /// In which of some pools a lease is over, and of which something is not told yet.
    async fn look_at(
        &self,
        line: &Line<'_>,
        pools: &[Pool],
        now: Timestamp,
    ) -> Result<(Vec<Pool>, Vec<Pool>), StoreError> {
        let mut commands = Vec::with_capacity(2 * pools.len());
        for pool in pools {
            let (base, place) = (self.access.keys.base(id_in(pool)), place_of(pool));
            let mut over = cmd("ZCOUNT");
            over.arg(Keys::held(&base, &place)).arg("-inf");
            over.arg(now.micros());
            let mut untold = cmd("LLEN");
            untold.arg(Keys::outbox(&base, &place));
            commands.extend([over, untold]);
        }
        let answers = line.commands(self.access.write_timeout, commands).await?;
        let counts: Vec<u64> = answers.into_iter().map(read).collect::<Result<_, _>>()?;
        let of = |which: usize| {
            let some = pools.iter().zip(counts.chunks(2));
            let some = some.filter(move |(_, counts)| counts.get(which).is_some_and(|n| *n > 0));
            some.map(|(pool, _)| pool.clone()).collect()
        };
        Ok((of(0), of(1)))
    }
}

/// From where a walk goes on in the order of names, behind the last one; from the first without one.
fn behind(last: &[u8]) -> Vec<u8> {
    match last {
        [] => b"-".to_vec(),
        last => [b"(", last].concat(),
    }
}

/// Takes an orphaned mark away, and tells what became of the token.
fn unmarked(mark: Vec<u8>, event: Vec<u8>) -> Item {
    let how = How::Late;
    Item { mark, how, event }
}
