//! Listing: which tokens, how many, and where a page goes on.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::alphabet;
use super::caller::Reach;
use super::flaw::Flaw;
use super::hash::halves;
use super::name::{Labels, Namespace, Owner, PoolName};
use super::pool::Pool;
use super::time::Timestamp;
use super::token::{State, Token};
use super::token_id::TokenId;

/// Most tokens of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(usize);

impl PageSize {
    pub const DEFAULT: usize = 50;
    pub const MAX: usize = 1000;

    /// 0 means the default; more than the maximum means the maximum.
    pub fn asked(size: u32) -> Self {
        match usize::try_from(size).unwrap_or(Self::MAX) {
            0 => Self(Self::DEFAULT),
            size => Self(size.min(Self::MAX)),
        }
    }

    pub fn get(self) -> usize {
        self.0
    }
}

/// Which tokens to list. All given conditions must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub reach: Reach,
    pub owner: Option<Owner>,
    pub pool: Option<PoolName>,
    /// Never empty.
    pub states: BTreeSet<State>,
    pub labels: Labels,
}

impl Filter {
    /// The states listed when none are asked for.
    pub fn default_states() -> BTreeSet<State> {
        BTreeSet::from([State::Active, State::Disabled])
    }

    pub fn admits(&self, token: &Token, now: Timestamp) -> bool {
        self.reach.covers(&token.namespace)
            && (self.owner.is_none() || self.owner == token.profile.owner)
            && (self.pool.is_none() || self.pool == token.profile.pool)
            && self.states.contains(&token.state(now))
            && token.profile.labels.contain(&self.labels)
    }
}

/// A place in a list that is ordered newest first: what follows is older, or equally old with a
/// lesser id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub create_time: Timestamp,
    pub id: TokenId,
}

impl Cursor {
    pub fn of(token: &Token) -> Self {
        Self {
            create_time: token.create_time,
            id: token.id,
        }
    }
}

/// Digits of a page token: a time, an id, a seal.
const TIME_DIGITS: usize = 11;
const SEAL_DIGITS: usize = 22;

impl Cursor {
    /// Writes the cursor as a page token sealed with `key` (known to every replica of a store) for
    /// use with `filter` only. It grants nothing: rights are judged anew for each page.
    pub fn seal(&self, key: &[u8], filter: &Filter) -> String {
        let time = alphabet::encode(u128::from(self.create_time.micros()), TIME_DIGITS);
        format!("{time}{}{}", self.id, self.sum(key, filter))
    }

    /// Reads what [`Cursor::seal`] wrote with the same key and filter.
    pub fn unseal(text: &str, key: &[u8], filter: &Filter) -> Result<Self, Flaw> {
        let foreign = || Flaw::new("is not a next_page_token that these filters answered");
        if text.len() != TIME_DIGITS + TokenId::DIGITS + SEAL_DIGITS || !alphabet::is_base62(text) {
            return Err(foreign());
        }
        let (time, rest) = text.split_at(TIME_DIGITS);
        let (id, seal) = rest.split_at(TokenId::DIGITS);
        let micros = alphabet::decode(time).and_then(|micros| u64::try_from(micros).ok());
        let cursor = Self {
            create_time: Timestamp::from_micros(micros.ok_or_else(foreign)?),
            id: TokenId::parse(id).map_err(|_| foreign())?,
        };
        if cursor.sum(key, filter) == seal {
            Ok(cursor)
        } else {
            Err(foreign())
        }
    }

    fn sum(&self, key: &[u8], filter: &Filter) -> String {
        sum(key, &format!("{self:?} {filter:?}"))
    }
}

/// A place in a list of namespaces in the order of their names: what follows is behind this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceCursor(pub Namespace);

impl NamespaceCursor {
    /// Writes the cursor as a page token, as [`Cursor::seal`] does, for use with `reach` only.
    pub fn seal(&self, key: &[u8], reach: &Reach) -> String {
        format!("{}{}", self.sum(key, reach), self.0)
    }

    /// Reads what [`NamespaceCursor::seal`] wrote with the same key and reach.
    pub fn unseal(text: &str, key: &[u8], reach: &Reach) -> Result<Self, Flaw> {
        let read = || {
            let (seal, name) = text.split_at_checked(SEAL_DIGITS)?;
            let cursor = Self(Namespace::parse(name).ok()?);
            (cursor.sum(key, reach) == seal).then_some(cursor)
        };
        read().ok_or_else(|| Flaw::new("is not a next_page_token that this caller was answered"))
    }

    fn sum(&self, key: &[u8], reach: &Reach) -> String {
        sum(key, &format!("{self:?} {reach:?}"))
    }
}

/// A place in a list of pools in the order of namespaces and names: what follows is behind this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolCursor(pub Pool);

impl PoolCursor {
    /// Parts the names in a page token; neither holds it.
    const BETWEEN: char = '.';

