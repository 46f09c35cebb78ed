//! A peer that writes HTTP/2 frames by hand (RFC 9113), and reads what comes back.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{PATIENCE, ROOT_TOKEN};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The setting for the window that each stream begins with.
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A field as a literal without indexing (RFC 7541, section 6.2.2), below 127 bytes each.
pub(crate) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0, u8::try_from(name.len()).unwrap()];
    field.extend(name.as_bytes());
    field.push(u8::try_from(value.len()).unwrap());
    field.extend(value.as_bytes());
    field
}

/// The head of a request, as a header block.
pub(crate) fn head(method: &str, path: &str) -> Vec<u8> {
    [
        literal(":method", method),
        literal(":scheme", "http"),
        literal(":authority", "x"),
        literal(":path", path),
    ]
    .concat()
}

/// The head of a call of a method, as root.
pub(crate) fn call(path: &str) -> Vec<u8> {
    [
        head("POST", path),
        literal("content-type", "application/grpc"),
        literal("te", "trailers"),
        literal("authorization", &format!("Bearer {ROOT_TOKEN}")),
    ]
    .concat()
}

pub(crate) const VALIDATE: &str = "/tokenauthority.v1.TokenService/Validate";

/// An empty message, in gRPC's framing.
pub(crate) const NO_FIELDS: &[u8] = &[0; 5];

/// What a peer was sent.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) payload: Vec<u8>,
}

/// One end of a connection.
pub(crate) struct Peer<S = TcpStream> {
    pub(crate) stream: S,
}

/// Connects from 127.0.0.`from`.
pub(crate) async fn connect(address: &str, from: u8) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, from), 0)))?;
    let stream = socket.connect(address.parse().unwrap()).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Peer {
    /// Connects from 127.0.0.`from` and greets with these settings.
    pub(crate) async fn greeting(address: &str, from: u8, settings: &[(u16, u32)]) -> Self {
        let stream = connect(address, from).await.expect("a connection");
        let mut peer = Self { stream };
        peer.greet(settings).await.expect("a greeting");
        peer
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) async fn greet(&mut self, settings: &[(u16, u32)]) -> io::Result<()> {
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(key, value)| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        let greeting = [PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat();
        self.stream.write_all(&greeting).await
    }

    pub(crate) async fn send(&mut self, frames: &[u8]) -> io::Result<()> {
        self.stream.write_all(frames).await
    }

    /// The next frame; an error where the connection is over, or nothing comes for too long.
    pub(crate) async fn next(&mut self) -> io::Result<Frame> {
        let reading = async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await?;
            let [a, b, c, kind, flags, ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.stream.read_exact(&mut payload).await?;
            Ok(Frame {
                kind,
                flags,
                payload,
            })
        };
        tokio::time::timeout(PATIENCE, reading).await?
    }

    /// Reads until such a frame comes.
    pub(crate) async fn until(&mut self, kind: u8, flags: u8) -> Frame {
        loop {
            let frame = self.next().await.expect("a frame");
            if frame.kind == kind && frame.flags & flags == flags {
                return frame;
            }
        }
    }

    /// Waits until everything sent so far was read by the server.
    pub(crate) async fn settle(&mut self) -> io::Result<()> {
        self.send(&frame(PING, 0, 0, b"settled?")).await?;
        loop {
            let frame = self.next().await?;
            if frame.kind == PING && frame.flags == ACK {
                return Ok(());
            }
        }
    }

    /// Reads until the connection is over; answers all frames, and fails where that takes too long.
    pub(crate) async fn until_closed(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            match self.next().await {
                Ok(frame) => frames.push(frame),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    panic!("the connection stays open")
                }
                Err(_) => return frames,
            }
        }
    }
}

/// Waits until a connection is over, whatever comes before.
pub(crate) async fn is_closed(stream: &mut (impl AsyncRead + Unpin), within: Duration) -> bool {
    let mut bytes = vec![0; 1 << 16];
    let reading = async { while matches!(stream.read(&mut bytes).await, Ok(n) if n > 0) {} };
    tokio::time::timeout(within, reading).await.is_ok()
}

/// The codes of the GOAWAY frames.
pub(crate) fn farewells(frames: &[Frame]) -> Vec<u32> {
    let goaways = frames.iter().filter(|frame| frame.kind == GOAWAY);
    goaways
        .map(|frame| u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()))
        .collect()
}
