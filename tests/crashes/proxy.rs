//! A proxy whose connections can go silent without being closed, as they do where a network fails.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of bytes, whichever way they go.
#[derive(Clone, Copy, Debug)]
struct Flow {
    /// Connections with a lower number are silent for ever: whatever comes is swallowed.
    swallowed_below: u64,
    /// Nothing gets through for now, and what came meanwhile comes late.
    held: bool,
}

/// A proxy before a server on loopback; it ends, with its connections, when dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    flow: Arc<watch::Sender<Flow>>,
    accepted: Arc<watch::Sender<u64>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let flow = Arc::new(watch::Sender::new(Flow {
            swallowed_below: 0,
            held: false,
        }));
        let accepted = Arc::new(watch::Sender::new(0));
        let accepting = tokio::spawn(accept(listener, server, flow.clone(), accepted.clone()));
        Self {
            port,
            flow,
            accepted,
            accepting,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// How many connections there were.
    pub(crate) fn accepted(&self) -> u64 {
        *self.accepted.borrow()
    }

    /// Swallows all bytes of all connections, those to come included.
    pub(crate) fn swallow_everything(&self) {
        self.flow
            .send_modify(|flow| flow.swallowed_below = u64::MAX);
    }

    /// Lets connections from now on work. All earlier ones stay silent for ever.
    pub(crate) fn swallow_the_old(&self) {
        let count = self.accepted();
        self.flow.send_modify(|flow| flow.swallowed_below = count);
    }

    /// Holds all bytes back, or lets those go that were held back.
    pub(crate) fn hold(&self, held: bool) {
        self.flow.send_modify(|flow| flow.held = held);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The pumps end with it: their flow is gone.
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    server: u16,
    flow: Arc<watch::Sender<Flow>>,
    accepted: Arc<watch::Sender<u64>>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let number = *accepted.borrow();
        accepted.send_replace(number + 1);
        let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
            continue;
        };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::spawn(pump(number, from_client, to_server, flow.subscribe()));
        tokio::spawn(pump(number, from_server, to_client, flow.subscribe()));
    }
}

/// Leads bytes one way. An end of a swallowed stream is swallowed too: the other side never learns.
async fn pump(
    number: u64,
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut flow: watch::Receiver<Flow>,
) {
    let mut bytes = [0; 4096];
    loop {
        let count = from.read(&mut bytes).await.unwrap_or_default();
        let Ok(now) = flow.wait_for(|flow| !flow.held).await.map(|flow| *flow) else {
            return;
        };
        let swallowed = number < now.swallowed_below;
        if swallowed && count == 0 {
            // It lasts as long as the proxy.
            while flow.changed().await.is_ok() {}
        }
        if count == 0 || (!swallowed && to.write_all(&bytes[..count]).await.is_err()) {
            return;
        }
    }
}
