//! Peppers: keys outside the store that digests are made with, so that a stolen store is useless
//! even for guessing.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::flaw::Flaw;
use super::secret::{Presented, Secret, SecretDigest};

/// A pepper, by a number that stands beside each digest made with it. Never printed.
#[derive(Clone)]
pub struct Pepper {
    id: u32,
    key: Zeroizing<Vec<u8>>,
}

impl Pepper {
    pub const BYTES_MIN: usize = 32;
    pub const BYTES_MAX: usize = 1024;

    /// `id` is 1 or more: 0 stands for digests without pepper.
    pub fn new(id: u32, key: Zeroizing<Vec<u8>>) -> Result<Self, Flaw> {
        if id == SecretDigest::UNKEYED {
            return Err(Flaw::new("must have an id of 1 or more"));
        }
        if !(Self::BYTES_MIN..=Self::BYTES_MAX).contains(&key.len()) {
            return Err(Flaw::new(format!(
                "must be {} to {} bytes long; got {} bytes",
                Self::BYTES_MIN,
                Self::BYTES_MAX,
                key.len()
            )));
        }
        Ok(Self { id, key })
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// HMAC-SHA-256 (RFC 2104) of `text` under this pepper.
    fn sum(&self, text: &[u8]) -> [u8; 32] {
        // A key of any length is one: HMAC hashes what is longer than a block.
        Hmac::<Sha256>::new_from_slice(&self.key)
            .map(|hmac| hmac.chain_update(text).finalize().into_bytes().into())
            .unwrap_or_default()
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pepper({})", self.id)
    }
}

/// What a store keeps of a pepper, to know it again: so a wrong one is noticed as what it is, and
/// not as a store full of unknown tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PepperCheck {
    pub id: u32,
    pub value: [u8; 16],
}

/// The peppers in use, the one for new digests first; without any, digests are plain SHA-256.
#[derive(Clone, Debug, Default)]
pub struct Keyring(Vec<Pepper>);

/// A digest was made with a pepper that is not on the keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownPepper(pub u32);

impl Keyring {
    /// The present pepper and the one before it.
    pub const COUNT_MAX: usize = 2;

    pub fn new(peppers: Vec<Pepper>) -> Result<Self, Flaw> {
        if peppers.len() > Self::COUNT_MAX {
            return Err(Flaw::new(format!(
                "has {} entries; at most {} are allowed: the present one and the one before it",
                peppers.len(),
                Self::COUNT_MAX
            )));
        }
        match peppers.as_slice() {
            [one, other] if one.id == other.id => {
                Err(Flaw::new(format!("has two entries with the id {}", one.id)))
            }
            [one, other] if one.key == other.key => Err(Flaw::new(
                "has the same pepper twice, under two ids; is one of them the wrong file?",
            )),
            _ => Ok(Self(peppers)),
        }
    }

    /// The ids of the peppers, the present one's first.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(Pepper::id)
    }

    /// What the store keeps of each pepper.
    pub fn checks(&self) -> Vec<PepperCheck> {
        let check = |pepper: &Pepper| {
            let sum = pepper.sum(b"token-authority pepper check");
            let mut value = [0; 16];
            value.copy_from_slice(&sum[..16]);
            PepperCheck {
                id: pepper.id,
                value,
            }
        };
        self.0.iter().map(check).collect()
    }

    /// What is kept of a new secret.
    pub fn digest(&self, secret: &Secret) -> SecretDigest {
        self.new_digest(secret.expose().as_bytes())
    }

    /// What is kept of a new secret of a lease: a digest of its random digits alone, since they are
    /// drawn before it is known which token is leased. It stands in that token's place only.
    pub fn lease_digest(&self, random: &str) -> SecretDigest {
        self.new_digest(&lease_text(random))
    }

    fn new_digest(&self, text: &[u8]) -> SecretDigest {
        match self.0.first() {
            Some(pepper) => SecretDigest {
                key_id: pepper.id,
                bytes: pepper.sum(text),
            },
            None => SecretDigest {
                key_id: SecretDigest::UNKEYED,
                bytes: Sha256::digest(text).into(),
            },
        }
    }

    /// Compares a presented secret with digests, each digest in constant time.
    pub fn compare<'a>(&'a self, presented: &'a Presented<'a>) -> Comparison<'a> {
        Comparison {
            keyring: self,
            presented,
            sums: Sums::default(),
            lease_sums: Sums::default(),
        }
    }

    fn sum(&self, id: u32, text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        if id == SecretDigest::UNKEYED {
            return Some(Zeroizing::new(Sha256::digest(text).into()));
        }
        let pepper = self.0.iter().find(|pepper| pepper.id == id)?;
        Some(Zeroizing::new(pepper.sum(text)))
    }
}

/// One presented secret, hashed once under each pepper that is met.
pub struct Comparison<'a> {
    keyring: &'a Keyring,
    presented: &'a Presented<'a>,
    sums: Sums,
    lease_sums: Sums,
}

/// Sums, each by the id of its pepper: there is room for one under each, and for one without.
type Sums = [Option<(u32, Zeroizing<[u8; 32]>)>; Keyring::COUNT_MAX + 1];

