//! An authority that answers what a test wants, to see what Envoy makes of it.

use std::net::SocketAddr;

use token_authority::transport::grpc::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use token_authority::transport::grpc::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use token_authority::transport::grpc::envoy::service::auth::v3::authorization_server::{
    Authorization, AuthorizationServer,
};
use token_authority::transport::grpc::envoy::service::auth::v3::check_response::HttpResponse;
use token_authority::transport::grpc::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use token_authority::transport::grpc::envoy::r#type::v3::HttpStatus;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::envoy::{self, Changes, Envoy};
use crate::kinds::Kind;
use crate::upstream::{self, Upstream};

/// What is answered about a path.
pub(crate) type Answers = fn(&str) -> Result<CheckResponse, Status>;

/// A mesh around a stub.
pub(crate) struct Stubbed {
    pub(crate) envoy: Envoy,
    pub(crate) shop: Upstream<String>,
    running: JoinHandle<()>,
}

impl Stubbed {
    pub(crate) async fn with(
        kind: &Kind,
        answers: Answers,
        change: impl FnOnce(&mut Changes),
    ) -> Self {
        let (running, address) = serve(answers).await;
        let shop = upstream::over_http().await;
        let address = address.to_string();
        let place = envoy::Authority::Tcp(&address);
        let mut changes = Changes::of(kind, &place, shop.address, shop.address);
        change(&mut changes);
        let envoy = Envoy::start(kind, &changes, "a-stub-knows-no-secrets").await;
        envoy.finds_authority(true).await;
        Self {
            envoy,
            shop,
            running,
        }
    }
}

impl Drop for Stubbed {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn serve(answers: Answers) -> (JoinHandle<()>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let (reporter, health) = tonic_health::server::health_reporter();
    let well = tonic_health::ServingStatus::Serving;
    reporter
        .set_service_status("envoy.service.auth.v3.Authorization", well)
        .await;
    let serving = Server::builder()
        .add_service(health)
        .add_service(AuthorizationServer::new(Stub(answers)))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let running = tokio::spawn(async move {
        serving.await.expect("it serves");
    });
    (running, address)
}

struct Stub(Answers);

#[tonic::async_trait]
impl Authorization for Stub {
    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let attributes = request.into_inner().attributes.unwrap_or_default();
        let held = attributes.request.and_then(|request| request.http);
        (self.0)(&held.unwrap_or_default().path).map(Response::new)
    }
}

/// An answer with this code, and what goes with it.
pub(crate) fn answer(code: i32, http_response: Option<HttpResponse>) -> CheckResponse {
    let status = tonic_types::pb::Status {
        code,
        ..Default::default()
    };
    CheckResponse {
        status: Some(status),
        http_response,
        ..CheckResponse::default()
    }
}

pub(crate) fn denied(status: i32, headers: &[(&str, &str)], body: &str) -> Option<HttpResponse> {
    Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
        status: Some(HttpStatus { code: status }),
        headers: headers.iter().map(set).collect(),
        body: body.to_owned(),
    }))
}

pub(crate) fn allowed(
    headers: &[(&str, &str)],
    removed: &[&str],
    added: &[(&str, &str)],
) -> Option<HttpResponse> {
    let appended = |pair: &(&str, &str)| HeaderValueOption {
        append_action: HeaderAppendAction::AppendIfExistsOrAdd.into(),
        ..set(pair)
    };
    Some(HttpResponse::OkResponse(OkHttpResponse {
        headers: headers.iter().map(set).collect(),
        headers_to_remove: removed.iter().map(|name| (*name).to_owned()).collect(),
        response_headers_to_add: added.iter().map(appended).collect(),
    }))
}

fn set((key, value): &(&str, &str)) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            ..HeaderValue::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
    }
}
