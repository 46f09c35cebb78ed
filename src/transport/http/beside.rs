//! Plain HTTP on gRPC's own listener: told apart before gRPC's gate and deadline.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::{Method, Request, Response, Version};
use tonic::body::Body;
use tower::{Layer, Service};

use super::Pages;

/// Answers plain HTTP itself and hands everything else on.
#[derive(Clone)]
pub(crate) struct BesideGrpc(pub(crate) Pages);

impl<S> Layer<S> for BesideGrpc {
    type Service = Beside<S>;

    fn layer(&self, grpc: S) -> Beside<S> {
        Beside {
            grpc,
            pages: Arc::new(self.0.clone()),
        }
    }
}

/// What [`BesideGrpc`] makes of a service.
#[derive(Clone)]
pub(crate) struct Beside<S> {
    grpc: S,
    /// In a place of its own, as it is cloned with each call and hardly ever asked.
    pages: Arc<Pages>,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S> Service<Request<Body>> for Beside<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answer>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.grpc.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        if is_grpc(&request) {
            return self.grpc.call(request);
        }
        let pages = self.pages.clone();
        Box::pin(async move { pages.answer(request).await })
    }
}

/// gRPC is POST over HTTP/2, and nothing else is that (gRPC over HTTP/2, section Requests).
fn is_grpc(request: &Request<Body>) -> bool {
    request.version() == Version::HTTP_2 && request.method() == Method::POST
}