impl Comparison<'_> {
    /// Whether `digest` is that of the presented secret.
    pub fn is(&mut self, digest: &SecretDigest) -> Result<bool, UnknownPepper> {
        let text = self.presented.text().as_bytes();
        is_sum_of(self.keyring, &mut self.sums, text, digest)
    }

    /// Whether `digest` is that of the presented secret, as one of a lease.
    pub fn is_of_lease(&mut self, digest: &SecretDigest) -> Result<bool, UnknownPepper> {
        let text = lease_text(self.presented.random());
        is_sum_of(self.keyring, &mut self.lease_sums, &text, digest)
    }
}

fn is_sum_of(
    keyring: &Keyring,
    sums: &mut Sums,
    text: &[u8],
    digest: &SecretDigest,
) -> Result<bool, UnknownPepper> {
    let id = digest.key_id;
    if !sums.iter().flatten().any(|(known, _)| *known == id) {
        let sum = keyring.sum(id, text).ok_or(UnknownPepper(id))?;
        if let Some(room) = sums.iter_mut().find(|sum| sum.is_none()) {
            *room = Some((id, sum));
        }
    }
    let same = |(known, sum): &(u32, Zeroizing<[u8; 32]>)| {
        *known == id && bool::from(sum.ct_eq(&digest.bytes))
    };
    Ok(sums.iter().flatten().any(same))
}

/// What is hashed of a lease's secret; no secret's whole text begins so.
fn lease_text(random: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([b"lease ", random.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::{Brand, RANDOM_DIGITS};
    use crate::domain::token_id::TokenId;

    fn pepper(id: u32, byte: u8) -> Pepper {
        Pepper::new(id, Zeroizing::new(vec![byte; 32])).unwrap()
    }

    fn secret() -> Secret {
        let id = TokenId::parse("0123456789ABCDEFGHIJKL").unwrap();
        Secret::assemble(
            &Brand::parse("ta").unwrap(),
            &id,
            &"x".repeat(RANDOM_DIGITS),
        )
    }

    fn is(keyring: &Keyring, digest: &SecretDigest) -> Result<bool, UnknownPepper> {
        let brand = Brand::parse("ta").unwrap();
        let secret = secret();
        let presented = Presented::read(secret.expose(), &[brand]).unwrap();
        keyring.compare(&presented).is(digest)
    }

    #[test]
    fn two_peppers_live_during_a_rotation() {
        let (old, new) = (pepper(1, 1), pepper(2, 2));
        let before = Keyring::new(vec![old.clone()]).unwrap();
        let during = Keyring::new(vec![new.clone(), old]).unwrap();
        let after = Keyring::new(vec![new]).unwrap();
        let (first, second) = (before.digest(&secret()), during.digest(&secret()));
        assert_eq!((first.key_id, second.key_id), (1, 2));
        assert_eq!(is(&during, &first), Ok(true));
        assert_eq!(is(&during, &second), Ok(true));
        assert_eq!(is(&after, &second), Ok(true));
        assert_eq!(is(&after, &first), Err(UnknownPepper(1)));
    }

    #[test]
    fn a_digest_without_pepper_is_known_with_and_without_peppers() {
        let plain = Keyring::default().digest(&secret());
        assert_eq!(plain.key_id, SecretDigest::UNKEYED);
        assert_eq!(is(&Keyring::default(), &plain), Ok(true));
        assert_eq!(
            is(&Keyring::new(vec![pepper(1, 1)]).unwrap(), &plain),
            Ok(true)
        );
    }

    #[test]
    fn the_same_id_with_another_key_is_noticed_by_its_check() {
        let ring = |byte| Keyring::new(vec![pepper(1, byte)]).unwrap();
        assert_eq!(ring(1).checks(), ring(1).checks());
        assert_ne!(ring(1).checks(), ring(2).checks());
        let digest = ring(1).digest(&secret());
        assert_eq!(is(&ring(2), &digest), Ok(false));
    }

    #[test]
    fn a_sum_is_that_of_rfc_4231() {
        // Test case 3 has a key too short for a pepper; case 6 a key longer than a block.
        let key = Zeroizing::new(vec![0xaa; 131]);
        let pepper = Pepper::new(1, key).unwrap();
        let sum = pepper.sum(b"Test Using Larger Than Block-Size Key - Hash Key First");
        let hex: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn short_peppers_more_than_two_and_equal_ids_are_refused() {
        assert!(Pepper::new(1, Zeroizing::new(vec![0; 31])).is_err());
        assert!(Pepper::new(0, Zeroizing::new(vec![0; 32])).is_err());
        assert!(Keyring::new(vec![pepper(1, 1), pepper(1, 2)]).is_err());
        assert!(Keyring::new(vec![pepper(1, 1), pepper(2, 1)]).is_err());
        assert!(Keyring::new(vec![pepper(1, 1), pepper(2, 2), pepper(3, 3)]).is_err());
    }

    #[test]
    fn nothing_prints_a_pepper() {
        let ring = Keyring::new(vec![pepper(1, b'c')]).unwrap();
        assert!(!format!("{ring:?}").contains("99"), "{ring:?}");
    }
}
