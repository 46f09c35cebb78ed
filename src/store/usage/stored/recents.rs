//! The stored form of a token's last requests: of each only what tells it from the one before.
//!
//! Each begins with a byte whose bits say what follows it, then comes its time, as how many
//! microseconds lie between it and the one before. Texts are told by their place among those that came
//! before, from 1 on, or as 0, a length and what they are. Names of judgements that one process gave
//! end in digits that count: these are told as a number, as how far it is from the one before.
//!
//! All numbers are varints; those that may be below zero are zigzag, as protobuf's `sint64` is.

use std::collections::VecDeque;
use std::net::IpAddr;

use prost::encoding::{decode_varint, encode_varint};

use super::{corrupt, read_address};
use crate::domain::alphabet;
use crate::domain::time::Timestamp;
use crate::domain::usage::{Judged, Recent};
use crate::domain::verdict::Verdict;
use crate::store::StoreError;

/// Head of the validation id, method, path, client address, user agent: the bit of each stands in
/// its place.
const TEXTS: usize = 5;
/// The verdict is another one.
const VERDICT: u8 = 1 << 5;
/// The validation id ends in no digits that count; all of it is its head.
const WHOLE: u8 = 1 << 6;
/// Digits of a validation id that count.
const COUNT_DIGITS: usize = 8;
/// Texts that are told by their places, at most.
const KNOWN_MAX: usize = 64;

/// What was told last.
struct Told<'a> {
    at: u64,
    verdict: Option<Verdict>,
    count: u64,
    texts: [&'a [u8]; TEXTS],
    known: [&'a [u8]; KNOWN_MAX],
    known_count: usize,
}

impl<'a> Told<'a> {
    fn nothing() -> Self {
        Self {
            at: 0,
            verdict: None,
            count: 0,
            texts: [&[]; TEXTS],
            known: [&[]; KNOWN_MAX],
            known_count: 0,
        }
    }

    fn know(&mut self, text: &'a [u8]) {
        if self.known_count < KNOWN_MAX {
            self.known[self.known_count] = text;
            self.known_count += 1;
        }
    }
}

/// An address, as 4 or 16 bytes.
struct Address([u8; 16], usize);

impl Address {
    fn of(address: Option<IpAddr>) -> Self {
        let mut bytes = [0; 16];
        let length = match address {
            None => 0,
            Some(IpAddr::V4(address)) => {
                bytes[..4].copy_from_slice(&address.octets());
                4
            }
            Some(IpAddr::V6(address)) => {
                bytes = address.octets();
                16
            }
        };
        Self(bytes, length)
    }
}

/// Writes down requests, in their order.
pub(super) fn write(out: &mut Vec<u8>, requests: &VecDeque<Recent>) {
    // They have to stand somewhere while they are known.
    if let [one] = requests.as_slices().0
        && requests.len() == 1
    {
        let address = Address::of(one.client);
        return write_one(out, one, &address, &mut Told::nothing());
    }
    let addresses = requests.iter().map(|one| Address::of(one.client));
    let addresses: Vec<_> = addresses.collect();
    let mut told = Told::nothing();
    for (one, address) in requests.iter().zip(&addresses) {
        write_one(out, one, address, &mut told);
    }
}

fn write_one<'a>(out: &mut Vec<u8>, one: &'a Recent, address: &'a Address, told: &mut Told<'a>) {
    let id = one.validation_id();
    let (head, count) = split(id).map_or((id, None), |(head, count)| (head, Some(count)));
    let texts = [
        head.as_bytes(),
        one.method().as_bytes(),
        one.path().as_bytes(),
        &address.0[..address.1],
        one.user_agent().as_bytes(),
    ];
    let begin = out.len();
    let mut bits = 0;
    out.push(0);
    difference(out, one.at.micros(), &mut told.at);
    if told.verdict != Some(one.verdict) {
        bits |= VERDICT;
        told.verdict = Some(one.verdict);
        out.push(one.verdict.number());
    }
    for (place, text) in texts.into_iter().enumerate() {
        if text == told.texts[place] {
            continue;
        }
        bits |= 1 << place;
        told.texts[place] = text;
        let known = &told.known[..told.known_count];
        match known.iter().position(|known| *known == text) {
            Some(at) => encode_varint(at as u64 + 1, out),
            None => {
                out.push(0);
                encode_varint(text.len() as u64, out);
                out.extend_from_slice(text);
                told.know(text);
            }
        }
    }
    match count {
        Some(count) => difference(out, count, &mut told.count),
        None => bits |= WHOLE,
    }
    out[begin] = bits;
}

