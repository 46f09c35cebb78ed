//! Names: of a token, and of the request that made it.

use std::fmt;

use sha2::{Digest, Sha256};

use super::alphabet;
use super::flaw::{Flaw, quoted};
use super::hash::{feed, halves};
use super::name::{Namespace, PoolName, RequestId};
use super::pool::Pool;

/// The public name of a token: 22 base62 digits. Safe to log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId([u8; TokenId::DIGITS]);

impl TokenId {
    pub const DIGITS: usize = 22;
    /// Leading digits that say where a token's keys live.
    pub const TAG_DIGITS: usize = 8;

    pub fn parse(text: &str) -> Result<Self, Flaw> {
        alphabet::digits(text).map(Self).ok_or_else(|| {
            let (count, got) = (Self::DIGITS, quoted(text));
            Flaw::new(format!("must be {count} base62 characters; got {got}"))
        })
    }

    /// The id whose every digit follows from `key`, so that a replayed request names one token.
    pub fn derived(key: &RequestKey) -> Self {
        Self::from_hash(key.0)
    }

    /// The same id in the place where all tokens of a pool live.
    pub fn in_pool(mut self, namespace: &Namespace, pool: &PoolName) -> Self {
        let mut hash = Sha256::new();
        feed(&mut hash, b"pool");
        feed(&mut hash, namespace.as_str().as_bytes());
        feed(&mut hash, pool.as_str().as_bytes());
        let tag = Self::from_hash(hash.finalize().into());
        self.0[..Self::TAG_DIGITS].copy_from_slice(&tag.0[..Self::TAG_DIGITS]);
        self
    }

    fn from_hash(hash: [u8; 32]) -> Self {
        // Each half yields half the digits, so that all of them are as good as uniform.
        let text = halves(&hash)
            .map(|half| alphabet::encode(half, Self::DIGITS / 2))
            .concat();
        let mut digits = [0; Self::DIGITS];
        digits.copy_from_slice(text.as_bytes());
        Self(digits)
    }

    pub fn as_str(&self) -> &str {
        alphabet::text(&self.0)
    }

    /// The routing tag.
    pub fn tag(&self) -> &str {
        &self.as_str()[..Self::TAG_DIGITS]
    }

    /// What follows the routing tag.
    pub fn after_tag(&self) -> &str {
        &self.as_str()[Self::TAG_DIGITS..]
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

/// Which request made a token, or one of its secrets: a hash of caller, place and `request_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestKey(pub [u8; 32]);

impl RequestKey {
    /// `caller` is the caller's name as audit lines carry it.
    pub fn of_create(caller: &str, namespace: &Namespace, request_id: &RequestId) -> Self {
        Self::of(["create", caller, namespace.as_str(), request_id.as_str()])
    }

    /// The same of the token at `index` of a BatchCreate.
    pub fn of_batch(
        caller: &str,
        namespace: &Namespace,
        request_id: &RequestId,
        index: u32,
    ) -> Self {
        let place = format!("{namespace}/{index}");
        Self::of(["batch", caller, &place, request_id.as_str()])
    }

    /// The same of an Acquire from `pool`.
    pub fn of_acquire(caller: &str, pool: &Pool, request_id: &RequestId) -> Self {
        let place = format!("{}/{}", pool.namespace, pool.name.as_str());
        Self::of(["acquire", caller, &place, request_id.as_str()])
    }

    /// The same of a Rotate of `token`.
    pub fn of_rotate(caller: &str, token: TokenId, request_id: &RequestId) -> Self {
        Self::of(["rotate", caller, token.as_str(), request_id.as_str()])
    }

    fn of(parts: [&str; 4]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            feed(&mut hash, part.as_bytes());
        }
        Self(hash.finalize().into())
    }
}
