//! The token: its record, its state, and the rules of its changes.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::flaw::Flaw;
use super::hash::feed;
use super::name::{Namespace, Reason};
use super::profile::Profile;
use super::scope::Scope;
use super::secret::{Brand, SecretDigest};
use super::time::Timestamp;

pub use super::token_id::{RequestKey, TokenId};

/// How long a Create may be replayed by its `request_id`, and a deleted token is remembered.
pub const REPLAY_WINDOW: Duration = Duration::from_secs(600);
/// Secrets that one Create and its replays may hand out together.
pub const REPLAY_SECRETS_MAX: usize = 3;
/// Longest lifetime that may be asked for.
pub const TTL_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Where a token made under a `request_id` came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub key: RequestKey,
    /// Hash of the request's arguments.
    pub fingerprint: [u8; 32],
}

/// One issued token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: TokenId,
    pub namespace: Namespace,
    pub profile: Profile,
    pub create_time: Timestamp,
    /// When it got its present owner; see [`Token::handed_over`].
    pub owner_since: Timestamp,
    pub update_time: Timestamp,
    pub expire_time: Option<Timestamp>,
    pub revoked: Option<Revocation>,
    pub brand: Brand,
    pub secret: SecretVersion,
    pub origin: Option<Origin>,
    /// Set by the store with every change: `max(last + 1, the store's microseconds)`.
    pub revision: u64,
}

/// The end of a token by Revoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub time: Timestamp,
    pub reason: Reason,
}

/// The secrets of one version: the first, and those that replays of the same request added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretVersion {
    pub version: u32,
    pub digests: Vec<SecretDigest>,
}

/// State of a token's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    Active,
    Disabled,
    Revoked,
    Expired,
}

/// Why a rule does not allow a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The asked `expire_time` is not after the store's time.
    ExpireTimePast { now: Timestamp },
    /// The `request_id` made this token with other arguments.
    RequestDiffers,
    /// The `request_id` made this token and cannot be replayed any more.
    RequestUsed,
    /// The token is out of the caller's sight: exactly as if it were absent.
    OutOfSight,
    /// The token carries a scope that the caller would have to hold.
    ExceedsCaller { scope: Scope },
}

/// What a rule makes of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// The change is already in force; nothing is written.
    Keep,
    Replace(Box<Token>),
    Refuse(Refusal),
}

impl Token {
    pub fn state(&self, now: Timestamp) -> State {
        if self.revoked.is_some() {
            State::Revoked
        } else if self.profile.disabled {
            State::Disabled
        } else if self.expired(now) {
            State::Expired
        } else {
            State::Active
        }
    }

    /// Whether the token's life is over; it is at the very instant of its `expire_time`.
    pub fn expired(&self, now: Timestamp) -> bool {
        self.expire_time.is_some_and(|end| end <= now)
    }

    /// How every secret of the token begins; all of it is public.
    pub fn secret_hint(&self) -> String {
        format!("{}_{}", self.brand.as_str(), self.id.tag())
    }

    /// Since when a new owner has the token that gets it `now`: later than the one before, even where
    /// the clock stands still, so that no two stretches of ownership of a token begin alike.
    pub fn handed_over(&self, now: Timestamp) -> Timestamp {
        now.max(Timestamp::from_micros(self.owner_since.micros() + 1))
    }

    /// Ends the token. A revoked token keeps its first time and reason.
    pub fn revoke(&self, now: Timestamp, reason: Reason) -> Ruling {
        if self.revoked.is_some() {
            return Ruling::Keep;
        }
        let revoked = Some(Revocation { time: now, reason });
        Ruling::Replace(Box::new(Self {
            revoked,
            update_time: now,
            ..self.clone()
        }))
    }

    /// Answers a replayed Create: one more secret of the same version, while the replay is of the
    /// same request, recent, and not one too many.
    pub fn replay(&self, now: Timestamp, origin: &Origin, digest: SecretDigest) -> Ruling {
        match &self.origin {
            Some(own) if own == origin => {}
            _ => return Ruling::Refuse(Refusal::RequestDiffers),
        }
        let recent = now.saturating_since(self.create_time) < REPLAY_WINDOW;
        let ended = self.revoked.is_some();
        if !recent || ended || self.secret.digests.len() >= REPLAY_SECRETS_MAX {
            return Ruling::Refuse(Refusal::RequestUsed);
        }
        let mut changed = self.clone();
        changed.secret.digests.push(digest);
        changed.update_time = now;
        Ruling::Replace(Box::new(changed))
    }
}

/// When a token shall end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiration {
    Never,
    At(Timestamp),
    After(Duration),
}

impl Expiration {
    /// A lifetime: zero means never, else 1 millisecond to [`TTL_MAX`].
    pub fn after(ttl: Duration) -> Result<Self, Flaw> {
        if ttl.is_zero() {
            return Ok(Self::Never);
        }
        if ttl < Duration::from_millis(1) || ttl > TTL_MAX {
            return Err(Flaw::new(format!(
                "must be 0, or 1 millisecond to {} seconds; got {} seconds",
                TTL_MAX.as_secs(),
                ttl.as_secs_f64()
            )));
        }
        Ok(Self::After(ttl))
    }
}

/// A token that shall be created: all but what only the store knows.
#[derive(Clone, Debug)]
pub struct Draft {
    pub id: TokenId,
    pub namespace: Namespace,
    pub profile: Profile,
    pub expiration: Expiration,
    pub brand: Brand,
    pub digest: SecretDigest,
    pub origin: Option<Origin>,
}

impl Draft {
    /// The end of the token if it begins `now`; refused when that is not in the future.
    pub fn expire_time(&self, now: Timestamp) -> Result<Option<Timestamp>, Refusal> {
        let end = match self.expiration {
            Expiration::Never => return Ok(None),
            Expiration::At(end) => end.floor_to_millis(),
            Expiration::After(ttl) => now.saturating_add(ttl).floor_to_millis(),
        };
        let late = matches!(self.expiration, Expiration::At(_)) && end <= now;
        if late {
            Err(Refusal::ExpireTimePast { now })
        } else {
            Ok(Some(end))
        }
    }

    /// The token that begins `now`.
    pub fn issue(&self, now: Timestamp) -> Result<Token, Refusal> {
        let expire_time = self.expire_time(now)?;
        let Self {
            id,
            namespace,
            profile,
            expiration: _,
            brand,
            digest,
            origin,
        } = self.clone();
        let secret = SecretVersion {
            version: 1,
            digests: vec![digest],
        };
        Ok(Token {
            id,
            namespace,
            profile,
            create_time: now,
            owner_since: now,
            update_time: now,
            expire_time,
            revoked: None,
            brand,
            secret,
            origin,
            revision: now.micros(),
        })
    }

    /// The same draft, made by the request of this key, if it has one.
    pub fn made_by(self, key: Option<RequestKey>) -> Self {
        let fingerprint = self.fingerprint();
        let origin = key.map(|key| Origin { key, fingerprint });
        Self { origin, ..self }
    }

    /// Hash of everything the caller asked for, so that a replay with other arguments is noticed.
    fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        feed(&mut hash, self.namespace.as_str().as_bytes());
        self.profile.feed(&mut hash);
        let expiration = match self.expiration {
            Expiration::Never => String::new(),
            Expiration::At(end) => format!("at {}", end.micros()),
            Expiration::After(ttl) => format!("after {}", ttl.as_nanos()),
        };
        feed(&mut hash, expiration.as_bytes());
        hash.finalize().into()
    }
}

#[cfg(test)]
pub(crate) mod tests;
