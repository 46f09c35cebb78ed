//! The stored form of a token's secrets: digests, and the requests that made them.

use prost::Message;

use crate::domain::flaw::Flaw;
use crate::domain::rotation::{Replaced, SecretVersion, Secrets};
use crate::domain::secret::SecretDigest;
use crate::domain::time::Timestamp;
use crate::domain::token::{Origin, RequestKey};

/// One version; the token's `create_time` stands beside, and is subtracted to keep it short.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredSecretVersion {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(message, repeated, tag = "2")]
    digests: Vec<StoredDigest>,
    /// Microseconds from the token's creation to the version's.
    #[prost(uint64, tag = "3")]
    created_after: u64,
    /// The end of its grace; 0 for the version in force.
    #[prost(uint64, tag = "4")]
    until: u64,
    #[prost(message, optional, tag = "5")]
    origin: Option<StoredOrigin>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(in crate::store) struct StoredDigest {
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
pub(in crate::store) struct StoredOrigin {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    fingerprint: Vec<u8>,
}

/// The version in force first.
pub(super) fn stored(secrets: &Secrets, create_time: Timestamp) -> Vec<StoredSecretVersion> {
    let Secrets { current, replaced } = secrets;
    let version = |secret: &SecretVersion, until: u64| {
        let SecretVersion {
            version,
            create_time: created,
            digests,
            origin,
        } = secret;
        StoredSecretVersion {
            version: *version,
            digests: digests.iter().map(StoredDigest::from).collect(),
            created_after: created.micros().saturating_sub(create_time.micros()),
            until,
            origin: origin.as_ref().map(StoredOrigin::from),
        }
    };
    let replaced = replaced.iter();
    let replaced = replaced.map(|Replaced { secret, until }| version(secret, until.micros()));
    std::iter::once(version(current, 0))
        .chain(replaced)
        .collect()
}

/// Reads what [`stored`] wrote.
pub(super) fn read(
    stored: Vec<StoredSecretVersion>,
    create_time: Timestamp,
) -> Result<Secrets, Flaw> {
    let version = |stored: StoredSecretVersion| {
        let StoredSecretVersion {
            version,
            digests,
            created_after,
            until,
            origin,
        } = stored;
        let digests = digests.into_iter().map(SecretDigest::try_from);
        let created = create_time.micros().saturating_add(created_after);
        let secret = SecretVersion {
            version,
            create_time: Timestamp::from_micros(created),
            digests: digests.collect::<Result<_, Flaw>>()?,
            origin: origin.map(Origin::try_from).transpose()?,
        };
        let until = Timestamp::from_micros(until);
        Ok::<_, Flaw>(Replaced { secret, until })
    };
    let mut versions = stored.into_iter().map(version);
    let current = versions.next().ok_or_else(|| Flaw::new("no secret"))??;
    Ok(Secrets {
        current: current.secret,
        replaced: versions.collect::<Result<_, Flaw>>()?,
    })
}

impl From<&SecretDigest> for StoredDigest {
    fn from(SecretDigest { key_id, bytes }: &SecretDigest) -> Self {
        Self {
            key_id: *key_id,
            digest: bytes.to_vec(),
        }
    }
}

impl From<&Origin> for StoredOrigin {
    fn from(Origin { key, fingerprint }: &Origin) -> Self {
        Self {
            key: key.0.to_vec(),
            fingerprint: fingerprint.to_vec(),
        }
    }
}

impl TryFrom<StoredDigest> for SecretDigest {
    type Error = Flaw;

    fn try_from(StoredDigest { key_id, digest }: StoredDigest) -> Result<Self, Flaw> {
        Ok(Self {
            key_id,
            bytes: hash("digest", &digest)?,
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
