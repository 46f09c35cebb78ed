//! Connections: who may connect, how long a connection may take for what, and how all of them end.

mod admission;
mod asked;
pub mod budget;
mod calls;
mod connection;
mod dialled;
mod held;
mod homes;
mod life;
mod overseer;
mod refusals;
mod socket;
mod watched;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use tokio::task::JoinSet;
use tonic::body::Body;
use tower::Service;

use crate::metrics::{Ended, Metrics};
use crate::tls::ServerTls;

use admission::{Admission, Full};
use life::Life;
use refusals::Refusals;
use socket::Socket;

pub(crate) use admission::Neighbours;
pub(crate) use connection::Connection;
pub use dialled::channel_over;
pub(crate) use held::{Endless, Keeper, Lasting};
pub use homes::Homes;
pub use socket::{Listener, Place};

/// Bounds on connections.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most connections at once, and most of them from one address (an IPv6 /64 counts as one).
    pub connections: usize,
    pub of_one_address: usize,
    /// Longest time until a peer has said something sound.
    pub handshake: Duration,
    /// Longest time without a call.
    pub idle: Duration,
    /// Longest life of a connection, a tenth more or less.
    pub age: Duration,
    /// Longest time that a peer may leave what is sent to it untaken.
    pub stall: Duration,
    /// Longest time of a call.
    pub call: Duration,
    pub calls_per_connection: u32,
}

/// What answers requests, on any number of connections at once, and is always ready for one more: what
/// there is no room for is answered so.
pub trait Answers:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Answers for S where
    S: Service<
            Request<Body>,
            Response = Response<Body>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// What is served on a set of listeners.
pub struct Door {
    pub listeners: Vec<Listener>,
    /// Speaks TLS on TCP; a Unix socket is within the machine.
    pub tls: Option<Arc<ServerTls>>,
    pub bounds: Bounds,
    pub metrics: Arc<Metrics>,
    pub homes: Homes,
}

impl Door {
    /// Serves until `stop` is over and every connection has gone; whoever calls bounds that wait.
    /// `service` makes what answers on one connection, so that calls on several, which are on several
    /// cores, need not count references in one place.
    pub async fn serve<S: Answers>(
        self,
        service: impl Fn() -> S + Send + Sync + 'static,
        stop: impl Future<Output = ()>,
    ) {
        let Self {
            listeners,
            tls,
            bounds,
            metrics,
            homes,
        } = self;
        let admission = Admission::new(bounds.connections, bounds.of_one_address);
        let overseer = overseer::oversee(admission.clone(), bounds);
        let life = Arc::new(Life {
            service,
            tls,
            bounds,
            metrics,
            refusals: Refusals::default(),
        });
        // Dropped with the rest where nobody waits for the end.
        let mut tasks = JoinSet::new();
        tasks.spawn(overseer);
        tasks.spawn({
            let life = life.clone();
            async move { tell_refusals(&life.refusals).await }
        });
        for listener in listeners {
            let (admission, life, homes) = (admission.clone(), life.clone(), homes.clone());
            tasks.spawn(async move { accept(listener, &admission, &life, &homes).await });
        }
        stop.await;
        // Listeners close here.
        tasks.shutdown().await;
        admission.each(|_, connection| connection.order(connection::Order::Leave));
        admission.emptied().await;
    }
}

/// Time without accepting after the machine had no room for one more connection, and how often that
/// is told at most.
const NO_ROOM: Duration = Duration::from_millis(50);
const COMPLAINT_EVERY: Duration = Duration::from_secs(10);

/// Accepts connections until it is dropped; each then lives in a task of its own.
async fn accept<S: Answers, F: Fn() -> S + Send + Sync + 'static>(
    listener: Listener,
    admission: &Arc<Admission>,
    life: &Arc<Life<F>>,
    homes: &Homes,
) {
    let mut complained: Option<Instant> = None;
    loop {
        let accepted = listener.accept().await;
        match accepted.and_then(|socket| begin(socket, admission, life, homes)) {
            Ok(()) => {}
            // The peer went away before it was accepted.
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                if complained.is_none_or(|last| last.elapsed() >= COMPLAINT_EVERY) {
                    complained = Some(Instant::now());
                    tracing::error!(%error, "no connection can be accepted");
                }
                tokio::time::sleep(NO_ROOM).await;
            }
        }
    }
}

fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, NotConnected};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | NotConnected
    )
}

fn begin<S: Answers, F: Fn() -> S + Send + Sync + 'static>(
    socket: Socket,
    admission: &Arc<Admission>,
    life: &Arc<Life<F>>,
    homes: &Homes,
) -> io::Result<()> {
    match admission.admit(socket.address()) {
        Ok((connection, place)) => {
            let life = life.clone();
            homes.house(socket, |socket| async move {
                life.live(socket, connection).await;
                drop(place);
            })
        }
        Err(full) => {
            life.ended(match full {
                Full::All => Ended::Full,
                Full::Address => Ended::AddressFull,
            });
            Ok(())
        }
    }
}

/// Tells until it is dropped.
async fn tell_refusals(untold: &Refusals) {
    loop {
        tokio::time::sleep(refusals::EVERY).await;
        untold.tell_rest(Instant::now());
    }
}
