//! The profile of a token: what whoever made it says about it, and may change later.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::address::Network;
use super::endpoint::{Endpoints, Pattern};
use super::flaw::{Flaw, quoted};
use super::hash::feed;
use super::limit::{Quota, RateLimit, RateLimits};
use super::name::{Description, Labels, Owner, PoolName, TokenName};
use super::scope::Scope;

/// What is said about a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    pub name: TokenName,
    pub description: Description,
    pub owner: Option<Owner>,
    pub pool: Option<PoolName>,
    pub scopes: Vec<Scope>,
    pub endpoints: Endpoints,
    /// Networks it may be used from; none means all.
    pub networks: Vec<Network>,
    /// How fast it may be used; none means as fast as may be.
    pub rate_limits: RateLimits,
    /// How much it may be used; none means as much as may be.
    pub quota: Option<Quota>,
    pub labels: Labels,
    pub disabled: bool,
    /// How long a pooled token lives without a beat; none for ever.
    pub keep_alive_ttl: Option<Duration>,
}

impl Profile {
    /// Most networks of one token.
    pub const NETWORKS_MAX: usize = 64;

    /// The owner's name, empty where there is none.
    pub fn owner_text(&self) -> &str {
        self.owner.as_ref().map(Owner::as_str).unwrap_or_default()
    }

    /// The pool's name, empty where there is none.
    pub fn pool_text(&self) -> &str {
        self.pool.as_ref().map(PoolName::as_str).unwrap_or_default()
    }

    /// About how many bytes it takes to say all of this.
    pub fn bytes(&self) -> usize {
        let texts = [
            self.name.as_str(),
            self.description.as_str(),
            self.owner_text(),
            self.pool_text(),
        ];
        let scopes = self.scopes.iter().map(|scope| scope.as_str().len());
        let endpoints = self.endpoints.iter().map(Pattern::bytes);
        let labels = self
            .labels
            .iter()
            .map(|(key, value)| key.len() + value.len() + 4);
        let networks = self.networks.len() * 24;
        let limits = self.rate_limits.iter().len() * 96;
        texts.map(str::len).iter().sum::<usize>()
            + scopes.chain(endpoints).chain(labels).sum::<usize>()
            + networks
            + limits
    }

    /// The first scope that is a permission on the authority itself.
    pub fn authority_scope(&self) -> Option<&Scope> {
        self.scopes.iter().find(|scope| scope.grant().is_some())
    }

    /// What is wrong with the scopes of a pooled token, and which: whoever leases it must not come
    /// by a permission on the authority.
    pub fn pooled_scope_flaw(&self) -> Option<(usize, Flaw)> {
        self.pool.as_ref()?;
        let at = self
            .scopes
            .iter()
            .position(|scope| scope.grant().is_some())?;
        let scope = quoted(self.scopes[at].as_str());
        Some((
            at,
            Flaw::new(format!("a pooled token cannot carry {scope}")),
        ))
    }

    /// Feeds everything said into a hash.
    pub(super) fn feed(&self, hash: &mut Sha256) {
        let Self {
            name,
            description,
            owner: _,
            pool: _,
            scopes,
            endpoints,
            networks,
            rate_limits,
            quota,
            labels,
            disabled,
            keep_alive_ttl,
        } = self;
        for text in [
            name.as_str(),
            description.as_str(),
            self.owner_text(),
            self.pool_text(),
            if *disabled { "disabled" } else { "" },
        ] {
            feed(hash, text.as_bytes());
        }
        feed_all(hash, scopes.iter().map(Scope::to_string));
        feed_all(hash, endpoints.iter().map(Pattern::to_string));
        feed_all(hash, networks.iter().map(Network::to_string));
        feed_all(hash, rate_limits.iter().map(rate_text));
        feed_all(hash, quota.iter().map(quota_text));
        feed_all(
            hash,
            labels.iter().map(|(key, value)| format!("{key}={value}")),
        );
        let ttl = keep_alive_ttl.iter().map(|ttl| ttl.as_nanos().to_string());
        feed_all(hash, ttl);
    }
}

fn rate_text(limit: &RateLimit) -> String {
    let (name, requests, burst) = (limit.name(), limit.requests(), limit.burst());
    format!("{name} {requests} {} {burst}", limit.period().as_nanos())
}

fn quota_text(quota: &Quota) -> String {
    let period = quota.period().map(|period| period.as_nanos());
    format!("{} {period:?}", quota.limit())
}

/// Feeds a list with its length, so that no item can move into the list beside it unnoticed.
fn feed_all(hash: &mut Sha256, items: impl Iterator<Item = String>) {
    let items: Vec<String> = items.collect();
    hash.update((items.len() as u64).to_be_bytes());
    items.iter().for_each(|item| feed(hash, item.as_bytes()));
}
