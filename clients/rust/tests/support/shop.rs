//! A guarded service whose answers are who called, how often its handlers ran, and a client of it.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::uri::PathAndQuery;
use token_authority_client::{Caller, Guard, Policy, connect};
use tokio::net::TcpListener;
use tokio_stream::{Iter, wrappers::TcpListenerStream};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Service},
    server::{Grpc, NamedService, ServerStreamingService, UnaryService},
    transport::{Channel, Server},
};
use tonic_prost::ProstCodec;

use super::SECONDS_MAX;

pub const GET: &str = "/shop.Orders/Get";
pub const TAIL: &str = "/shop.Orders/Tail";

pub struct Shop {
    pub guard: Guard,
    runs: Arc<AtomicUsize>,
    channel: Channel,
    serving: tokio::task::AbortHandle,
}

impl Shop {
    pub async fn open(uri: &str, credential: &str, policy: Policy) -> Self {
        let authority = connect(uri).expect("a URI");
        let guard = Guard::new(authority, credential, policy).expect("a credential");
        let runs = Arc::new(AtomicUsize::new(0));
        let orders = Orders(Arc::clone(&runs));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let serving = Server::builder()
            .layer(guard.clone())
            .add_service(orders)
            .serve_with_incoming(TcpListenerStream::new(listener));
        Self {
            guard,
            runs,
            channel: connect(format!("http://{address}")).expect("a URI"),
            serving: tokio::spawn(serving).abort_handle(),
        }
    }

    pub fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    /// Who the service says calls it with a secret.
    pub async fn get(&self, secret: &str) -> Result<String, Status> {
        let bearer = format!("Bearer {secret}");
        let within = Duration::from_secs(SECONDS_MAX);
        self.get_with(&[("authorization", &bearer)], within).await
    }

    pub async fn get_with(
        &self,
        headers: &[(&'static str, &str)],
        within: Duration,
    ) -> Result<String, Status> {
        let mut request = Request::new("which?".to_owned());
        request.set_timeout(within);
        for (name, value) in headers {
            let value = value.parse().expect("a header");
            request.metadata_mut().append(*name, value);
        }
        let mut client = self.client().await;
        let codec = ProstCodec::<String, String>::default();
        let answer = client.unary(request, PathAndQuery::from_static(GET), codec);
        let late = |_| Err(Status::deadline_exceeded("the client's own"));
        let answer = tokio::time::timeout(within, answer).await;
        answer.unwrap_or_else(late).map(Response::into_inner)
    }

    pub async fn tail(&self, secret: &str) -> Result<Vec<String>, Status> {
        let mut request = Request::new("which?".to_owned());
        let bearer = format!("Bearer {secret}").parse().expect("a header");
        request.metadata_mut().insert("authorization", bearer);
        let mut client = self.client().await;
        let codec = ProstCodec::<String, String>::default();
        let path = PathAndQuery::from_static(TAIL);
        let answer = client.server_streaming(request, path, codec).await?;
        let (mut answers, mut told) = (answer.into_inner(), Vec::new());
        while let Some(answer) = answers.message().await? {
            told.push(answer);
        }
        Ok(told)
    }

    async fn client(&self) -> tonic::client::Grpc<Channel> {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.expect("a connection");
        client
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Counts how often it ran.
#[derive(Clone)]
struct Orders(Arc<AtomicUsize>);

impl Orders {
    fn caller(&self, request: &Request<String>) -> String {
        self.0.fetch_add(1, Ordering::SeqCst);
        let caller = request.extensions().get::<Caller>();
        caller.map_or_else(|| "nobody".to_owned(), |it| it.token.token_id.clone())
    }
}

impl NamedService for Orders {
    const NAME: &'static str = "shop.Orders";
}

impl UnaryService<String> for Orders {
    type Response = String;
    type Future = Ready<Result<Response<String>, Status>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        ready(Ok(Response::new(self.caller(&request))))
    }
}

impl ServerStreamingService<String> for Orders {
    type Response = String;
    type ResponseStream = Iter<std::array::IntoIter<Result<String, Status>, 2>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let caller = self.caller(&request);
        let answers = tokio_stream::iter([Ok(caller.clone()), Ok(caller)]);
        ready(Ok(Response::new(answers)))
    }
}

impl Service<http::Request<Body>> for Orders {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let orders = self.clone();
        let answer = async move {
            let mut grpc = Grpc::new(ProstCodec::<String, String>::default());
            Ok(match request.uri().path() {
                GET => grpc.unary(orders, request).await,
                TAIL => grpc.server_streaming(orders, request).await,
                _ => Status::unimplemented("").into_http(),
            })
        };
        Pin::from(Box::new(answer))
    }
}
