//! The contract of the registry: where replicas that answer from memory learn what was changed.
//!
//! What the acts mean is [`crate::domain::coherence::registry::Registry`]; here is only where it is kept.
//! Its clock plays no part in it.

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::domain::coherence::registry::{Absent, Announced, Attendance, Renewal, Renewed};
use crate::domain::coherence::{Invalidation, Nudge, ReplicaId};
use crate::domain::time::Timestamp;

use super::StoreError;

/// The acts on the one registry of a store. Each is one step, and one round trip.
///
/// A registry that is lost, or that another run of the store's server kept, is made anew: empty,
/// under another epoch, and not settled. One that is made together with its store is settled.
#[async_trait]
pub trait RegistryStore: Send + Sync {
    /// Whether other processes change what is in the store, too. Where none does, whoever dies between a
    /// change and its announcement remembers nothing any more that could be out of date.
    fn is_shared(&self) -> bool;

    /// Renews the lease of a replica, tells it what it lacks, and the store's time; an error where
    /// the store could not be read, either.
    async fn renew(&self, renewal: &Renewal) -> Result<(Renewed, Timestamp), StoreError>;

    /// Adds at most [`crate::domain::coherence::ANNOUNCED_MAX`] changes to the log, and sends them
    /// around as a nudge.
    async fn announce(&self, changes: &[Invalidation]) -> Result<Announced, StoreError>;

    /// Tells who answers from memory, and how far each has come.
    async fn attendance(&self) -> Result<Attendance, StoreError>;

    /// Strikes off those replicas that have not renewed since they were waited for.
    async fn strike(&self, absent: &Absent) -> Result<(), StoreError>;

    /// Strikes off a replica that has given up its lease.
    async fn resign(&self, replica: ReplicaId) -> Result<(), StoreError>;

    /// What others announce, as soon as it is there. Any of it may be lost, late, or come twice.
    fn nudges(&self) -> broadcast::Receiver<Heard>;
}

/// What may be heard of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Nudge(Nudge),
    /// Something may have been missed.
    Interrupted,
}
