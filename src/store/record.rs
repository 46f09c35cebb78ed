//! The stored form of a token, shared by both stores; it changes by protobuf's rules only.
//!
//! The id and the revision are kept beside the blob, where a store needs to see them.

mod profile;
mod secrets;

use prost::Message;

use crate::domain::flaw::Flaw;
use crate::domain::name::{Namespace, Reason};
use crate::domain::secret::Brand;
use crate::domain::time::Timestamp;
use crate::domain::token::{Origin, Revocation, Token, TokenId};
use crate::domain::update::{Allowance, Grant};

use super::StoreError;
use profile::StoredProfile;
use secrets::StoredSecretVersion;
pub(super) use secrets::{StoredDigest, StoredOrigin};

/// Encodes everything of a token but its id and revision.
pub fn encode(token: &Token) -> Vec<u8> {
    StoredToken::from(token).encode_to_vec()
}

/// Decodes what [`encode`] wrote.
pub fn decode(id: TokenId, revision: u64, blob: &[u8]) -> Result<Token, StoreError> {
    let corrupt = |why: String| StoreError::Corrupt(format!("token {id}: {why}"));
    let stored = StoredToken::decode(blob).map_err(|error| corrupt(error.to_string()))?;
    stored
        .into_token(id, revision)
        .map_err(|flaw| corrupt(flaw.to_string()))
}

