//! An authority that is UNAVAILABLE for every first attempt, and passes on the next.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use token_authority_client::pb::{ValidateRequest, ValidateResponse};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Service},
    server::{Grpc, NamedService, UnaryService},
    transport::Server,
};
use tonic_prost::ProstCodec;

use super::Authority;

#[derive(Clone)]
pub struct Flaky {
    real: Arc<Authority>,
    /// What each attempt said of those before it, and how long it said it would wait.
    pub attempts: Arc<Mutex<Vec<(String, String)>>>,
}

impl Flaky {
    /// Begins to serve; answers where.
    pub async fn serve(real: Arc<Authority>) -> (Self, String) {
        let flaky = Self {
            real,
            attempts: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = Server::builder().add_service(flaky.clone());
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (flaky, format!("http://{address}"))
    }
}

impl NamedService for Flaky {
    const NAME: &'static str = "tokenauthority.v1.TokenService";
}

impl UnaryService<ValidateRequest> for Flaky {
    type Response = ValidateResponse;
    type Future = BoxFuture<Response<ValidateResponse>, Status>;

    fn call(&mut self, request: Request<ValidateRequest>) -> Self::Future {
        let said = |name: &str| {
            let value = request.metadata().get(name);
            value.map_or_else(String::new, |it| it.to_str().expect("text").to_owned())
        };
        let (before, timeout) = (said("grpc-previous-rpc-attempts"), said("grpc-timeout"));
        let first = before.is_empty();
        self.attempts.lock().expect("sound").push((before, timeout));
        let real = Arc::clone(&self.real);
        Box::pin(async move {
            if first {
                let mut error = Status::unavailable("not now");
                let soon = "20".parse().expect("a header");
                error.metadata_mut().insert("grpc-retry-pushback-ms", soon);
                return Err(error);
            }
            Ok(Response::new(real.validate(request.into_inner()).await))
        })
    }
}

impl Service<http::Request<Body>> for Flaky {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let flaky = self.clone();
        let answer = async move {
            let codec = ProstCodec::<ValidateResponse, ValidateRequest>::default();
            Ok(Grpc::new(codec).unary(flaky, request).await)
        };
        Pin::from(Box::new(answer))
    }
}
