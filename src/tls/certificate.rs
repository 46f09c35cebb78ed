//! What a certificate says: its names, and from when to when it holds (RFC 5280).

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::domain::peer_name::PeerName;
use crate::domain::time::Timestamp;

/// A certificate, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its URIs and DNS names by which it may stand for a caller; wildcards are left out.
    pub names: Vec<PeerName>,
    pub validity: Validity,
    pub subject: String,
}

/// When a certificate holds: from the first instant to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub from: Timestamp,
    pub until: Timestamp,
}

impl Certificate {
    /// Reads what a certificate says; nothing is verified here.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let alternative = parsed
            .subject_alternative_name()
            .map_err(|error| error.to_string())?;
        let general = alternative.map_or(&[][..], |names| &names.value.general_names);
        // A URI that cannot be read is one all the same: then none of them is certain.
        let uris: Option<Vec<PeerName>> = general
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(PeerName::uri(uri).ok()),
                _ => None,
            })
            .collect();
        let dns = general.iter().filter_map(|name| match name {
            GeneralName::DNSName(dns) => PeerName::dns(dns).ok(),
            _ => None,
        });
        let names = uris.unwrap_or_default().into_iter().chain(dns);
        let validity = parsed.validity();
        Ok(Self {
            names: PeerName::of_certificate(names),
            validity: Validity {
                from: instant(validity.not_before.timestamp()),
                until: instant(validity.not_after.timestamp()),
            },
            subject: parsed.subject().to_string(),
        })
    }
}

impl Validity {
    /// How long it still holds; `None` where it does not, yet or any more.
    pub fn left(&self, now: Timestamp) -> Option<Duration> {
        let holds = self.from <= now && now <= self.until;
        holds.then(|| Duration::from_micros(self.until.micros().saturating_sub(now.micros())))
    }
}

fn instant(seconds: i64) -> Timestamp {
    let seconds = u64::try_from(seconds).unwrap_or_default();
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}
