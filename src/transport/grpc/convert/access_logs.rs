//! Entries of Envoy's access log on the wire: what is of use in one is read, and nothing in it is an error.

use std::net::IpAddr;
use std::time::Duration;

use prost_types::value::Kind;

use crate::authority::reports::{Reported, Told};
use crate::domain::address::client_address;
use crate::domain::endpoint::PATH_BYTES_MAX;
use crate::domain::time::Timestamp;
use crate::domain::usage::{Outcome, beginning, withheld};
use crate::domain::validation_id::ValidationId;
use crate::transport::grpc::envoy::config::core::v3::address::Address as Place;
use crate::transport::grpc::envoy::config::core::v3::{
    Address, Metadata, RequestMethod, SocketAddress,
};
use crate::transport::grpc::envoy::data::accesslog::v3::{
    AccessLogCommon, AccessLogType, HttpAccessLogEntry, HttpRequestProperties,
    HttpResponseProperties,
};

use super::reports::{BODY_BYTES_MAX, GRPC_STATUS_MAX, LATENCY_MAX};
use super::time::{instant, span};
use super::validate::USER_AGENT_BYTES_MAX;

/// Under this name Envoy keeps what the answer of Check told it of a request.
const CHECK: &str = "envoy.filters.http.ext_authz";
/// There the name of the judgement stands as this, and in the request as that.
const NOTED: &str = "validation_id";
const HEADER: &str = "x-validation-id";

/// Why an entry tells of no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport::grpc) enum NoEnd {
    /// The request goes on, or another entry tells of its end.
    Partial,
    /// It names no judgement, or nothing that could be one.
    Unnamed,
}

/// What an entry tells. What is lacking or absurd in it is taken as not told.
pub(in crate::transport::grpc) fn logged(entry: HttpAccessLogEntry) -> Result<Told, NoEnd> {
    let HttpAccessLogEntry {
        common_properties,
        request,
        response,
    } = entry;
    let common = common_properties.unwrap_or_default();
    let request = request.unwrap_or_default();
    if !is_the_end(&common) {
        return Err(NoEnd::Partial);
    }
    let name = name(&common, &request).ok_or(NoEnd::Unnamed)?;
    let name = ValidationId::parse(name).map_err(|_| NoEnd::Unnamed)?;
    let AccessLogCommon {
        downstream_remote_address,
        start_time,
        time_to_last_downstream_tx_byte,
        upstream_cluster: _,
        metadata: _,
        downstream_direct_remote_address,
        duration,
        intermediate_log_entry: _,
        access_log_type: _,
    } = common;
    let HttpRequestProperties {
        request_method,
        path,
        user_agent,
        original_path,
        request_body_bytes,
        request_headers: _,
    } = request;
    let HttpResponseProperties {
        response_code,
        response_body_bytes,
        response_headers,
        response_trailers,
    } = response.unwrap_or_default();
    let told = |told: &Option<prost_types::Duration>| told.as_ref().and_then(|it| span(it).ok());
    let whole = told(&duration);
    let latency = told(&time_to_last_downstream_tx_byte).or(whole);
    let grpc_status = response_trailers
        .get("grpc-status")
        .or_else(|| response_headers.get("grpc-status"));
    let path = [original_path, path]
        .into_iter()
        .find(|path| !path.is_empty());
    let sound = |bytes: u64| if bytes <= BODY_BYTES_MAX { bytes } else { 0 };
    let user_agent = withheld(beginning(&user_agent, USER_AGENT_BYTES_MAX));
    let validation_id = name.text();
    tracing::debug!(validation_id, user_agent = &*user_agent, "logged");
    Ok(Told {
        about: Reported::Judged(name),
        method: method(request_method),
        path: path.map(|path| beginning(&path, PATH_BYTES_MAX).to_owned()),
        outcome: Outcome {
            verdict: None,
            status: response_code.and_then(status),
            grpc_status: grpc_status
                .and_then(|code| code.parse().ok())
                .filter(|code| *code <= GRPC_STATUS_MAX),
            latency: latency.filter(|latency| *latency <= LATENCY_MAX),
            request_bytes: sound(request_body_bytes),
            response_bytes: sound(response_body_bytes),
        },
        client: address(downstream_remote_address)
            .or_else(|| address(downstream_direct_remote_address)),
        time: start_time
            .and_then(|start| instant(&start).ok())
            .and_then(|start| ended(start, whole.or(latency))),
    })
}

