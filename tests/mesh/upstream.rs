//! The services behind Envoy: one over HTTP/1.1 that answers what it was sent, and one over gRPC.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataMap;
use tonic::{Status, transport::Server};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// A service that runs until this is dropped, and what it was asked.
pub(crate) struct Upstream<T> {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<T>>>,
    running: JoinHandle<()>,
}

impl<T: Clone> Upstream<T> {
    pub(crate) fn asked(&self) -> Vec<T> {
        self.asked.lock().unwrap().clone()
    }
}

impl<T> Drop for Upstream<T> {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

/// Answers each request with its target and its headers, one in a line; keeps the targets.
pub(crate) async fn over_http() -> Upstream<String> {
    let (listener, address) = listener().await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = asked.clone();
    let running = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let kept = kept.clone();
            let answer = service_fn(move |request: Request<Incoming>| {
                let target = request.uri().to_string();
                let told = told(&target, &request);
                kept.lock().unwrap().push(target);
                std::future::ready(Ok::<_, Infallible>(Response::new(told)))
            });
            let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            tokio::spawn(serving);
        }
    });
    Upstream {
        address,
        asked,
        running,
    }
}

fn told<T>(target: &str, request: &Request<T>) -> String {
    let mut lines = format!("{} {target}\n", request.method());
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        lines.push_str(&format!("{name}: {value}\n"));
    }
    lines
}

/// A gRPC service that is well; keeps the metadata of calls.
pub(crate) async fn over_grpc() -> Upstream<MetadataMap> {
    let (listener, address) = listener().await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let well = Well(asked.clone());
    let serving = Server::builder()
        .add_service(HealthServer::new(well))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let running = tokio::spawn(async move {
        serving.await.expect("it serves");
    });
    Upstream {
        address,
        asked,
        running,
    }
}

struct Well(Arc<Mutex<Vec<MetadataMap>>>);

#[tonic::async_trait]
impl Health for Well {
    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, Status> {
        self.0.lock().unwrap().push(request.metadata().clone());
        let status = ServingStatus::Serving.into();
        Ok(tonic::Response::new(HealthCheckResponse { status }))
    }

    async fn watch(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("nobody watches"))
    }
}
