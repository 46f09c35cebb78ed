//! Callers that are known by their certificates: which name in one, and what it may do.

use serde::Deserialize;
use toml::Value;

use crate::domain::caller::Grants;
use crate::domain::flaw::quoted;
use crate::domain::peer_name::PeerName;
use crate::domain::peers::Peers;

use super::{ConfigError, TlsConfig};

#[cfg(test)]
mod tests;

pub(super) const KEY: &str = "access.certificate_callers";

/// Longest name of a caller.
const NAME_CHARS_MAX: usize = 63;

/// A caller that shows a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateCaller {
    /// For the audit log.
    pub name: String,
    pub shows: PeerName,
    pub grants: Grants,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    uri: Option<String>,
    dns: Option<String>,
    permissions: Vec<String>,
}

/// Refuses callers of whom nobody could show, or tell of, a certificate: their entries would do nothing.
pub(super) fn can_be_shown(
    callers: &[CertificateCaller],
    tls: Option<&TlsConfig>,
    tellers: &Peers,
) -> Result<(), ConfigError> {
    let asked_for = tls.is_some_and(|tls| tls.files.clients.is_some());
    if callers.is_empty() || asked_for || !tellers.is_empty() {
        return Ok(());
    }
    let why = "need tls.client_ca_file: without it no client can show a certificate; or \
               ext_authz.certificate_peers, who tell of those they saw";
    Err(ConfigError::key(KEY, why))
}

pub(super) fn parse(values: Vec<Value>) -> Result<Vec<CertificateCaller>, ConfigError> {
    let mut callers: Vec<CertificateCaller> = Vec::new();
    for (at, value) in values.into_iter().enumerate() {
        let place = format!("{KEY}[{at}]");
        let entry: Entry = value.try_into().map_err(|error: toml::de::Error| {
            let why = "must be a table of name, uri or dns, and permissions";
            ConfigError::key(&place, format!("{why}: {}", error.message()))
        })?;
        let caller = entry.parse(&place)?;
        let twin = callers
            .iter()
            .find(|other| other.name == caller.name || other.shows == caller.shows);
        if let Some(twin) = twin {
            let why = format!("{} or {} is there twice", twin.name, twin.shows);
            return Err(ConfigError::key(&place, why));
        }
        callers.push(caller);
    }
    Ok(callers)
}

impl Entry {
    fn parse(self, place: &str) -> Result<CertificateCaller, ConfigError> {
        let Self {
            name,
            uri,
            dns,
            permissions,
        } = self;
        let refuse = |key: &str, why: String| ConfigError::key(&format!("{place}.{key}"), why);
        let known = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if !(1..=NAME_CHARS_MAX).contains(&name.len()) || !name.chars().all(known) {
            let why = "must be 1 to 63 of letters, digits, '_', '.', '-'; got";
            return Err(refuse("name", format!("{why} {}", quoted(&name))));
        }
        let shows = match (uri, dns) {
            (Some(uri), None) => {
                PeerName::uri(&uri).map_err(|flaw| refuse("uri", flaw.to_string()))?
            }
            (None, Some(dns)) => {
                PeerName::dns(&dns).map_err(|flaw| refuse("dns", flaw.to_string()))?
            }
            _ => return Err(ConfigError::key(place, "give either uri or dns")),
        };
        if permissions.is_empty() {
            return Err(refuse("permissions", "must name at least one".to_owned()));
        }
        let grants = Grants::of_configuration(&permissions)
            .map_err(|flaw| refuse("permissions", flaw.to_string()))?;
        Ok(CertificateCaller {
            name,
            shows,
            grants,
        })
    }
}
