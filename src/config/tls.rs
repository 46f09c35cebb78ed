//! The server's certificate, whose certificates its clients may show, and how old TLS may be.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::domain::flaw::quoted;
use crate::tls::{ClientCertificates, Oldest, ServerFiles};

use super::{ConfigError, span};

#[cfg(test)]
mod tests;

/// TLS where gRPC listens on TCP.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    pub files: ServerFiles,
    /// How often the files are looked at.
    pub reload_every: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsTable {
    certificate_file: String,
    key_file: String,
    client_ca_file: String,
    client_crl_file: String,
    client_certificate_required: bool,
    min_version: String,
    reload_every: String,
}

impl TlsTable {
    /// `None` where no certificate is named.
    pub(super) fn parse(self) -> Result<Option<TlsConfig>, ConfigError> {
        let Self {
            certificate_file,
            key_file,
            client_ca_file,
            client_crl_file,
            client_certificate_required: required,
            min_version,
            reload_every,
        } = self;
        let file = |text: String| {
            Some(text)
                .filter(|text| !text.is_empty())
                .map(PathBuf::from)
        };
        let oldest = match min_version.as_str() {
            "1.2" => Oldest::Tls12,
            "1.3" => Oldest::Tls13,
            other => {
                let why = format!("must be \"1.2\" or \"1.3\"; got {}", quoted(other));
                return Err(ConfigError::key("tls.min_version", why));
            }
        };
        let reload_every = span(
            "tls.reload_every",
            &reload_every,
            Duration::from_millis(100),
        )?;
        let (certificate, key) = (file(certificate_file), file(key_file));
        let authorities = file(client_ca_file);
        let revoked = file(client_crl_file);
        let needs = |key: &str, other: &str| ConfigError::key(key, format!("needs {other}"));
        if authorities.is_none() && (revoked.is_some() || required) {
            let key = match required {
                true => "tls.client_certificate_required",
                false => "tls.client_crl_file",
            };
            return Err(needs(key, "tls.client_ca_file"));
        }
        let clients = authorities.map(|authorities| ClientCertificates {
            authorities,
            revoked,
            required,
        });
        match (certificate, key) {
            (Some(certificate), Some(key)) => Ok(Some(TlsConfig {
                files: ServerFiles {
                    certificate,
                    key,
                    clients,
                    oldest,
                },
                reload_every,
            })),
            (Some(_), None) => Err(needs("tls.certificate_file", "tls.key_file")),
            (None, Some(_)) => Err(needs("tls.key_file", "tls.certificate_file")),
            (None, None) if clients.is_some() => Err(needs(
                "tls.client_ca_file",
                "tls.certificate_file and tls.key_file",
            )),
            (None, None) => Ok(None),
        }
    }
}