/// Field numbers are for ever; times are microseconds since 1970, 0 where absent.
#[derive(Clone, PartialEq, Message)]
struct StoredToken {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(message, required, tag = "2")]
    profile: StoredProfile,
    #[prost(uint64, tag = "3")]
    create_time: u64,
    /// Microseconds from `create_time` to the last change, which keeps a fresh record short.
    #[prost(uint64, tag = "4")]
    updated_after: u64,
    #[prost(uint64, tag = "5")]
    expire_time: u64,
    #[prost(message, optional, tag = "6")]
    revoked: Option<StoredRevocation>,
    #[prost(string, tag = "7")]
    brand: String,
    #[prost(message, repeated, tag = "8")]
    secrets: Vec<StoredSecretVersion>,
    #[prost(message, optional, tag = "9")]
    origin: Option<StoredOrigin>,
    /// Absent while nothing was granted anew since the creation.
    #[prost(message, optional, tag = "10")]
    allowance: Option<StoredAllowance>,
    /// Microseconds from `create_time` to the instant at which it got its owner.
    #[prost(uint64, tag = "11")]
    owner_after: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct StoredAllowance {
    #[prost(uint64, tag = "1")]
    rates_since: u64,
    #[prost(uint64, tag = "2")]
    quota_since: u64,
    #[prost(message, optional, tag = "3")]
    grant: Option<StoredGrant>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct StoredGrant {
    #[prost(uint64, tag = "1")]
    left: u64,
    #[prost(uint64, tag = "2")]
    of: u64,
}

#[derive(Clone, PartialEq, Message)]
struct StoredRevocation {
    #[prost(uint64, tag = "1")]
    time: u64,
    #[prost(string, tag = "2")]
    reason: String,
}

impl From<&Token> for StoredToken {
    fn from(token: &Token) -> Self {
        let Token {
            id: _,
            namespace,
            profile,
            create_time,
            update_time,
            expire_time,
            revoked,
            brand,
            secrets,
            allowance,
            owner_since,
            origin,
            tenure: _,
            revision: _,
        } = token;
        let after_creation = |time: &Timestamp| time.micros().saturating_sub(create_time.micros());
        Self {
            namespace: namespace.to_string(),
            profile: profile.into(),
            create_time: create_time.micros(),
            updated_after: after_creation(update_time),
            expire_time: expire_time.map_or(0, Timestamp::micros),
            revoked: revoked
                .as_ref()
                .map(|Revocation { time, reason }| StoredRevocation {
                    time: time.micros(),
                    reason: reason.as_str().to_owned(),
                }),
            brand: brand.as_str().to_owned(),
            secrets: secrets::stored(secrets, *create_time),
            origin: origin.as_ref().map(StoredOrigin::from),
            allowance: (*allowance != Allowance::whole(*create_time)).then(|| allowance.into()),
            owner_after: after_creation(owner_since),
        }
    }
}

impl From<&Allowance> for StoredAllowance {
    fn from(allowance: &Allowance) -> Self {
        let Allowance {
            rates_since,
            quota_since,
            grant,
        } = allowance;
        Self {
            rates_since: rates_since.micros(),
            quota_since: quota_since.micros(),
            grant: grant.map(|Grant { left, of }| StoredGrant { left, of }),
        }
    }
}

impl From<StoredAllowance> for Allowance {
    fn from(stored: StoredAllowance) -> Self {
        let StoredAllowance {
            rates_since,
            quota_since,
            grant,
        } = stored;
        Self {
            rates_since: Timestamp::from_micros(rates_since),
            quota_since: Timestamp::from_micros(quota_since),
            grant: grant.map(|StoredGrant { left, of }| Grant { left, of }),
        }
    }
}

impl StoredToken {
    fn into_token(self, id: TokenId, revision: u64) -> Result<Token, Flaw> {
        let Self {
            namespace,
            profile,
            create_time,
            updated_after,
            expire_time,
            revoked,
            brand,
            secrets,
            origin,
            allowance,
            owner_after,
        } = self;
        let after_creation = |micros: u64| create_time.saturating_add(micros);
        let create_time = Timestamp::from_micros(create_time);
        Ok(Token {
            id,
            namespace: Namespace::parse(&namespace)?,
            profile: profile.try_into()?,
            create_time,
            update_time: Timestamp::from_micros(after_creation(updated_after)),
            expire_time: (expire_time != 0).then(|| Timestamp::from_micros(expire_time)),
            revoked: revoked.map(Revocation::try_from).transpose()?,
            brand: Brand::parse(&brand)?,
            secrets: secrets::read(secrets, create_time)?,
            allowance: allowance.map_or(Allowance::whole(create_time), Allowance::from),
            owner_since: Timestamp::from_micros(after_creation(owner_after)),
            origin: origin.map(Origin::try_from).transpose()?,
            tenure: None,
            revision,
        })
    }
}

impl TryFrom<StoredRevocation> for Revocation {
    type Error = Flaw;

    fn try_from(StoredRevocation { time, reason }: StoredRevocation) -> Result<Self, Flaw> {
        Ok(Self {
            time: Timestamp::from_micros(time),
            reason: Reason::parse(&reason)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::Network;
    use crate::domain::endpoint::{Endpoints, Pattern};
    use crate::domain::limit::{LimitName, Quota, RateLimit, RateLimits};
    use crate::domain::name::{Description, Labels, Owner, PoolName, TokenName};
    use crate::domain::profile::Profile;
    use crate::domain::rotation::{Grace, Rotation};
    use crate::domain::scope::Scope;
    use crate::domain::secret::SecretDigest;
    use crate::domain::token::tests::replaced;
    use crate::domain::token::tests::{at, draft};
    use crate::domain::token::{Draft, Expiration, RequestKey};
    use crate::domain::update::{Patch, QuotaPatch};
    use std::time::Duration;

    fn full() -> Token {
        let profile = Profile {
            owner: Owner::parse("ann").ok(),
            pool: PoolName::parse("gpu").ok(),
            name: TokenName::parse("n").unwrap(),
            description: Description::parse("d").unwrap(),
            scopes: vec![Scope::parse("orders:*").unwrap()],
            endpoints: Endpoints::new(vec![Pattern::parse("GET /a/**").unwrap()]),
            networks: vec![Network::parse("10.0.0.0/8").unwrap()],
            rate_limits: RateLimits::new(vec![limit("", 0), limit("b", 9)]).unwrap(),
            quota: Quota::new(9, Some(Duration::from_secs(60))).ok(),
            labels: Labels::parse([("a", "b")].into_iter()).unwrap(),
            disabled: true,
            keep_alive_ttl: Some(Duration::from_secs(300)),
        };
        let draft = Draft {
            profile,
            expiration: Expiration::After(Duration::from_secs(5)),
            origin: Some(Origin {
                key: RequestKey([1; 32]),
                fingerprint: [2; 32],
            }),
            ..draft()
        };
        let mut token = draft.issue(at(3)).unwrap();
        for byte in 1..4 {
            token = replaced(token.rotate(at(4), &rotation(byte)));
        }
        let quota = QuotaPatch::Adjust {
            limit: None,
            period: None,
            remaining: Some(4),
        };
        let owner = Some(Owner::parse("bob").ok());
        let patch = Patch {
            quota,
            owner,
            ..Patch::default()
        };
        let token = replaced(token.update(at(5), &patch));
        replaced(token.revoke(at(6), Reason::parse("why").unwrap()))
    }

    fn limit(name: &str, burst: u64) -> RateLimit {
        RateLimit::new(LimitName::parse(name).unwrap(), 5, None, burst).unwrap()
    }

    fn rotation(byte: u8) -> Rotation {
        Rotation {
            brand: Brand::parse("tb").unwrap(),
            digest: SecretDigest {
                key_id: byte.into(),
                bytes: [byte; 32],
            },
            grace: Grace::new(Duration::from_secs(60)).unwrap(),
            revision: None,
            origin: Some(Origin {
                key: RequestKey([byte; 32]),
                fingerprint: [9; 32],
            }),
        }
    }

    #[test]
    fn a_record_is_read_back_whole() {
        for token in [full(), draft().issue(at(1)).unwrap()] {
            let decoded = decode(token.id, token.revision, &encode(&token));
            // That is kept beside it.
            let tenure = None;
            assert_eq!(decoded, Ok(Token { tenure, ..token }));
        }
    }

    #[test]
    fn a_plain_record_is_short() {
        assert!(encode(&draft().issue(at(1_800_000_000)).unwrap()).len() <= 80);
    }

    #[test]
    fn a_damaged_record_is_an_error_and_never_a_panic() {
        let blob = encode(&full());
        for cut in 0..blob.len() {
            let _ = decode(full().id, 1, &blob[..cut]);
        }
        assert!(matches!(
            decode(full().id, 1, b"\xff\xff"),
            Err(StoreError::Corrupt(_))
        ));
        assert!(matches!(
            decode(full().id, 1, b""),
            Err(StoreError::Corrupt(_))
        ));
    }
}
