//! Readiness: whether Validate can answer and changes can be kept, asked of the store all the time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::store::{Probe, Store, StoreError};

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
    store.settled().await;
    let mut last: Option<Probe> = None;
    while !readiness.is_closed() {
        let slow = || Err(StoreError::Slow(EVERY));
        let probe = tokio::time::timeout(EVERY, store.probe()).await;
        let probe = probe.unwrap_or_else(|_| Probe {
            read: slow(),
            write: slow(),
        });
        let validate = probe.read.is_ok();
        let now = Readiness {
            validate,
            manage: validate && probe.write.is_ok(),
        };
        if last.as_ref() != Some(&probe) {
            report(&probe, store.as_ref());
            last = Some(probe);
        }
        readiness.send_if_modified(|before| std::mem::replace(before, now) != now);
        tokio::time::sleep(EVERY).await;
    }
}

fn report(probe: &Probe, store: &dyn Store) {
    match (&probe.read, &probe.write) {
        (Ok(()), Ok(())) => {
            let id = store.id().map(|id| id.to_string()).unwrap_or_default();
            let durability = store.durability().map_or("", |class| class.as_str());
            tracing::info!(store_id = id, durability, "serving");
        }
        (Ok(()), Err(why)) => tracing::warn!(%why, "validating only: changes cannot be kept"),
        (Err(why), _) => tracing::warn!(%why, "not serving"),
    }
}
