//! The stored form of a token, shared by both stores; it changes by protobuf's rules only.
//!
//! The id and the revision are kept beside the blob, where a store needs to see them.

use std::collections::BTreeMap;

use prost::Message;

use crate::domain::address::Network;
use crate::domain::endpoint::{Endpoints, Pattern};
use crate::domain::flaw::Flaw;
use crate::domain::name::{Description, Labels, Namespace, Owner, PoolName, Reason, TokenName};
use crate::domain::profile::Profile;
use crate::domain::scope::Scope;
use crate::domain::secret::{Brand, SecretDigest};
use crate::domain::time::Timestamp;
use crate::domain::token::{Origin, RequestKey, Revocation, SecretVersion, Token, TokenId};

use super::StoreError;

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
    /// Microseconds from `create_time` to the present owner's time, 0 for the first owner.
    #[prost(uint64, tag = "10")]
    owned_after: u64,
}

#[derive(Clone, PartialEq, Message)]
struct StoredProfile {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    description: String,
    #[prost(string, tag = "3")]
    owner: String,
    #[prost(string, tag = "4")]
    pool: String,
    #[prost(string, repeated, tag = "5")]
    scopes: Vec<String>,
    #[prost(string, repeated, tag = "6")]
    endpoints: Vec<String>,
    #[prost(string, repeated, tag = "7")]
    networks: Vec<String>,
    #[prost(btree_map = "string, string", tag = "8")]
    labels: BTreeMap<String, String>,
    #[prost(bool, tag = "9")]
    disabled: bool,
}

#[derive(Clone, PartialEq, Message)]
struct StoredRevocation {
    #[prost(uint64, tag = "1")]
    time: u64,
    #[prost(string, tag = "2")]
    reason: String,
}

#[derive(Clone, PartialEq, Message)]
struct StoredSecretVersion {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(message, repeated, tag = "2")]
    digests: Vec<StoredDigest>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct StoredDigest {
    #[prost(uint32, tag = "1")]
    key_id: u32,
    #[prost(bytes = "vec", tag = "2")]
    digest: Vec<u8>,
}

impl std::fmt::Debug for StoredDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredDigest(key {})", self.key_id)
    }
}

#[derive(Clone, PartialEq, Message)]
struct StoredOrigin {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    fingerprint: Vec<u8>,
}

impl From<&Token> for StoredToken {
    fn from(token: &Token) -> Self {
        let Token {
            id: _,
            namespace,
            profile,
            create_time,
            owner_since,
            update_time,
            expire_time,
            revoked,
            brand,
            secret,
            origin,
            revision: _,
        } = token;
        Self {
            namespace: namespace.to_string(),
            profile: profile.into(),
            create_time: create_time.micros(),
            updated_after: update_time.micros().saturating_sub(create_time.micros()),
            expire_time: expire_time.map_or(0, Timestamp::micros),
            revoked: revoked
                .as_ref()
                .map(|Revocation { time, reason }| StoredRevocation {
                    time: time.micros(),
                    reason: reason.as_str().to_owned(),
                }),
            brand: brand.as_str().to_owned(),
            secrets: vec![StoredSecretVersion {
                version: secret.version,
                digests: secret.digests.iter().map(StoredDigest::from).collect(),
            }],
            origin: origin
                .as_ref()
                .map(|Origin { key, fingerprint }| StoredOrigin {
                    key: key.0.to_vec(),
                    fingerprint: fingerprint.to_vec(),
                }),
            owned_after: owner_since.micros().saturating_sub(create_time.micros()),
        }
    }
}

impl From<&Profile> for StoredProfile {
    fn from(profile: &Profile) -> Self {
        let Profile {
            name,
            description,
            owner: _,
            pool: _,
            scopes,
            endpoints,
            networks,
            labels,
            disabled,
        } = profile;
        Self {
            name: name.as_str().to_owned(),
            description: description.as_str().to_owned(),
            owner: profile.owner_text().to_owned(),
            pool: profile.pool_text().to_owned(),
            scopes: scopes.iter().map(Scope::to_string).collect(),
            endpoints: endpoints.iter().map(Pattern::to_string).collect(),
            networks: networks.iter().map(Network::to_string).collect(),
            labels: labels.to_map(),
            disabled: *disabled,
        }
    }
}

