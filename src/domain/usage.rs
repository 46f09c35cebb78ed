//! Usage: what is counted of judged requests, token by token and hour by hour, and how counts add up.
//!
//! Whatever is counted apart adds up to what is counted together, in any order: a process counts what
//! it judged, and a store adds up what processes counted. All that a stranger can make many of is
//! bounded, and what finds no place of its own is counted as "other", so that the sums stay right.

mod counts;
mod few;
mod recent;
mod rows;

use std::collections::VecDeque;
use std::net::IpAddr;

use super::endpoint::matching;
use super::name::Namespace;
use super::time::Timestamp;
use super::verdict::Verdict;

pub use counts::Counts;
pub use recent::Recent;
pub use rows::{Add, Rows};

/// Endpoints of a token that are told apart, in one batch or one hour.
pub const ENDPOINTS_MAX: usize = 64;
/// Client addresses of a token that are told apart, in one batch or one hour.
pub const CLIENTS_MAX: usize = 32;
/// Requests of a token that are kept in full, the last ones.
pub const RECENT_MAX: usize = 20;
/// Longest path that is an endpoint of its own, in bytes; longer ones are counted as other.
pub const ENDPOINT_BYTES_MAX: usize = 256;
/// What is kept of a user agent, in bytes.
pub const USER_AGENT_BYTES_MAX: usize = 256;

/// An hour of UTC, counted since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(u32);

impl Hour {
    const MICROS: u64 = 3_600_000_000;

    /// The hour that an instant lies in.
    pub fn of(at: Timestamp) -> Self {
        // The last instant there is lies in hour 70 million.
        Self(u32::try_from(at.micros() / Self::MICROS).unwrap_or(u32::MAX))
    }

    pub fn begin(self) -> Timestamp {
        Timestamp::from_micros(u64::from(self.0) * Self::MICROS)
    }
}

/// A judged request, as far as it is counted.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    pub at: Timestamp,
    pub verdict: Verdict,
    /// What it took from the token's limits, or would have.
    pub cost: u64,
    /// Version of the secret that was shown; 0 for that of a lease.
    pub secret_version: u32,
    pub validation_id: &'a str,
    /// Empty where none was named.
    pub method: &'a str,
    /// As [`endpoint`] tells; empty where none was named.
    pub path: &'a str,
    pub client: Option<IpAddr>,
    pub user_agent: &'a str,
}

/// What was asked for, as far as requests are told apart by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    method_bytes: usize,
    /// The method, and then the path.
    text: Box<str>,
}

impl Endpoint {
    fn of(method: &str, path: &str) -> Self {
        Self {
            method_bytes: method.len(),
            text: [method, path].concat().into(),
        }
    }

    /// Empty where none was named.
    pub fn method(&self) -> &str {
        &self.text[..self.method_bytes]
    }

    pub fn path(&self) -> &str {
        &self.text[self.method_bytes..]
    }
}

/// A client address, as it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub requests: u64,
    pub first_seen: Timestamp,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            requests: 0,
            first_seen: Timestamp::MAX,
        }
    }
}

impl Add for Client {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.first_seen = self.first_seen.min(other.first_seen);
    }
}

/// What was counted of one token within one hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUse {
    pub namespace: Namespace,
    pub counts: Counts,
    /// Requests by each version of its secret; 0 stands for secrets of leases.
    pub versions: Rows<u32, u64, VERSIONS_MAX>,
    pub endpoints: Rows<Endpoint, Counts, ENDPOINTS_MAX>,
    pub clients: Rows<IpAddr, Client, CLIENTS_MAX>,
    /// The oldest first.
    pub recent: VecDeque<Recent>,
}

/// Versions that are told apart: more than a token has secrets at once.
const VERSIONS_MAX: usize = 8;

impl TokenUse {
    pub fn of(namespace: Namespace) -> Self {
        Self {
            namespace,
            counts: Counts::default(),
            versions: Rows::default(),
            endpoints: Rows::default(),
            clients: Rows::default(),
            // Most tokens are asked about rarely.
            recent: VecDeque::with_capacity(1),
        }
    }

    pub fn note(&mut self, judged: &Judged<'_>) {
        let Judged {
            verdict,
            cost,
            secret_version,
            method,
            path,
            ..
        } = *judged;
        self.counts.note(verdict, cost);
        *self.versions.of(&secret_version, || secret_version) += 1;
        let row = match path.len() <= ENDPOINT_BYTES_MAX {
            true => self.endpoints.by(
                |known| known.path() == path && known.method() == method,
                || Endpoint::of(method, path),
            ),
            false => self.endpoints.other(),
        };
        row.note(verdict, cost);
        if let Some(address) = judged.client {
            let client = Client {
                requests: 1,
                first_seen: judged.at,
            };
            self.clients.of(&address, || address).add(client);
        }
        self.remember(judged);
    }

    /// Keeps a request in full, in the place of the oldest where there is no room.
    fn remember(&mut self, judged: &Judged<'_>) {
        let oldest = match self.recent.len() < RECENT_MAX {
            true => None,
            false => self.recent.pop_front(),
        };
        self.recent.push_back(Recent::of(judged, oldest));
    }

    /// Adds what was counted elsewhere of the same token and hour.
    pub fn add(&mut self, other: Self) {
        self.counts.add(other.counts);
        self.versions.add(other.versions);
        self.endpoints.add(other.endpoints);
        self.clients.add(other.clients);
        self.recent.extend(other.recent);
        self.recent
            .make_contiguous()
            .sort_by_key(|recent| recent.at);
        let beyond = self.recent.len().saturating_sub(RECENT_MAX);
        self.recent.drain(..beyond);
    }
}

/// The path that a request on `raw` counts under: its parameters folded into that of the `endpoints`
/// that allows it, or, where none does, as it came without its query.
pub fn endpoint<'a>(
    endpoints: impl Iterator<Item = &'a str>,
    method: Option<&str>,
    raw: Option<&'a str>,
) -> &'a str {
    let bare = |raw: &'a str| raw.split(['?', '#']).next().unwrap_or_default();
    let folded = matching(endpoints, method, raw);
    folded.or(raw.map(bare)).unwrap_or_default()
}

/// As much of the beginning of `text` as `most` bytes hold, in whole characters.
pub fn beginning(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests;
