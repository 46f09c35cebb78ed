//! The bytes of a connection, with an ear for servers that answer in another language, or not at
//! all: gRPC's own errors would not say so.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tls::Mishap;

/// What was heard instead of HTTP/2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// TLS where plaintext was spoken.
    Tls,
    Http1,
    /// Something else that is no HTTP/2.
    Noise,
    /// The end of the connection, before a single byte.
    Nothing,
    /// The server ended TLS after hands were shaken, as TLS 1.3 does for want of a certificate.
    Mishap(Mishap),
}

/// What was heard last, if anything was.
#[derive(Clone, Debug, Default)]
pub(super) struct Ear(Arc<Mutex<Option<Heard>>>);

impl Ear {
    pub(super) fn heard(&self) -> Option<Heard> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, heard: Heard) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(heard);
    }
}

/// A connection whose first byte is listened to.
pub(super) struct Overheard<S> {
    stream: S,
    ear: Ear,
    /// The server has said something that may be HTTP/2.
    understood: bool,
}

impl<S> Overheard<S> {
    pub(super) fn new(stream: S, ear: Ear) -> Self {
        Self {
            stream,
            ear,
            understood: false,
        }
    }

    fn hear(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.understood {
            return Ok(());
        }
        let heard = match bytes.first() {
            // A server begins with a frame of settings, which are few: the first byte of its length
            // is zero (RFC 9113, section 3.4).
            Some(0) => {
                self.understood = true;
                return Ok(());
            }
            // An alert or a handshake (RFC 8446, section 5.1).
            Some(0x15 | 0x16) => Heard::Tls,
            Some(b'H') => Heard::Http1,
            Some(_) => Heard::Noise,
            None => Heard::Nothing,
        };
        self.ear.note(heard);
        Err(io::ErrorKind::InvalidData.into())
    }

    fn broken(&self, error: io::Error) -> io::Error {
        if let Some(mishap) = Mishap::of(&error) {
            self.ear.note(Heard::Mishap(mishap));
        }
        error
    }
}

impl<S: AsyncRead + Unpin> Overheard<S> {
    /// Whoever closes a connection often says why first, and after an error of writing nobody else
    /// would read that.
    fn listen_again<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if !self.understood && matches!(written, Poll::Ready(Err(_))) {
            let mut last = [0; 512];
            let mut last = ReadBuf::new(&mut last);
            // What cannot be written to has ended, so there is something to read, soon at least.
            let _ = std::task::ready!(Pin::new(self).poll_read(context, &mut last));
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Overheard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = std::task::ready!(Pin::new(&mut this.stream).poll_read(context, buffer));
        Poll::Ready(match read {
            Ok(()) => this.hear(&buffer.filled()[before..]),
            Err(error) => Err(this.broken(error)),
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Overheard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.listen_again(context, written)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        this.listen_again(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// What is heard of a server that says this and closes.
    async fn heard(said: &[u8]) -> (bool, Option<Heard>) {
        let ear = Ear::default();
        let (near, mut far) = tokio::io::duplex(64);
        far.write_all(said).await.unwrap();
        drop(far);
        let mut stream = Overheard::new(near, ear.clone());
        let read = stream.read(&mut [0; 8]).await;
        (read.is_ok(), ear.heard())
    }

    #[tokio::test]
    async fn the_first_byte_tells_the_language() {
        for (said, expected) in [
            (&b"\x15\x03\x03\0\x02\x02\x32"[..], Heard::Tls),
            (b"HTTP/1.1 400 Bad Request\r\n", Heard::Http1),
            (b"SSH-2.0", Heard::Noise),
            (b"", Heard::Nothing),
        ] {
            assert_eq!(heard(said).await, (false, Some(expected)));
        }
        assert_eq!(heard(b"\0\0\0\x04\0\0\0\0\0").await, (true, None));
    }

    #[tokio::test]
    async fn what_a_server_said_before_it_closed_is_heard_though_writing_fails_first() {
        let ear = Ear::default();
        let (near, mut far) = tokio::io::duplex(64);
        far.write_all(b"HTTP/1.1 400").await.unwrap();
        drop(far);
        let mut stream = Overheard::new(near, ear.clone());
        assert!(stream.write_all(b"PRI").await.is_err());
        assert_eq!(ear.heard(), Some(Heard::Http1));
    }
}
