//! Where audit lines go.

use std::path::PathBuf;

use serde::Deserialize;

use crate::domain::flaw::quoted;

use super::ConfigError;

const TO: &str = "audit.to";

/// Where audit lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditPlace {
    Log,
    Stdout,
    File(PathBuf),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditTable {
    to: String,
}

impl AuditTable {
    pub(super) fn parse(self) -> Result<AuditPlace, ConfigError> {
        match (self.to.as_str(), self.to.strip_prefix("file:")) {
            ("log", _) => Ok(AuditPlace::Log),
            ("stdout", _) => Ok(AuditPlace::Stdout),
            (_, Some(path)) if !path.is_empty() => Ok(AuditPlace::File(PathBuf::from(path))),
            (other, _) => {
                let why = "must be \"log\", \"stdout\" or \"file:PATH\"; got";
                Err(ConfigError::key(TO, format!("{why} {}", quoted(other))))
            }
        }
    }
}
