//! Usage from its being counted to its being in the store, and what is left of it at the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::authority::Authority;
use crate::authority::recorder::Flushing;
use crate::config::{Config, ServerConfig};
use crate::store::Store;

use super::ServeError;

/// How long the last of it may take at least to be added, however late it is.
const LAST: Duration = Duration::from_secs(1);

/// Adds to `store` what the authority counts.
pub(super) fn flushing(
    config: &Config,
    authority: &Authority,
    store: &Arc<dyn Store>,
) -> Result<Arc<Flushing>, ServeError> {
    let every = config.usage.flush_interval;
    Flushing::new(authority.recorder(), store.clone(), every)
        .map(Arc::new)
        .map_err(|error| ServeError::Failed(error.to_string()))
}

/// What is left of the time for draining, which began at `since`.
pub(super) fn time_left(server: &ServerConfig, since: Instant) -> Duration {
    let all = server.drain_delay + server.drain_deadline;
    all.saturating_sub(since.elapsed()).max(LAST)
}
