//! The registry on Redis.

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::RedisStore;
use crate::domain::coherence::registry::{Announced, Attendance, Renewal, Renewed};
use crate::domain::coherence::{Invalidation, ReplicaId};
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::registry::{Heard, RegistryStore};

#[async_trait]
impl RegistryStore for RedisStore {
    async fn renew(&self, _renewal: &Renewal) -> Result<(Renewed, Timestamp), StoreError> {
        Err(StoreError::Closed)
    }

    async fn announce(&self, _changes: &[Invalidation]) -> Result<Announced, StoreError> {
        Err(StoreError::Closed)
    }

    async fn attendance(&self) -> Result<Attendance, StoreError> {
        Err(StoreError::Closed)
    }

    async fn strike(&self, _absent: &[(ReplicaId, u64)]) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    async fn resign(&self, _replica: ReplicaId) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    fn nudges(&self) -> broadcast::Receiver<Heard> {
        broadcast::Sender::new(1).subscribe()
    }
}
