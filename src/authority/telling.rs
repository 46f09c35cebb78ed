//! Telling: lets the store tell what time alone does to tokens, all the time.

use std::sync::Arc;
use std::time::Duration;

use crate::entropy::jittered;
use crate::store::{Store, StoreError};

/// Time between two rounds; ends of tokens and of leases are told that much late at most.
const EVERY: Duration = Duration::from_secs(1);

/// Tells every so often, a little sooner at random so that several servers on one store do not meet,
/// until it is aborted. A failure is told once for as long as it lasts, and ends nothing.
pub async fn tell(store: Arc<dyn Store>) {
    store.settled().await;
    let mut trouble: Option<StoreError> = None;
    loop {
        tokio::time::sleep(jittered(EVERY)).await;
        let now = round(store.as_ref()).await.err();
        match &now {
            Some(why) if trouble != now => {
                tracing::warn!(%why, "ends of tokens and leases are not told to those who watch");
            }
            None if trouble.is_some() => tracing::info!("ends of tokens and leases are told again"),
            _ => {}
        }
        trouble = now;
    }
}

/// Takes steps until nothing is due.
async fn round(store: &dyn Store) -> Result<(), StoreError> {
    while store.tell().await?.more {
        // Each step waits for the store, and so for whoever came before; the others of this thread
        // come now.
        tokio::task::yield_now().await;
    }
    Ok(())
}
