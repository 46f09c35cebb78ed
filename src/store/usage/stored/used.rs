//! The stored form of what was counted within an hour.

use std::net::IpAddr;

use prost::Message;

use super::counts::{StoredCounts, write_counts};
use super::{corrupt, read_address, writing};
use crate::domain::time::Timestamp;
use crate::domain::token::TokenId;
use crate::domain::usage::{Client, Counts, Endpoint, Hour, Rows, Use, Version};
use crate::store::StoreError;

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredUse {
    #[prost(uint32, tag = "1")]
    hour: u32,
    #[prost(message, required, tag = "2")]
    counts: StoredCounts,
    #[prost(message, repeated, tag = "3")]
    versions: Vec<StoredVersion>,
    #[prost(message, optional, tag = "4")]
    other_versions: Option<StoredVersion>,
    #[prost(message, repeated, tag = "5")]
    endpoints: Vec<StoredEndpoint>,
    #[prost(message, optional, tag = "6")]
    other_endpoints: Option<StoredCounts>,
    #[prost(message, repeated, tag = "7")]
    clients: Vec<StoredClient>,
    #[prost(message, optional, tag = "8")]
    other_clients: Option<StoredClient>,
    #[prost(message, repeated, tag = "9")]
    tokens: Vec<StoredTokenRow>,
    #[prost(message, optional, tag = "10")]
    other_tokens: Option<StoredCounts>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct StoredVersion {
    #[prost(uint32, tag = "1")]
    pub(super) version: u32,
    #[prost(uint64, tag = "2")]
    requests: u64,
    /// 0 where it never passed.
    #[prost(uint64, tag = "3")]
    pub(super) last_used: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredEndpoint {
    #[prost(string, tag = "1")]
    method: String,
    #[prost(string, tag = "2")]
    path: String,
    #[prost(message, required, tag = "3")]
    counts: StoredCounts,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredClient {
    /// 4 or 16 bytes; none of the row of all others.
    #[prost(bytes = "vec", tag = "1")]
    address: Vec<u8>,
    #[prost(uint64, tag = "2")]
    requests: u64,
    #[prost(uint64, tag = "3")]
    first_seen: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredTokenRow {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, required, tag = "2")]
    counts: StoredCounts,
}

/// Writes down what was counted within an hour.
pub(super) fn write_use(out: &mut Vec<u8>, hour: Hour, used: &Use) {
    let Use {
        counts,
        versions,
        endpoints,
        clients,
        tokens,
    } = used;
    let some = |counts: &Counts| *counts != Counts::default();
    writing::number(out, 1, hour.number().into());
    writing::inner(out, 2, |out| write_counts(out, counts));
    let (rows, other) = versions.read();
    for (number, version) in rows {
        writing::inner(out, 3, |out| write_version(out, *number, version));
    }
    if other.requests > 0 {
        writing::inner(out, 4, |out| write_version(out, 0, other));
    }
    let (rows, other) = endpoints.read();
    for (endpoint, counts) in rows {
        writing::inner(out, 5, |out| {
            writing::text(out, 1, endpoint.method().as_bytes());
            writing::text(out, 2, endpoint.path().as_bytes());
            writing::inner(out, 3, |out| write_counts(out, counts));
        });
    }
    if some(other) {
        writing::inner(out, 6, |out| write_counts(out, other));
    }
    let (rows, other) = clients.read();
    for (address, client) in rows {
        writing::inner(out, 7, |out| write_client(out, Some(*address), client));
    }
    if other.requests > 0 {
        writing::inner(out, 8, |out| write_client(out, None, other));
    }
    let Some(tokens) = tokens else { return };
    let (rows, other) = tokens.read();
    for (id, counts) in rows {
        writing::inner(out, 9, |out| {
            writing::text(out, 1, id.as_str().as_bytes());
            writing::inner(out, 2, |out| write_counts(out, counts));
        });
    }
    if some(other) {
        writing::inner(out, 10, |out| write_counts(out, other));
    }
}

fn write_version(out: &mut Vec<u8>, number: u32, version: &Version) {
    writing::number(out, 1, number.into());
    writing::number(out, 2, version.requests);
    let last_used = version.last_used.map_or(0, Timestamp::micros);
    writing::number(out, 3, last_used);
}

fn write_client(out: &mut Vec<u8>, address: Option<IpAddr>, client: &Client) {
    match address {
        None => {}
        Some(IpAddr::V4(address)) => writing::text(out, 1, &address.octets()),
        Some(IpAddr::V6(address)) => writing::text(out, 1, &address.octets()),
    }
    writing::number(out, 2, client.requests);
    writing::number(out, 3, client.first_seen.micros());
}

impl StoredUse {
    pub(super) fn read(self) -> Result<(Hour, Use), StoreError> {
        let versions = self.versions.iter().map(|row| (row.version, row.read()));
        let other = self.other_versions.map(|row| row.read());
        let versions = Rows::of_parts(versions, other.unwrap_or_default());
        let endpoints = self.endpoints.into_iter().map(|row| {
            let StoredEndpoint {
                method,
                path,
                counts,
            } = row;
            Ok((Endpoint::of(&method, &path), counts.read()?))
        });
        let endpoints = endpoints.collect::<Result<Vec<_>, StoreError>>()?;
        let clients = self.clients.iter().map(|row| {
            let address = read_address(&row.address)?;
            let address = address.ok_or_else(|| corrupt(&"a client without an address"))?;
            Ok((address, row.read()))
        });
        let clients = clients.collect::<Result<Vec<_>, StoreError>>()?;
        let other_clients = self.other_clients.map(|row| row.read());
        let tokens = self
            .tokens
            .into_iter()
            .map(|StoredTokenRow { id, counts }| {
                let id = TokenId::parse(&id).map_err(|flaw| corrupt(&flaw))?;
                Ok((id, counts.read()?))
            });
        let tokens = tokens.collect::<Result<Vec<_>, StoreError>>()?;
        let used = Use {
            counts: self.counts.read()?,
            versions,
            endpoints: Rows::of_parts(endpoints, read_other(self.other_endpoints)?),
            clients: Rows::of_parts(clients, other_clients.unwrap_or_default()),
            tokens: match (tokens.is_empty(), self.other_tokens) {
                (true, None) => None,
                (_, other) => Some(Box::new(Rows::of_parts(tokens, read_other(other)?))),
            },
        };
        Ok((Hour::from_number(self.hour), used))
    }
}

fn read_other(stored: Option<StoredCounts>) -> Result<Counts, StoreError> {
    stored.map_or_else(|| Ok(Counts::default()), StoredCounts::read)
}

impl StoredVersion {
    pub(super) fn of(number: u32, version: &Version) -> Self {
        Self {
            version: number,
            requests: version.requests,
            last_used: version.last_used.map_or(0, Timestamp::micros),
        }
    }

    pub(super) fn read(self) -> Version {
        let last_used = (self.last_used > 0).then(|| Timestamp::from_micros(self.last_used));
        Version {
            requests: self.requests,
            last_used,
        }
    }
}

impl StoredClient {
    fn read(&self) -> Client {
        Client {
            requests: self.requests,
            first_seen: Timestamp::from_micros(self.first_seen),
        }
    }
}