fn is_the_end(common: &AccessLogCommon) -> bool {
    let last = matches!(
        common.access_log_type(),
        AccessLogType::NotSet | AccessLogType::DownstreamEnd
    );
    // A type that is not known is none of these, too.
    let known = AccessLogType::try_from(common.access_log_type).is_ok();
    known && last && !common.intermediate_log_entry
}

/// The name of the judgement: what Envoy noted of the answer of Check, which no client can write. Where Check
/// told it nothing (it asks over HTTP), the header that is sent on, and only where the request was sent
/// on: until Check has passed it the header is the client's own.
fn name<'a>(common: &'a AccessLogCommon, request: &'a HttpRequestProperties) -> Option<&'a str> {
    let noted = common.metadata.as_ref();
    match noted.and_then(|Metadata { filter_metadata }| filter_metadata.get(CHECK)) {
        Some(check) => match check.fields.get(NOTED)?.kind.as_ref()? {
            Kind::StringValue(name) => Some(name),
            _ => None,
        },
        None if common.upstream_cluster.is_empty() => None,
        None => request.request_headers.get(HEADER).map(String::as_str),
    }
}

fn method(number: i32) -> Option<String> {
    let method = RequestMethod::try_from(number).ok()?;
    (method != RequestMethod::MethodUnspecified).then(|| method.as_str_name().to_owned())
}

fn status(code: u32) -> Option<u16> {
    let code = u16::try_from(code).ok()?;
    (100..=599).contains(&code).then_some(code)
}

fn address(address: Option<Address>) -> Option<IpAddr> {
    match address?.address? {
        Place::SocketAddress(SocketAddress {
            address,
            port_specifier: _,
        }) => client_address(&address).ok(),
        Place::Pipe(_) => None,
    }
}

