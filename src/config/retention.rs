//! How long ended tokens are kept, and how often those that were kept long enough are removed.

use std::time::Duration;

use serde::Deserialize;

use crate::domain::retention::Retention;

use super::{ConfigError, span, span_up_to};

/// Longest retention that can be asked for.
const LONGEST: (Duration, &str) = (Duration::from_secs(3660 * 24 * 3600), "10years");

/// Keeping and removing.
#[derive(Clone, Debug)]
pub struct RetentionConfig {
    pub retention: Retention,
    pub sweep_every: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RetentionTable {
    ended: String,
    short_lived: String,
    sweep_every: String,
}

impl RetentionTable {
    pub(super) fn parse(self) -> Result<RetentionConfig, ConfigError> {
        let Self {
            ended,
            short_lived,
            sweep_every,
        } = self;
        let kept = |key, text: &str| span_up_to(key, text, Duration::from_secs(1), LONGEST);
        Ok(RetentionConfig {
            retention: Retention {
                ended: kept("retention.ended", &ended)?,
                short_lived: kept("retention.short_lived", &short_lived)?,
            },
            sweep_every: span(
                "retention.sweep_every",
                &sweep_every,
                Duration::from_millis(10),
            )?,
        })
    }
}
