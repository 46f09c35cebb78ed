//! Certificates in files, made on the fly by an authority of the test's own, and servers that show
//! them.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::harness::Authority;

/// An authority and the folder of all that it issues.
pub(crate) struct Papers {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// When a certificate holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    Now,
    NoMore,
    NotYet,
}

/// The files of a certificate and its key.
#[derive(Clone)]
pub(crate) struct Paper {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Papers {
    pub(crate) fn new() -> Self {
        Self::of("the authority of a test")
    }

    /// By an authority of this name; two of one name are not the same.
    pub(crate) fn of(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let papers = Self {
            folder: tempfile::tempdir().expect("a folder"),
            issuer,
        };
        papers.write("ca.pem", &papers.issuer.pem());
        papers
    }

    /// The file of the authority's own certificate.
    pub(crate) fn authority(&self) -> String {
        shown(self.folder.path().join("ca.pem"))
    }

    /// A certificate for a name, or an address.
    pub(crate) fn issue(&self, name: &str, holds: Holds) -> Paper {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a sound name");
        let (from, until) = match holds {
            Holds::Now => (2020, 2120),
            Holds::NoMore => (2020, 2021),
            Holds::NotYet => (2110, 2120),
        };
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let issued = params.signed_by(&key, &self.issuer).expect("a certificate");
        Paper {
            certificate: self.write(&format!("{name}-{from}.pem"), &issued.pem()),
            key: self.write(&format!("{name}-{from}.key"), &key.serialize_pem()),
        }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("a file");
        shown(path)
    }
}

impl Paper {
    /// An authority on SQLite that shows this certificate.
    pub(crate) fn shown_by(&self, authority: Authority) -> Authority {
        authority.with(&[
            "--set",
            &format!("tls.certificate_file={}", self.certificate),
            "--set",
            &format!("tls.key_file={}", self.key),
        ])
    }

    /// Shows the certificate as it is, which the authority refuses to do with a bad one.
    pub(crate) async fn shown_unchecked(&self) -> SocketAddr {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&self.certificate)
            .expect("a file")
            .collect();
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("a version of TLS")
            .with_no_client_auth()
            .with_single_cert(chain.expect("certificates"), key)
            .expect("a sound pair");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = acceptor.accept(stream).await;
            }
        });
        address
    }
}

/// That clients must show a certificate of the authority.
pub(crate) fn mutual(papers: &Papers, authority: Authority) -> Authority {
    authority.with(&[
        "--set",
        &format!("tls.client_ca_file={}", papers.authority()),
        "--set",
        "tls.client_certificate_required=true",
    ])
}

fn shown(path: PathBuf) -> String {
    path.to_str().expect("a name in UTF-8").to_owned()
}
