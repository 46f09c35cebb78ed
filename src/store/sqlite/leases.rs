//! The acts on leases.

use async_trait::async_trait;

use super::SqliteStore;
use crate::domain::caller::Reach;
use crate::domain::lease::WaiterId;
use crate::domain::page::PageSize;
use crate::domain::pool::Pool;
use crate::store::bells::Bells;
use crate::store::leases::{Acquired, Asking, Beat, KeptAlive, LeaseTarget, Pools, Released};
use crate::store::{LeaseStore, StoreError};

#[async_trait]
impl LeaseStore for SqliteStore {
    async fn acquire(&self, _asking: &Asking) -> Result<Acquired, StoreError> {
        Err(StoreError::Closed)
    }

    async fn leave(&self, _pool: &Pool, _waiter: WaiterId) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    async fn release(&self, _target: LeaseTarget, _reach: &Reach) -> Result<Released, StoreError> {
        Err(StoreError::Closed)
    }

    async fn keep_alive(&self, _beat: &Beat) -> Result<KeptAlive, StoreError> {
        Err(StoreError::Closed)
    }

    async fn pools(
        &self,
        _reach: &Reach,
        _after: Option<&Pool>,
        _size: PageSize,
    ) -> Result<Pools, StoreError> {
        Err(StoreError::Closed)
    }

    async fn be_seen(&self) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    fn bells(&self) -> &Bells {
        &self.inner.bells
    }
}
