//! The tokens that end next, for the metrics: so that an alert can name them before they do.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::entropy::jittered;
use crate::metrics::Metrics;
use crate::store::{Store, StoreError};

/// How often the store is asked.
const EVERY: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// Most tokens that are counted as ending soon, and of those how many are named.
const COUNTED: usize = 1000;
const NAMED: usize = 20;

/// Shows how many tokens are in force, and which end next, every so often, until it is aborted. While the
/// store cannot say, what it said before stands.
pub async fn show(store: Arc<dyn Store>, metrics: Arc<Metrics>) {
    store.settled().await;
    loop {
        if let Err(why) = look(store.as_ref(), &metrics).await {
            tracing::debug!(%why, "which tokens end next is not known");
        }
        tokio::time::sleep(jittered(EVERY)).await;
    }
}

async fn look(store: &dyn Store, metrics: &Metrics) -> Result<(), StoreError> {
    let now = SystemClock.now();
    let standing = store
        .standing(None, now.saturating_add(WEEK), COUNTED)
        .await?;
    let tomorrow = now.saturating_add(DAY);
    let ends = || {
        let tokens = standing.expiring.iter();
        tokens.filter_map(|token| Some((token.id, token.expire_time?)))
    };
    let within_a_day = ends().filter(|(_, end)| *end <= tomorrow).count();
    let within_a_week = ends().count();
    let tokens = &metrics.tokens;
    tokens.show_in_force(standing.active, within_a_day, within_a_week);
    tokens.show_ends(ends().take(NAMED));
    Ok(())
}
