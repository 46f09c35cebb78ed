//! What a certificate says: its names, and from when to when it holds (RFC 5280).

use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::Tag;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::domain::peer_name::PeerName;
use crate::domain::time::Timestamp;

/// How a URI is marked among the alternative names (RFC 5280, section 4.2.1.6).
const URI_TAG: Tag = Tag(6);

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
                GeneralName::Invalid(tag, _) if *tag == URI_TAG => Some(None),
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
        holds.then(|| self.until.saturating_since(now))
    }

    /// Whether it holds, and else what is wrong, with both instants.
    pub fn holds(&self, now: Timestamp) -> Result<(), String> {
        if now < self.from {
            let (from, now) = (told(self.from), told(now));
            return Err(format!(
                "the certificate holds only from {from} on; it is {now} now"
            ));
        }
        if now > self.until {
            let (until, now) = (told(self.until), told(now));
            return Err(format!("the certificate ended at {until}; it is {now} now"));
        }
        Ok(())
    }

    /// From its first instant to its last.
    pub fn life(&self) -> Duration {
        self.until.saturating_since(self.from)
    }
}

fn told(instant: Timestamp) -> String {
    let since_1970 = Duration::from_micros(instant.micros());
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since_1970).to_string()
}

pub(super) fn instant(seconds: i64) -> Timestamp {
    let seconds = u64::try_from(seconds).unwrap_or_default();
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}
