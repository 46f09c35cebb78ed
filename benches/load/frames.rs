//! One HTTP/2 connection as a load driver needs it: frames written from bytes that lie ready, and no more
//! read of what comes back than tells which call it ends.
//!
//! A client library takes as much CPU for a call as the server that is measured; on shared cores its figures
//! would say how fast the client is. What this leaves out (priorities, pushes, decoding of headers) no
//! answer of a gRPC server needs: it is right where a message came, and a call that ends without one failed.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

use crate::Fault;
use crate::headers::Headers;

/// RFC 9113, section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// Bytes before each payload.
const HEAD: usize = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

const INITIAL_WINDOW_SIZE: u16 = 4;
/// What a window is until somebody says otherwise, and what it may be at most.
const WINDOW: u32 = 65_535;
const WINDOW_MAX: u32 = (1 << 31) - 1;
/// The longest payload that nobody has to allow.
const PAYLOAD_MAX: usize = 16_384;
/// How much may come before the server is given as much room again.
const ROOM_AGAIN: u32 = 1 << 29;
/// How long a connection may stay silent while calls are in flight.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// How much is read at once.
const READ: usize = 64 * 1024;

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Range<usize>,
}

/// What a frame says to the calls.
pub(crate) enum Event {
    /// A part of a message of a stream: a place in [`Wire::part`].
    Part { stream: u32, part: Range<usize> },
    /// A stream is over.
    Ended { stream: u32 },
    /// The server takes more on a stream; on all of them together where the stream is 0.
    Room { stream: u32, more: u32 },
}

/// A connection over which one caller calls.
pub(crate) struct Wire {
    socket: TcpStream,
    headers: Headers,
    incoming: Vec<u8>,
    /// How many bytes of `incoming` were read off the socket, and how many of those are done with.
    filled: usize,
    done: usize,
    outgoing: Vec<u8>,
    next_stream: u32,
    /// Bytes of messages that the server still takes, over all streams.
    room: i64,
    /// Of each stream at its beginning.
    room_of_streams: i64,
    /// Bytes that came since the server was last given room.
    consumed: u32,
    /// The rest of a DATA frame whose stream it also ends.
    ending: Option<u32>,
    /// The server has said its settings.
    greeted: bool,
}

