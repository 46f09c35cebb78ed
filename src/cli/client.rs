//! The connection to a server: one channel, the caller's secret and a deadline on each call.

use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use zeroize::Zeroizing;

use crate::domain::flaw::quoted;
use crate::transport::grpc::pb;
use crate::transport::grpc::pb::token_service_client::TokenServiceClient;

use super::failure::{Failure, root_cause};
use super::secret::Credential;

/// Longest answer, in bytes: a page of a thousand tokens with every field at its limit.
const ANSWER_BYTES_MAX: usize = 64 << 20;

const DEFAULT_SERVER: &str = "http://127.0.0.1:50051";

/// Where a server listens.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Server {
    address: String,
    local: bool,
}

impl Server {
    /// Reads `http://HOST:PORT`, `HOST:PORT` or `unix:PATH`; nothing means the default.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Failure> {
        let text = text.unwrap_or(DEFAULT_SERVER);
        let refuse = |why: &str| {
            let forms = "http://HOST:PORT, HOST:PORT or unix:PATH";
            let got = quoted(text);
            Failure::Usage(format!("the server must be {forms}{why}; got {got}"))
        };
        if text
            .strip_prefix("unix:")
            .is_some_and(|path| !path.is_empty())
        {
            return Ok(Self {
                address: text.to_owned(),
                local: true,
            });
        }
        if text.starts_with("https://") {
            return Err(refuse(" (TLS is not built in)"));
        }
        let address = match text.contains("://") {
            true => text.to_owned(),
            false => format!("http://{text}"),
        };
        let uri: http::Uri = address.parse().map_err(|_| refuse(""))?;
        let sound = uri.scheme_str() == Some("http") && uri.port().is_some();
        let host = uri.host().filter(|host| !host.is_empty());
        let plain = uri
            .authority()
            .is_some_and(|all| !all.as_str().contains('@'));
        match host {
            Some(host) if sound && plain => Ok(Self {
                local: is_loopback(host),
                address,
            }),
            _ => Err(refuse("")),
        }
    }

    /// Whether the server runs on this machine, as far as its address says.
    pub(super) fn local(&self) -> bool {
        self.local
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Calls a server as one caller.
pub(super) struct Client {
    stub: TokenServiceClient<Channel>,
    authorization: Option<MetadataValue<Ascii>>,
    /// What to tell a caller who is refused for the credential, or for want of one.
    hint: Option<String>,
    timeout: Duration,
}

impl Client {
    pub(super) async fn connect(
        server: &Server,
        credential: Credential,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let (authorization, hint) = match credential {
            Credential::Given { secret, file } => {
                let hint =
                    file.map(|path| format!("the secret sent is that in {}", path.display()));
                (Some(bearer(&secret)?), hint)
            }

            Credential::Absent(why) => (None, Some(format!("no credential was sent: {why}"))),
        };
        let unreachable = |why: String| Failure::Unreachable {
            server: server.address.clone(),
            why,
        };
        let endpoint = Endpoint::from_shared(server.address.clone())
            .and_then(|endpoint| {
                endpoint.user_agent(concat!("token-authority/", env!("CARGO_PKG_VERSION")))
            })
            .map_err(|error| unreachable(root_cause(&error)))?;
        let channel = match tokio::time::timeout(timeout, endpoint.connect()).await {
            Ok(connected) => connected.map_err(|error| unreachable(root_cause(&error)))?,
            Err(_) => {
                let spent = humantime::format_duration(timeout);
                return Err(unreachable(format!("no connection within {spent}")));
            }
        };
        let stub = TokenServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        Ok(Self {
            stub,
            authorization,
            hint,
            timeout,
        })
    }

    pub(super) async fn create(
        &mut self,
        message: pb::CreateRequest,
    ) -> Result<pb::CreateResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.create(request).await;
        self.answer(answer)
    }

    pub(super) async fn get(
        &mut self,
        message: pb::GetRequest,
    ) -> Result<pb::GetResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.get(request).await;
        self.answer(answer)
    }

    pub(super) async fn list(
        &mut self,
        message: pb::ListRequest,
    ) -> Result<pb::ListResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.list(request).await;
        self.answer(answer)
    }

    pub(super) async fn list_namespaces(
        &mut self,
        message: pb::ListNamespacesRequest,
    ) -> Result<pb::ListNamespacesResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.list_namespaces(request).await;
        self.answer(answer)
    }

    pub(super) async fn update(
        &mut self,
        message: pb::UpdateRequest,
    ) -> Result<pb::UpdateResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.update(request).await;
        self.answer(answer)
    }

    pub(super) async fn rotate(
        &mut self,
        message: pb::RotateRequest,
    ) -> Result<pb::RotateResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.rotate(request).await;
        self.answer(answer)
    }

    pub(super) async fn reset_limits(
        &mut self,
        message: pb::ResetLimitsRequest,
    ) -> Result<pb::ResetLimitsResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.reset_limits(request).await;
        self.answer(answer)
    }

    pub(super) async fn revoke(
        &mut self,
        message: pb::RevokeRequest,
    ) -> Result<pb::RevokeResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.revoke(request).await;
        self.answer(answer)
    }

    pub(super) async fn delete(
        &mut self,
        message: pb::DeleteRequest,
    ) -> Result<pb::DeleteResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.delete(request).await;
        self.answer(answer)
    }

    pub(super) async fn validate(
        &mut self,
        message: pb::ValidateRequest,
    ) -> Result<pb::ValidateResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.validate(request).await;
        self.answer(answer)
    }

    pub(super) async fn who_am_i(&mut self) -> Result<pb::WhoAmIResponse, Failure> {
        let request = self.request(pb::WhoAmIRequest {});
        let answer = self.stub.who_am_i(request).await;
        self.answer(answer)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        // Sent as grpc-timeout, and watched by the channel in case the server does not.
        request.set_timeout(self.timeout);
        if let Some(authorization) = &self.authorization {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", authorization.clone());
        }
        request
    }

    fn answer<T>(&self, answer: Result<Response<T>, Status>) -> Result<T, Failure> {
        answer.map(Response::into_inner).map_err(|status| {
            let refused = status.code() == Code::Unauthenticated;
            Failure::Call {
                hint: self.hint.clone().filter(|_| refused),
                status: Box::new(status),
            }
        })
    }
}

