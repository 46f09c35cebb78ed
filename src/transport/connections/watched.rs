//! The bytes of a connection as they are read and written, with an eye on floods and on peers that
//! do not read.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::task::coop;
use tokio::time::Sleep;

use crate::metrics::Ended;

use super::budget::FrameBudget;
use super::calls::Haste;
use super::connection::{Connection, Order};
use super::socket::Bytes;

/// How HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The bytes of a connection whose first ones were looked at.
pub(super) struct Watched {
    bytes: Bytes,
    /// Read already, and still to be handed on.
    first: [u8; PREFACE.len()],
    first_left: std::ops::Range<usize>,
    frames: Option<FrameBudget>,
    stall: Duration,
    /// Runs while the peer leaves something untaken. That it takes a little ends nothing: only when
    /// all that was to be written, which is a few frames at a time, has left.
    stalled: Option<Pin<Box<Sleep>>>,
    connection: Arc<Connection>,
}

impl Watched {
    /// Reads until it is certain whether the peer speaks HTTP/2.
    pub(super) async fn greet(
        mut bytes: Bytes,
        stall: Duration,
        connection: Arc<Connection>,
    ) -> io::Result<Self> {
        let mut first = [0; PREFACE.len()];
        let mut read = 0;
        while read < PREFACE.len() && first[..read] == PREFACE[..read] {
            match bytes.read(&mut first[read..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => read += more,
            }
        }
        let frames = (first == *PREFACE).then(|| FrameBudget::new(Instant::now()));
        Ok(Self {
            bytes,
            first,
            first_left: 0..read,
            frames,
            stall,
            stalled: None,
            connection,
        })
    }

    pub(super) fn is_http2(&self) -> bool {
        self.frames.is_some()
    }

    fn count(&mut self, context: &mut Context<'_>, read: &[u8]) -> io::Result<()> {
        let Some(frames) = &mut self.frames else {
            return Ok(());
        };
        let refused = |why, text| {
            self.connection.because(why);
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        };
        let Ok(sent) = frames.read(read, Instant::now()) else {
            return refused(Ended::Flood, "a flood of frames");
        };
        if sent.hasty_resets > 0 {
            match self.connection.calls.reset_hastily(sent.hasty_resets) {
                Haste::Little => {}
                Haste::Much => self.connection.dismiss(Order::Leave, Ended::Resets),
                Haste::Unbearable => return refused(Ended::Resets, "a flood of resets"),
            }
        }
        // Each is worth a turn as reads are, or a peer with thousands of requests at once would hold
        // a thread until the last of them has begun.
        let spent = |_: &usize| {
            let turn = coop::cooperative(std::future::ready(()));
            std::pin::pin!(turn).poll(context).is_pending()
        };
        let _ = (0..sent.requests).find(spent);
        Ok(())
    }

    fn written(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let (Some(frames), Poll::Ready(Ok(bytes))) = (&mut self.frames, &written) {
            frames.wrote(*bytes);
        }
        self.taken(context, written)
    }

    /// Notes whether the peer takes what is written to it, and gives up where it does not for long.
    fn taken<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let stall = self.stall;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        if stalled.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.connection.because(Ended::Stalled);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if !this.first_left.is_empty() {
            let taken = this.first_left.len().min(buffer.remaining());
            let end = this.first_left.start + taken;
            buffer.put_slice(&this.first[this.first_left.start..end]);
            this.first_left.start = end;
        } else {
            std::task::ready!(Pin::new(&mut this.bytes).poll_read(context, buffer))?;
        }
        Poll::Ready(this.count(context, &buffer.filled()[before..]))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.bytes).poll_write(context, bytes);
        this.written(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.bytes).poll_write_vectored(context, pieces);
        this.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.bytes.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.bytes).poll_flush(context);
        if flushed.is_ready() {
            this.stalled = None;
        }
        this.taken(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let closed = Pin::new(&mut this.bytes).poll_shutdown(context);
        this.taken(context, closed)
    }
}
