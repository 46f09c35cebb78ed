//! A store that measures another: how long each operation took, and why it failed.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use crate::domain::caller::Reach;
use crate::domain::name::Namespace;
use crate::domain::page::{Cursor, Filter, PageSize};
use crate::domain::spending::Spending;
use crate::domain::token::{Draft, Token, TokenId};
use crate::metrics::{Failure, Metrics, Operation};

use super::{
    Census, Change, Creation, Deletion, Durability, Found, LimitStore, NamespaceStore, Page, Rule,
    Store, StoreError, StoreId, StoreStatus, Sweeping, Swept, Take, Taken, TokenStore,
};

/// A store, measured.
pub struct Measured {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
}

impl Measured {
    pub fn new(store: Arc<dyn Store>, metrics: Arc<Metrics>) -> Self {
        Self { store, metrics }
    }

    async fn timed<T>(
        &self,
        operation: Operation,
        act: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut timing = Timing {
            metrics: &self.metrics,
            operation,
            begun: Instant::now(),
            failure: Some(Failure::Abandoned),
        };
        let result = act.await;
        timing.failure = result.as_ref().err().map(failure);
        result
    }
}

/// An operation on its way; counted when it ends, or nobody waits for it any longer.
struct Timing<'a> {
    metrics: &'a Metrics,
    operation: Operation,
    begun: Instant,
    failure: Option<Failure>,
}

impl Drop for Timing<'_> {
    fn drop(&mut self) {
        let store = &self.metrics.store;
        store.took(self.operation, self.begun.elapsed(), self.failure);
    }
}

fn failure(error: &StoreError) -> Failure {
    match error {
        StoreError::Unreachable(_) => Failure::Unreachable,
        StoreError::Slow(_) => Failure::Slow,
        StoreError::Unacceptable(_) => Failure::Unacceptable,
        StoreError::ReadOnly(_) => Failure::ReadOnly,
        StoreError::Corrupt(_) => Failure::Corrupt,
        StoreError::Contended(_) => Failure::Contended,
        StoreError::Closed => Failure::Closed,
    }
}

#[async_trait]
impl TokenStore for Measured {
    async fn find(&self, id: TokenId) -> Result<Found, StoreError> {
        self.timed(Operation::Find, self.store.find(id)).await
    }

    async fn create(&self, draft: Draft) -> Result<Creation, StoreError> {
        self.timed(Operation::Create, self.store.create(draft))
            .await
    }

    async fn change(&self, id: TokenId, rule: Rule) -> Result<Change, StoreError> {
        self.timed(Operation::Change, self.store.change(id, rule))
            .await
    }

    async fn delete(&self, id: TokenId, rule: Rule) -> Result<Deletion, StoreError> {
        self.timed(Operation::Delete, self.store.delete(id, rule))
            .await
    }

    async fn list(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<Page, StoreError> {
        self.timed(Operation::List, self.store.list(filter, after, size))
            .await
    }
}

#[async_trait]
impl LimitStore for Measured {
    async fn take(&self, take: &Take) -> Result<Taken, StoreError> {
        self.timed(Operation::Take, self.store.take(take)).await
    }

    async fn spending(&self, tokens: &[Arc<Token>]) -> Result<Vec<Spending>, StoreError> {
        self.timed(Operation::Spending, self.store.spending(tokens))
            .await
    }
}

#[async_trait]
impl NamespaceStore for Measured {
    async fn census(
        &self,
        reach: &Reach,
        after: Option<&Namespace>,
        size: PageSize,
    ) -> Result<Census, StoreError> {
        let census = self.store.census(reach, after, size);
        self.timed(Operation::Census, census).await
    }
}

#[async_trait]
impl Sweeping for Measured {
    async fn sweep(&self) -> Result<Swept, StoreError> {
        self.timed(Operation::Sweep, self.store.sweep()).await
    }
}

#[async_trait]
impl StoreStatus for Measured {
    async fn settled(&self) {
        self.store.settled().await;
    }

    async fn probe_read(&self) -> Result<(), StoreError> {
        self.timed(Operation::ProbeRead, self.store.probe_read())
            .await
    }

    async fn probe_write(&self) -> Result<(), StoreError> {
        self.timed(Operation::ProbeWrite, self.store.probe_write())
            .await
    }

    async fn confirm(&self) -> Result<(), StoreError> {
        self.timed(Operation::Confirm, self.store.confirm()).await
    }

    fn id(&self) -> Result<StoreId, StoreError> {
        self.store.id()
    }

    fn durability(&self) -> Option<Durability> {
        self.store.durability()
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
