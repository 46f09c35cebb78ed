//! ValidateStream: questions on streams that last, many of them without an answer yet.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use prost::encoding::encode_varint;

use crate::Fault;
use crate::ceiling::VALIDATE_STREAM;
use crate::driving::{Driven, Line, MEASURED, OVER, PREFIX, close, open};
use crate::frames::{Event, Wire};
use crate::validating::Asked;

/// Field 1 both ways: a number of the caller's choice.
const ID: u8 = 1 << 3;
/// Field 2: the question in what is sent, the answer in what comes back.
const BODY: u8 = 2 << 3 | 2;

/// Streams of each connection.
const STREAMS: usize = 2;
/// What is sent at once at most, so that it never exceeds the room that any server gives at first.
const BATCH_MAX: usize = 32 * 1024;

/// One stream.
struct Stream {
    number: u32,
    /// Bytes of messages that the server still takes.
    room: i64,
    /// About which token each slot asked, and when.
    slots: Vec<(usize, Instant)>,
    free: Vec<usize>,
    /// What came and is no whole message yet.
    incoming: Vec<u8>,
}

/// Asks over some streams of one connection, `in_flight` questions at once on each, until the phase
/// is over.
pub(crate) fn drive(
    line: &Line,
    asked: &Asked,
    in_flight: usize,
    phase: &AtomicU8,
) -> Result<Driven, Fault> {
    let mut wire = Wire::connect(line.to, &line.caller)?;
    let begun = Instant::now();
    let mut streams: Vec<Stream> = (0..STREAMS)
        .map(|_| Stream {
            number: wire.begin(VALIDATE_STREAM),
            room: wire.room_of_streams(),
            slots: vec![(0, begun); in_flight],
            free: (0..in_flight).collect(),
            incoming: Vec::new(),
        })
        .collect();
    let (mut batch, mut driven) = (Vec::new(), Driven::default());
    loop {
        let is_over = phase.load(Ordering::Relaxed) == OVER;
        for stream in &mut streams {
            if !is_over {
                stream.ask(&mut wire, asked, &mut batch);
            }
        }
        if is_over && streams.iter().all(|stream| stream.free.len() == in_flight) {
            for stream in &streams {
                wire.end(stream.number);
            }
            wire.flush()?;
            return Ok(driven);
        }
        wire.flush()?;
        wire.wait()?;
        while let Some(event) = wire.event()? {
            match event {
                Event::Part { stream, part } => {
                    let stream = of_number(&mut streams, stream)?;
                    stream.incoming.extend_from_slice(wire.part(part));
                    stream.hear(asked, phase, &mut driven)?;
                }
                Event::Ended { .. } => return Err("a stream ended by itself".into()),
                Event::Room { stream: 0, .. } => {}
                Event::Room { stream, more } => {
                    of_number(&mut streams, stream)?.room += i64::from(more);
                }
            }
        }
    }
}

fn of_number(streams: &mut [Stream], number: u32) -> Result<&mut Stream, Fault> {
    let found = streams.iter_mut().find(|stream| stream.number == number);
    found.ok_or_else(|| "the server answers on a stream that nobody began".into())
}

impl Stream {
    /// Sends a question for each free slot, as far as there is room.
    fn ask(&mut self, wire: &mut Wire, asked: &Asked, batch: &mut Vec<u8>) {
        let room = self.room.min(wire.room());
        let room = usize::try_from(room).unwrap_or(0).min(BATCH_MAX);
        batch.clear();
        while let Some(slot) = self.free.last().copied() {
            let begun = batch.len();
            open(batch);
            batch.push(ID);
            encode_varint(slot as u64, batch);
            batch.push(BODY);
            let place = asked.next_within(batch);
            close(batch, begun);
            if batch.len() > room {
                // Asked about with the next.
                batch.truncate(begun);
                break;
            }
            self.free.pop();
            self.slots[slot] = (place, Instant::now());
        }
        self.room -= i64::try_from(batch.len()).unwrap_or(i64::MAX);
        wire.send(self.number, batch, false);
    }

    /// Looks at each message that came whole.
    fn hear(&mut self, asked: &Asked, phase: &AtomicU8, driven: &mut Driven) -> Result<(), Fault> {
        let is_measured = phase.load(Ordering::Relaxed) == MEASURED;
        let now = Instant::now();
        let mut rest = self.incoming.as_slice();
        while let Some((prefix, after)) = rest.split_first_chunk::<PREFIX>() {
            let [_, length @ ..] = *prefix;
            let Some((message, after)) =
                after.split_at_checked(u32::from_be_bytes(length) as usize)
            else {
                break;
            };
            rest = after;
            let (slot, body) = taken_apart(message)?;
            let (place, begun) = *self.slots.get(slot).ok_or("an answer to no question")?;
            self.free.push(slot);
            match body {
                Some(body) => {
                    asked.check(place, body)?;
                    if is_measured {
                        driven.latencies.push(now - begun);
                    }
                }
                None => driven.failed += usize::from(is_measured),
            }
        }
        let done = self.incoming.len() - rest.len();
        self.incoming.drain(..done);
        Ok(())
    }
}

/// The number and the answer of a message; `None` for an error.
fn taken_apart(message: &[u8]) -> Result<(usize, Option<&[u8]>), Fault> {
    let mut rest = message;
    let mut id = 0;
    // A number of 0 is left out.
    if let Some(after) = rest.strip_prefix(&[ID]) {
        rest = after;
        id = prost::encoding::decode_varint(&mut rest)?;
    }
    let Some(mut body) = rest.strip_prefix(&[BODY]) else {
        return Ok((usize::try_from(id)?, None));
    };
    let length = prost::encoding::decode_varint(&mut body)?;
    match usize::try_from(length)? == body.len() {
        true => Ok((usize::try_from(id)?, Some(body))),
        false => Err("an answer on a stream has more to say than is known".into()),
    }
}
