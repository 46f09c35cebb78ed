//! A proxy that leads all connections to one server, and to another one when it is told so.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Clone, Copy)]
struct Route {
    server: u16,
    /// Grows with each change of the server; connections of an earlier one are cut.
    turn: u64,
    /// Nothing gets through.
    held: bool,
}

/// The proxy; it ends, with its connections, when dropped.
pub(crate) struct Switch {
    pub(crate) port: u16,
    route: watch::Sender<Route>,
    accepting: JoinHandle<()>,
}

impl Switch {
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (route, seen) = watch::channel(Route {
            server,
            turn: 0,
            held: false,
        });
        Self {
            port,
            route,
            accepting: tokio::spawn(accept(listener, seen)),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Cuts all connections, and leads new ones to `server`.
    pub(crate) fn turn_to(&self, server: u16) {
        self.route.send_modify(|route| {
            route.server = server;
            route.turn += 1;
            route.held = false;
        });
    }

    /// Holds all bytes back, until it leads elsewhere; then they are lost.
    pub(crate) fn hold(&self) {
        self.route.send_modify(|route| route.held = true);
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // The pumps end with it: their route is gone.
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, route: watch::Receiver<Route>) {
    while let Ok((client, _)) = listener.accept().await {
        let Route { server, turn, .. } = *route.borrow();
        let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
            continue;
        };
        // Each wait for a replica would take as long as its acknowledgement is put off.
        if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
            continue;
        }
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::spawn(pump(turn, from_client, to_server, route.clone()));
        tokio::spawn(pump(turn, from_server, to_client, route.clone()));
    }
}

async fn pump(
    turn: u64,
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut route: watch::Receiver<Route>,
) {
    let mut cut = route.clone();
    let led_elsewhere = async { cut.wait_for(|route| route.turn != turn).await.map(drop) };
    let pumping = async {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            if route.wait_for(|route| !route.held).await.is_err() {
                return;
            }
            if to.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        // What was held back does not get through by the way.
        biased;
        _ = led_elsewhere => {}
        () = pumping => {}
    }
}
