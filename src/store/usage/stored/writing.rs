//! Protobuf's wire format, written straight from what is kept: no message is made first only to be
//! written.
//!
//! Format: <https://protobuf.dev/programming-guides/encoding/>.

use prost::Message;
use prost::encoding::encode_varint;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH_DELIMITED: u32 = 2;

fn key(out: &mut Vec<u8>, tag: u32, kind: u32) {
    encode_varint(u64::from(tag << 3 | kind), out);
}

/// A number; 0 stands for itself when it is absent.
pub(super) fn number(out: &mut Vec<u8>, tag: u32, value: u64) {
    if value > 0 {
        key(out, tag, VARINT);
        encode_varint(value, out);
    }
}

pub(super) fn fixed(out: &mut Vec<u8>, tag: u32, value: u64) {
    if value > 0 {
        key(out, tag, FIXED64);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// A text, or bytes; nothing stands for itself when it is absent.
pub(super) fn text(out: &mut Vec<u8>, tag: u32, text: &[u8]) {
    if !text.is_empty() {
        key(out, tag, LENGTH_DELIMITED);
        encode_varint(text.len() as u64, out);
        out.extend_from_slice(text);
    }
}

/// A message, or anything else that is written behind its length.
pub(super) fn inner(out: &mut Vec<u8>, tag: u32, write: impl FnOnce(&mut Vec<u8>)) {
    key(out, tag, LENGTH_DELIMITED);
    behind_its_length(out, write);
}

pub(super) fn behind_its_length(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    // Mostly it is short, and has room for its length then.
    out.push(0);
    write(out);
    let length = out.len() - begin - 1;
    if length < 0x80 {
        out[begin] = length as u8;
        return;
    }
    let mut rest = Vec::with_capacity(10);
    encode_varint(length as u64, &mut rest);
    out.splice(begin..=begin, rest);
}

/// A message that is made first, since it is rare.
pub(super) fn message(out: &mut Vec<u8>, tag: u32, message: &impl Message) {
    key(out, tag, LENGTH_DELIMITED);
    // A vector has room for whatever there is memory for.
    message.encode_length_delimited(out).unwrap_or_default();
}
