//! The console: where it listens, and how long people stay signed in.

use std::time::Duration;

use serde::Deserialize;

use super::listen::{self, Listen, Protection};
use super::{ConfigError, span};

const LISTEN: &str = "console.listen";
/// Shortest span that means anything to a person.
const SHORTEST: Duration = Duration::from_secs(1);

/// The console's listener and its sessions.
#[derive(Clone, Debug)]
pub struct ConsoleConfig {
    /// None for nowhere.
    pub listen: Vec<Listen>,
    /// How long a session lasts in which nobody does anything.
    pub session_idle: Duration,
    /// How long a session lasts at most.
    pub session_max: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsoleTable {
    listen: String,
    session_idle: String,
    session_max: String,
}

impl ConsoleTable {
    /// `elsewhere` is where others listen.
    pub(super) fn parse<'a>(
        self,
        protection: Protection,
        elsewhere: impl Iterator<Item = &'a Listen>,
    ) -> Result<ConsoleConfig, ConfigError> {
        let Self {
            listen,
            session_idle,
            session_max,
        } = self;
        let listen = match listen.as_str() {
            "" => Vec::new(),
            listen => listen::places(LISTEN, listen, protection)?,
        };
        let elsewhere: Vec<Listen> = elsewhere.cloned().collect();
        let mut met = listen.iter().map(|place| listen::met(&elsewhere, place));
        if let Some(taken) = met.find_map(|met| met) {
            let why = format!("{taken} is taken by another listener; name another place");
            return Err(ConfigError::key(LISTEN, why));
        }
        Ok(ConsoleConfig {
            listen,
            session_idle: span("console.session_idle", &session_idle, SHORTEST)?,
            session_max: span("console.session_max", &session_max, SHORTEST)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(listen: &str, idle: &str) -> Result<ConsoleConfig, String> {
        let table = ConsoleTable {
            listen: listen.to_owned(),
            session_idle: idle.to_owned(),
            session_max: "8h".to_owned(),
        };
        let others = [Listen::Tcp(vec!["127.0.0.1:50051".parse().unwrap()])];
        let parsed = table.parse(Protection::None, others.iter());
        parsed.map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_off_unless_it_has_a_place_of_its_own() {
        assert!(parsed("", "15m").unwrap().listen.is_empty());
        assert_eq!(parsed("127.0.0.1:8080", "15m").unwrap().listen.len(), 1);
        for (listen, idle, why) in [
            (
                "127.0.0.1:50051",
                "15m",
                "console.listen: 127.0.0.1:50051 is taken",
            ),
            ("0.0.0.0:8080", "15m", "beyond loopback"),
            ("", "0s", "console.session_idle: must be a span"),
            ("", "2days", "console.session_idle: must be a span"),
        ] {
            let error = parsed(listen, idle).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