impl Wire {
    pub(crate) fn connect(to: SocketAddr, authorization: &str) -> Result<Self, Fault> {
        let socket = TcpStream::connect(to)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(SILENCE_MAX))?;
        let mut wire = Self {
            socket,
            headers: Headers::of_caller(&to.to_string(), authorization),
            incoming: vec![0; READ],
            filled: 0,
            done: 0,
            outgoing: PREFACE.to_vec(),
            next_stream: 1,
            room: i64::from(WINDOW),
            room_of_streams: i64::from(WINDOW),
            consumed: 0,
            ending: None,
            greeted: false,
        };
        let mut settings = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
        settings.extend(WINDOW_MAX.to_be_bytes());
        wire.frame(SETTINGS, 0, 0, &settings);
        wire.frame(WINDOW_UPDATE, 0, 0, &(WINDOW_MAX - WINDOW).to_be_bytes());
        wire.flush()?;
        // So that no setting changes under a stream.
        while !wire.greeted {
            wire.wait()?;
            while wire.event()?.is_some() {}
        }
        Ok(wire)
    }

    /// Begins a stream to a method, and answers its number.
    pub(crate) fn begin(&mut self, path: &'static str) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        let begun = self.outgoing.len();
        head(&mut self.outgoing, 0, HEADERS, END_HEADERS, stream);
        self.headers.write(path, &mut self.outgoing);
        let length = self.outgoing.len() - begun - HEAD;
        self.outgoing[begun..begun + 3].copy_from_slice(&length_of(length));
        stream
    }

    /// Sends bytes of messages, each with its prefix, on a stream; `last` where none come after it.
    pub(crate) fn send(&mut self, stream: u32, bytes: &[u8], last: bool) {
        self.room -= i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let mut pieces = bytes.chunks(PAYLOAD_MAX).peekable();
        while let Some(piece) = pieces.next() {
            let flags = if last && pieces.peek().is_none() {
                END_STREAM
            } else {
                0
            };
            self.frame(DATA, flags, stream, piece);
        }
    }

    /// Says that no more comes on a stream.
    pub(crate) fn end(&mut self, stream: u32) {
        self.frame(DATA, END_STREAM, stream, &[]);
    }

    /// How many bytes of messages the server takes on all streams together.
    pub(crate) fn room(&self) -> i64 {
        self.room
    }

    /// How many it takes on a stream before it says otherwise.
    pub(crate) fn room_of_streams(&self) -> i64 {
        self.room_of_streams
    }

    /// Sends what was written since.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if !self.outgoing.is_empty() {
            self.socket.write_all(&self.outgoing)?;
            self.outgoing.clear();
        }
        Ok(())
    }

    /// Waits until something came.
    pub(crate) fn wait(&mut self) -> Result<(), Fault> {
        self.incoming.copy_within(self.done..self.filled, 0);
        self.filled -= self.done;
        self.done = 0;
        if self.filled == self.incoming.len() {
            self.incoming.resize(2 * self.filled, 0);
        }
        match self.socket.read(&mut self.incoming[self.filled..]) {
            Ok(0) => Err("the server closed a connection".into()),
            Ok(count) => {
                self.filled += count;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(format!("no answer came for {SILENCE_MAX:?}").into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Bytes that an event told of; they stay until the next [`Wire::wait`].
    pub(crate) fn part(&self, part: Range<usize>) -> &[u8] {
        &self.incoming[part]
    }

    /// The next of what came, if it came whole. What concerns the connection alone is seen to here.
    pub(crate) fn event(&mut self) -> Result<Option<Event>, Fault> {
        if let Some(stream) = self.ending.take() {
            return Ok(Some(Event::Ended { stream }));
        }
        loop {
            let Some(frame) = self.next_frame() else {
                return Ok(None);
            };
            if let Some(event) = self.attend(frame)? {
                return Ok(Some(event));
            }
        }
    }

    fn next_frame(&mut self) -> Option<Frame> {
        let bytes = &self.incoming[self.done..self.filled];
        let head = bytes.first_chunk::<HEAD>()?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        if bytes.len() < HEAD + length {
            return None;
        }
        let payload = self.done + HEAD..self.done + HEAD + length;
        self.done = payload.end;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]),
            payload,
        })
    }

    fn attend(&mut self, frame: Frame) -> Result<Option<Event>, Fault> {
        let Frame {
            kind,
            flags,
            stream,
            payload,
        } = frame;
        let over = flags & END_STREAM != 0;
        match kind {
            DATA if flags & PADDED != 0 => return Err("the server pads its answers".into()),
            DATA => {
                self.consumed += u32::try_from(payload.len())?;
                if self.consumed >= ROOM_AGAIN {
                    let room = std::mem::take(&mut self.consumed);
                    self.frame(WINDOW_UPDATE, 0, 0, &room.to_be_bytes());
                }
                self.ending = over.then_some(stream);
                return Ok(Some(Event::Part {
                    stream,
                    part: payload,
                }));
            }
            HEADERS if over => return Ok(Some(Event::Ended { stream })),
            RST_STREAM => {
                let code = self.number(&payload)?;
                return Err(format!("the server reset a call, code {code}").into());
            }
            GOAWAY => return Err("the server ends a connection".into()),
            SETTINGS if flags & ACK == 0 => {
                self.greeted = true;
                self.heed(&payload);
                self.frame(SETTINGS, ACK, 0, &[]);
            }
            PING if flags & ACK == 0 => {
                let echo = self.incoming[payload].to_vec();
                self.frame(PING, ACK, 0, &echo);
            }
            WINDOW_UPDATE => {
                let more = self.number(&payload)? & WINDOW_MAX;
                if stream == 0 {
                    self.room += i64::from(more);
                }
                return Ok(Some(Event::Room { stream, more }));
            }
            _ => {}
        }
        Ok(None)
    }

    fn number(&self, payload: &Range<usize>) -> Result<u32, Fault> {
        let bytes = self.incoming[payload.clone()].first_chunk::<4>();
        Ok(u32::from_be_bytes(*bytes.ok_or("a frame is too short")?))
    }

    fn heed(&mut self, payload: &Range<usize>) {
        for setting in self.incoming[payload.clone()].chunks_exact(6) {
            let name = u16::from_be_bytes([setting[0], setting[1]]);
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            if name == INITIAL_WINDOW_SIZE {
                self.room_of_streams = i64::from(value);
            }
        }
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        head(&mut self.outgoing, payload.len(), kind, flags, stream);
        self.outgoing.extend_from_slice(payload);
    }
}

fn head(into: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    into.extend(length_of(length));
    into.extend([kind, flags]);
    into.extend(stream.to_be_bytes());
}

fn length_of(payload: usize) -> [u8; 3] {
    let length = u32::try_from(payload).expect("a payload of 16 KiB at most");
    let [_, rest @ ..] = length.to_be_bytes();
    rest
}
