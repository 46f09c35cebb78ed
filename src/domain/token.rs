//! The token: its record, its state, and the rules of its changes.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::flaw::Flaw;
use super::hash::feed;
use super::name::{Namespace, Reason};
use super::policy::Bounds;
use super::profile::Profile;
use super::rotation::Secrets;
use super::scope::Scope;
use super::secret::{Brand, SecretDigest};
use super::tenure::Tenure;
use super::time::Timestamp;
use super::update::Allowance;

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
    /// What the secret in force begins with.
    pub brand: Brand,
    pub secrets: Secrets,
    pub allowance: Allowance,
    pub origin: Option<Origin>,
    /// How it is held, where it is pooled. It is kept beside the record, and changes without the
    /// revision.
    pub tenure: Option<Tenure>,
    /// Set by the store with every change: `max(last + 1, the store's microseconds)`.
    pub revision: u64,
}

/// The end of a token by Revoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub time: Timestamp,
    pub reason: Reason,
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
    /// What is asked breaks a rule that depends on the token as it stands, or on the store's time.
    Breaks { field: String, flaw: Flaw },
    /// The token has not the revision that was asked for: another change came before.
    RevisionMoved { asked: u64, current: u64 },
    /// The token is revoked, or expired, and does not allow this any more.
    Over { state: State },
    /// One more rotation would forget a secret that is still in its grace.
    StillInGrace { until: Timestamp },
    /// The namespace holds as many tokens as it may.
    NamespaceFull { namespace: Namespace, limit: u64 },
    /// The `request_id` made this token with other arguments.
    RequestDiffers,
    /// The `request_id` made this token and cannot be replayed any more.
    RequestUsed,
    /// The token is out of the caller's sight: exactly as if it were absent.
    OutOfSight,
    /// Whether the secret is the token's cannot be told: a pepper is missing.
    Undecidable,
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

    /// How the secret in force begins; all of it is public.
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
        let ended = self.revoked.is_some() || self.secrets.current.version > 1;
        if !recent || ended || self.secrets.current.digests.len() >= REPLAY_SECRETS_MAX {
            return Ruling::Refuse(Refusal::RequestUsed);
        }
        let mut changed = self.clone();
        changed.secrets.current.digests.push(digest);
        changed.update_time = now;
        Ruling::Replace(Box::new(changed))
    }
}

/// When a token shall end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiration {
    /// Nobody said: as the namespace's policy has it, and never where it has nothing.
    Unsaid,
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
    /// What shall be left of the quota, if not all of it.
    pub quota_left: Option<u64>,
    pub expiration: Expiration,
    pub brand: Brand,
    pub digest: SecretDigest,
    pub origin: Option<Origin>,
    pub bounds: Bounds,
}

impl Draft {
    /// The end of the token if it begins `now`; refused when that is not in the future, or later
    /// than it may be.
    pub fn expire_time(&self, now: Timestamp) -> Result<Option<Timestamp>, Refusal> {
        let end = match self.expiration {
            Expiration::Unsaid | Expiration::Never => None,
            Expiration::At(end) => Some(end.floor_to_millis()),
            Expiration::After(ttl) => Some(now.saturating_add(ttl).floor_to_millis()),
        };
        let instant = matches!(self.expiration, Expiration::At(_));
        if instant && end.is_some_and(|end| end <= now) {
            return Err(Refusal::ExpireTimePast { now });
        }
        match self.bounds.check_end(now, end) {
            Ok(()) => Ok(end),
            Err(flaw) => Err(Refusal::Breaks {
                field: "expire_time".to_owned(),
                flaw,
            }),
        }
    }

    /// Whether there is room for the token in its namespace, which holds so many `others`.
    pub fn find_room(&self, others: u64) -> Result<(), Refusal> {
        match self.bounds.tokens_max {
            Some(limit) if others >= limit => Err(Refusal::NamespaceFull {
                namespace: self.namespace.clone(),
                limit,
            }),
            _ => Ok(()),
        }
    }

    /// The token that begins `now`.
    pub fn issue(&self, now: Timestamp) -> Result<Token, Refusal> {
        let expire_time = self.expire_time(now)?;
        let allowance = self.allowance(now)?;
        let Self {
            id,
            namespace,
            profile,
            quota_left: _,
            expiration: _,
            brand,
            digest,
            origin,
            bounds: _,
        } = self.clone();
        let pooled = profile.pool.is_some();
        let mut token = Token {
            id,
            namespace,
            profile,
            create_time: now,
            owner_since: now,
            update_time: now,
            expire_time,
            revoked: None,
            brand,
            secrets: Secrets::first(digest, now),
            allowance,
            origin,
            tenure: None,
            revision: now.micros(),
        };
        token.tenure = pooled.then(|| Tenure::begin(&token, now));
        Ok(token)
    }

    fn allowance(&self, now: Timestamp) -> Result<Allowance, Refusal> {
        let whole = Allowance::whole(now);
        match (self.profile.quota, self.quota_left) {
            (Some(quota), Some(left)) => whole.with_left(now, quota, left, "quota.remaining"),
            _ => Ok(whole),
        }
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
            Expiration::Unsaid => String::new(),
            Expiration::Never => "never".to_owned(),
            Expiration::At(end) => format!("at {}", end.micros()),
            Expiration::After(ttl) => format!("after {}", ttl.as_nanos()),
        };
        feed(&mut hash, expiration.as_bytes());
        feed(&mut hash, format!("{:?}", self.quota_left).as_bytes());
        hash.finalize().into()
    }
}

#[cfg(test)]
pub(crate) mod tests;
