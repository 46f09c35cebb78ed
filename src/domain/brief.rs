//! The brief of a token: what questions about it mostly need, in few pieces of memory, since a question
//! about one of many tokens finds none of them in a processor's cache.

use std::sync::Arc;

use super::address::Network;
use super::endpoint;
use super::name::Owner;
use super::profile::Profile;
use super::rotation::{Replaced, SecretVersion, Secrets};
use super::scope::{RequiredScope, covers};
use super::secret::SecretDigest;
use super::time::Timestamp;
use super::token::{Token, TokenId};
use super::verdict::{Credential, Facts};

/// A token, and again what is asked of it with each question.
#[derive(Debug)]
pub struct Brief {
    pub token: Arc<Token>,
    pub id: TokenId,
    pub revision: u64,
    pub expire_time: Option<Timestamp>,
    pub is_limited: bool,
    is_revoked: bool,
    is_disabled: bool,
    first: Known,
    /// As a rule there are none.
    more: Box<[Known]>,
    networks: Box<[Network]>,
    /// Where each part of the texts ends.
    ends: [u32; PARTS],
    texts: Box<str>,
}

/// One of the token's secrets.
#[derive(Debug)]
struct Known {
    version: u32,
    until: Option<Timestamp>,
    digest: SecretDigest,
}

/// The texts, in their order: namespace, name, owner, scopes, endpoints, labels.
const PARTS: usize = 6;
/// Stands between two of a list, since none of them holds it.
const BETWEEN: char = '\n';

impl Brief {
    /// `None` of a pooled token: how that is held changes without its record.
    pub fn of(token: &Arc<Token>) -> Option<Self> {
        let Token {
            id,
            namespace,
            profile,
            create_time: _,
            owner_since: _,
            update_time: _,
            expire_time,
            revoked,
            brand: _,
            secrets,
            allowance: _,
            origin: _,
            tenure,
            revision,
        } = &**token;
        let Profile {
            name,
            description: _,
            owner: _,
            pool,
            scopes,
            endpoints,
            networks,
            rate_limits: _,
            quota: _,
            labels,
            disabled,
            keep_alive_ttl: _,
        } = profile;
        if pool.is_some() || tenure.is_some() {
            return None;
        }
        let mut known = known(secrets);
        let first = known.next()?;
        let labels = labels.iter().map(|(key, value)| format!("{key}={value}"));
        let parts = [
            namespace.as_str().to_owned(),
            name.as_str().to_owned(),
            profile.owner_text().to_owned(),
            joined(scopes.iter().map(|scope| scope.as_str().to_owned())),
            joined(endpoints.texts().map(str::to_owned)),
            joined(labels),
        ];
        let mut end = 0;
        let ends = parts.each_ref().map(|part| {
            end += part.len();
            u32::try_from(end).unwrap_or(u32::MAX)
        });
        Some(Self {
            token: token.clone(),
            id: *id,
            revision: *revision,
            expire_time: *expire_time,
            is_limited: token.is_limited(),
            is_revoked: revoked.is_some(),
            is_disabled: *disabled,
            first,
            more: known.collect(),
            networks: networks.as_slice().into(),
            ends,
            texts: parts.concat().into(),
        })
    }

    pub fn namespace(&self) -> &str {
        self.part(0)
    }

    pub fn name(&self) -> &str {
        self.part(1)
    }

    /// Empty where there is none.
    pub fn owner(&self) -> &str {
        self.part(2)
    }

    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        split(self.part(3))
    }

    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        split(self.part(4))
    }

    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        // Keys hold no '='.
        split(self.part(5)).filter_map(|label| label.split_once('='))
    }

    /// Each secret's digest, and what it is.
    pub(super) fn secrets(&self) -> impl Iterator<Item = (&SecretDigest, Credential)> {
        std::iter::once(&self.first).chain(&self.more).map(|known| {
            let Known { version, until, .. } = *known;
            (&known.digest, Credential::Own { version, until })
        })
    }

    /// About how many bytes it takes beside the token.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + size_of_val(&*self.more)
            + size_of_val(&*self.networks)
            + self.texts.len()
    }

    fn part(&self, number: usize) -> &str {
        let begin = match number.checked_sub(1) {
            Some(before) => self.ends[before],
            None => 0,
        };
        &self.texts[begin as usize..self.ends[number] as usize]
    }
}

impl Facts for Brief {
    fn is_revoked(&self) -> bool {
        self.is_revoked
    }

    fn is_disabled(&self) -> bool {
        self.is_disabled
    }

    fn expire_time(&self) -> Option<Timestamp> {
        self.expire_time
    }

    fn is_owned_by(&self, owner: &Owner) -> bool {
        self.owner() == owner.as_str()
    }

    fn grants(&self, required: &RequiredScope) -> bool {
        self.scopes().any(|scope| covers(scope, required))
    }

    fn allows(&self, method: Option<&str>, path: Option<&str>) -> bool {
        self.part(4).is_empty() || endpoint::matching(self.endpoints(), method, path).is_some()
    }

    fn networks(&self) -> &[Network] {
        &self.networks
    }
}

fn known(secrets: &Secrets) -> impl Iterator<Item = Known> {
    let Secrets { current, replaced } = secrets;
    let of = |secret: &SecretVersion, until| {
        let version = secret.version;
        let known = move |digest: &SecretDigest| Known {
            version,
            until,
            digest: digest.clone(),
        };
        secret.digests.iter().map(known).collect::<Vec<_>>()
    };
    let replaced = replaced.iter();
    let replaced = replaced.flat_map(move |Replaced { secret, until }| of(secret, Some(*until)));
    of(current, None).into_iter().chain(replaced)
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join("\n")
}

fn split(list: &str) -> impl Iterator<Item = &str> {
    // An empty list has no item, and no item is empty.
    list.split(BETWEEN).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests;
