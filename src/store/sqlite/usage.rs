//! Usage: what servers counted.

use async_trait::async_trait;

use super::SqliteStore;
use crate::domain::name::Namespace;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenId;
use crate::domain::usage::{Book, Hour, Subject, Summary};
use crate::store::StoreError;
use crate::store::usage::{Flush, InForce, UsageStore};

#[async_trait]
impl UsageStore for SqliteStore {
    async fn add_usage(&self, _flush: &Flush) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    async fn usage(&self, _subject: &Subject, _from: Hour) -> Result<Book, StoreError> {
        Err(StoreError::Closed)
    }

    async fn summaries(&self, _tokens: &[TokenId], _now: Hour) -> Result<Vec<Summary>, StoreError> {
        Err(StoreError::Closed)
    }

    async fn standing(
        &self,
        _namespace: Option<&Namespace>,
        _until: Timestamp,
        _most: usize,
    ) -> Result<InForce, StoreError> {
        Err(StoreError::Closed)
    }
}
