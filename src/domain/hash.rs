//! Hashing of several parts, so that no two lists of parts are hashed alike.

use sha2::{Digest, Sha256};

/// Feeds one part, its length first.
pub(super) fn feed(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_be_bytes());
    hash.update(part);
}

/// Both halves of a hash as numbers.
pub(super) fn halves(hash: &[u8; 32]) -> [u128; 2] {
    let (first, second) = hash.split_at(16);
    let number = |half: &[u8]| {
        half.iter()
            .fold(0, |value, byte| value << 8 | u128::from(*byte))
    };
    [number(first), number(second)]
}
