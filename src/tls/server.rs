//! The server's side: its certificate and the authorities of its clients, read again when they change.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::clock::Clock;
use crate::domain::peer_name::PeerName;
use crate::domain::time::Timestamp;

use super::{Certificate, Oldest, TlsError, files, provider};

/// The protocols that may follow: gRPC, and pages for whoever has no HTTP/2 (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A connection on which hands were shaken.
pub type ServerStream = TlsStream<TcpStream>;

/// Where a server's certificates lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// The server's own, and those between it and its authority.
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub clients: Option<ClientCertificates>,
    pub oldest: Oldest,
}

/// Whose certificates a client may show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    pub authorities: PathBuf,
    /// Those that were revoked.
    pub revoked: Option<PathBuf>,
    /// Whether a client without one is refused.
    pub required: bool,
}

/// What a server speaks TLS with; exchanged as a whole.
pub struct ServerTls {
    files: ServerFiles,
    clock: Arc<dyn Clock>,
    loaded: ArcSwap<Loaded>,
    /// Held while the files are read, so that an older reading never replaces a newer one.
    reading: Mutex<()>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    certificate: Certificate,
    /// What was read, to notice that it changed.
    read: Vec<u8>,
}

/// What became of reading the files again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    Unchanged,
    Exchanged,
}

/// What a client's certificate says of it.
#[derive(Debug, Default)]
pub struct PeerFacts {
    pub names: Vec<PeerName>,
    /// How long the certificate still holds.
    pub valid_for: Option<Duration>,
}

impl ServerTls {
    /// Reads the files. A certificate that does not hold now is refused: nobody would accept it.
    pub fn load(files: ServerFiles, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let loaded = ArcSwap::from_pointee(Loaded::read(&files, clock.now())?);
        Ok(Self {
            files,
            clock,
            loaded,
            reading: Mutex::default(),
        })
    }

    /// Reads the files again. Whatever is wrong with them leaves everything as it was; connections
    /// that stand are not touched.
    pub fn reload(&self) -> Result<Reloaded, TlsError> {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Loaded::read(&self.files, self.clock.now())?;
        if fresh.read == self.loaded.load().read {
            return Ok(Reloaded::Unchanged);
        }
        self.loaded.store(Arc::new(fresh));
        Ok(Reloaded::Exchanged)
    }

    /// The certificate in use.
    pub fn certificate(&self) -> Certificate {
        self.loaded.load().certificate.clone()
    }

    /// Shakes hands with a client.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<(ServerStream, PeerFacts)> {
        let acceptor = TlsAcceptor::from(self.loaded.load().config.clone());
        let stream = acceptor.accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates();
        let facts = match shown.and_then(<[CertificateDer<'_>]>::first) {
            Some(shown) => self.facts(shown)?,
            None => PeerFacts::default(),
        };
        Ok((stream, facts))
    }

    fn facts(&self, shown: &CertificateDer<'_>) -> io::Result<PeerFacts> {
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        let certificate = Certificate::read(shown).map_err(invalid)?;
        Ok(PeerFacts {
            names: certificate.names,
            valid_for: certificate.validity.left(self.clock.now()),
        })
    }
}

impl Loaded {
    fn read(files: &ServerFiles, now: Timestamp) -> Result<Self, TlsError> {
        let ServerFiles {
            certificate: path,
            key,
            clients,
            oldest,
        } = files;
        let chain = files::certificates(path)?;
        let unusable = |why: String| TlsError::unusable(path, why);
        let certificate = Certificate::read(&chain[0]).map_err(unusable)?;
        let private_key = files::private_key(key)?;
        let mut read: Vec<u8> = chain.iter().flat_map(|der| der.to_vec()).collect();
        let verifier = match clients {
            Some(clients) => clients.verifier(&mut read)?,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        holds(&certificate, now).map_err(unusable)?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(oldest.versions())
            .map_err(|error| unusable(error.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, private_key)
            .map_err(|error| {
                let why = format!("does not go with the key in {}: {error}", key.display());
                unusable(why)
            })?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Self {
            config: Arc::new(config),
            certificate,
            read,
        })
    }
}

fn holds(certificate: &Certificate, now: Timestamp) -> Result<(), String> {
    let validity = certificate.validity;
    let at = |instant: Timestamp| {
        let since_1970 = Duration::from_micros(instant.micros());
        humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since_1970).to_string()
    };
    match validity.left(now) {
        Some(_) => Ok(()),
        None if now < validity.from => Err(format!(
            "the certificate holds only from {} on; it is {} now",
            at(validity.from),
            at(now)
        )),
        None => Err(format!(
            "the certificate ended at {}; it is {} now",
            at(validity.until),
            at(now)
        )),
    }
}

impl ClientCertificates {
    fn verifier(&self, read: &mut Vec<u8>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let Self {
            authorities,
            revoked,
            required,
        } = self;
        let mut roots = RootCertStore::empty();
        for root in files::certificates(authorities)? {
            read.extend_from_slice(&root);
            let added = roots.add(root);
            added.map_err(|error| TlsError::unusable(authorities, error))?;
        }
        let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        if let Some(revoked) = revoked {
            let lists = files::revocation_lists(revoked)?;
            read.extend(lists.iter().flat_map(|list| list.to_vec()));
            // Lists of the authorities at hand; a certificate that none covers is as good as without.
            verifier = verifier
                .with_crls(lists)
                .only_check_end_entity_revocation()
                .allow_unknown_revocation_status();
        }
        if !required {
            verifier = verifier.allow_unauthenticated();
        }
        let path = revoked.as_ref().unwrap_or(authorities);
        verifier
            .build()
            .map_err(|error| TlsError::unusable(path, error))
    }
}
