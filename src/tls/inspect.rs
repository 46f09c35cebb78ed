//! Looks closer at certificates: every name in one, until when a revocation list is current, and
//! what a server shows that one does not trust.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::anyone::Anyone;
use super::{ClientStream, Oldest, TlsError, files, provider};
use crate::domain::time::Timestamp;

/// What a server may be called by (RFC 9525): its names and addresses, wildcards included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub dns: Vec<String>,
    pub addresses: Vec<IpAddr>,
}

impl Names {
    /// Reads the subject alternative names of a certificate; what cannot be read is left out.
    pub fn of(der: &CertificateDer<'_>) -> Self {
        let mut names = Self::default();
        let Ok((_, parsed)) = X509Certificate::from_der(der) else {
            return names;
        };
        let alternative = parsed.subject_alternative_name().ok().flatten();
        let general = alternative.map_or(&[][..], |found| &found.value.general_names);
        for name in general {
            match name {
                GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => names.addresses.extend(address(bytes)),
                _ => {}
            }
        }
        names
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    let v6 = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(v6).into())
}

/// A list of revoked certificates (RFC 5280, section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocations {
    pub issuer: String,
    pub count: usize,
    /// When the next list comes at the latest; `None` where the list does not say.
    pub next: Option<Timestamp>,
}

/// All revocation lists in a file, at least one.
pub fn revocations(path: &Path) -> Result<Vec<Revocations>, TlsError> {
    let lists = files::revocation_lists(path)?;
    lists
        .iter()
        .map(|list| {
            let (_, parsed) = CertificateRevocationList::from_der(list)
                .map_err(|error| TlsError::unusable(path, error))?;
            let next = parsed.next_update().map(|time| time.timestamp());
            Ok(Revocations {
                issuer: parsed.issuer().to_string(),
                count: parsed.iter_revoked_certificates().count(),
                next: next.map(|seconds| {
                    let seconds = u64::try_from(seconds).unwrap_or_default();
                    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
                }),
            })
        })
        .collect()
}

/// What a server shows of itself.
pub struct Presented {
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
    /// The connection, which nobody vouches for: nothing secret belongs on it.
    pub stream: ClientStream,
}

/// Shakes hands with whoever is there, trusting anybody.
pub async fn presented_on(stream: TcpStream) -> io::Result<Presented> {
    let provider = provider();
    let verifier = Arc::new(Anyone(provider.clone()));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(Oldest::Tls12.versions())
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let shown = stream.get_ref().1.peer_certificates();
    let certificate = shown.and_then(<[_]>::first).cloned();
    let certificate = certificate.ok_or_else(|| io::Error::other("it shows no certificate"))?;
    Ok(Presented {
        certificate,
        stream,
    })
}
