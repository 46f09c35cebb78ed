//! The heartbeat: shows the store that the authority is there, so that the clocks of tokens' lives run.

use std::sync::Arc;
use std::time::Duration;

use crate::store::{Store, StoreError};

/// Time between two sights; several of them may fail before it counts as an absence.
const EVERY: Duration = Duration::from_secs(1);

/// Shows itself until it is aborted. A failure is told once for as long as it lasts, and ends nothing.
pub async fn beat(store: Arc<dyn Store>) {
    store.settled().await;
    let mut trouble: Option<StoreError> = None;
    loop {
        let now = store.be_seen().await.err();
        match &now {
            Some(why) if trouble != now => {
                tracing::warn!(%why, "the store does not see the authority: no token's life runs out");
            }
            None if trouble.is_some() => tracing::info!("the store sees the authority again"),
            _ => {}
        }
        trouble = now;
        tokio::time::sleep(EVERY).await;
    }
}
