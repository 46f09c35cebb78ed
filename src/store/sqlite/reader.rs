//! A few read-only connections that share the reading.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use rusqlite::{Connection, OpenFlags};

use super::error::{BUSY_TIMEOUT, Fault};
use crate::store::StoreError;

/// A connection, until the readers are closed.
type Slot = Mutex<Option<Connection>>;

pub(super) struct Readers {
    slots: Vec<Slot>,
    turn: AtomicUsize,
}

impl Readers {
    /// Opens `count` (at least one) connections.
    pub(super) fn open(path: &Path, count: usize) -> Result<Self, Fault> {
        let slots = (0..count.max(1))
            .map(|_| Ok(Mutex::new(Some(connect(path)?))))
            .collect::<Result<_, Fault>>()?;
        Ok(Self {
            slots,
            turn: AtomicUsize::new(0),
        })
    }

    /// Runs `act` on a connection, after others where all are taken.
    pub(super) fn with<T>(
        &self,
        act: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        match &*self.take() {
            Some(connection) => Ok(act(connection)?),
            None => Err(StoreError::Closed),
        }
    }

    /// Closes all connections once nobody uses them any more.
    pub(super) fn close(&self) {
        for slot in &self.slots {
            drop(unpoisoned(slot.lock()).take());
        }
    }

    /// A free slot, or else the next one as soon as it is free.
    fn take(&self) -> MutexGuard<'_, Option<Connection>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.slots.len();
        let (before, from) = self.slots.split_at(turn);
        for slot in from.iter().chain(before) {
            match slot.try_lock() {
                Ok(guard) => return guard,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        unpoisoned(self.slots[turn].lock())
    }
}

/// A panic leaves a read-only connection as good as it was: its statements were reset.
fn unpoisoned<G>(lock: Result<G, PoisonError<G>>) -> G {
    lock.unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn connect(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // SQLite opens the log with the first read: now, while it is known to be the right one.
    connection.query_row("SELECT count(*) FROM meta", [], |_| Ok(()))?;
    Ok(connection)
}
