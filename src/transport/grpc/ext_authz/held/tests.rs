//! What is read of a CheckRequest, in each form that proxies send it.

use std::collections::BTreeMap;

use http::StatusCode;
use proptest::prelude::*;

use super::*;
use crate::domain::peers::Peers;
use crate::domain::route::Routes;
use crate::transport::grpc::envoy::config::core::v3::{self, HeaderValue, Pipe, SocketAddress};
use crate::transport::grpc::envoy::service::auth::v3::attribute_context::Request;
use crate::transport::sidecar::credential::Credential;
use crate::transport::sidecar::limit_headers::Reset;
use crate::transport::sidecar::refusal::Manner;
use crate::transport::sidecar::terms::Terms;

fn terms(trusted_hops: usize) -> ExtAuthzTerms {
    let manner = Manner {
        realm: "r".to_owned(),
        reset: Reset::Seconds,
    };
    let keys = vec![HeaderName::from_static("x-api-key")];
    ExtAuthzTerms {
        held: Terms::new(keys, Routes::default(), manner),
        trusted_hops,
        certificate_peers: Peers::default(),
    }
}

fn at(address: &str) -> Peer {
    let socket = SocketAddress {
        address: address.to_owned(),
        port_specifier: None,
    };
    Peer {
        address: Some(v3::Address {
            address: Some(Address::SocketAddress(socket)),
        }),
    }
}

fn asked(http: Option<HttpRequest>, source: Option<Peer>) -> CheckRequest {
    CheckRequest {
        attributes: Some(AttributeContext {
            source,
            request: Some(Request { http }),
            context_extensions: BTreeMap::new(),
        }),
    }
}

fn joined(headers: &[(&str, &str)]) -> HttpRequest {
    let headers = headers.iter();
    HttpRequest {
        headers: headers
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..plain()
    }
}

fn raw(headers: &[(&str, &[u8])]) -> HttpRequest {
    let header = |(key, value): &(&str, &[u8])| HeaderValue {
        key: (*key).to_owned(),
        value: String::new(),
        raw_value: value.to_vec(),
    };
    HttpRequest {
        header_map: Some(HeaderMap {
            headers: headers.iter().map(header).collect(),
        }),
        ..plain()
    }
}

fn plain() -> HttpRequest {
    HttpRequest {
        method: "GET".to_owned(),
        path: "/orders?a=b".to_owned(),
        host: "shop.example.org:8443".to_owned(),
        ..HttpRequest::default()
    }
}

#[test]
fn both_encodings_of_headers_are_read_alike() {
    let terms = terms(0);
    for http in [
        joined(&[("authorization", "Bearer s"), ("user-agent", "curl/8")]),
        raw(&[("authorization", b"Bearer s"), ("user-agent", b"curl/8")]),
        raw(&[("Authorization", b"Bearer s"), ("User-Agent", b"curl/8")]),
    ] {
        let held = Held::of(asked(Some(http), None), &terms);
        let request = held.request().unwrap();
        assert_eq!(request.credential, Credential::One("s"));
        assert_eq!(request.user_agent, b"curl/8");
        assert_eq!((request.method, request.target), ("GET", "/orders?a=b"));
        assert_eq!(request.host, "shop.example.org:8443");
    }
}

#[test]
fn text_in_a_raw_header_is_read_and_raw_headers_win_over_joined_ones() {
    let terms = terms(0);
    let mut http = raw(&[("x-api-key", b"")]);
    http.header_map.as_mut().unwrap().headers[0].value = "text".to_owned();
    http.headers = [("x-api-key".to_owned(), "other".to_owned())].into();
    let held = Held::of(asked(Some(http), None), &terms);
    assert_eq!(held.request().unwrap().credential, Credential::One("text"));
    let mut empty = joined(&[("x-api-key", "joined")]);
    empty.header_map = Some(HeaderMap::default());
    let held = Held::of(asked(Some(empty), None), &terms);
    assert_eq!(
        held.request().unwrap().credential,
        Credential::One("joined")
    );
}

