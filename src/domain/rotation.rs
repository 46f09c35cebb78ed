//! The secrets of a token: the version in force, the replaced ones, and how one replaces another.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::flaw::Flaw;
use super::hash::feed;
use super::secret::{Brand, SecretDigest};
use super::time::Timestamp;
use super::token::{Origin, REPLAY_SECRETS_MAX, REPLAY_WINDOW, Refusal, Ruling, State, Token};

/// Replaced versions that a token remembers; what is forgotten is unknown.
pub const REPLACED_MAX: usize = 4;

/// The secrets of one version: the first, and those that replays of the same request added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretVersion {
    /// 1 for the first, and one more with each rotation.
    pub version: u32,
    pub create_time: Timestamp,
    pub digests: Vec<SecretDigest>,
    /// The Rotate that made it, if it had a `request_id`; the Create of a token has its own place.
    pub origin: Option<Origin>,
}

/// A version that another one replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    pub secret: SecretVersion,
    /// The end of its grace: it is in force before, and superseded from then on.
    pub until: Timestamp,
}

/// All secrets that a token knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    pub current: SecretVersion,
    /// Newest first, at most [`REPLACED_MAX`].
    pub replaced: Vec<Replaced>,
}

impl Secrets {
    /// The secrets of a token that begins at `create_time`.
    pub fn first(digest: SecretDigest, create_time: Timestamp) -> Self {
        Self {
            current: SecretVersion {
                version: 1,
                create_time,
                digests: vec![digest],
                origin: None,
            },
            replaced: Vec::new(),
        }
    }

    /// The digests of all secrets of all versions.
    pub fn digests(&self) -> impl Iterator<Item = &SecretDigest> {
        self.versions().flat_map(|(secret, _)| &secret.digests)
    }

    /// Each version with the end of its grace; the one in force, first, has none.
    pub fn versions(&self) -> impl Iterator<Item = (&SecretVersion, Option<Timestamp>)> {
        let replaced = self.replaced.iter();
        std::iter::once((&self.current, None))
            .chain(replaced.map(|replaced| (&replaced.secret, Some(replaced.until))))
    }
}

/// How long a replaced secret stays in force: nothing to [`Grace::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grace(Duration);

impl Grace {
    pub const MAX: Duration = Duration::from_secs(366 * 24 * 3600);

    pub fn new(span: Duration) -> Result<Self, Flaw> {
        if span > Self::MAX {
            return Err(Flaw::new(format!(
                "must be 0 to {} seconds; got {} seconds",
                Self::MAX.as_secs(),
                span.as_secs_f64()
            )));
        }
        Ok(Self(span))
    }

    /// Hash of what the caller asked for, so that a replay with other arguments is noticed.
    pub fn fingerprint(self, revision: Option<u64>) -> [u8; 32] {
        let mut hash = Sha256::new();
        feed(&mut hash, b"rotate");
        feed(&mut hash, &self.0.as_nanos().to_be_bytes());
        feed(&mut hash, format!("{revision:?}").as_bytes());
        hash.finalize().into()
    }
}

/// What shall become of a token's secrets.
#[derive(Clone, Debug)]
pub struct Rotation {
    pub brand: Brand,
    pub digest: SecretDigest,
    pub grace: Grace,
    /// The revision that the token must have.
    pub revision: Option<u64>,
    pub origin: Option<Origin>,
}

impl Token {
    /// Puts a new secret in force; the one before stays so for its grace. A replay of the request
    /// that made the present version adds one more secret to it instead.
    pub fn rotate(&self, now: Timestamp, rotation: &Rotation) -> Ruling {
        if let Some(ruling) = self.replayed_rotation(now, rotation) {
            return ruling;
        }
        if let Some(refusal) = self.moved_from(rotation.revision) {
            return Ruling::Refuse(refusal);
        }
        let state = self.state(now);
        if self.revoked.is_some() || self.expired(now) {
            return Ruling::Refuse(Refusal::Over { state });
        }
        let oldest = self.secrets.replaced.get(REPLACED_MAX - 1);
        if let Some(until) = oldest.map(|oldest| oldest.until).filter(|end| *end > now) {
            return Ruling::Refuse(Refusal::StillInGrace { until });
        }
        let Secrets { current, replaced } = self.secrets.clone();
        let secret = SecretVersion {
            version: current.version + 1,
            create_time: now,
            digests: vec![rotation.digest.clone()],
            origin: rotation.origin.clone(),
        };
        let until = now.saturating_add(rotation.grace.0).floor_to_millis();
        let last = Replaced {
            secret: current,
            until: until.max(now.floor_to_millis()),
        };
        let replaced = std::iter::once(last).chain(replaced).take(REPLACED_MAX);
        Ruling::Replace(Box::new(Self {
            brand: rotation.brand.clone(),
            secrets: Secrets {
                current: secret,
                replaced: replaced.collect(),
            },
            update_time: now,
            ..self.clone()
        }))
    }

    /// What becomes of a rotation whose `request_id` made a version before; `None` if it did not.
    fn replayed_rotation(&self, now: Timestamp, rotation: &Rotation) -> Option<Ruling> {
        let origin = rotation.origin.as_ref()?;
        let mut versions = self.secrets.versions();
        let (made, replaced) = versions.find(|(version, _)| {
            let own = version.origin.as_ref();
            own.is_some_and(|own| own.key == origin.key)
        })?;
        if made.origin.as_ref() != Some(origin) {
            return Some(Ruling::Refuse(Refusal::RequestDiffers));
        }
        let recent = now.saturating_since(made.create_time) < REPLAY_WINDOW;
        let over = self.revoked.is_some() || replaced.is_some();
        if !recent || over || made.digests.len() >= REPLAY_SECRETS_MAX {
            return Some(Ruling::Refuse(Refusal::RequestUsed));
        }
        let mut changed = self.clone();
        changed
            .secrets
            .current
            .digests
            .push(rotation.digest.clone());
        changed.update_time = now;
        Some(Ruling::Replace(Box::new(changed)))
    }

