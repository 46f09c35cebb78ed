//! The embedded store: one SQLite file, held by one process, flushed to disk before each answer.
//!
//! A plain token takes about 245 bytes of disk, its index entries included; an owner adds about 110,
//! a `request_id` 150, an end 100, a pool 225 while the token was never leased. That was measured on
//! 20 000 tokens with random ids. The log of events has bounds of its own, and
//! what is kept of use is told in [`usage`].

mod acquire;
mod alarms;
mod census;
mod checkpoint;
mod error;
mod events;
mod inspect;
mod job;
mod leases;
mod limiter;
mod limits;
mod listing;
mod open;
mod peppers;
mod place;
mod pool_listing;
mod pools;
mod queue;
mod reader;
mod registry;
mod schema;
mod seen;
mod sweep;
mod time;
mod tokens;
mod usage;
mod writer;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{
    Change, Creation, Deletion, Durability, Found, Page, Rule, StoreError, StoreId, StoreStatus,
    Sweeping, Swept, TokenStore,
};
use crate::clock::Clock;
use crate::domain::event::Alarms;
use crate::domain::page::{Cursor, Filter, PageSize};
use crate::domain::pepper::PepperCheck;
use crate::domain::retention::Retention;
use crate::domain::token::{Draft, TokenId};
use crate::domain::usage::Keeping;

use super::bells::Bells;
use super::events::EventBounds;
use error::Fault;
pub use error::OpenError;
use events::Log;
pub use inspect::{Condition, Contents, Files, Holder, Integrity, Scrutiny, inspect};
use limiter::Limiter;
use peppers::Peppers;
use place::FileIdentity;
use queue::Queues;
use reader::Readers;
use registry::HeldRegistry;
use seen::Seen;
use time::StoreTime;
use tokens::Acts;
use usage::{Folder, Unfolded};
use writer::Writer;

/// Listings that run at the same time; further ones wait their turn.
const LISTS_AT_ONCE: usize = 2;

/// Which database to open, and how.
pub struct SqliteOptions {
    /// The database; `<path>.lock` is kept beside it.
    pub path: PathBuf,
    /// Refuse where there is no database, instead of creating one.
    pub require_existing: bool,
    /// The peppers in use, the present one first.
    pub peppers: Vec<PepperCheck>,
    /// The store's clock. Set back, the store's time stands still until it has caught up.
    pub clock: Arc<dyn Clock>,
    /// How long ended tokens are kept.
    pub retention: Retention,
    /// How long before their end tokens are told to expire.
    pub alarms: Alarms,
    /// How much of the log of events is kept.
    pub events: EventBounds,
    /// How long use is kept.
    pub keeping: Keeping,
}

/// An open database. Closed by [`StoreStatus::close`], or else when it is dropped.
pub struct SqliteStore {
    inner: Arc<Inner>,
}

impl SqliteStore {
    /// Opens the database, exclusively among all processes; blocking. Creates it, with a warning
    /// in the log, where there is none and that is allowed.
    pub fn open(options: SqliteOptions) -> Result<Self, OpenError> {
        Ok(Self {
            inner: Arc::new(open::open(options)?),
        })
    }

    /// What this database keeps of a root token that was generated for it.
    pub fn generated_root(&self) -> Result<GeneratedRoot, StoreError> {
        self.inner.points.with(schema::generated_root)
    }

    /// Runs a listing on a thread that may block, after others where as many as may are under way.
    async fn in_a_list<T: Send + 'static>(
        &self,
        list: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let room = Arc::clone(&self.inner.list_room).acquire_owned().await;
        let room = room.map_err(|_| StoreError::Closed)?;
        let inner = Arc::clone(&self.inner);
        let listed = tokio::task::spawn_blocking(move || {
            let _room = room;
            list(&inner)
        });
        // It fails only where the runtime itself is ending.
        listed.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Keeps what has become of the generated root token.
    pub async fn keep_generated_root(&self, root: GeneratedRoot) -> Result<(), StoreError> {
        let act = move |acts: &Acts<'_>| schema::keep_generated_root(acts.connection, root);
        self.inner.writer.carry_out(act).await
    }
}

/// A root token that is generated for a database when none is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratedRoot {
    /// None was ever needed.
    None,
    /// In force; the SHA-256 of its secret.
    InForce([u8; 32]),
    /// A configured one replaced it for good.
    Replaced,
}

struct Inner {
    id: StoreId,
    time: Arc<StoreTime>,
    retention: Retention,
    file: Arc<FileIdentity>,
    points: Readers,
    lists: Readers,
    list_room: Arc<Semaphore>,
    limiter: Arc<Limiter>,
    peppers: Arc<Peppers>,
    seen: Arc<Seen>,
    queues: Arc<Queues>,
    log: Arc<Log>,
    bells: Bells,
    registry: HeldRegistry,
    unfolded: Arc<Unfolded>,
    folder: Folder,
    writer: Arc<Writer>,
}

impl Inner {
    fn acts<'a>(&'a self, connection: &'a Connection) -> Acts<'a> {
        Acts {
            connection,
            id: &self.id,
            time: &self.time,
            retention: self.retention,
            peppers: &self.peppers,
            seen: &self.seen,
            queues: &self.queues,
            log: &self.log,
            unfolded: &self.unfolded,
        }
    }

