//! The store on Redis.
//!
//! A token is one string, so that every act on it is one script on one key. The listing indexes
//! stand beside it and may lag behind: an entry counts only where a record of its time stands.
//!
//! How a pooled token is held stands beside its record as well, in a string of its own, so that leases
//! come and go without the revision. All keys of a pool share a slot: acquiring, releasing and keeping
//! alive are one script each, and one round trip. A fence is the last one and one, or the time in
//! microseconds if that is more; so it grows even where Redis lost its last moments, or was set back to
//! an earlier state, unless its clock was set back as well. Where Redis may lose a second when it is
//! killed, it may lose a lease of that second, and lease the token again: under a greater fence.
//!
//! An idle pooled token takes some 760 bytes of Redis, with record, tenure and entries.

mod acquire;
mod background;
mod census;
mod create;
mod distrust;
mod due;
mod ear;
mod error;
mod events;
mod gathering;
mod identity;
mod in_force;
mod index;
mod init;
mod inspect;
mod joint;
mod keys;
mod leases;
mod limits;
mod line;
mod link;
mod list;
mod namespaces;
mod options;
mod peppers;
mod pools;
mod registry;
mod replicas;
mod scripts;
mod series;
mod server;
mod sight;
mod source;
mod standing;
mod strikes;
mod sweep;
mod tenancy;
mod together;
mod tokens;
mod usage;
mod walk;
mod watch;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinHandle;

use self::background::Background;
use self::ear::Ear;
use self::events::{Teller, Walked};
use self::identity::Acceptance;
use self::joint::Joint;
use self::keys::Keys;
use self::line::Line;
use self::link::Links;
use self::replicas::Replicas;
use self::scripts::ACCEPT_WRITES;
use self::series::Series;
use self::sight::Sight;
use self::usage::Ledgers;
use self::watch::News;
use super::bells::Bells;
use super::events::EventBounds;
use super::{Durability, StoreError, StoreId, StoreStatus};
use crate::clock::Clock;
use crate::domain::event::Alarms;
use crate::domain::retention::Retention;
use crate::domain::usage::Keeping;

pub use self::init::{InitError, init};
pub use self::inspect::{
    Flushing, Insight, Latency, Mark, Offset, Permissions, Reached, Server, inspect,
};
pub use self::options::{OptionsError, OwnCertificate, RedisOptions, RedisTls};

/// How long a probe waits for replicas at least, so that it can tell how many are missing.
const PROBE_OF_REPLICAS: Duration = Duration::from_millis(400);

/// A store on a Redis 7 or newer.
///
/// It is usable as soon as the first connection was verified; until then, and whenever no link is
/// up, every act answers at once why.
pub struct RedisStore {
    access: Arc<Access>,
    joint: Joint,
    series: Series,
    sight: Sight,
    ledgers: Ledgers,
    bells: Bells,
    ear: Ear,
    teller: Arc<Teller>,
    walked: Mutex<Walked>,
    /// What runs beside the acts, as long as the store is open.
    tasks: Vec<JoinHandle<()>>,
}

impl RedisStore {
    /// Starts connecting, and answers at once. It must be called within a tokio runtime, on which its
    /// connections live then; acts may come from others.
    pub fn start(options: RedisOptions) -> Result<Self, OptionsError> {
        let keys = Keys::new(&options.prefix);
        let bells = Bells::default();
        let patience = options.longest_timeout();
        let background = Background::here();
        let client = options.client()?;
        let ear = Ear::new(client, &keys, patience, bells.clone(), background.clone());
        let links = Arc::new(Links::new(
            options.pool()?,
            options.connections,
            keys.clone(),
            Acceptance::new(&options)?,
            patience,
            Replicas::new(options.replicas, keys.note_channel()),
            background.clone(),
        ));
        let news = Arc::new(News::default());
        let mut tasks: Vec<_> = (0..links.slots())
            .map(|slot| tokio::spawn(watch::keep(links.clone(), slot, news.clone())))
            .collect();
        let access = Arc::new(Access {
            links,
            keys,
            read_timeout: options.read_timeout,
            write_timeout: options.write_timeout,
            clock: options.clock,
            retention: options.retention,
            alarms: options.alarms,
            events: options.events,
            keeping: options.keeping,
        });
        let teller = Teller::new(access.clone());
        tasks.push(background.spawn(teller.clone().keep()));
        Ok(Self {
            joint: Joint::default(),
            series: Series::new(access.clone()),
            sight: Sight::default(),
            ledgers: Ledgers::default(),
            bells,
            ear,
            access,
            teller,
            walked: Mutex::default(),
            tasks,
        })
    }

