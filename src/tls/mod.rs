//! TLS: certificates from files, exchanged without a restart; and what a certificate says.

mod anyone;
mod certificate;
mod client;
mod files;
mod inspect;
mod loaded;
mod mishap;
mod server;
mod shown;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use certificate::{Certificate, Validity};
pub use client::{ClientFiles, ClientStream, ClientTls};
pub use files::{certificates, private_key};
pub use inspect::{Names, Presented, Revocations, presented_on, revocations};
pub use mishap::Mishap;
pub use server::{ClientCertificates, Reloaded, ServerFiles, ServerStream, ServerTls};
pub use shown::Shown;

/// The oldest TLS that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oldest {
    Tls12,
    Tls13,
}

impl Oldest {
    fn versions(self) -> &'static [&'static rustls::SupportedProtocolVersion] {
        const BOTH: &[&rustls::SupportedProtocolVersion] =
            &[&rustls::version::TLS13, &rustls::version::TLS12];
        match self {
            Self::Tls12 => BOTH,
            Self::Tls13 => &BOTH[..1],
        }
    }
}

/// What is wrong with a file, or with what is in it. Never tells a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{}: {error}", .path.display())]
    Unreadable {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("{}: {why}", .path.display())]
    Unusable { path: PathBuf, why: String },
}

impl TlsError {
    fn unusable(path: &Path, why: impl std::fmt::Display) -> Self {
        Self::Unusable {
            path: path.to_owned(),
            why: why.to_string(),
        }
    }
}

/// The one implementation of cryptography; named here, so that no process-wide default is needed.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
