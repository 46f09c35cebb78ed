//! Where connections come from, TCP or Unix sockets, and the bytes on them, TLS or not.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixSocket, UnixStream};
use tokio::runtime::Handle;

use crate::tls::ServerStream;

/// Most connections to a Unix socket that wait to be accepted, as tokio has it for TCP.
const UNIX_BACKLOG: u32 = 1024;
/// How long a socket must refuse connections until it is a dead server's: one is refused for a
/// moment between its making and its first listening, too.
const DEAD_AFTER: Duration = Duration::from_millis(100);
/// Most times that long to wait for others who are replacing a dead one.
const TURNS_MAX: u32 = 20;

/// A socket that is listened on.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    /// The name goes before the socket does: as long as that is open, no other file can be taken
    /// for it.
    Unix(Listed, UnixListener),
}

/// A Unix socket's name in its folder, removed when this is dropped.
#[derive(Debug)]
pub struct Listed {
    path: PathBuf,
    /// The file that was made, since another server may have put its own there meanwhile.
    made: Option<(u64, u64)>,
}

impl Listener {
    pub async fn tcp(address: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(address).await.map(Self::Tcp)
    }

    /// Makes a Unix socket that those may connect to whom `mode` lets write. What a dead server
    /// left behind is replaced; a living one's is `AddrInUse`, and any other file `AlreadyExists`.
    pub async fn unix(path: &Path, mode: u32) -> io::Result<Self> {
        let mut turn = None;
        let (listed, socket) = match named(path, mode) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                turn = Turn::take(folder(path)).await?;
                clear(path).await?;
                named(path, mode)
            }
            named => named,
        }?;
        let listener = socket.listen(UNIX_BACKLOG)?;
        drop(turn);
        Ok(Self::Unix(listed, listener))
    }

    /// Where it is bound, as `--listen` would say it.
    pub fn place(&self) -> io::Result<Place> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Place::Tcp),
            Self::Unix(listed, _) => Ok(Place::Unix(listed.path.clone())),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Answers are small; without it each would wait for the acknowledgement of the last.
                // Where it cannot be set, the connection is about to end.
                let _ = stream.set_nodelay(true);
                Ok(Socket::Tcp(stream, address.ip()))
            }
            Self::Unix(_, listener) => Ok(Socket::Unix(listener.accept().await?.0)),
        }
    }
}

/// Where a listener is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Gives a new socket its name and its mode. Nobody can connect yet, so nobody does before the mode
/// holds, whatever the process's mask for new files lets others do.
fn named(path: &Path, mode: u32) -> io::Result<(Listed, UnixSocket)> {
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    let listed = Listed {
        path: path.to_owned(),
        made: identity(path),
    };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok((listed, socket))
}

/// The turn of one server to replace a dead one's socket in a folder: two that found it dead at the
/// same time would remove each other's. Given up when this is dropped.
struct Turn {
    _folder: File,
}

impl Turn {
    /// `None` where the folder cannot be locked, which is no reason not to serve.
    async fn take(folder: &Path) -> io::Result<Option<Self>> {
        let Ok(folder) = File::open(folder) else {
            return Ok(None);
        };
        for _ in 0..TURNS_MAX {
            match folder.try_lock() {
                Ok(()) => return Ok(Some(Self { _folder: folder })),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(DEAD_AFTER).await,
                Err(TryLockError::Error(_)) => return Ok(None),
            }
        }
        let why = "another process has locked the folder, as one does that replaces a dead socket";
        Err(io::Error::new(io::ErrorKind::AddrInUse, why))
    }
}

fn folder(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    folder.unwrap_or(Path::new("."))
}

/// Removes a socket that nobody listens on.
async fn clear(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        let why = "there is a file of that name, and it is no socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    let dead = identity(path);
    refuses(path).await?;
    tokio::time::sleep(DEAD_AFTER).await;
    refuses(path).await?;
    if identity(path) != dead {
        return Err(alive());
    }
    fs::remove_file(path)
}

/// An error unless nobody listens on a socket.
async fn refuses(path: &Path) -> io::Result<()> {
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(_) => Err(alive()),
        Err(error) => Err(error),
    }
}

fn alive() -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

impl Drop for Listed {
    fn drop(&mut self) {
        if self.made.is_some() && identity(&self.path) == self.made {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A connection that was accepted.
pub(super) enum Socket {
    Tcp(TcpStream, IpAddr),
    Unix(UnixStream),
}

impl Socket {
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(_, address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The same, as one of another runtime: that one's thread is woken when there is something to read.
    pub(super) fn moved_to(self, runtime: &Handle) -> io::Result<Self> {
        match self {
            Self::Tcp(stream, address) => {
                let stream = stream.into_std()?;
                let _there = runtime.enter();
                Ok(Self::Tcp(TcpStream::from_std(stream)?, address))
            }
            Self::Unix(stream) => {
                let stream = stream.into_std()?;
                let _there = runtime.enter();
                UnixStream::from_std(stream).map(Self::Unix)
            }
        }
    }
}

/// The bytes of a connection, in the clear.
pub(super) enum Bytes {
    Tcp(TcpStream),
    Tls(Box<ServerStream>),
    Unix(UnixStream),
}

macro_rules! each {
    ($self:ident, $stream:ident => $act:expr) => {
        match $self.get_mut() {
            Self::Tcp($stream) => $act,
            Self::Tls($stream) => $act,
            Self::Unix($stream) => $act,
        }
    };
}

impl AsyncRead for Bytes {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Bytes {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(context, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_connects_to_a_unix_socket_before_its_mode_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ta.sock");
        let (_listed, _socket) = named(&path, 0o600).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        refuses(&path).await.expect("it is not listened on yet");
    }

    #[tokio::test]
    async fn what_is_sent_over_tcp_waits_for_no_acknowledgement() {
        let listener = Listener::tcp(([127, 0, 0, 1], 0).into()).await.unwrap();
        let Place::Tcp(address) = listener.place().unwrap() else {
            panic!("it is bound to an address");
        };
        let _peer = TcpStream::connect(address).await.unwrap();
        let Socket::Tcp(taken, _) = listener.accept().await.unwrap() else {
            panic!("it was taken over TCP");
        };
        assert!(taken.nodelay().unwrap(), "TCP_NODELAY");
    }

    #[test]
    fn of_servers_that_replace_a_dead_ones_socket_at_once_one_listens_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ta.sock");
        for round in 0..10 {
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            let begin = std::sync::Barrier::new(4);
            let listen = || {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                begin.wait();
                let made = runtime.block_on(Listener::unix(&path, 0o600)).ok();
                made.map(|listener| (runtime, listener))
            };
            let made = std::thread::scope(|scope| {
                let starting = [(); 4].map(|()| scope.spawn(listen));
                starting.map(|one| one.join().unwrap())
            });
            let made: Vec<_> = made.into_iter().flatten().collect();
            assert_eq!(made.len(), 1, "round {round}");
            std::os::unix::net::UnixStream::connect(&path).expect("it is reached by its name");
            drop(made);
            assert!(!path.exists());
        }
    }
}