    /// Writes the cursor as a page token, as [`Cursor::seal`] does, for use with `reach` only.
    pub fn seal(&self, key: &[u8], reach: &Reach) -> String {
        let Pool { namespace, name } = &self.0;
        let between = Self::BETWEEN;
        let sum = self.sum(key, reach);
        format!("{sum}{namespace}{between}{}", name.as_str())
    }

    /// Reads what [`PoolCursor::seal`] wrote with the same key and reach.
    pub fn unseal(text: &str, key: &[u8], reach: &Reach) -> Result<Self, Flaw> {
        let read = || {
            let (seal, names) = text.split_at_checked(SEAL_DIGITS)?;
            let (namespace, name) = names.split_once(Self::BETWEEN)?;
            let cursor = Self(Pool {
                namespace: Namespace::parse(namespace).ok()?,
                name: PoolName::parse(name).ok()?,
            });
            (cursor.sum(key, reach) == seal).then_some(cursor)
        };
        read().ok_or_else(|| Flaw::new("is not a next_page_token that this namespace answered"))
    }

    fn sum(&self, key: &[u8], reach: &Reach) -> String {
        sum(key, &format!("{self:?} {reach:?}"))
    }
}

/// Hash of key and place. No more than a seal against mistakes is needed, so that a plain hash with
/// a leading key suffices.
fn sum(key: &[u8], place: &str) -> String {
    let mut hash = Sha256::new();
    hash.update((key.len() as u64).to_be_bytes());
    hash.update(key);
    hash.update(place);
    let digest: [u8; 32] = hash.finalize().into();
    let [value, _] = halves(&digest);
    alphabet::encode(value, SEAL_DIGITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter(owner: &str) -> Filter {
        Filter {
            reach: Reach::only(Namespace::fallback()),
            owner: Owner::parse(owner).ok(),
            pool: None,
            states: Filter::default_states(),
            labels: Labels::default(),
        }
    }

    fn cursor(micros: u64) -> Cursor {
        Cursor {
            create_time: Timestamp::from_micros(micros),
            id: TokenId::parse(&"z".repeat(22)).unwrap(),
        }
    }

    #[test]
    fn a_page_token_serves_its_own_filter_and_store_only() {
        let token = cursor(17).seal(b"store", &filter("ann"));
        assert_eq!(
            Cursor::unseal(&token, b"store", &filter("ann")),
            Ok(cursor(17))
        );
        assert!(Cursor::unseal(&token, b"store", &filter("bob")).is_err());
        assert!(Cursor::unseal(&token, b"other", &filter("ann")).is_err());
    }

    #[test]
    fn a_page_token_of_pools_serves_its_own_reach_and_store_only() {
        let name = |text: &str| Namespace::parse(text).unwrap();
        let cursor = PoolCursor(Pool {
            namespace: name("shop-1"),
            name: PoolName::parse("gpu").unwrap(),
        });
        let all = cursor.seal(b"store", &Reach::All);
        assert_eq!(PoolCursor::unseal(&all, b"store", &Reach::All), Ok(cursor));
        let some = Reach::only(name("shop-1"));
        assert!(PoolCursor::unseal(&all, b"store", &some).is_err());
        assert!(PoolCursor::unseal(&all, b"other", &Reach::All).is_err());
        assert!(PoolCursor::unseal("é", b"store", &Reach::All).is_err());
    }

    #[test]
    fn a_page_token_of_namespaces_serves_its_own_reach_and_store_only() {
        let name = |text: &str| Namespace::parse(text).unwrap();
        let cursor = NamespaceCursor(name("shop-1"));
        let all = cursor.seal(b"store", &Reach::All);
        let unsealed = NamespaceCursor::unseal(&all, b"store", &Reach::All);
        assert_eq!(unsealed, Ok(cursor));
        let some = Reach::only(name("shop-1"));
        assert!(NamespaceCursor::unseal(&all, b"store", &some).is_err());
        assert!(NamespaceCursor::unseal(&all, b"other", &Reach::All).is_err());
        let moved = all.replace("shop-1", "shop-2");
        assert!(NamespaceCursor::unseal(&moved, b"store", &Reach::All).is_err());
    }

    proptest! {
        #[test]
        fn every_cursor_survives_its_page_token(micros in 0..Timestamp::MAX.micros()) {
            let token = cursor(micros).seal(b"store", &filter("ann"));
            prop_assert_eq!(Cursor::unseal(&token, b"store", &filter("ann")), Ok(cursor(micros)));
        }

        #[test]
        fn forged_page_tokens_are_refused(text in "([0-9A-Za-z]{55}|.{0,60})") {
            prop_assert!(Cursor::unseal(&text, b"store", &filter("ann")).is_err());
            prop_assert!(NamespaceCursor::unseal(&text, b"store", &Reach::All).is_err());
        }
    }
}