#[test]
fn pseudo_headers_are_not_needed_and_never_decide_where_there_are_fields() {
    let terms = terms(0);
    let lying = joined(&[
        (":path", "/free"),
        (":method", "POST"),
        (":authority", "evil"),
    ]);
    let held = Held::of(asked(Some(lying), None), &terms);
    let request = held.request().unwrap();
    assert_eq!((request.method, request.target), ("GET", "/orders?a=b"));
    assert_eq!(request.host, "shop.example.org:8443");
    let without = HttpRequest {
        host: String::new(),
        ..raw(&[(":authority", b"shop.example.org")])
    };
    let held = Held::of(asked(Some(without), None), &terms);
    assert_eq!(held.request().unwrap().host, "shop.example.org");
}

#[test]
fn what_is_no_request_of_http_is_refused() {
    let terms = terms(0);
    let bare = CheckRequest { attributes: None };
    let without = CheckRequest {
        attributes: Some(AttributeContext::default()),
    };
    for message in [bare, without, asked(None, Some(at("192.0.2.1")))] {
        let refusal = Held::of(message, &terms).request().unwrap_err();
        assert_eq!(refusal.status, StatusCode::BAD_REQUEST);
    }
}

#[test]
fn the_client_is_the_proxys_peer_or_so_many_hops_before_it() {
    let client = |hops, source: Option<Peer>| {
        let http = joined(&[("x-forwarded-for", "6.6.6.6, 192.0.2.7,10.0.0.1")]);
        let terms = terms(hops);
        let held = Held::of(asked(Some(http), source), &terms);
        let client = held.request().map(|request| request.client);
        client.map_err(|refusal| refusal.status)
    };
    let ip = |text: &str| Ok(Some(text.parse().unwrap()));
    assert_eq!(client(0, Some(at("::ffff:10.0.0.9"))), ip("10.0.0.9"));
    assert_eq!(client(1, Some(at("10.0.0.9"))), ip("10.0.0.1"));
    assert_eq!(client(2, Some(at("10.0.0.9"))), ip("192.0.2.7"));
    assert_eq!(
        client(4, Some(at("10.0.0.9"))),
        Err(StatusCode::BAD_REQUEST)
    );
    assert_eq!(client(0, Some(at("gateway"))), Err(StatusCode::BAD_REQUEST));
    assert_eq!(client(0, None), Ok(None));
    let pipe = Peer {
        address: Some(v3::Address {
            address: Some(Address::Pipe(Pipe::default())),
        }),
    };
    assert_eq!(client(0, Some(pipe)), Ok(None));
}

#[test]
fn only_grpc_itself_is_grpc() {
    let terms = terms(0);
    let is_grpc = |kind: &str| {
        let http = joined(&[("content-type", kind)]);
        Held::of(asked(Some(http), None), &terms).is_grpc()
    };
    for kind in [
        "application/grpc",
        "application/grpc+proto",
        "Application/GRPC; x=y",
    ] {
        assert!(is_grpc(kind), "{kind}");
    }
    for kind in [
        "",
        "application/json",
        "application/grpc-web",
        "application/grpc-web+proto",
    ] {
        assert!(!is_grpc(kind), "{kind}");
    }
}

proptest! {
    #[test]
    fn rubbish_never_panics(
        path in ".{0,60}", host in ".{0,20}", address in ".{0,20}",
        headers in proptest::collection::vec(("[a-zA-Z:-]{0,16}", proptest::collection::vec(any::<u8>(), 0..20)), 0..5),
    ) {
        let terms = terms(1);
        let pairs: Vec<(&str, &[u8])> =
            headers.iter().map(|(key, value)| (key.as_str(), value.as_slice())).collect();
        let http = HttpRequest { path, host, ..raw(&pairs) };
        let held = Held::of(asked(Some(http), Some(at(&address))), &terms);
        let _ = (held.request().is_ok(), held.is_grpc(), held.request_id());
    }
}
