//! Channels to the authority, and the client's own credential on them.

use std::{error::Error, fmt, time::Duration};

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::pb::token_service_client::TokenServiceClient;

const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) type Authority = TokenServiceClient<InterceptedService<Channel, Bearer>>;

/// A channel to the authority at a URI such as `http://localhost:50051`, which is opened by the first call. Pings
/// find a connection that died without a word.
///
/// # Errors
///
/// When it is no URI. For TLS configure an [`Endpoint`] of your own.
pub fn connect(uri: impl Into<String>) -> Result<Channel, tonic::transport::Error> {
    Ok(Endpoint::from_shared(uri.into())?
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .connect_lazy())
}

/// The stub, with the credential on each call.
pub(crate) fn authority(channel: Channel, credential: &str) -> Result<Authority, BadCredential> {
    let mut bearer: MetadataValue<Ascii> = format!("Bearer {credential}")
        .parse()
        .map_err(|_| BadCredential)?;
    bearer.set_sensitive(true);
    Ok(TokenServiceClient::with_interceptor(
        channel,
        Bearer(bearer),
    ))
}

/// A credential holds characters that no header may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadCredential;

impl fmt::Display for BadCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the credential holds characters that no header may")
    }
}

impl Error for BadCredential {}

#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}
