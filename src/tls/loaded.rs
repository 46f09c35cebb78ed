//! What stands in a server's files, and what TLS is spoken with once it was found sound.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::VerifierBuilderError;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};
use x509_parser::prelude::{CertificateRevocationList, FromDer};
use zeroize::Zeroize;

use crate::clock::Clock;
use crate::domain::time::Timestamp;

use super::certificate::instant;
use super::server::{ClientCertificates, ServerFiles};
use super::{Certificate, TlsError, files, provider};

/// The protocols that may follow: gRPC, and pages for whoever has no HTTP/2 (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What was read out of the files; its key is that of its certificate.
pub(super) struct Found {
    contents: Contents,
    certified: CertifiedKey,
    certificate: Certificate,
}

/// All of it but the key, which follows from the certificate.
#[derive(PartialEq, Eq)]
struct Contents {
    chain: Vec<CertificateDer<'static>>,
    authorities: Vec<CertificateDer<'static>>,
    lists: Vec<CertificateRevocationListDer<'static>>,
}

/// What hands are shaken with.
pub(super) struct Loaded {
    /// Grows with each exchange.
    pub(super) number: u64,
    pub(super) config: Arc<ServerConfig>,
    /// Judges the certificates of clients.
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) certificate: Certificate,
    /// When the first of the revocation lists ends.
    pub(super) lists_end: Option<Timestamp>,
    contents: Contents,
}

impl Found {
    pub(super) fn read(files: &ServerFiles) -> Result<Self, TlsError> {
        let ServerFiles {
            certificate: path,
            key,
            clients,
            oldest: _,
        } = files;
        let chain = files::certificates(path)?;
        let unusable = |why: String| TlsError::unusable(path, why);
        let certificate = Certificate::read(&chain[0]).map_err(unusable)?;
        let certified = certified(path, key, &chain)?;
        let (mut authorities, mut lists) = (Vec::new(), Vec::new());
        if let Some(clients) = clients {
            authorities = files::certificates(&clients.authorities)?;
            if let Some(revoked) = &clients.revoked {
                lists = files::revocation_lists(revoked)?;
            }
        }
        Ok(Self {
            contents: Contents {
                chain,
                authorities,
                lists,
            },
            certified,
            certificate,
        })
    }

    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.contents == other.contents
    }

    /// Makes what TLS is spoken with, if the certificate holds now.
    pub(super) fn load(
        self,
        files: &ServerFiles,
        clock: &Arc<dyn Clock>,
        number: u64,
    ) -> Result<Loaded, TlsError> {
        let Self {
            contents,
            certified,
            certificate,
        } = self;
        let path = &files.certificate;
        let validity = certificate.validity;
        validity
            .holds(clock.now())
            .map_err(|why| TlsError::unusable(path, why))?;
        let verifier = match &files.clients {
            Some(clients) => contents.verifier(clients)?,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let time = Arc::new(Time(clock.clone()));
        let mut config = ServerConfig::builder_with_details(provider(), time)
            .with_protocol_versions(files.oldest.versions())
            .map_err(|error| TlsError::unusable(path, error))?
            .with_client_cert_verifier(verifier.clone())
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        // A resumed session would bring a certificate along that nobody judged again. Connections
        // of gRPC live long; a whole handshake for each is cheap.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Loaded {
            number,
            config: Arc::new(config),
            verifier,
            certificate,
            lists_end: contents.lists_end(),
            contents,
        })
    }
}

impl Loaded {
    pub(super) fn is_of(&self, found: &Found) -> bool {
        self.contents == found.contents
    }
}

/// A chain with the key of its first certificate. What was read of the key is wiped; what the
/// implementation of cryptography keeps of it is its own.
fn certified(
    path: &Path,
    key_path: &Path,
    chain: &[CertificateDer<'static>],
) -> Result<CertifiedKey, TlsError> {
    let mut key = files::private_key(key_path)?;
    let signing = any_supported_type(&key);
    key.zeroize();
    // The error is dropped: it says no more.
    let signing = signing.map_err(|_| {
        let why = "the private key is neither RSA of 2048 to 8192 bits, nor ECDSA on P-256 or P-384, \
                   nor Ed25519";
        TlsError::unusable(key_path, why)
    })?;
    let certified = CertifiedKey::new(chain.to_vec(), signing);
    certified.keys_match().map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let key = key_path.display();
            let why = format!("the first certificate does not go with the private key in {key}");
            TlsError::unusable(path, why)
        }
        error => TlsError::unusable(path, error),
    })?;
    Ok(certified)
}

impl Contents {
    fn verifier(
        &self,
        clients: &ClientCertificates,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let ClientCertificates {
            authorities,
            revoked,
            required,
        } = clients;
        let mut roots = RootCertStore::empty();
        for root in &self.authorities {
            let added = roots.add(root.clone());
            added.map_err(|error| TlsError::unusable(authorities, error))?;
        }
        // Where there are lists, one must speak of each certificate on the way to an authority:
        // else a list that was forgotten would revoke nothing. One that has ended still counts.
        let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .with_crls(self.lists.iter().cloned());
        if !required {
            verifier = verifier.allow_unauthenticated();
        }
        verifier.build().map_err(|error| match (error, revoked) {
            (VerifierBuilderError::InvalidCrl(error), Some(revoked)) => {
                let hint = match self.any_list_is_old() {
                    true => "; a list of version 1 is there, and version 2 is needed (RFC 5280)",
                    false => "",
                };
                let why = format!("cannot be used as a revocation list: {error:?}{hint}");
                TlsError::unusable(revoked, why)
            }
            (error, _) => TlsError::unusable(authorities, error),
        })
    }

    fn any_list_is_old(&self) -> bool {
        let parsed = |list| CertificateRevocationList::from_der(list).ok();
        let mut lists = self.lists.iter().filter_map(|list| parsed(list));
        lists.any(|(_, list)| list.version().is_none())
    }

    fn lists_end(&self) -> Option<Timestamp> {
        let ends = self.lists.iter().filter_map(|list| {
            let (_, list) = CertificateRevocationList::from_der(list).ok()?;
            Some(instant(list.next_update()?.timestamp()))
        });
        ends.min()
    }
}

/// Our clock, as the verification of certificates asks for it.
struct Time(Arc<dyn Clock>);

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Time").finish_non_exhaustive()
    }
}

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.now()))
    }
}

pub(super) fn unix_time(now: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_micros(now.micros()))
}
