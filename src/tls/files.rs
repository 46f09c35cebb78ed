//! PEM files: certificates, keys, revocation lists (RFC 7468).

use std::fs::File;
use std::io::Read;
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
    // The error is dropped: it could repeat a line of the key.
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        let marks: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];
        let locked = marks.iter().any(|mark| contains(&text, mark));
        let why = match locked {
            true => {
                "holds a private key under a passphrase; store it without, as by `openssl pkey`"
            }
            false => "holds no private key in PEM that can be read",
        };
        TlsError::unusable(path, why)
    })
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
    let file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let room = usize::try_from(size.min(FILE_BYTES_MAX)).unwrap_or_default() + 1;
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    let mut part = file.take(FILE_BYTES_MAX + 1);
    part.read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let why = format!("has {size} bytes; at most {FILE_BYTES_MAX} are read");
        return Err(TlsError::unusable(path, why));
    }
    Ok(text)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