fn bearer(secret: &str) -> Result<MetadataValue<Ascii>, Failure> {
    let text = Zeroizing::new(format!("Bearer {secret}"));
    let mut value: MetadataValue<Ascii> = text.parse().map_err(|_| {
        Failure::Usage("the caller's secret holds characters that no secret has".to_owned())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_with_or_without_a_scheme() {
        for (text, address, local) in [
            ("127.0.0.1:1", "http://127.0.0.1:1", true),
            ("localhost:1", "http://localhost:1", true),
            ("[::1]:1", "http://[::1]:1", true),
            ("http://there:1", "http://there:1", false),
            ("there:1", "http://there:1", false),
            ("unix:/run/ta.sock", "unix:/run/ta.sock", true),
        ] {
            let server = Server::parse(Some(text)).unwrap();
            assert_eq!((server.address.as_str(), server.local()), (address, local));
        }
        assert_eq!(Server::parse(None).unwrap().address, DEFAULT_SERVER);
    }

    #[test]
    fn what_is_no_server_is_wrong_usage() {
        for text in [
            "",
            "there",
            "https://there:1",
            "ftp://there:1",
            "unix:",
            "u:p@there:1",
            ":1",
        ] {
            let failure = Server::parse(Some(text)).unwrap_err();
            assert!(matches!(failure, Failure::Usage(_)), "{text}");
        }
    }

    #[test]
    fn a_secret_that_is_no_header_is_not_repeated() {
        let lines = bearer("can\nary").unwrap_err().lines();
        assert!(!lines.concat().contains("ary\n") && !lines.concat().contains("can\n"));
        assert!(!format!("{:?}", bearer("canary").unwrap()).contains("canary"));
    }
}
