//! Readiness: whether Validate can answer and changes can be kept, asked of the store all the time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::store::{Store, StoreError};

/// What can be done right now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Validate can answer.
    pub validate: bool,
    /// Changes can be kept.
    pub manage: bool,
}

/// Time between two looks, and the longest that one may take.
const EVERY: Duration = Duration::from_millis(500);

/// Looks after the store until `readiness` has no receivers left, and logs what changes.
pub async fn watch(store: Arc<dyn Store>, readiness: watch::Sender<Readiness>) {
    let mut last: Option<(Result<(), StoreError>, Result<(), StoreError>)> = None;
    while !readiness.is_closed() {
        let (read, write) = match tokio::time::timeout(EVERY, store.probe()).await {
            Ok(probe) => (probe.read, probe.write),
            Err(_) => (Err(StoreError::Slow(EVERY)), Err(StoreError::Slow(EVERY))),
        };
        let now = Readiness {
            validate: read.is_ok(),
            manage: read.is_ok() && write.is_ok(),
        };
        let seen = Some((read, write));
        if seen != last {
            report(&seen, store.as_ref());
            last = seen;
        }
        readiness.send_if_modified(|before| std::mem::replace(before, now) != now);
        tokio::time::sleep(EVERY).await;
    }
}

fn report(seen: &Option<(Result<(), StoreError>, Result<(), StoreError>)>, store: &dyn Store) {
    match seen {
        Some((Ok(()), Ok(()))) => {
            let id = store.id().map(|id| id.to_string()).unwrap_or_default();
            let durability = store.durability().map_or("", |class| class.as_str());
            tracing::info!(store_id = id, durability, "serving");
        }
        Some((Ok(()), Err(why))) => tracing::warn!(%why, "validating only: changes cannot be kept"),
        Some((Err(why), _)) => tracing::warn!(%why, "not serving"),
        None => {}
    }
}
