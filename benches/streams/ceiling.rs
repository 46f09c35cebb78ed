//! The ceiling of streams: a server of the same messages and codec that knows nobody and judges nothing.
//! Whatever it is asked on a stream, it answers one prebuilt answer under the id of the question.

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
use token_authority::transport::grpc::pb::validate_stream_response::Result as Outcome;
use token_authority::transport::grpc::pb::{
    ValidateResponse, ValidateStreamRequest, ValidateStreamResponse,
};
use tokio::net::TcpListener;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Response, Status, Streaming};
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

/// What the generated code makes of a service with one method, written out.
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
            Ok(grpc.streaming(method, request).await)
        })
    }
}

impl StreamingService<ValidateStreamRequest> for Ceiling {
    type Response = ValidateStreamResponse;
    type ResponseStream =
        Pin<Box<dyn Stream<Item = Result<ValidateStreamResponse, Status>> + Send>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(
        &mut self,
        questions: tonic::Request<Streaming<ValidateStreamRequest>>,
    ) -> Self::Future {
        let answer = self.answer.clone();
        let answers = questions.into_inner().map(move |question| {
            Ok(ValidateStreamResponse {
                id: question?.id,
                result: Some(Outcome::Response(ValidateResponse::clone(&answer))),
            })
        });
        ready(Ok(Response::new(Box::pin(answers))))
    }
}