    /// Why a change that asks for `revision` is too late.
    pub(super) fn moved_from(&self, revision: Option<u64>) -> Option<Refusal> {
        let asked = revision.filter(|asked| *asked != self.revision)?;
        Some(Refusal::RevisionMoved {
            asked,
            current: self.revision,
        })
    }

    /// The state of a token that only a later `expire_time` may change.
    pub(super) fn over_for_good(&self) -> Option<Refusal> {
        let state = State::Revoked;
        self.revoked.is_some().then_some(Refusal::Over { state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::name::Reason;
    use crate::domain::token::tests::{at, draft, replaced};
    use crate::domain::token::{Draft, Expiration, RequestKey};

    fn digest(byte: u8) -> SecretDigest {
        SecretDigest {
            key_id: 0,
            bytes: [byte; 32],
        }
    }

    fn rotation(byte: u8, grace_seconds: u64) -> Rotation {
        Rotation {
            brand: Brand::parse("ta").unwrap(),
            digest: digest(byte),
            grace: Grace::new(Duration::from_secs(grace_seconds)).unwrap(),
            revision: None,
            origin: None,
        }
    }

    fn requested(byte: u8, key: u8) -> Rotation {
        let origin = Some(Origin {
            key: RequestKey([key; 32]),
            fingerprint: [0; 32],
        });
        Rotation {
            origin,
            ..rotation(byte, 60)
        }
    }

    #[test]
    fn the_replaced_secret_stays_in_force_for_its_grace() {
        let token = draft().issue(at(100)).unwrap();
        let rotated = replaced(token.rotate(at(110), &rotation(2, 60)));
        assert_eq!(rotated.secrets.current.version, 2);
        assert_eq!(rotated.secrets.current.digests, [digest(2)]);
        let last = &rotated.secrets.replaced[0];
        assert_eq!((last.secret.version, last.until), (1, at(170)));
        let cut = replaced(rotated.rotate(at(120), &rotation(3, 0)));
        let ends: Vec<_> = cut.secrets.replaced.iter().map(|one| one.until).collect();
        assert_eq!(
            ends,
            [at(120), at(170)],
            "an earlier grace is kept as promised"
        );
    }

    #[test]
    fn the_last_four_replaced_secrets_are_remembered() {
        let mut token = draft().issue(at(1)).unwrap();
        for byte in 2..=9 {
            token = replaced(token.rotate(at(u64::from(byte)), &rotation(byte, 0)));
        }
        let versions = token.secrets.versions().map(|(secret, _)| secret.version);
        assert_eq!(versions.collect::<Vec<_>>(), [9, 8, 7, 6, 5]);
        assert_eq!(token.secrets.current.version, 9);
    }

    #[test]
    fn a_secret_in_grace_is_not_forgotten() {
        let mut token = draft().issue(at(1)).unwrap();
        for byte in 2..=5 {
            token = replaced(token.rotate(at(u64::from(byte)), &rotation(byte, 100)));
        }
        let until = at(102);
        let refused = Ruling::Refuse(Refusal::StillInGrace { until });
        assert_eq!(token.rotate(at(6), &rotation(6, 0)), refused);
        assert!(matches!(
            token.rotate(at(102), &rotation(6, 0)),
            Ruling::Replace(_)
        ));
    }

    #[test]
    fn a_lost_revision_a_revoked_and_an_expired_token_are_refused() {
        let ttl = Expiration::After(Duration::from_secs(10));
        let token = Draft {
            expiration: ttl,
            ..draft()
        };
        let token = token.issue(at(1)).unwrap();
        let late = Rotation {
            revision: Some(token.revision + 1),
            ..rotation(2, 0)
        };
        assert!(matches!(
            token.rotate(at(2), &late),
            Ruling::Refuse(Refusal::RevisionMoved { .. })
        ));
        let over = |state| Ruling::Refuse(Refusal::Over { state });
        assert_eq!(token.rotate(at(11), &rotation(2, 0)), over(State::Expired));
        let revoked = replaced(token.revoke(at(2), Reason::default()));
        assert_eq!(revoked.rotate(at(3), &rotation(2, 0)), over(State::Revoked));
    }

    #[test]
    fn a_replayed_rotation_adds_at_most_two_secrets_of_the_same_version() {
        let token = draft().issue(at(1)).unwrap();
        let first = replaced(token.rotate(at(2), &requested(2, 1)));
        let second = replaced(first.rotate(at(3), &requested(3, 1)));
        let third = replaced(second.rotate(at(601), &requested(4, 1)));
        assert_eq!(third.secrets.current.version, 2);
        assert_eq!(third.secrets.current.digests.len(), 3);
        let used = Ruling::Refuse(Refusal::RequestUsed);
        assert_eq!(third.rotate(at(601), &requested(5, 1)), used);
        assert_eq!(first.rotate(at(602), &requested(5, 1)), used);
        let next = replaced(first.rotate(at(4), &requested(6, 2)));
        assert_eq!(next.rotate(at(5), &requested(7, 1)), used);
        let other = Rotation {
            origin: Some(Origin {
                key: RequestKey([1; 32]),
                fingerprint: [9; 32],
            }),
            ..rotation(8, 60)
        };
        let differs = Ruling::Refuse(Refusal::RequestDiffers);
        assert_eq!(first.rotate(at(4), &other), differs);
    }
}
