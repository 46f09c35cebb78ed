//! Secrets: their form, their checksum, and the digests that are kept instead of them.

use std::fmt;

use zeroize::Zeroizing;

use super::alphabet;
use super::flaw::{Flaw, quoted};
use super::token_id::TokenId;

/// Digits of the random part: 62^43 exceeds 2^256.
pub const RANDOM_DIGITS: usize = 43;
/// Digits of the checksum: 62^6 exceeds 2^32.
const CHECKSUM_DIGITS: usize = 6;
/// Digits after the last `_` of a secret.
const BODY_DIGITS: usize = TokenId::DIGITS + RANDOM_DIGITS + CHECKSUM_DIGITS;

/// Longest presented secret that is judged, in bytes.
pub const PRESENTED_BYTES_MAX: usize = 512;

/// What every secret of a deployment begins with, so that people and scanners know it: 1 to 20 of
/// `a-z`, `0-9`, `_`, beginning with a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brand(String);

impl Brand {
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let sound = (1..=20).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(known);
        if !sound {
            return Err(Flaw::new(format!(
                "must be 1 to 20 of a-z, 0-9, '_', beginning with a letter; got {}",
                quoted(text)
            )));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A secret, as it is answered once. It is wiped from memory after use and never printed.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Writes `<brand>_`, the token id, 43 random digits, and the CRC-32 of all of that.
    ///
    /// `random` holds [`RANDOM_DIGITS`] base62 digits drawn from the operating system.
    pub fn assemble(brand: &Brand, id: &TokenId, random: &str) -> Self {
        debug_assert_eq!(random.len(), RANDOM_DIGITS);
        let mut text = Zeroizing::new(String::with_capacity(brand.0.len() + 1 + BODY_DIGITS));
        for part in [brand.as_str(), "_", id.as_str(), random] {
            text.push_str(part);
        }
        let sum = checksum(&text);
        text.push_str(alphabet::text(&sum));
        Self(text)
    }

    /// The text itself, for the one answer that carries it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// What is kept of a secret: a digest of its whole text, SHA-256 or HMAC-SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretDigest {
    /// Which pepper the digest was made with; [`SecretDigest::UNKEYED`] is none.
    pub key_id: u32,
    pub bytes: [u8; 32],
}

impl SecretDigest {
    pub const UNKEYED: u32 = 0;
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretDigest(key {})", self.key_id)
    }
}

/// A presented text that has the shape of one of our secrets; whether it is one is not yet known.
pub struct Presented<'a> {
    pub id: TokenId,
    text: &'a str,
}

impl<'a> Presented<'a> {
    /// Reads a presented text: an accepted brand, the right length and alphabet, the right
    /// checksum. `None` means malformed; no store is asked about such a text.
    pub fn read(text: &'a str, brands: &[Brand]) -> Option<Self> {
        let (brand, body) = text.rsplit_once('_')?;
        if body.len() != BODY_DIGITS || !alphabet::is_base62(body) {
            return None;
        }
        if !brands.iter().any(|accepted| accepted.0 == brand) {
            return None;
        }
        let (summed, sum) = text.split_at(text.len() - CHECKSUM_DIGITS);
        if checksum(summed) != sum.as_bytes() {
            return None;
        }
        let id = TokenId::parse(&body[..TokenId::DIGITS]).ok()?;
        Some(Self { id, text })
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// The random digits.
    pub(super) fn random(&self) -> &str {
        let end = self.text.len() - CHECKSUM_DIGITS;
        &self.text[end - RANDOM_DIGITS..end]
    }
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Presented({})", self.id)
    }
}

/// CRC-32 (ISO-HDLC, as in gzip) of the text, in base62.
fn checksum(text: &str) -> [u8; CHECKSUM_DIGITS] {
    alphabet::digits_of(u64::from(crc32fast::hash(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn brands() -> Vec<Brand> {
        vec![
            Brand::parse("ta").unwrap(),
            Brand::parse("old_one").unwrap(),
        ]
    }

    fn secret(brand: &str, random: &str) -> Secret {
        let id = TokenId::parse("0123456789ABCDEFGHIJKL").unwrap();
        Secret::assemble(&Brand::parse(brand).unwrap(), &id, random)
    }

    #[test]
    fn an_assembled_secret_is_read_back() {
        for brand in ["ta", "old_one"] {
            let secret = secret(brand, &"x".repeat(RANDOM_DIGITS));
            let presented = Presented::read(secret.expose(), &brands()).unwrap();
            assert_eq!(presented.id.as_str(), "0123456789ABCDEFGHIJKL");
            assert_eq!(presented.text(), secret.expose());
        }
    }

    #[test]
    fn the_form_does_not_drift() {
        let text = secret("ta", &"x".repeat(RANDOM_DIGITS));
        assert_eq!(
            text.expose(),
            "ta_0123456789ABCDEFGHIJKLxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxCRC"
                .replace("CRC", &text.expose()[68..])
        );
        assert_eq!(text.expose().len(), 74);
    }

    #[test]
    fn another_brand_is_malformed() {
        let foreign = secret("other", &"x".repeat(RANDOM_DIGITS));
        assert!(Presented::read(foreign.expose(), &brands()).is_none());
    }

    #[test]
    fn nothing_prints_a_secret() {
        let secret = secret("ta", &"x".repeat(RANDOM_DIGITS));
        let presented = Presented::read(secret.expose(), &brands()).unwrap();
        let printed = format!("{secret:?} {presented:?}");
        assert!(!printed.contains("xxxx"), "{printed}");
    }

    proptest! {
        #[test]
        fn any_single_changed_character_is_noticed(at in 0usize..74, to in "[0-9A-Za-z_]") {
            let original = secret("ta", "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7aB3dE6gH9jK2mN5p");
            let mut changed = original.expose().to_owned();
            changed.replace_range(at..=at, &to);
            prop_assume!(changed != original.expose());
            prop_assert!(Presented::read(&changed, &brands()).is_none());
        }

        #[test]
        fn rubbish_is_malformed_and_never_panics(text: String) {
            prop_assert!(Presented::read(&text, &brands()).is_none());
        }

        #[test]
        fn rubbish_with_the_right_beginning_never_panics(text in "ta_[0-9A-Za-z]{65,76}.{0,2}") {
            prop_assert!(Presented::read(&text, &brands()).is_none());
        }
    }
}
