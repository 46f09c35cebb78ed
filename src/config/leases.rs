//! How long leases and pooled tokens last, and how long, and how many, may wait for a lease.

use std::time::Duration;

use serde::Deserialize;

use crate::domain::flaw::quoted;
use crate::domain::pool::LeaseTerms;

use super::{ConfigError, within};

/// What holds for leasing.
#[derive(Clone, Debug)]
pub struct LeasesConfig {
    pub terms: LeaseTerms,
    pub waiting_max: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeasesTable {
    duration: String,
    max_duration: String,
    keep_alive_ttl: String,
    max_keep_alive_ttl: String,
    max_wait: String,
    max_waiting: i64,
}

impl LeasesTable {
    pub(super) fn parse(self) -> Result<LeasesConfig, ConfigError> {
        let Self {
            duration,
            max_duration,
            keep_alive_ttl,
            max_keep_alive_ttl,
            max_wait,
            max_waiting,
        } = self;
        let terms = LeaseTerms::new(
            span("leases.duration", &duration)?,
            span("leases.max_duration", &max_duration)?,
            span("leases.keep_alive_ttl", &keep_alive_ttl)?,
            span("leases.max_keep_alive_ttl", &max_keep_alive_ttl)?,
            span("leases.max_wait", &max_wait)?,
        );
        let terms = terms.map_err(|(part, flaw)| ConfigError::key(&format!("leases.{part}"), flaw));
        Ok(LeasesConfig {
            terms: terms?,
            waiting_max: within("leases.max_waiting", max_waiting, 1, 1_000_000)?,
        })
    }
}

/// Reads a span whose bounds depend on others.
fn span(key: &str, text: &str) -> Result<Duration, ConfigError> {
    humantime::parse_duration(text).map_err(|_| {
        let why = "must be a span such as \"500ms\" or \"10s\"; got";
        ConfigError::key(key, format!("{why} {}", quoted(text)))
    })
}
