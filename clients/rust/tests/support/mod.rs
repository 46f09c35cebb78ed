//! What the scenarios run with: the real authority, a guarded server, and what its clients see.

mod authority;
mod flaky;
mod shop;

pub use authority::{Authority, BRIEF};
pub use flaky::Flaky;
pub use shop::{GET, Shop, TAIL};

use std::time::{Duration, Instant};

use tonic::{Code, Status};
use tonic_types::StatusExt;

pub const SECONDS_MAX: u64 = 20;

/// Code and reason of an error.
pub fn told(error: &Status) -> (Code, String) {
    let info = error.get_details_error_info();
    let info = info.unwrap_or_else(|| panic!("without a reason: {error:?}"));
    assert_eq!(info.domain, token_authority_client::DOMAIN);
    (error.code(), info.reason)
}

/// Waits for a condition.
pub async fn until(mut met: impl AsyncFnMut() -> bool, within: Duration) {
    let begun = Instant::now();
    while !met().await {
        assert!(begun.elapsed() < within, "not within {within:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
