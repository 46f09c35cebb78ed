//! The ceiling: a server of the same messages, codec and listener, that knows nobody and judges
//! nothing. Whatever it is called with, it returns one prebuilt answer.

use std::convert::Infallible;
use std::fs;
use std::future::{Ready, ready};
use std::io::Write;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use prost::Message;
use token_authority::transport::grpc::codec::EdgeCodec;
use token_authority::transport::grpc::pb::{ValidateRequest, ValidateResponse};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Response, Status};
use tower::Service;

use crate::Fault;

/// First argument of the process that is the ceiling; the second is the file of the answer.
pub(crate) const COMMAND: &str = "serve-ceiling";

/// Serves the answer in a file on a free port of loopback, which it says as the real program does,
/// on tonic's and tokio's defaults.
pub(crate) fn serve(answer: &Path) -> Result<(), Fault> {
    let answer = ValidateResponse::decode(fs::read(answer)?.as_slice())?;
    let service = Ceiling {
        answer: Arc::new(answer),
    };
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on {}", listener.local_addr()?);
        std::io::stdout().flush()?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = Server::builder().add_service(service);
        Ok(server.serve_with_incoming(incoming).await?)
    })
}

/// What the generated code makes of a service with one method, written out: the generated trait has
/// all methods, and more with each release.
#[derive(Clone)]
struct Ceiling {
    answer: Arc<ValidateResponse>,
}

impl NamedService for Ceiling {
    const NAME: &'static str = "tokenauthority.v1.TokenService";
}

impl Service<Request<Body>> for Ceiling {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(EdgeCodec::default());
            Ok(grpc.unary(method, request).await)
        })
    }
}

impl UnaryService<ValidateRequest> for Ceiling {
    type Response = ValidateResponse;
    type Future = Ready<Result<Response<ValidateResponse>, Status>>;

    fn call(&mut self, _: tonic::Request<ValidateRequest>) -> Self::Future {
        ready(Ok(Response::new(ValidateResponse::clone(&self.answer))))
    }
}
