//! The protobuf codec of every method; a message that cannot be decoded is the sender's error.

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic_prost::ProstCodec;

use super::status;

/// What a buffer holds at first, in bytes, and from how many on it is sent before it is complete. Most
/// messages have a few hundred; tonic's 8 KiB for each are beyond what an allocator keeps at hand.
const BUFFER_BYTES: usize = 1 << 10;
const SENT_FROM_BYTES: usize = 32 << 10;

fn buffers() -> BufferSettings {
    BufferSettings::new(BUFFER_BYTES, SENT_FROM_BYTES)
}

/// [`ProstCodec`], but a decoding error is `INVALID_ARGUMENT` with details, not `INTERNAL`.
pub struct EdgeCodec<T, U>(ProstCodec<T, U>);

impl<T, U> Default for EdgeCodec<T, U>
where
    ProstCodec<T, U>: Default,
{
    fn default() -> Self {
        Self(ProstCodec::default())
    }
}

impl<T, U> Codec for EdgeCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = EdgeEncoder<<ProstCodec<T, U> as Codec>::Encoder>;
    type Decoder = EdgeDecoder<<ProstCodec<T, U> as Codec>::Decoder>;

    fn encoder(&mut self) -> Self::Encoder {
        EdgeEncoder(self.0.encoder())
    }

    fn decoder(&mut self) -> Self::Decoder {
        EdgeDecoder(self.0.decoder())
    }
}

/// Encoder of [`EdgeCodec`].
pub struct EdgeEncoder<E>(E);

impl<E: Encoder<Error = Status>> Encoder for EdgeEncoder<E> {
    type Item = E::Item;
    type Error = Status;

    fn encode(&mut self, item: Self::Item, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        self.0.encode(item, buffer)
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}

/// Decoder of [`EdgeCodec`].
pub struct EdgeDecoder<D>(D);

impl<D: Decoder<Error = Status>> Decoder for EdgeDecoder<D> {
    type Item = D::Item;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        self.0
            .decode(buffer)
            .map_err(|error| status::undecodable(error.message()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}
