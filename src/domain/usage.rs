//! Usage: what is counted of judged requests, token by token and hour by hour, and how counts add up.
//!
//! Whatever is counted apart adds up to what is counted together, in any order: a process counts what
//! it judged, and a store adds up what processes counted. All that a stranger can make many of is
//! bounded, and what finds no place of its own is counted as "other", so that the sums stay right.

mod completed;
mod counts;
mod few;
mod histogram;
mod ledger;
mod recent;
mod report;
mod rows;
mod summed;
mod terms;
mod withheld;

use std::collections::VecDeque;
use std::net::IpAddr;

use super::endpoint::matching;
use super::name::Namespace;
use super::time::Timestamp;
use super::token_id::TokenId;
use super::verdict::Verdict;

pub use completed::{CLASSES, Completed, Outcome};
pub use counts::Counts;
pub use histogram::Histogram;
pub use ledger::{Book, Gain, Keeping, Ledger, MARKS_MAX, Mark, SHORT_DAYS, Summary};
pub use recent::Recent;
pub use report::{Report, Window};
pub use rows::{Add, Rows};
pub use terms::{ClientAddresses, Templates, UsageTerms};
pub use withheld::withheld;

/// Endpoints of a token that are told apart, in one batch or one hour.
pub const ENDPOINTS_MAX: usize = 64;
/// Client addresses of a token that are told apart, in one batch or one hour.
pub const CLIENTS_MAX: usize = 32;
/// Tokens of a namespace that are told apart, in one batch or one hour.
pub const TOKENS_MAX: usize = 128;
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

    /// The hour of this number.
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    pub const fn number(self) -> u32 {
        self.0
    }

    pub fn begin(self) -> Timestamp {
        Timestamp::from_micros(u64::from(self.0) * Self::MICROS)
    }

    /// So many hours before; the first there is where there are fewer.
    pub const fn before(self, hours: u32) -> Self {
        Self(self.0.saturating_sub(hours))
    }

    /// So many hours after; the last there is where there are fewer.
    pub const fn after(self, hours: u32) -> Self {
        Self(self.0.saturating_add(hours))
    }

    pub const fn day(self) -> Day {
        Day(self.0 / 24)
    }
}

/// A day of UTC, counted since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u32);

impl Day {
    /// The day of this number.
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    pub const fn number(self) -> u32 {
        self.0
    }

    /// Its first hour.
    pub const fn begin(self) -> Hour {
        Hour(self.0.saturating_mul(24))
    }

    /// So many days before; the first there is where there are fewer.
    pub const fn before(self, days: u32) -> Self {
        Self(self.0.saturating_sub(days))
    }

    /// So many days after; the last there is where there are fewer.
    pub const fn after(self, days: u32) -> Self {
        Self(self.0.saturating_add(days))
    }
}

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    Token(TokenId),
    /// All tokens of a namespace, and what was asked there about secrets of no token.
    Namespace(Namespace),
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
    /// Both are empty where none was named.
    pub fn of(method: &str, path: &str) -> Self {
        Self {
            method_bytes: method.len(),
            text: [method, path].concat().into(),
        }
    }

    /// Empty where none was named.
    pub fn method(&self) -> &str {
        &self.text[..self.method_bytes]
    }

    /// Empty where none was named.
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
        self.requests = self.requests.saturating_add(other.requests);
        self.first_seen = self.first_seen.min(other.first_seen);
    }

    fn weight(&self) -> u64 {
        self.requests
    }
}

/// A version of a secret, as it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    pub requests: u64,
    /// When it last passed.
    pub last_used: Option<Timestamp>,
}

impl Add for Version {
    fn add(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.last_used = self.last_used.max(other.last_used);
    }

    fn weight(&self) -> u64 {
        self.requests
    }
}

/// How one of the last requests ended, as was told; it belongs to the one judged under its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub at: Timestamp,
    pub validation_id: String,
    pub outcome: Outcome,
}

/// What was counted of one subject within one hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Use {
    pub counts: Counts,
    /// Requests by each version of its secret; 0 stands for secrets of leases. Of tokens only.
    pub versions: Rows<u32, Version, VERSIONS_MAX>,
    pub endpoints: Rows<Endpoint, Counts, ENDPOINTS_MAX>,
    /// Of tokens only.
    pub clients: Rows<IpAddr, Client, CLIENTS_MAX>,
    /// Of namespaces only; apart, since tokens are many.
    pub tokens: Option<Box<TokenRows>>,
}

/// Tokens of a namespace.
pub type TokenRows = Rows<TokenId, Counts, TOKENS_MAX>;

/// Versions that are told apart: more than a token has secrets at once.
pub const VERSIONS_MAX: usize = 8;

impl Use {
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
        let passed = (verdict == Verdict::Valid).then_some(judged.at);
        let version = Version {
            requests: 1,
            last_used: passed,
        };
        self.versions
            .of(&secret_version, || secret_version)
            .add(version);
        self.endpoint(method, path).note(verdict, cost);
        if let Some(address) = judged.client {
            let client = Client {
                requests: 1,
                first_seen: judged.at,
            };
            self.clients.of(&address, || address).add(client);
        }
    }

    /// Notes how a request on an endpoint ended.
    pub fn note_end(&mut self, method: &str, path: &str, outcome: &Outcome) {
        self.counts.note_end(outcome);
        self.endpoint(method, path).note_end(outcome);
    }

    fn endpoint(&mut self, method: &str, path: &str) -> &mut Counts {
        match path.len() <= ENDPOINT_BYTES_MAX {
            true => self.endpoints.by(
                |known| known.path() == path && known.method() == method,
                || Endpoint::of(method, path),
            ),
            false => self.endpoints.other(),
        }
    }
}

impl Add for Use {
    fn add(&mut self, other: Self) {
        let Self {
            counts,
            versions,
            endpoints,
            clients,
            tokens,
        } = other;
        self.counts.add(counts);
        self.versions.add(versions);
        self.endpoints.add(endpoints);
        self.clients.add(clients);
        match (&mut self.tokens, tokens) {
            (Some(own), Some(other)) => own.add(*other),
            (own @ None, other) => *own = other,
            (Some(_), None) => {}
        }
    }

    fn weight(&self) -> u64 {
        self.counts.weight()
    }
}

/// What was counted of one token within one hour, and its last requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUse {
    pub namespace: Namespace,
    pub used: Use,
    /// The oldest first.
    pub recent: VecDeque<Recent>,
}

impl TokenUse {
    pub fn of(namespace: Namespace) -> Self {
        Self {
            namespace,
            used: Use::default(),
            // Most tokens are asked about rarely.
            recent: VecDeque::with_capacity(1),
        }
    }

    pub fn note(&mut self, judged: &Judged<'_>) {
        self.used.note(judged);
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
        self.used.add(other.used);
        self.recent.extend(other.recent);
        last_of(&mut self.recent, |recent| recent.at);
    }
}

/// Leaves the last [`RECENT_MAX`] by their times, the oldest first.
fn last_of<T>(list: &mut VecDeque<T>, time: impl Fn(&T) -> Timestamp) {
    list.make_contiguous().sort_by_key(time);
    let beyond = list.len().saturating_sub(RECENT_MAX);
    list.drain(..beyond);
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
