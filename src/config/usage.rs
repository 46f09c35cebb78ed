//! What is kept of how tokens are used, for how long, and how often it is added to the store.

use std::time::Duration;

use serde::Deserialize;
use toml::Value;

use crate::domain::flaw::quoted;
use crate::domain::usage::{ClientAddresses, Keeping, Templates, UsageTerms};

use super::{ConfigError, span_up_to};

const FLUSH_SMALLEST: Duration = Duration::from_millis(100);
const FLUSH_LONGEST: (Duration, &str) = (Duration::from_secs(10), "10s");
/// Shortest and longest that hours, and days, can be kept.
const KEPT_SMALLEST: Duration = Duration::from_secs(24 * 3600);
const HOURS_LONGEST: (Duration, &str) = (Duration::from_secs(366 * 24 * 3600), "366days");
const DAYS_LONGEST: (Duration, &str) = (Duration::from_secs(3660 * 24 * 3600), "3660days");

const TEMPLATES: &str = "usage.templates";

/// Usage.
#[derive(Clone, Debug)]
pub struct UsageConfig {
    pub terms: UsageTerms,
    pub flush_interval: Duration,
    /// Whether metrics name tokens.
    pub token_metrics: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UsageTable {
    enabled: bool,
    flush_interval: String,
    token_metrics: bool,
    keep_hours: String,
    keep_days: String,
    client_addresses: String,
    user_agents: bool,
    // Read by hand: serde's errors would not say which entry.
    templates: Vec<Value>,
}

impl UsageTable {
    pub(super) fn parse(self) -> Result<UsageConfig, ConfigError> {
        let Self {
            enabled,
            flush_interval,
            token_metrics,
            keep_hours,
            keep_days,
            client_addresses,
            user_agents,
            templates,
        } = self;
        let kept = |key, text: &str, longest| span_up_to(key, text, KEPT_SMALLEST, longest);
        let keeping = Keeping {
            hours: kept("usage.keep_hours", &keep_hours, HOURS_LONGEST)?,
            days: kept("usage.keep_days", &keep_days, DAYS_LONGEST)?,
        };
        Ok(UsageConfig {
            terms: UsageTerms {
                enabled,
                keeping,
                clients: addresses(&client_addresses)?,
                user_agents,
                templates: templates_of(&templates)?,
            },
            flush_interval: span_up_to(
                "usage.flush_interval",
                &flush_interval,
                FLUSH_SMALLEST,
                FLUSH_LONGEST,
            )?,
            token_metrics,
        })
    }
}

fn addresses(text: &str) -> Result<ClientAddresses, ConfigError> {
    match text {
        "full" => Ok(ClientAddresses::Full),
        "network" => Ok(ClientAddresses::Network),
        "none" => Ok(ClientAddresses::None),
        other => {
            let why = "must be \"full\", \"network\" or \"none\"; got";
            let why = format!("{why} {}", quoted(other));
            Err(ConfigError::key("usage.client_addresses", why))
        }
    }
}

fn templates_of(values: &[Value]) -> Result<Templates, ConfigError> {
    if values.len() > Templates::COUNT_MAX {
        let (most, got) = (Templates::COUNT_MAX, values.len());
        let why = format!("must be at most {most}; got {got}");
        return Err(ConfigError::key(TEMPLATES, why));
    }
    let patterns = values.iter().enumerate().map(|(at, value)| {
        let refuse =
            |why: &dyn std::fmt::Display| ConfigError::key(&format!("{TEMPLATES}[{at}]"), why);
        let text = value.as_str().ok_or_else(|| refuse(&"must be a string"))?;
        Templates::parse(text).map_err(|flaw| refuse(&flaw))
    });
    Ok(Templates::new(patterns.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::args::ServeArgs;
    use crate::config::{Config, Environment};

    fn load(settings: &[&str]) -> Result<UsageConfig, String> {
        let args = ServeArgs {
            settings: settings.iter().map(|text| (*text).to_owned()).collect(),
            ..ServeArgs::default()
        };
        let config = Config::load(&args, &Environment::new());
        config
            .map(|config| config.usage)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_the_rules() {
        let usage = load(&[]).unwrap();
        assert_eq!(usage.terms, UsageTerms::default());
        assert_eq!(usage.flush_interval, Duration::from_secs(1));
    }

    #[test]
    fn what_is_kept_is_said_key_by_key() {
        let usage = load(&[
            "usage.enabled=false",
            "usage.keep_hours=2d",
            "usage.client_addresses=network",
            "usage.user_agents=false",
            "usage.templates=[\"/users/*\"]",
        ]);
        let terms = usage.unwrap().terms;
        assert_eq!(terms.keeping.hours, Duration::from_secs(2 * 24 * 3600));
        assert_eq!(terms.templates.folding(Some("/users/7")), Some("/users/*"));
        assert_eq!(terms.clients, ClientAddresses::Network);
        assert!(!terms.enabled && !terms.user_agents);
    }

    #[test]
    fn what_cannot_be_names_its_key() {
        for (setting, named) in [
            ("usage.flush_interval=99ms", "usage.flush_interval"),
            ("usage.flush_interval=11s", "usage.flush_interval"),
            ("usage.keep_hours=23h", "usage.keep_hours"),
            ("usage.keep_days=3661days", "usage.keep_days"),
            ("usage.client_addresses=some", "usage.client_addresses"),
            ("usage.templates=[\"/a\", 7]", "usage.templates[1]"),
            ("usage.templates=[\"GET /a\"]", "usage.templates[0]"),
        ] {
            let told = load(&[setting]).unwrap_err();
            assert!(told.starts_with(&format!("{named}:")), "{setting}: {told}");
        }
        for sound in ["usage.flush_interval=100ms", "usage.flush_interval=10s"] {
            assert!(load(&[sound]).is_ok(), "{sound}");
        }
    }
}
