//! The other side: calls over a connection that was made to a server.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};

/// A channel over a connection that stands; it ends with the connection.
pub async fn channel_over<S>(stream: S) -> io::Result<Channel>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let once = Arc::new(Mutex::new(Some(stream)));
    let connector = tower::service_fn(move |_: http::Uri| {
        let taken = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            let stream = taken.ok_or_else(|| io::Error::other("the connection ended"))?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    let connecting = endpoint.connect_with_connector(connector);
    connecting.await.map_err(io::Error::other)
}
