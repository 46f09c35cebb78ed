//! Tells the operator which peppers are missing: now and then, not with each call that meets one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::pepper::UnknownPepper;
use crate::domain::token::TokenId;

/// How long after it was told a pepper is passed over in silence.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Most peppers that are remembered: more than a store was ever used with, unless it is damaged.
const PEPPERS_MAX: usize = 64;

/// When each missing pepper was told last.
#[derive(Debug, Default)]
pub(super) struct MissingPeppers(Mutex<HashMap<u32, Instant>>);

impl MissingPeppers {
    pub(super) fn tell(&self, UnknownPepper(pepper): UnknownPepper, token: TokenId) {
        if self.is_due(pepper, Instant::now()) {
            tracing::warn!(
                pepper,
                %token,
                "a token cannot be judged: its secret was made under a pepper that is not configured \
                 (secrets.peppers); all such tokens are answered UNAVAILABLE"
            );
        }
    }

    fn is_due(&self, pepper: u32, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.saturating_duration_since(*at) < TELL_EVERY);
        if told.contains_key(&pepper) || told.len() >= PEPPERS_MAX {
            return false;
        }
        told.insert(pepper, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_pepper_is_told_once_a_minute() {
        let missing = MissingPeppers::default();
        let start = Instant::now();
        assert!(missing.is_due(1, start));
        assert!(missing.is_due(2, start));
        assert!(!missing.is_due(1, start + TELL_EVERY / 2));
        assert!(missing.is_due(1, start + TELL_EVERY));
        assert!(!missing.is_due(1, start + TELL_EVERY));
    }

    #[test]
    fn a_damaged_store_does_not_fill_the_log_or_the_memory() {
        let missing = MissingPeppers::default();
        let start = Instant::now();
        let told = (1..10_000).filter(|pepper| missing.is_due(*pepper, start));
        assert_eq!(told.count(), PEPPERS_MAX);
        assert!(missing.is_due(1, start + TELL_EVERY));
    }
}
