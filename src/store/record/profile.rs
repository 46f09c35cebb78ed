//! The stored form of what is said about a token, and of what it is allowed.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message;

use crate::domain::address::Network;
use crate::domain::endpoint::{Endpoints, Pattern};
use crate::domain::flaw::Flaw;
use crate::domain::limit::{LimitName, Quota, RateLimit, RateLimits};
use crate::domain::name::{Description, Labels, Owner, PoolName, TokenName};
use crate::domain::profile::Profile;
use crate::domain::scope::Scope;

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredProfile {
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
    #[prost(message, repeated, tag = "10")]
    rate_limits: Vec<StoredRateLimit>,
    #[prost(message, optional, tag = "11")]
    quota: Option<StoredQuota>,
    /// In microseconds; 0 where absent.
    #[prost(uint64, tag = "12")]
    keep_alive_ttl: u64,
}

/// Periods are in microseconds, 0 where absent.
#[derive(Clone, PartialEq, Message)]
struct StoredRateLimit {
    /// Empty for the name that an unnamed limit has.
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    requests: u64,
    #[prost(uint64, tag = "3")]
    period: u64,
    #[prost(uint64, tag = "4")]
    burst: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct StoredQuota {
    #[prost(uint64, tag = "1")]
    limit: u64,
    #[prost(uint64, tag = "2")]
    period: u64,
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
            rate_limits,
            quota,
            labels,
            disabled,
            keep_alive_ttl,
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
            rate_limits: rate_limits.iter().map(StoredRateLimit::from).collect(),
            quota: quota.as_ref().map(StoredQuota::from),
            keep_alive_ttl: keep_alive_ttl.map_or(0, micros),
        }
    }
}

impl From<&RateLimit> for StoredRateLimit {
    fn from(limit: &RateLimit) -> Self {
        let name = Some(limit.name().as_str()).filter(|name| *name != LimitName::FALLBACK);
        Self {
            name: name.unwrap_or_default().to_owned(),
            requests: limit.requests(),
            period: micros(limit.period()),
            burst: limit.burst(),
        }
    }
}

impl From<&Quota> for StoredQuota {
    fn from(quota: &Quota) -> Self {
        Self {
            limit: quota.limit(),
            period: quota.period().map_or(0, micros),
        }
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
            rate_limits,
            quota,
            keep_alive_ttl,
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
            rate_limits: limits(&rate_limits)?,
            quota: quota.map(Quota::try_from).transpose()?,
            keep_alive_ttl: (keep_alive_ttl != 0).then(|| Duration::from_micros(keep_alive_ttl)),
            labels: Labels::parse(labels).map_err(|_| Flaw::new("labels beyond the limits"))?,
            disabled,
        })
    }
}

impl TryFrom<StoredQuota> for Quota {
    type Error = Flaw;

    fn try_from(StoredQuota { limit, period }: StoredQuota) -> Result<Self, Flaw> {
        let period = (period != 0).then(|| Duration::from_micros(period));
        Self::new(limit, period).map_err(|(_, flaw)| flaw)
    }
}

fn limits(stored: &[StoredRateLimit]) -> Result<RateLimits, Flaw> {
    let read = |limit: &StoredRateLimit| {
        let StoredRateLimit {
            name,
            requests,
            period,
            burst,
        } = limit;
        let period = Some(Duration::from_micros(*period));
        RateLimit::new(LimitName::parse(name)?, *requests, period, *burst).map_err(|(_, flaw)| flaw)
    };
    let limits = stored.iter().map(read).collect::<Result<_, Flaw>>()?;
    RateLimits::new(limits).map_err(|(_, flaw)| flaw)
}

/// A period fits: it is a leap year at most.
fn micros(period: Duration) -> u64 {
    u64::try_from(period.as_micros()).unwrap_or(u64::MAX)
}

fn all<T>(texts: &[String], parse: impl Fn(&str) -> Result<T, Flaw>) -> Result<Vec<T>, Flaw> {
    texts.iter().map(|text| parse(text)).collect()
}

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