    /// Exchanges with Redis that acts have begun; the watchdogs' are not counted.
    pub fn round_trips(&self) -> u64 {
        self.access.links.round_trips()
    }

    /// Waits until all that acts have done is in the log of events.
    #[doc(hidden)]
    pub async fn all_told(&self) {
        self.teller.finish(self.access.write_timeout).await;
    }

    /// Makes buckets of the listing indexes as small as a test needs; all users of one store must
    /// agree, or buckets differ in size.
    #[doc(hidden)]
    pub fn with_bucket_size(mut self, entries: usize) -> Self {
        self.series.set_bucket_size(entries);
        self
    }

    /// Folds ledgers as often as a test needs: about once for each so many bytes that are added.
    #[doc(hidden)]
    pub fn with_ledgers_folded_every(mut self, bytes: u64) -> Self {
        self.ledgers.fold_every(bytes);
        self
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.ear.end();
        self.tasks.iter().for_each(JoinHandle::abort);
        self.access.links.close();
    }
}

#[async_trait]
impl StoreStatus for RedisStore {
    async fn settled(&self) {
        self.access.links.settled().await;
    }

    async fn probe_read(&self) -> Result<(), StoreError> {
        self.confirm().await
    }

    async fn probe_write(&self) -> Result<(), StoreError> {
        let limit = match self.access.links.wait_for_replicas() {
            true => self.access.read_timeout.max(PROBE_OF_REPLICAS),
            false => self.access.read_timeout,
        };
        let line = self.access.links.changing(limit).await?;
        line.new_digests_may_be_kept()?;
        let question = ACCEPT_WRITES.call([self.access.keys.marker()]);
        let answer = line.script(limit, &question).await;
        answer.map(drop)
    }

    async fn confirm(&self) -> Result<(), StoreError> {
        let line = self.access.links.line()?;
        line.confirm(self.access.read_timeout).await
    }

    fn id(&self) -> Result<StoreId, StoreError> {
        match self.access.links.acceptance().store_id() {
            Some(id) => Ok(id.clone()),
            None => {
                self.access.links.usable()?;
                let why = "the store's id was not read yet".to_owned();
                Err(StoreError::Unreachable(why))
            }
        }
    }

    fn durability(&self) -> Option<Durability> {
        self.access.links.acceptance().durability()
    }

    async fn close(&self) {
        self.ear.end();
        self.teller.finish(self.access.write_timeout).await;
        self.tasks.iter().for_each(JoinHandle::abort);
        self.access.links.close();
    }
}

/// What every part of the store needs to ask Redis.
struct Access {
    links: Arc<Links>,
    keys: Keys,
    read_timeout: Duration,
    write_timeout: Duration,
    clock: Option<Arc<dyn Clock>>,
    retention: Retention,
    alarms: Alarms,
    events: EventBounds,
    keeping: Keeping,
}

impl Access {
    /// Holds a connection for an act that changes something.
    async fn changing(&self) -> Result<Line<'_>, StoreError> {
        self.links.changing(self.write_timeout).await
    }

    /// The time as scripts take it: microseconds of the given clock, or nothing for Redis' own.
    fn now(&self) -> String {
        let clock = self.clock.as_ref();
        clock.map_or(String::new(), |clock| clock.now().micros().to_string())
    }
}
