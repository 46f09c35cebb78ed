//! The ceiling: a server of the same messages, codec and listener, that knows nobody and judges
//! nothing. Whatever it is called with, it returns one prebuilt answer, once or on a stream.

use std::convert::Infallible;
use std::fs;
use std::future::{Ready, ready};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;

use http::Request;
use prost::Message;
use token_authority::transport::grpc::codec::EdgeCodec;
use token_authority::transport::grpc::pb::validate_stream_response::Result as Item;
use token_authority::transport::grpc::pb::{
    ValidateRequest, ValidateResponse, ValidateStreamRequest, ValidateStreamResponse,
};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, StreamingService, UnaryService};
use tonic::transport::Server;
use tonic::{Response, Status, Streaming};
use tower::Service;

use crate::Fault;

/// First argument of the process that is the ceiling; then come its shape and the file of the answer.
pub(crate) const COMMAND: &str = "serve-ceiling";

pub(crate) const VALIDATE_STREAM: &str = "/tokenauthority.v1.TokenService/ValidateStream";

/// On which runtimes a ceiling serves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One for each core, of one thread, on which a connection stays: the fastest that this stack can be.
    PerCore,
    /// One of all cores, as tonic and tokio make it by themselves.
    Shared,
}

impl Shape {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::PerCore => "per-core",
            Self::Shared => "shared",
        }
    }

    pub(crate) fn of(word: &str) -> Result<Self, Fault> {
        let known = [Self::PerCore, Self::Shared];
        let found = known.into_iter().find(|shape| shape.word() == word);
        found.ok_or_else(|| format!("no shape is called {word}").into())
    }
}

/// Serves the answer in a file on a free port of loopback, which it says as the real program does.
pub(crate) fn serve(shape: Shape, answer: &Path) -> Result<(), Fault> {
    let answer = ValidateResponse::decode(fs::read(answer)?.as_slice())?;
    let service = Ceiling {
        answer: Arc::new(answer),
    };
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on {}", listener.local_addr()?);
    io::stdout().flush()?;
    let workers = match shape {
        Shape::PerCore => thread::available_parallelism()?.get(),
        Shape::Shared => 1,
    };
    let mut doors = Vec::new();
    for _ in 0..workers {
        let (door, sockets) = mpsc::unbounded_channel();
        let service = service.clone();
        thread::spawn(move || serve_sockets(shape, service, sockets));
        doors.push(door);
    }
    for door in doors.iter().cycle() {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        door.send(socket)?;
    }
    Ok(())
}

fn serve_sockets(
    shape: Shape,
    service: Ceiling,
    sockets: UnboundedReceiver<TcpStream>,
) -> Result<(), Fault> {
    let runtime = match shape {
        Shape::PerCore => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?,
        Shape::Shared => tokio::runtime::Runtime::new()?,
    };
    let sockets = UnboundedReceiverStream::new(sockets).map(tokio::net::TcpStream::from_std);
    let server = Server::builder().add_service(service);
    Ok(runtime.block_on(server.serve_with_incoming(sockets))?)
}

/// What the generated code makes of a service with two methods, written out: the generated trait has
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
        if request.uri().path() == VALIDATE_STREAM {
            return Box::pin(async move {
                let mut grpc = Grpc::new(EdgeCodec::default());
                Ok(grpc.streaming(method, request).await)
            });
        }
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

impl StreamingService<ValidateStreamRequest> for Ceiling {
    type Response = ValidateStreamResponse;
    type ResponseStream =
        Pin<Box<dyn Stream<Item = Result<ValidateStreamResponse, Status>> + Send>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, asked: tonic::Request<Streaming<ValidateStreamRequest>>) -> Self::Future {
        let answer = self.answer.clone();
        let answered = asked.into_inner().map(move |asked| {
            Ok(ValidateStreamResponse {
                id: asked?.id,
                result: Some(Item::Response(ValidateResponse::clone(&answer))),
            })
        });
        ready(Ok(Response::new(Box::pin(answered))))
    }
}
