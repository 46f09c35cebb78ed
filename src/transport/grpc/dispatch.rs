//! The way of a call to its service: calls of ours are many and go straight there, all others by a router.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use super::ext_authz::{self, ExtAuthz};
use super::method;
use super::pb::token_service_server::TokenServiceServer;
use super::token_service::TokenServiceHandler;

/// All services of the listener.
#[derive(Clone)]
pub(super) struct Dispatch {
    pub(super) tokens: TokenServiceServer<TokenServiceHandler>,
    pub(super) ext_authz: ExtAuthz,
    /// In a place of its own, as it is cloned with each call.
    pub(super) routes: Arc<Routes>,
}

impl Service<Request<Body>> for Dispatch {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Neither makes anybody wait.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match method(request.uri().path()) {
            Some(_) => self.tokens.call(request),
            None if request.uri().path() == ext_authz::PATH => {
                Box::pin(self.ext_authz.clone().call(request))
            }
            None => {
                let mut routes = Routes::clone(&self.routes);
                Box::pin(async move { Service::call(&mut routes, request).await })
            }
        }
    }
}
