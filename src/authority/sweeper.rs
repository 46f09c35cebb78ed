//! The sweeper: removes tokens that were kept long enough after their end, step by step, all the time.

use std::sync::Arc;
use std::time::Duration;

use crate::entropy::jittered;
use crate::store::{Store, StoreError};

/// Sweeps every so often, a little sooner at random so that several servers on one store do not
/// meet, until it is aborted. A failure is told once for as long as it lasts, and ends nothing.
pub async fn sweep(store: Arc<dyn Store>, every: Duration) {
    let mut trouble: Option<StoreError> = None;
    loop {
        tokio::time::sleep(jittered(every)).await;
        let (removed, ended) = round(store.as_ref()).await;
        if removed > 0 {
            tracing::info!(removed, "removed tokens that ended long ago");
        }
        let now = ended.err();
        match &now {
            Some(why) if trouble != now => tracing::warn!(%why, "ended tokens cannot be removed"),
            None if trouble.is_some() => tracing::info!("ended tokens are removed again"),
            _ => {}
        }
        trouble = now;
    }
}

/// Takes steps until nothing is due, and answers how many tokens went; after a failure, until then.
async fn round(store: &dyn Store) -> (usize, Result<(), StoreError>) {
    let mut removed = 0;
    loop {
        match store.sweep().await {
            Ok(swept) => {
                removed += swept.removed;
                if !swept.more {
                    return (removed, Ok(()));
                }
            }
            Err(why) => return (removed, Err(why)),
        }
        // Each step waits for the store, and so for whoever came before; the others of this thread
        // come now.
        tokio::task::yield_now().await;
    }
}
