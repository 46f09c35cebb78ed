//! Questions that are encoded beforehand, and answers that are hardly decoded, so that little of the
//! machine goes to whoever asks.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::decode_varint;
use tokio_stream::Stream;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// How `valid: true, verdict: VERDICT_VALID` begins an encoded ValidateResponse.
const VALID: [u8; 4] = [0x08, 1, 0x10, 1];
/// The tags of ValidateStreamResponse: `id`, and `response`.
const ID: u64 = 0x08;
const RESPONSE: u64 = 0x12;

/// Encodes bytes as they are; decodes the id of an answer, which must say that the secret is valid.
#[derive(Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = u64;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = u64;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<u64>, Status> {
        let id = id_of_valid(buffer);
        buffer.advance(buffer.remaining());
        id.map(Some)
            .ok_or(Status::data_loss("not the expected answer"))
    }
}

fn id_of_valid(buffer: &mut impl Buf) -> Option<u64> {
    let mut varint = || decode_varint(buffer).ok();
    let id = (varint()? == ID).then(&mut varint)??;
    (varint()? == RESPONSE).then(&mut varint)??;
    let mut begins = [0; VALID.len()];
    buffer.try_copy_to_slice(&mut begins).ok()?;
    (begins == VALID).then_some(id)
}

/// What one stream still may ask.
#[derive(Default)]
pub(crate) struct Credit {
    answered: AtomicU64,
    over: std::sync::atomic::AtomicBool,
    waiting: Mutex<Option<Waker>>,
}

impl Credit {
    /// One answer came.
    pub(crate) fn give(&self) {
        self.answered.fetch_add(1, Ordering::Release);
        self.wake();
    }

    /// Nothing more is asked.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        let waiting = self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

/// Questions, one after the other, at most so many of them unanswered.
pub(crate) struct Asking {
    pub(crate) questions: Arc<[Bytes]>,
    pub(crate) next: usize,
    pub(crate) sent: u64,
    pub(crate) at_once: u64,
    pub(crate) credit: Arc<Credit>,
}

impl Asking {
    fn may(&self) -> bool {
        self.sent - self.credit.answered.load(Ordering::Acquire) < self.at_once
    }
}

impl Stream for Asking {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if !self.may() {
            let waker = Some(context.waker().clone());
            *self
                .credit
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = waker;
            // Answers may have come meanwhile.
            if !self.may() && !self.credit.over.load(Ordering::Acquire) {
                return Poll::Pending;
            }
        }
        if self.credit.over.load(Ordering::Acquire) {
            return Poll::Ready(None);
        }
        let question = self.questions[self.next % self.questions.len()].clone();
        self.next += 1;
        self.sent += 1;
        Poll::Ready(Some(question))
    }
}
