//! The watchdogs: each keeps one link alive and verified, and tells when that changes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use super::link::{Link, Links};
use crate::entropy::jittered;
use crate::store::StoreError;

/// How often a connection is asked whether it is alive.
pub(super) const PING_EVERY: Duration = Duration::from_secs(1);
/// At every such ping the link is verified anew: what is demanded of a Redis may change under it.
const VERIFY_EVERY: u32 = 5;
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How often a state that lasts is told again.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Keeps the link of `slot` for ever: connects, verifies, watches, and begins again.
pub(super) async fn keep(links: Arc<Links>, slot: usize, news: Arc<News>) {
    let mut failures = 0;
    let mut first = true;
    loop {
        match links.connect(slot).await {
            Ok(link) => {
                failures = 0;
                first = false;
                news.tell(&links, Ok(()));
                let reason = watch(&links, &link).await;
                news.tell(&links, Err(&reason));
            }
            Err(reason) => {
                news.tell(&links, Err(&reason));
                links.take_down(slot, reason);
                if std::mem::take(&mut first) {
                    links.first_attempt_failed();
                }
                tokio::time::sleep(backoff(failures)).await;
                failures += 1;
            }
        }
    }
}

/// Watches a link until it is down, and answers why.
async fn watch(links: &Links, link: &Link) -> StoreError {
    let mut ticks = tokio::time::interval(PING_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is immediate, and the link has just been verified.
    ticks.tick().await;
    let mut count = 0u32;
    let mut check = async || {
        ticks.tick().await;
        count = count.wrapping_add(1);
        if count.is_multiple_of(VERIFY_EVERY) {
            links.verify(link).await;
        } else {
            links.ping(link).await;
        }
    };
    loop {
        // A check of a dead link must not delay its replacement once a call found it dead.
        tokio::select! {
            () = links.taken_down(link) => {}
            () = check() => {}
        }
        if let Some(reason) = links.down_reason(link) {
            return reason;
        }
    }
}

/// How long to wait before the next attempt after `failures` earlier ones.
pub(super) fn backoff(failures: u32) -> Duration {
    let full = BACKOFF_FIRST.saturating_mul(2u32.saturating_pow(failures.min(10)));
    jittered(full.min(BACKOFF_MAX))
}

/// Tells the operator when the store becomes usable or not: once per change, and now and then
/// while it lasts.
#[derive(Default)]
pub(super) struct News(Mutex<Option<(String, Instant)>>);

impl News {
    fn tell(&self, links: &Links, state: Result<(), &StoreError>) {
        let text = state.err().map(StoreError::to_string).unwrap_or_default();
        if !self.is_new(&text, Instant::now()) {
            return;
        }
        let acceptance = links.acceptance();
        let place = acceptance.place();
        match state {
            Ok(()) => {
                let id = acceptance.store_id().map(ToString::to_string);
                let durability = acceptance.durability().map(|class| class.as_str());
                info!(place, id, durability, "the Redis store is usable");
            }
            Err(reason @ StoreError::Unacceptable(_)) => {
                error!(place, %reason, "the Redis store cannot be used until an operator acts");
            }
            Err(reason) => warn!(place, %reason, "a link to the Redis store is down"),
        }
    }

    /// Whether `text` was not told last, or long ago; the state "usable" is never repeated.
    fn is_new(&self, text: &str, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = told.as_ref().is_some_and(|(last, at)| {
            last == text && (text.is_empty() || now.duration_since(*at) < TELL_EVERY)
        });
        if !known {
            *told = Some((text.to_owned(), now));
        }
        !known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_come_ever_slower_but_at_least_once_a_second() {
        for failures in 0..40 {
            let wait = backoff(failures);
            assert!(wait <= BACKOFF_MAX && wait >= BACKOFF_FIRST / 2, "{wait:?}");
        }
        assert!(backoff(20) >= BACKOFF_MAX / 2);
    }

    #[test]
    fn a_lasting_failure_is_told_once_and_again_later() {
        let news = News::default();
        let start = Instant::now();
        assert!(news.is_new("down", start));
        assert!(!news.is_new("down", start + TELL_EVERY / 2));
        assert!(news.is_new("down", start + TELL_EVERY));
        assert!(news.is_new("", start + TELL_EVERY));
        assert!(!news.is_new("", start + TELL_EVERY * 9));
        assert!(news.is_new("down", start + TELL_EVERY * 9));
    }
}
