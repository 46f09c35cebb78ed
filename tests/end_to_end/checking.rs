//! What tests of Check begin with: a proxy, the requests that it holds, and what it is answered.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use token_authority::transport::grpc::envoy::config::core::v3::address::Address as Place;
use token_authority::transport::grpc::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use token_authority::transport::grpc::envoy::config::core::v3::{
    Address, HeaderMap, HeaderValue, HeaderValueOption, SocketAddress,
};
use token_authority::transport::grpc::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Peer, Request,
};
use token_authority::transport::grpc::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use token_authority::transport::grpc::envoy::service::auth::v3::check_response::HttpResponse;
use token_authority::transport::grpc::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse,
};
use token_authority::transport::grpc::pb::RevokeRequest;
use token_authority::transport::grpc::pb::revoke_request::Target;
use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::harness::{Authority, Client, Credential, ROOT_TOKEN};

pub(crate) type Proxy = AuthorizationClient<InterceptedService<Channel, Credential>>;

/// A proxy that shows this credential of its own.
pub(crate) fn proxy(authority: &Authority, credential: Option<&str>) -> Proxy {
    let bearer = credential.map(|secret| format!("Bearer {secret}").parse().unwrap());
    AuthorizationClient::with_interceptor(authority.channel(), Credential(bearer))
}

pub(crate) fn as_root(authority: &Authority) -> Proxy {
    proxy(authority, Some(ROOT_TOKEN))
}

/// A request that the proxy holds: `GET /orders` of a client at 192.0.2.7.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) http: HttpRequest,
    pub(crate) source: Option<&'static str>,
    pub(crate) extensions: BTreeMap<String, String>,
    /// Whether its headers are told as they came.
    pub(crate) raw: bool,
}

impl Held {
    pub(crate) fn with(headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter();
        Self {
            http: HttpRequest {
                method: "GET".to_owned(),
                path: "/orders?since=1".to_owned(),
                host: "shop.example.org".to_owned(),
                headers: headers
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
                ..HttpRequest::default()
            },
            source: Some("192.0.2.7"),
            extensions: BTreeMap::new(),
            raw: false,
        }
    }

    /// With this secret.
    pub(crate) fn of(secret: &str) -> Self {
        Self::with(&[("authorization", &format!("Bearer {secret}"))])
    }

    pub(crate) fn asking(mut self, method: &str, path: &str) -> Self {
        method.clone_into(&mut self.http.method);
        path.clone_into(&mut self.http.path);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.http.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    /// What its route says.
    pub(crate) fn demanding(mut self, key: &str, value: &str) -> Self {
        self.extensions.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn from(mut self, source: &'static str) -> Self {
        self.source = Some(source);
        self
    }

    /// The same, told the other way.
    pub(crate) fn raw(mut self) -> Self {
        self.raw = true;
        self
    }

    pub(crate) fn message(self) -> CheckRequest {
        let mut http = self.http;
        if self.raw {
            let headers = std::mem::take(&mut http.headers).into_iter();
            let headers = headers.map(|(key, value)| HeaderValue {
                key,
                value: String::new(),
                raw_value: value.into_bytes(),
            });
            http.header_map = Some(HeaderMap {
                headers: headers.collect(),
            });
        }
        let socket = |address: &str| SocketAddress {
            address: address.to_owned(),
            port_specifier: None,
        };
        let address = self.source.map(|address| Address {
            address: Some(Place::SocketAddress(socket(address))),
        });
        CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(Peer { address }),
                request: Some(Request { http: Some(http) }),
                context_extensions: self.extensions,
            }),
        }
    }
}

/// What a proxy is answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Of gRPC; 0 lets pass.
    pub(crate) code: i32,
    /// Of HTTP; 200 where it lets pass.
    pub(crate) status: i32,
    /// What the upstream gets, or a refused client.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) removed: Vec<String>,
    /// What the client of an allowed request gets.
    pub(crate) response_headers: BTreeMap<String, String>,
    pub(crate) body: String,
    pub(crate) metadata: BTreeMap<String, Kind>,
}

impl Answer {
    fn of(answer: CheckResponse) -> Self {
        // An answer without a status would let everything pass.
        let code = answer.status.expect("an explicit status").code;
        let metadata = answer
            .dynamic_metadata
            .unwrap_or_default()
            .fields
            .into_iter();
        let metadata = metadata.map(|(key, value)| (key, value.kind.expect("a value")));
        let empty = Self {
            code,
            status: 200,
            headers: BTreeMap::new(),
            removed: Vec::new(),
            response_headers: BTreeMap::new(),
            body: String::new(),
            metadata: metadata.collect(),
        };
        match answer.http_response.expect("what becomes of it") {
            HttpResponse::OkResponse(ok) => {
                assert_eq!(code, 0);
                Self {
                    headers: read(ok.headers),
                    removed: ok.headers_to_remove,
                    response_headers: read(ok.response_headers_to_add),
                    ..empty
                }
            }
            HttpResponse::DeniedResponse(denied) => {
                // A proxy would let pass what is denied with the code 0.
                assert_ne!(code, 0);
                Self {
                    status: denied.status.expect("a status").code,
                    headers: read(denied.headers),
                    body: denied.body,
                    ..empty
                }
            }
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key)? {
            Kind::StringValue(text) => Some(text),
            other => panic!("{key}: {other:?}"),
        }
    }

    /// What the body calls the refusal.
    pub(crate) fn error(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).expect("JSON");
        body["error"].as_str().expect("an error").to_owned()
    }
}

/// Each header once, set and not appended.
fn read(options: Vec<HeaderValueOption>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for option in options {
        assert_eq!(
            option.append_action(),
            HeaderAppendAction::OverwriteIfExistsOrAdd
        );
        let HeaderValue { key, value, .. } = option.header.expect("a header");
        let sane = |byte: u8| (b' '..=b'~').contains(&byte);
        assert!(value.bytes().all(sane), "{key}: {value:?}");
        assert_eq!(headers.insert(key.clone(), value), None, "{key} twice");
    }
    headers
}

/// Asks about a held request.
pub(crate) async fn check(proxy: &mut Proxy, held: Held) -> Answer {
    let answer = proxy.check(held.message()).await;
    Answer::of(answer.expect("a decision").into_inner())
}

/// The error that is answered where there is no decision.
pub(crate) async fn undecided(proxy: &mut Proxy, held: Held) -> Status {
    proxy.check(held.message()).await.expect_err("no decision")
}

/// The decision on whatever is sent in the place of a message.
pub(crate) async fn check_bytes(authority: &Authority, sent: Vec<u8>) -> Result<Answer, Status> {
    let mut grpc = tonic::client::Grpc::new(authority.channel());
    grpc.ready().await.expect("a connection");
    let path = "/envoy.service.auth.v3.Authorization/Check"
        .parse()
        .unwrap();
    let mut request = tonic::Request::new(sent);
    let bearer = format!("Bearer {ROOT_TOKEN}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    // A field of bytes, of the number that the message has in a CheckRequest.
    let codec = tonic_prost::ProstCodec::<Vec<u8>, CheckResponse>::default();
    let answer = grpc.unary(request, path, codec).await?;
    Ok(Answer::of(answer.into_inner()))
}

pub(crate) async fn revoke(root: &mut Client, token_id: &str) {
    let request = RevokeRequest {
        target: Some(Target::TokenId(token_id.to_owned())),
        reason: String::new(),
    };
    root.revoke(request).await.expect("it is revoked");
}