/// Reads requests; the oldest stands first, as it was written.
pub(super) fn read(mut bytes: &[u8]) -> Result<VecDeque<Recent>, StoreError> {
    let mut told = Told::nothing();
    let mut requests = VecDeque::new();
    let mut id = String::new();
    while let Some((bits, rest)) = bytes.split_first() {
        bytes = rest;
        read_difference(&mut bytes, &mut told.at)?;
        if bits & VERDICT > 0 {
            let (number, rest) = bytes.split_first().ok_or_else(cut_off)?;
            bytes = rest;
            let verdict = Verdict::of_number(*number);
            told.verdict = Some(verdict.ok_or_else(|| corrupt(&"no such verdict"))?);
        }
        for place in 0..TEXTS {
            if bits & 1 << place > 0 {
                told.texts[place] = read_text(&mut bytes, &mut told)?;
            }
        }
        let [head, method, path, client, user_agent] = told.texts;
        id.clear();
        id.push_str(utf8(head)?);
        if bits & WHOLE == 0 {
            read_difference(&mut bytes, &mut told.count)?;
            let digits = alphabet::digits_of::<COUNT_DIGITS>(told.count);
            id.push_str(alphabet::text(&digits));
        }
        let verdict = told.verdict;
        let judged = Judged {
            at: Timestamp::from_micros(told.at),
            verdict: verdict.ok_or_else(|| corrupt(&"a judged request without verdict"))?,
            cost: 0,
            secret_version: 0,
            validation_id: &id,
            method: utf8(method)?,
            path: utf8(path)?,
            client: read_address(client)?,
            user_agent: utf8(user_agent)?,
        };
        requests.push_back(Recent::of(&judged, None));
    }
    Ok(requests)
}

fn read_text<'a>(bytes: &mut &'a [u8], told: &mut Told<'a>) -> Result<&'a [u8], StoreError> {
    let place = read_varint(bytes)?;
    if place > 0 {
        let known = &told.known[..told.known_count];
        let known = usize::try_from(place - 1).ok().and_then(|at| known.get(at));
        return known
            .copied()
            .ok_or_else(|| corrupt(&"a text that did not come before"));
    }
    let length = usize::try_from(read_varint(bytes)?).map_err(|_| cut_off())?;
    let (text, rest) = bytes.split_at_checked(length).ok_or_else(cut_off)?;
    *bytes = rest;
    told.know(text);
    Ok(text)
}

/// A validation id before its last digits, and the number that these are.
fn split(id: &str) -> Option<(&str, u64)> {
    let (head, digits) = id.split_at_checked(id.len().checked_sub(COUNT_DIGITS)?)?;
    Some((head, alphabet::number(digits)?))
}

fn difference(out: &mut Vec<u8>, value: u64, before: &mut u64) {
    let by = value.wrapping_sub(*before).cast_signed();
    *before = value;
    encode_varint((by << 1 ^ by >> 63).cast_unsigned(), out);
}

fn read_difference(bytes: &mut &[u8], value: &mut u64) -> Result<(), StoreError> {
    let by = read_varint(bytes)?;
    let by = (by >> 1) ^ (by & 1).wrapping_neg();
    *value = value.wrapping_add(by);
    Ok(())
}

fn read_varint(bytes: &mut &[u8]) -> Result<u64, StoreError> {
    decode_varint(bytes).map_err(|error| corrupt(&error))
}

fn utf8(text: &[u8]) -> Result<&str, StoreError> {
    std::str::from_utf8(text).map_err(|error| corrupt(&error))
}

fn cut_off() -> StoreError {
    corrupt(&"a request that is cut off")
}
