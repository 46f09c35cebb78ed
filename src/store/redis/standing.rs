//! The stored forms of tokens, of their deletions, and of claims of requests.

use crate::domain::time::Timestamp;
use crate::domain::token::{REPLAY_WINDOW, Token, TokenId};
use crate::store::{Creation, StoreError, record};

/// Length of a revision before a record's blob.
const REVISION_BYTES: usize = 8;

/// What stands at a token's id.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives for one call and is never stored"
)]
pub(super) enum Standing {
    Nothing,
    /// A token that was deleted under this revision.
    Deletion(u64),
    Token(Token),
}

impl Standing {
    pub(super) fn read(id: TokenId, value: Option<&[u8]>) -> Result<Self, StoreError> {
        let Some(value) = value else {
            return Ok(Self::Nothing);
        };
        let Some((revision, blob)) = value.split_first_chunk::<REVISION_BYTES>() else {
            return Err(StoreError::Corrupt(format!("token {id}: a cut record")));
        };
        let revision = u64::from_be_bytes(*revision);
        if blob.is_empty() {
            return Ok(Self::Deletion(revision));
        }
        record::decode(id, revision, blob).map(Self::Token)
    }

    pub(super) fn token(self) -> Option<Token> {
        match self {
            Self::Token(token) => Some(token),
            Self::Nothing | Self::Deletion(_) => None,
        }
    }

    /// What it means for a creation: the token, or a deletion that is still remembered.
    pub(super) fn earlier(self, now: Timestamp) -> Option<Creation> {
        match self {
            Self::Token(token) => Some(Creation::Taken(token)),
            Self::Deletion(revision) if remembered(revision, now) => Some(Creation::Gone),
            Self::Nothing | Self::Deletion(_) => None,
        }
    }
}

/// Whether what stands at an id is a token of this revision.
pub(super) fn has_revision(value: &[u8], revision: u64) -> bool {
    let parts = value.split_first_chunk::<REVISION_BYTES>();
    parts.is_some_and(|(standing, blob)| !blob.is_empty() && *standing == revision.to_be_bytes())
}

/// Whether a deletion under `revision` still holds its request key.
pub(super) fn remembered(revision: u64, now: Timestamp) -> bool {
    Timestamp::from_micros(revision).saturating_add(REPLAY_WINDOW) > now
}

/// The token that a request key made under another id than its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) id: TokenId,
    /// The revision of that token's deletion, once it is deleted.
    pub(super) deleted: Option<u64>,
}

impl Claim {
    pub(super) fn read(value: &[u8]) -> Result<Self, StoreError> {
        let damaged = || StoreError::Corrupt("a claim of a request".to_owned());
        let (id, deleted) = value
            .split_at_checked(TokenId::DIGITS)
            .ok_or_else(damaged)?;
        let id = std::str::from_utf8(id).ok();
        let id = id.and_then(|text| TokenId::parse(text).ok());
        let deleted = match deleted {
            [] => None,
            bytes => Some(u64::from_be_bytes(bytes.try_into().map_err(|_| damaged())?)),
        };
        Ok(Self {
            id: id.ok_or_else(damaged)?,
            deleted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789ABCDEFGHIJKL";

    #[test]
    fn a_claim_is_read_with_and_without_its_deletion() {
        let id = TokenId::parse(ID).unwrap();
        let standing = Claim { id, deleted: None };
        assert_eq!(Claim::read(ID.as_bytes()), Ok(standing));
        let ended = [ID.as_bytes(), &7u64.to_be_bytes()].concat();
        let deleted = Some(7);
        assert_eq!(Claim::read(&ended), Ok(Claim { id, deleted }));
        for damaged in [&ended[..25], b"", b"short", &[b'-'; 22]] {
            assert!(Claim::read(damaged).is_err());
        }
    }

    #[test]
    fn a_deletion_is_remembered_for_the_replay_window_and_not_a_moment_longer() {
        let window = u64::try_from(REPLAY_WINDOW.as_micros()).unwrap();
        assert!(remembered(5, Timestamp::from_micros(window + 4)));
        assert!(!remembered(5, Timestamp::from_micros(window + 5)));
    }

    #[test]
    fn a_cut_record_is_an_error_and_no_absence() {
        let id = TokenId::parse(ID).unwrap();
        assert!(Standing::read(id, Some(b"1234567")).is_err());
        assert!(Standing::read(id, Some(b"12345678x\xff")).is_err());
        assert!(matches!(Standing::read(id, None), Ok(Standing::Nothing)));
    }
}
