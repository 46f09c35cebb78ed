//! The stored form of what was counted within an hour.

use std::net::IpAddr;

use prost::Message;

use super::counts::StoredCounts;
use super::{address_bytes, corrupt, read_address};
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

/// What was counted within an hour, as it is stored.
pub(super) fn stored_use((hour, used): (&Hour, &Use)) -> StoredUse {
    let Use {
        counts,
        versions,
        endpoints,
        clients,
        tokens,
    } = used;
    let (version_rows, other_versions) = versions.read();
    let (endpoint_rows, other_endpoints) = endpoints.read();
    let (client_rows, other_clients) = clients.read();
    let (token_rows, other_tokens) = tokens.read();
    let some = |counts: &Counts| (*counts != Counts::default()).then(|| counts.into());
    StoredUse {
        hour: hour.number(),
        counts: counts.into(),
        versions: version_rows
            .map(|(number, version)| StoredVersion::of(*number, version))
            .collect(),
        other_versions: (other_versions.requests > 0).then(|| StoredVersion::of(0, other_versions)),
        endpoints: endpoint_rows
            .map(|(endpoint, counts)| StoredEndpoint {
                method: endpoint.method().to_owned(),
                path: endpoint.path().to_owned(),
                counts: counts.into(),
            })
            .collect(),
        other_endpoints: some(other_endpoints),
        clients: client_rows
            .map(|(address, client)| StoredClient::of(Some(*address), client))
            .collect(),
        other_clients: (other_clients.requests > 0).then(|| StoredClient::of(None, other_clients)),
        tokens: token_rows
            .map(|(id, counts)| StoredTokenRow {
                id: id.as_str().to_owned(),
                counts: counts.into(),
            })
            .collect(),
        other_tokens: some(other_tokens),
    }
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
            tokens: Rows::of_parts(tokens, read_other(self.other_tokens)?),
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
    fn of(address: Option<IpAddr>, client: &Client) -> Self {
        Self {
            address: address_bytes(address),
            requests: client.requests,
            first_seen: client.first_seen.micros(),
        }
    }

    fn read(&self) -> Client {
        Client {
            requests: self.requests,
            first_seen: Timestamp::from_micros(self.first_seen),
        }
    }
}
