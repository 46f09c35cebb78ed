//! How much is kept in memory to answer Validate from.

use serde::Deserialize;

use super::{ConfigError, within};

/// Bounds on what is kept in memory.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// Zero where every answer comes from the store.
    pub max_entries: usize,
    pub max_bytes: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CacheTable {
    max_entries: i64,
    max_bytes: i64,
}

impl CacheTable {
    pub(super) fn parse(self) -> Result<CacheConfig, ConfigError> {
        let Self {
            max_entries,
            max_bytes,
        } = self;
        Ok(CacheConfig {
            max_entries: within("cache.max_entries", max_entries, 0, 10_000_000)?,
            max_bytes: within("cache.max_bytes", max_bytes, 1 << 20, 64 << 30)?,
        })
    }
}
