//! Calls over connections, as many in flight at a time as there are slots: a slot whose call was answered
//! begins the next one.
//!
//! Each connection has a thread of its own that sleeps in `read`: what came together is answered together
//! by one `write`, and nothing else stands between a caller and the socket.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::Fault;
use crate::frames::{Event, Wire};

pub(crate) const WARM_UP: u8 = 0;
pub(crate) const MEASURED: u8 = 1;
pub(crate) const OVER: u8 = 2;

/// Before each message of gRPC: whether it is compressed, and its length.
pub(crate) const PREFIX: usize = 5;
/// What a message of a script may take at most.
pub(crate) const MESSAGE_MAX: i64 = 8192;

/// What is called over one connection.
pub(crate) trait Script: Send {
    /// Appends the message of a slot's next call, and answers the path of its method; `None` where nothing
    /// is left to be asked.
    fn ask(&mut self, slot: usize, message: &mut Vec<u8>) -> Option<&'static str>;

    /// Looks at the answer of a slot's call. An error fails the run.
    fn hear(&mut self, slot: usize, answer: &[u8]) -> Result<Heard, Fault>;

    /// A slot's call ended by an error: what it begins next is something new.
    fn fail(&mut self, _slot: usize) {}
}

/// What came of the calls over one connection.
#[derive(Default)]
pub(crate) struct Driven {
    /// How long each took whose answer came while it was measured.
    pub(crate) latencies: Vec<Duration>,
    /// How many ended by an error meanwhile.
    pub(crate) failed: usize,
}

/// What an answer is to what is timed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The end of it.
    Whole,
    /// A part of it: the slot's next call belongs to it, too.
    Part,
}

/// Whom a connection calls, and who calls.
pub(crate) struct Line {
    pub(crate) to: SocketAddr,
    /// What stands in `authorization`.
    pub(crate) caller: String,
}

#[derive(Default)]
struct Slot {
    stream: u32,
    begun: Option<Instant>,
    answer: Vec<u8>,
}

/// Drives a script until the phase is over, or nothing is left to be asked.
pub(crate) fn drive(
    line: &Line,
    script: &mut dyn Script,
    in_flight: usize,
    phase: &AtomicU8,
) -> Result<Driven, Fault> {
    let mut wire = Wire::connect(line.to, &line.caller)?;
    let mut slots: Vec<Slot> = (0..in_flight).map(|_| Slot::default()).collect();
    let mut free: Vec<usize> = (0..in_flight).collect();
    let (mut retired, mut message, mut driven) = (0, Vec::new(), Driven::default());
    loop {
        while wire.room() > MESSAGE_MAX
            && let Some(place) = free.pop()
        {
            let slot = &mut slots[place];
            let is_over = slot.begun.is_none() && phase.load(Ordering::Relaxed) == OVER;
            start(&mut message);
            let path = if is_over {
                None
            } else {
                script.ask(place, &mut message)
            };
            let Some(path) = path else {
                retired += 1;
                continue;
            };
            close(&mut message, 0);
            slot.begun.get_or_insert_with(Instant::now);
            slot.stream = wire.begin(path);
            wire.send(slot.stream, &message, true);
        }
        if retired == in_flight {
            return Ok(driven);
        }
        wire.flush()?;
        wire.wait()?;
        while let Some(event) = wire.event()? {
            match event {
                Event::Part { stream, part } => {
                    let (_, slot) = of_stream(&mut slots, stream)?;
                    slot.answer.extend_from_slice(wire.part(part));
                }
                Event::Ended { stream } => {
                    let (place, slot) = of_stream(&mut slots, stream)?;
                    let is_measured = phase.load(Ordering::Relaxed) == MEASURED;
                    match slot.answer.get(PREFIX..) {
                        Some(answer) => {
                            if script.hear(place, answer)? == Heard::Whole
                                && let Some(begun) = slot.begun.take()
                                && is_measured
                            {
                                driven.latencies.push(begun.elapsed());
                            }
                        }
                        // Why stands in the trailers, which nobody decodes here.
                        None => {
                            slot.begun = None;
                            script.fail(place);
                            driven.failed += usize::from(is_measured);
                        }
                    }
                    slot.answer.clear();
                    free.push(place);
                }
                Event::Room { .. } => {}
            }
        }
    }
}

fn of_stream(slots: &mut [Slot], stream: u32) -> Result<(usize, &mut Slot), Fault> {
    let mut slots = slots.iter_mut().enumerate();
    let found = slots.find(|(_, slot)| slot.stream == stream);
    found.ok_or_else(|| "the server answers a call that nobody made".into())
}

/// Begins a message in an empty buffer.
pub(crate) fn start(buffer: &mut Vec<u8>) {
    buffer.clear();
    open(buffer);
}

/// Leaves room for the prefix of a message that follows.
pub(crate) fn open(buffer: &mut Vec<u8>) {
    buffer.extend([0; PREFIX]);
}

/// Fills in the prefix of the message that began at `begun`, and is whole now.
pub(crate) fn close(buffer: &mut [u8], begun: usize) {
    let length = u32::try_from(buffer.len() - begun - PREFIX).expect("a message of a few KiB");
    buffer[begun + 1..begun + PREFIX].copy_from_slice(&length.to_be_bytes());
}
