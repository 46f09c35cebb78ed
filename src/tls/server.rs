//! The server's side: hands are shaken with what was read last, which is exchanged as a whole.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::clock::Clock;
use crate::domain::time::Timestamp;

use super::loaded::{Found, Loaded};
use super::shown::Shown;
use super::{Certificate, Oldest, TlsError};

#[cfg(test)]
mod tests;

/// How long files must stay as they are before they are used: whoever exchanges several writes one
/// after the other, and a file piece by piece.
const SETTLED_AFTER: Duration = Duration::from_millis(200);
/// Most readings until files that keep changing are left for later.
const READINGS_MAX: usize = 10;

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

/// What a server speaks TLS with.
pub struct ServerTls {
    files: ServerFiles,
    clock: Arc<dyn Clock>,
    loaded: Arc<ArcSwap<Loaded>>,
    /// Held while the files are read, so that an older reading never replaces a newer one.
    reading: Mutex<()>,
}

/// What became of reading the files again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    Unchanged,
    Exchanged,
}

impl ServerTls {
    /// Reads the files. A certificate that does not hold now is refused: nobody would accept it.
    pub fn load(files: ServerFiles, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let loaded = Found::read(&files)?.load(&files, &clock, 0)?;
        Ok(Self {
            files,
            clock,
            loaded: Arc::new(ArcSwap::from_pointee(loaded)),
            reading: Mutex::default(),
        })
    }

    /// Reads the files again, and uses them for new connections once they stay as they are for
    /// 0.2 s; connections that stand lose a certificate that is not accepted any more. Whatever is
    /// wrong with the files leaves everything as it was. Blocks, for up to 2 s where they keep
    /// changing.
    pub fn reload(&self) -> Result<Reloaded, TlsError> {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = Found::read(&self.files);
        for _ in 0..READINGS_MAX {
            if matches!(&last, Ok(found) if self.loaded.load().is_of(found)) {
                return Ok(Reloaded::Unchanged);
            }
            std::thread::sleep(SETTLED_AFTER);
            let next = Found::read(&self.files);
            match (last, next) {
                (Err(_), Err(error)) => return Err(error),
                (Ok(before), Ok(found)) if before.is_same_as(&found) => {
                    let number = self.loaded.load().number + 1;
                    let fresh = found.load(&self.files, &self.clock, number)?;
                    self.loaded.store(Arc::new(fresh));
                    return Ok(Reloaded::Exchanged);
                }
                (_, next) => last = next,
            }
        }
        let why = "this file, or one that goes with it, does not stop changing";
        Err(TlsError::unusable(&self.files.certificate, why))
    }

    /// The certificate in use.
    pub fn certificate(&self) -> Certificate {
        self.loaded.load().certificate.clone()
    }

    /// When the first of the revocation lists in use ends; `None` without one that does.
    pub fn lists_end(&self) -> Option<Timestamp> {
        self.loaded.load().lists_end
    }

    /// Shakes hands with a client, and answers the certificate that it showed.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<(ServerStream, Option<Shown>)> {
        let loaded = self.loaded.load_full();
        let acceptor = TlsAcceptor::from(loaded.config.clone());
        let stream = acceptor.accept(stream).await?;
        let chain = stream.get_ref().1.peer_certificates();
        let shown = chain.map(|chain| {
            let (trust, clock) = (self.loaded.clone(), self.clock.clone());
            Shown::new(chain, &loaded, trust, clock)
        });
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        let shown = shown.transpose().map_err(invalid)?;
        Ok((stream, shown))
    }
}