impl From<&SecretDigest> for StoredDigest {
    fn from(SecretDigest { key_id, bytes }: &SecretDigest) -> Self {
        Self {
            key_id: *key_id,
            digest: bytes.to_vec(),
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
            owned_after,
        } = self;
        let secret = secrets.into_iter().next();
        Ok(Token {
            id,
            namespace: Namespace::parse(&namespace)?,
            profile: profile.try_into()?,
            create_time: Timestamp::from_micros(create_time),
            owner_since: Timestamp::from_micros(create_time.saturating_add(owned_after)),
            update_time: Timestamp::from_micros(create_time.saturating_add(updated_after)),
            expire_time: (expire_time != 0).then(|| Timestamp::from_micros(expire_time)),
            revoked: revoked.map(Revocation::try_from).transpose()?,
            brand: Brand::parse(&brand)?,
            secret: secret.ok_or_else(|| Flaw::new("no secret"))?.try_into()?,
            origin: origin.map(Origin::try_from).transpose()?,
            revision,
        })
    }
}

impl TryFrom<StoredProfile> for Profile {
    type Error = Flaw;

    fn try_from(stored: StoredProfile) -> Result<Self, Flaw> {
        let StoredProfile {
            name,
            description,
            owner,
            pool,
            scopes,
            endpoints,
            networks,
            labels,
            disabled,
        } = stored;
        let labels = labels
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        Ok(Self {
            name: TokenName::parse(&name)?,
            description: Description::parse(&description)?,
            owner: given(&owner).map(Owner::parse).transpose()?,
            pool: given(&pool).map(PoolName::parse).transpose()?,
            scopes: all(&scopes, Scope::parse)?,
            endpoints: Endpoints::new(all(&endpoints, Pattern::parse)?),
            networks: all(&networks, Network::parse)?,
            labels: Labels::parse(labels).map_err(|_| Flaw::new("labels beyond the limits"))?,
            disabled,
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

impl TryFrom<StoredSecretVersion> for SecretVersion {
    type Error = Flaw;

    fn try_from(
        StoredSecretVersion { version, digests }: StoredSecretVersion,
    ) -> Result<Self, Flaw> {
        let digest = |StoredDigest { key_id, digest }| {
            Ok(SecretDigest {
                key_id,
                bytes: hash("digest", &digest)?,
            })
        };
        Ok(Self {
            version,
            digests: digests
                .into_iter()
                .map(digest)
                .collect::<Result<_, Flaw>>()?,
        })
    }
}

impl TryFrom<StoredOrigin> for Origin {
    type Error = Flaw;

    fn try_from(StoredOrigin { key, fingerprint }: StoredOrigin) -> Result<Self, Flaw> {
        Ok(Self {
            key: RequestKey(hash("key", &key)?),
            fingerprint: hash("fingerprint", &fingerprint)?,
        })
    }
}

fn hash(what: &str, bytes: &[u8]) -> Result<[u8; 32], Flaw> {
    bytes
        .try_into()
        .map_err(|_| Flaw::new(format!("a {what} of {} bytes", bytes.len())))
}

fn all<T>(texts: &[String], parse: impl Fn(&str) -> Result<T, Flaw>) -> Result<Vec<T>, Flaw> {
    texts.iter().map(|text| parse(text)).collect()
}

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::token::tests::{at, draft};
    use crate::domain::token::{Draft, Expiration, Ruling};
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
            labels: Labels::parse([("a", "b")].into_iter()).unwrap(),
            disabled: true,
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
        let token = draft.issue(at(3)).unwrap();
        let Ruling::Replace(token) = token.revoke(at(4), Reason::parse("why").unwrap()) else {
            panic!()
        };
        Token {
            owner_since: token.handed_over(at(4)),
            ..*token
        }
    }

    #[test]
    fn a_record_is_read_back_whole() {
        for token in [full(), draft().issue(at(1)).unwrap()] {
            assert_eq!(decode(token.id, token.revision, &encode(&token)), Ok(token));
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
