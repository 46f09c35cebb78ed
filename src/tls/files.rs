//! PEM files: certificates, keys, revocation lists (RFC 7468).

use std::fs;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::TlsError;

/// Longest file that is read, in bytes: a bundle of all public authorities is a quarter of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// All certificates in a file, at least one, in their order.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    several(path, "certificate")
}

/// All revocation lists in a file, at least one.
pub(super) fn revocation_lists(
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    several(path, "revocation list")
}

/// The first private key in a file.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text)
        // The error is dropped: it could repeat a line of the key.
        .map_err(|_| TlsError::unusable(path, "holds no private key in PEM that can be read"))
}

fn several<T: PemObject>(path: &Path, what: &str) -> Result<Vec<T>, TlsError> {
    let text = read(path)?;
    let found: Result<Vec<T>, _> = T::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => {
            let why = format!("holds no {what} in PEM that can be read");
            Err(TlsError::unusable(path, why))
        }
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let unreadable = |error| TlsError::Unreadable {
        path: path.to_owned(),
        error,
    };
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        let why = format!("has {size} bytes; at most {FILE_BYTES_MAX} are read");
        return Err(TlsError::unusable(path, why));
    }
    fs::read(path).map(Zeroizing::new).map_err(unreadable)
}