fn ended(start: Timestamp, took: Option<Duration>) -> Option<Timestamp> {
    let micros = u64::try_from(took.unwrap_or_default().as_micros()).ok()?;
    let end = start.micros().checked_add(micros)?;
    (end <= Timestamp::MAX.micros()).then(|| Timestamp::from_micros(end))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::token::TokenId;
    use crate::domain::verdict::Verdict;

    const TOKEN: &str = "7fUe0Vn3cK2rQhJx5mTzWa";

    fn own() -> String {
        let token = TokenId::parse(TOKEN).unwrap();
        ValidationId::new(Some((token, Verdict::Valid)), *b"0123456789abcdefghij").text()
    }

    fn forged() -> String {
        own().replace('7', "8")
    }

    fn noted(fields: &[(&str, &str)]) -> Metadata {
        let fields = fields.iter().map(|(name, value)| {
            let kind = Some(Kind::StringValue((*value).to_owned()));
            ((*name).to_owned(), prost_types::Value { kind })
        });
        let check = prost_types::Struct {
            fields: fields.collect(),
        };
        Metadata {
            filter_metadata: BTreeMap::from([(CHECK.to_owned(), check)]),
        }
    }

    fn entry(metadata: Option<Metadata>, header: Option<String>) -> HttpAccessLogEntry {
        let header = header.map(|header| (HEADER.to_owned(), header));
        HttpAccessLogEntry {
            common_properties: Some(AccessLogCommon {
                metadata,
                upstream_cluster: "shop".to_owned(),
                ..AccessLogCommon::default()
            }),
            request: Some(HttpRequestProperties {
                request_headers: header.into_iter().collect(),
                ..HttpRequestProperties::default()
            }),
            response: None,
        }
    }

    fn name_in(entry: HttpAccessLogEntry) -> Result<String, NoEnd> {
        logged(entry).map(|told| match told.about {
            Reported::Judged(name) => name.text(),
            Reported::Unjudged(_) => panic!("an entry is about a judgement"),
        })
    }

    fn changed(
        mut entry: HttpAccessLogEntry,
        change: impl FnOnce(&mut AccessLogCommon),
    ) -> HttpAccessLogEntry {
        change(entry.common_properties.as_mut().unwrap());
        entry
    }

    #[test]
    fn what_check_told_wins_over_what_a_client_can_write() {
        let told = || Some(noted(&[(NOTED, &own())]));
        assert_eq!(name_in(entry(told(), Some(forged()))), Ok(own()));
        assert_eq!(name_in(entry(None, Some(own()))), Ok(own()));
        // Check told something, and no name: it judged no token, so the header is the client's.
        let silent = || Some(noted(&[("verdict", "MALFORMED")]));
        let refused = name_in(entry(silent(), Some(forged())));
        assert_eq!(refused, Err(NoEnd::Unnamed));
        // Nobody was asked to serve it: whatever refused it did so before Check, or without.
        let early = changed(entry(None, Some(forged())), |it| {
            it.upstream_cluster.clear();
        });
        assert_eq!(name_in(early), Err(NoEnd::Unnamed));
        let rubbish = entry(Some(noted(&[(NOTED, "x")])), None);
        assert_eq!(name_in(rubbish), Err(NoEnd::Unnamed));
        assert_eq!(name_in(entry(None, None)), Err(NoEnd::Unnamed));
        assert_eq!(name_in(HttpAccessLogEntry::default()), Err(NoEnd::Unnamed));
    }

    #[test]
    fn only_the_end_of_a_request_counts() {
        let of_type =
            |number: i32| changed(entry(None, Some(own())), |it| it.access_log_type = number);
        for end in [AccessLogType::NotSet, AccessLogType::DownstreamEnd] {
            assert_eq!(name_in(of_type(end.into())), Ok(own()));
        }
        // Begins, goes on, and ends upstream; and what may yet come.
        for other in [4, 5, 7, 9, 77] {
            assert_eq!(name_in(of_type(other)), Err(NoEnd::Partial), "{other}");
        }
        let going_on = changed(entry(None, Some(own())), |it| {
            it.intermediate_log_entry = true;
        });
        assert_eq!(name_in(going_on), Err(NoEnd::Partial));
    }

    #[test]
    fn what_is_absurd_is_taken_as_not_told() {
        let mut absurd = changed(entry(None, Some(own())), |it| {
            it.start_time = Some(prost_types::Timestamp {
                seconds: -1,
                nanos: 0,
            });
            it.duration = Some(prost_types::Duration {
                seconds: i64::MIN,
                nanos: -1,
            });
            let place = |address: &str| {
                Some(Address {
                    address: Some(Place::SocketAddress(SocketAddress {
                        address: address.to_owned(),
                        port_specifier: None,
                    })),
                })
            };
            it.downstream_remote_address = place("nowhere");
            it.downstream_direct_remote_address = place("::ffff:192.0.2.7");
        });
        let request = absurd.request.as_mut().unwrap();
        request.request_method = 99;
        request.request_body_bytes = BODY_BYTES_MAX + 1;
        request.path = "/é".repeat(PATH_BYTES_MAX);
        absurd.response = Some(HttpResponseProperties {
            response_code: Some(6000),
            response_body_bytes: u64::MAX,
            response_headers: BTreeMap::from([("grpc-status".to_owned(), "17".to_owned())]),
            ..HttpResponseProperties::default()
        });
        let told = logged(absurd).unwrap();
        assert_eq!(told.outcome, Outcome::default());
        assert_eq!((told.method, told.time), (None, None));
        assert!(told.path.unwrap().len() <= PATH_BYTES_MAX);
        assert_eq!(told.client, "192.0.2.7".parse().ok());
    }

    #[test]
    fn an_end_is_told_whole() {
        let mut whole = changed(entry(None, Some(own())), |it| {
            it.start_time = Some(prost_types::Timestamp {
                seconds: 1000,
                nanos: 0,
            });
            let millis = |millis: i32| prost_types::Duration {
                seconds: 0,
                nanos: millis * 1_000_000,
            };
            it.time_to_last_downstream_tx_byte = Some(millis(20));
            it.duration = Some(millis(30));
        });
        let request = whole.request.as_mut().unwrap();
        request.request_method = RequestMethod::Post.into();
        request.path = "/rewritten".to_owned();
        request.original_path = "/orders?page=2".to_owned();
        request.request_body_bytes = 100;
        whole.response = Some(HttpResponseProperties {
            response_code: Some(200),
            response_body_bytes: 2000,
            response_headers: BTreeMap::from([("grpc-status".to_owned(), "3".to_owned())]),
            response_trailers: BTreeMap::from([("grpc-status".to_owned(), "5".to_owned())]),
        });
        let told = logged(whole).unwrap();
        assert_eq!(told.method.as_deref(), Some("POST"));
        assert_eq!(told.path.as_deref(), Some("/orders?page=2"));
        assert_eq!(told.time, Some(Timestamp::from_micros(1_000_030_000)));
        let expected = Outcome {
            verdict: None,
            status: Some(200),
            grpc_status: Some(5),
            latency: Some(Duration::from_millis(20)),
            request_bytes: 100,
            response_bytes: 2000,
        };
        assert_eq!(told.outcome, expected);
    }
}