    fn find(&self, id: TokenId) -> Result<Found, StoreError> {
        let found = self.points.with(|connection| {
            let acts = self.acts(connection);
            // Before it is read: who is kept alive just then would seem to be gone.
            let now = self.time.now();
            let kept = acts.find(id)?;
            let token = acts.present(kept, now)?.map(|entry| Arc::new(entry.token));
            Ok(Found { now, token })
        })?;
        // Known or not: SQLite reads on from a file that is gone, and never sees the one in its place.
        self.sound()?;
        Ok(found)
    }

    fn unchanged(&self, asked: &[(TokenId, u64)]) -> Result<Vec<bool>, StoreError> {
        self.snapshot(|snapshot| {
            let acts = self.acts(snapshot);
            let asked = asked.iter();
            asked
                .map(|(id, revision)| acts.stands(*id, *revision))
                .collect()
        })
    }

    fn list(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<Page, StoreError> {
        self.snapshot(|snapshot| {
            let now = self.time.now();
            listing::page(snapshot, filter, after, size, now, &self.seen)
        })
    }

    /// Reads a list from one snapshot, which carries the marker.
    fn snapshot<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        self.sound()?;
        self.lists.with(|connection| {
            // Nothing is written, so it is dropped.
            let snapshot = connection.unchecked_transaction()?;
            schema::confirm(&snapshot, &self.id)?;
            read(&snapshot)
        })
    }

    /// An error if the file is not the one that was opened, or was used with other peppers.
    fn sound(&self) -> Result<(), StoreError> {
        self.file.confirm()?;
        self.peppers.confirm()
    }

    /// Carries out an act that writes, on tokens and what belongs to them.
    async fn write<T, F>(&self, act: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Acts<'_>) -> Result<T, Fault> + Send + 'static,
    {
        self.peppers.confirm()?;
        self.writer.carry_out(act).await
    }

    fn confirm(&self) -> Result<(), StoreError> {
        self.sound()?;
        self.points
            .with(|connection| schema::confirm(connection, &self.id))
    }

    /// Closes everything once what is under way has ended; blocking. Closing again does nothing.
    fn shut(&self) {
        // Readers first: the writer folds the log only when nobody reads from it.
        self.list_room.close();
        self.points.close();
        self.lists.close();
        self.folder.stop();
        self.writer.stop();
    }
}

impl Drop for Inner {
    /// Waits for the writer, so that whoever opens the file next finds it unlocked.
    fn drop(&mut self) {
        self.shut();
    }
}

#[async_trait]
impl TokenStore for SqliteStore {
    // Inline: a point read takes about as long as handing it to another thread would.
    async fn find(&self, id: TokenId) -> Result<Found, StoreError> {
        self.inner.find(id)
    }

    async fn unchanged(&self, asked: &[(TokenId, u64)]) -> Result<Vec<bool>, StoreError> {
        let asked = asked.to_vec();
        self.in_a_list(move |inner| inner.unchanged(&asked)).await
    }

    async fn create(&self, draft: Draft) -> Result<Creation, StoreError> {
        let act = move |acts: &Acts<'_>| acts.create(&draft);
        self.inner.write(act).await
    }

    async fn change(&self, id: TokenId, rule: Rule) -> Result<Change, StoreError> {
        let act = move |acts: &Acts<'_>| acts.change(id, &rule);
        self.inner.write(act).await
    }

    async fn delete(&self, id: TokenId, rule: Rule) -> Result<Deletion, StoreError> {
        let act = move |acts: &Acts<'_>| acts.delete(id, &rule);
        self.inner.write(act).await
    }

    async fn list(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<Page, StoreError> {
        let filter = filter.clone();
        self.in_a_list(move |inner| inner.list(&filter, after, size))
            .await
    }
}

#[async_trait]
impl Sweeping for SqliteStore {
    async fn sweep(&self) -> Result<Swept, StoreError> {
        self.inner.write(|acts| acts.sweep()).await
    }
}

#[async_trait]
impl StoreStatus for SqliteStore {
    // It is open, or it would not be here.
    async fn settled(&self) {}

    async fn probe_read(&self) -> Result<(), StoreError> {
        self.inner.confirm()
    }

    async fn probe_write(&self) -> Result<(), StoreError> {
        let act = |acts: &Acts<'_>| -> Result<(), Fault> {
            // A decision like any other: it makes the writer write at least once a second.
            acts.time.now();
            Ok(())
        };
        self.inner.write(act).await
    }

    async fn confirm(&self) -> Result<(), StoreError> {
        self.inner.confirm()
    }

    fn id(&self) -> Result<StoreId, StoreError> {
        Ok(self.inner.id.clone())
    }

    fn durability(&self) -> Option<Durability> {
        Some(Durability::Embedded)
    }

    async fn close(&self) {
        let inner = Arc::clone(&self.inner);
        // Goes on to its end even where nobody waits for it any more.
        let closed = tokio::task::spawn_blocking(move || inner.shut());
        if let Err(error) = closed.await {
            tracing::error!(%error, "the database could not be closed");
        }
    }
}
