//! What is told to those who watch ahead of its time, and how much of what happened is kept for them.

use std::time::Duration;

use serde::Deserialize;

use crate::domain::event::Alarms;
use crate::store::events::EventBounds;

use super::{ConfigError, span_up_to, within};

const EXPIRING: &str = "events.expiring";
/// Longest span that can be asked for.
const LONGEST: (Duration, &str) = (Duration::from_secs(366 * 24 * 3600), "366days");

/// What holds for events.
#[derive(Clone, Debug)]
pub struct EventsConfig {
    pub alarms: Alarms,
    pub bounds: EventBounds,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsTable {
    // Read by hand: serde's errors would not name the key.
    expiring: Vec<toml::Value>,
    keep: String,
    max: i64,
}

impl EventsTable {
    pub(super) fn parse(self) -> Result<EventsConfig, ConfigError> {
        let Self {
            expiring,
            keep,
            max,
        } = self;
        let of_text = |value: &toml::Value| {
            let text = value.as_str();
            let text = text.ok_or_else(|| ConfigError::key(EXPIRING, "must hold strings"))?;
            span_up_to(EXPIRING, text, Duration::from_secs(1), LONGEST)
        };
        let spans = expiring.iter().map(of_text);
        let spans = spans.collect::<Result<Vec<_>, _>>()?;
        let alarms = Alarms::of(&spans).map_err(|flaw| ConfigError::key(EXPIRING, flaw))?;
        Ok(EventsConfig {
            alarms,
            bounds: EventBounds {
                age: span_up_to("events.keep", &keep, Duration::from_secs(60), LONGEST)?,
                number: within("events.max", max, 1, 100_000_000)?,
            },
        })
    }
}
