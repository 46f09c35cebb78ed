//! The request that Envoy holds, as CheckRequest tells of it.

use std::net::IpAddr;

use http::{HeaderName, header};
use zeroize::Zeroize;

use crate::domain::address::client_address;
use crate::domain::name::RequestId;
use crate::transport::grpc::envoy::config::core::v3::HeaderMap;
use crate::transport::grpc::envoy::config::core::v3::address::Address;
use crate::transport::grpc::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer};
use crate::transport::grpc::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use crate::transport::sidecar::credential::{Fields, credential};
use crate::transport::sidecar::forwarded;
use crate::transport::sidecar::question::HeldRequest;
use crate::transport::sidecar::refusal::Refusal;

use super::ExtAuthzTerms;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const AUTHORITY: &str = ":authority";

/// What Check is asked; its credentials are wiped from memory when it is dropped.
pub(super) struct Held<'a> {
    terms: &'a ExtAuthzTerms,
    attributes: AttributeContext,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let http = self
            .attributes
            .request
            .as_mut()
            .and_then(|it| it.http.as_mut());
        let Some(HttpRequest {
            headers,
            header_map,
            ..
        }) = http
        else {
            return;
        };
        let named = &self.terms.held.credential_headers;
        let is_credential = |key: &str| {
            let same = |name: &HeaderName| name.as_str().eq_ignore_ascii_case(key);
            same(&header::AUTHORIZATION) || named.iter().any(same)
        };
        for (_, value) in headers.iter_mut().filter(|(key, _)| is_credential(key)) {
            value.zeroize();
        }
        let raw = header_map.iter_mut().flat_map(|map| &mut map.headers);
        for header in raw.filter(|header| is_credential(&header.key)) {
            header.value.zeroize();
            header.raw_value.zeroize();
        }
    }
}

impl<'a> Held<'a> {
    pub(super) fn of(message: CheckRequest, terms: &'a ExtAuthzTerms) -> Self {
        let CheckRequest { attributes } = message;
        Self {
            terms,
            attributes: attributes.unwrap_or_default(),
        }
    }

    fn http(&self) -> Option<&HttpRequest> {
        self.attributes.request.as_ref()?.http.as_ref()
    }

    /// Whether its client speaks gRPC, and expects refusals as such (gRPC over HTTP/2, section
    /// Requests); gRPC-Web is another language.
    pub(super) fn is_grpc(&self) -> bool {
        let http = self.http().into_iter();
        let mut kinds = http.flat_map(|http| http.values(&header::CONTENT_TYPE));
        kinds.any(|kind| {
            let kind = kind.to_ascii_lowercase();
            let rest = kind.strip_prefix(b"application/grpc");
            rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
        })
    }

    /// The name that its client, or a proxy before this one, gave it, if that can be one.
    pub(super) fn request_id(&self) -> Option<String> {
        let id = self.http()?.values(&REQUEST_ID).next()?;
        let id = RequestId::parse(std::str::from_utf8(id).ok()?).ok()?;
        Some(id.as_str().to_owned())
    }

    /// What the proxy's route says about it.
    pub(super) fn extensions(&self) -> impl Iterator<Item = (&str, &str)> {
        let extensions = self.attributes.context_extensions.iter();
        extensions.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The request, where the proxy tells of one of HTTP.
    ///
    /// Method, path and host are read from their fields: pseudo headers are not there as a rule. Only
    /// a host without a field, as gRPC's own clients send it, is looked for among the headers.
    pub(super) fn request(&self) -> Result<HeldRequest<'_>, Refusal> {
        let http = self
            .http()
            .ok_or_else(|| Refusal::invalid("the proxy tells of no request of HTTP"))?;
        let host = match http.host.as_str() {
            "" => http.text(AUTHORITY).or_else(|| http.text("host")),
            host => Some(host),
        };
        let mut agents = http.values(&header::USER_AGENT);
        Ok(HeldRequest {
            method: &http.method,
            target: &http.path,
            host: host.unwrap_or_default(),
            client: self.client(http)?,
            credential: credential(http, &self.terms.held.credential_headers),
            user_agent: agents.next().unwrap_or_default(),
        })
    }

    fn client(&self, http: &HttpRequest) -> Result<Option<IpAddr>, Refusal> {
        let peer = self.attributes.source.as_ref().map(address).transpose()?;
        let forwarded: Result<Vec<&str>, _> = http
            .values(&FORWARDED_FOR)
            .map(std::str::from_utf8)
            .collect();
        let forwarded = forwarded.map_err(|_| Refusal::invalid("x-forwarded-for is no text"))?;
        let client = forwarded::client(peer.flatten(), &forwarded, self.terms.trusted_hops);
        client.map_err(|flaw| Refusal::invalid(flaw.to_string()))
    }
}

/// Where the proxy's peer is; who comes over a Unix socket has no address.
fn address(peer: &Peer) -> Result<Option<IpAddr>, Refusal> {
    let Peer { address } = peer;
    let address = address
        .as_ref()
        .and_then(|address| address.address.as_ref());
    match address {
        None | Some(Address::Pipe(_)) => Ok(None),
        Some(Address::SocketAddress(socket)) => client_address(&socket.address)
            .map(Some)
            .map_err(|flaw| Refusal::flawed("source.address", &flaw)),
    }
}

impl HttpRequest {
    fn text(&self, name: &str) -> Option<&str> {
        let mut values = self
            .each()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let (_, value) = values.next()?;
        std::str::from_utf8(value).ok()
    }

    /// All headers. Where they came as they were, that is what counts.
    fn each(&self) -> Box<dyn Iterator<Item = (&str, &[u8])> + '_> {
        match &self.header_map {
            Some(HeaderMap { headers }) if !headers.is_empty() => {
                Box::new(headers.iter().map(|header| {
                    let value = match header.raw_value.as_slice() {
                        [] => header.value.as_bytes(),
                        raw => raw,
                    };
                    (header.key.as_str(), value)
                }))
            }
            _ => {
                let headers = self.headers.iter();
                Box::new(headers.map(|(key, value)| (key.as_str(), value.as_bytes())))
            }
        }
    }
}

impl Fields for HttpRequest {
    fn values<'a>(&'a self, name: &HeaderName) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
        let name = name.clone();
        let own = move |(key, _): &(&str, &[u8])| key.eq_ignore_ascii_case(name.as_str());
        Box::new(self.each().filter(own).map(|(_, value)| value))
    }
}

#[cfg(test)]
mod tests;
