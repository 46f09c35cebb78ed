//! Usage from its being counted to its being in the store, and what is left of it at the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::authority::Authority;
use crate::authority::recorder::Flushing;
use crate::config::{Config, ServerConfig};
use crate::store::Store;

use super::ServeError;

/// How long the last of it may take at least to be added, however late it is.
const LAST: Duration = Duration::from_secs(1);

/// The counting, which goes on by itself.
pub(super) struct Counting {
    flushing: Arc<Flushing>,
    keeping: JoinHandle<()>,
}

impl Counting {
    /// Begins to add to `store` what the authority counts.
    pub(super) fn begin(
        config: &Config,
        authority: &Authority,
        store: &Arc<dyn Store>,
    ) -> Result<Self, ServeError> {
        let every = config.usage.flush_interval;
        let flushing = Flushing::new(authority.recorder(), store.clone(), every);
        let flushing = flushing.map_err(|error| ServeError::Failed(error.to_string()))?;
        let flushing = Arc::new(match config.usage.token_metrics {
            true => flushing.naming_the_busiest(),
            false => flushing,
        });
        Ok(Self {
            keeping: tokio::spawn(flushing.clone().keep()),
            flushing,
        })
    }

    /// Counts a last time, and adds all of it, with what is left of the time for draining, which began
    /// at `since`.
    pub(super) async fn end(self, server: &ServerConfig, since: Instant) {
        let Self { flushing, keeping } = self;
        keeping.abort();
        // To its end: what it holds is needed next.
        let _ = keeping.await;
        let all = server.drain_delay + server.drain_deadline;
        let left = all.saturating_sub(since.elapsed()).max(LAST);
        flushing.finish(left).await;
    }
}
