//! A client's side: whose servers it trusts, and the certificate that it shows.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::anyone::Anyone;
use super::{Oldest, TlsError, files, provider};

/// A connection on which hands were shaken.
pub type ClientStream = TlsStream<TcpStream>;

/// Where a client's certificates lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// The authorities that a server's certificate may come from; `None` means those of the system.
    pub authorities: Option<PathBuf>,
    /// What the client shows of itself: its certificate, and the key of it.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// What a client speaks TLS with.
#[derive(Clone)]
pub struct ClientTls(TlsConnector);

impl ClientTls {
    pub fn load(files: &ClientFiles) -> Result<Self, TlsError> {
        let ClientFiles { authorities, own } = files;
        let mut roots = RootCertStore::empty();
        match authorities {
            Some(path) => {
                for root in files::certificates(path)? {
                    let added = roots.add(root);
                    added.map_err(|error| TlsError::unusable(path, error))?;
                }
            }
            // Some of a system's are always too odd to be read; those that are left will do.
            None => drop(
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
            ),
        }
        let unverified = builder()?;
        Self::showing(own.as_ref(), unverified.with_root_certificates(roots))
    }

    /// Takes every server's certificate: only for what is no secret, to whom it cannot be another.
    pub fn of_anyone(own: Option<&(PathBuf, PathBuf)>) -> Result<Self, TlsError> {
        let verifier = Arc::new(Anyone(provider()));
        let verified = builder()?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        Self::showing(own, verified)
    }

    fn showing(
        own: Option<&(PathBuf, PathBuf)>,
        verified: ConfigBuilder<ClientConfig, WantsClientCert>,
    ) -> Result<Self, TlsError> {
        let mut config = match own {
            Some((certificate, key)) => {
                let chain = files::certificates(certificate)?;
                verified
                    .with_client_auth_cert(chain, files::private_key(key)?)
                    .map_err(|error| {
                        let why = format!("does not go with the key in {}: {error}", key.display());
                        TlsError::unusable(certificate, why)
                    })?
            }
            None => verified.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Shakes hands with the server that must be called `name`, a DNS name or an address.
    pub async fn connect(&self, name: &str, stream: TcpStream) -> io::Result<ClientStream> {
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            let why = "the server's name is neither a DNS name nor an address";
            io::Error::new(io::ErrorKind::InvalidInput, why)
        })?;
        self.0.connect(name, stream).await
    }
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TlsError> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(Oldest::Tls12.versions())
        .map_err(|error| TlsError::unusable("TLS".as_ref(), error))
}
