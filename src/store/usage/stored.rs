//! The stored forms of usage, shared by both stores; they change by protobuf's rules only.
//!
//! A ledger is a row of frames: at its front what was folded together, if anything was, then the gains
//! that were added since, each as it came. So adding is appending. Closed hours are rows of frames as
//! well, one for each time that something of the hour was put there.
//!
//! Field numbers are for ever; times are microseconds since 1970, spans are microseconds.

mod counts;
mod recents;
mod requests;
mod used;
mod writing;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;

use prost::Message;

use self::counts::{StoredCounts, pairs};
use self::requests::{StoredEnded, StoredRecent};
use self::used::{StoredUse, StoredVersion, write_use};
use crate::domain::time::Timestamp;
use crate::domain::usage::{
    Add, Counts, Day, Ended, Gain, Hour, Ledger, Mark, Recent, Use, Version,
};
use crate::store::StoreError;

/// A frame of a ledger: what was folded, or one gain.
#[derive(Clone, PartialEq, Message)]
struct StoredFrame {
    #[prost(message, optional, tag = "1")]
    folded: Option<StoredFolded>,
    #[prost(fixed64, tag = "2")]
    process: u64,
    #[prost(uint64, tag = "3")]
    sequence: u64,
    #[prost(message, repeated, tag = "4")]
    hours: Vec<StoredUse>,
    /// As they were written before `recents` was.
    #[prost(message, repeated, tag = "5")]
    recent: Vec<StoredRecent>,
    #[prost(message, repeated, tag = "6")]
    ended: Vec<StoredEnded>,
    /// The last requests, as [`recents`] writes them.
    #[prost(bytes = "vec", tag = "7")]
    recents: Vec<u8>,
}

/// Numbers of its fields.
mod tag {
    pub(super) const FOLDED: u32 = 1;
    pub(super) const PROCESS: u32 = 2;
    pub(super) const SEQUENCE: u32 = 3;
    pub(super) const HOURS: u32 = 4;
    pub(super) const ENDED: u32 = 6;
    pub(super) const RECENTS: u32 = 7;
}

/// What else is folded, beside open hours and last requests, which stand where those of gains do.
#[derive(Clone, PartialEq, Message)]
struct StoredFolded {
    #[prost(message, required, tag = "1")]
    total: StoredCounts,
    #[prost(message, repeated, tag = "2")]
    last_used: Vec<StoredVersion>,
    /// Hours, each as how many lie between it and the one before, followed by its requests.
    #[prost(uint64, repeated, tag = "3")]
    short: Vec<u64>,
    #[prost(message, repeated, tag = "4")]
    marks: Vec<StoredMark>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct StoredMark {
    #[prost(fixed64, tag = "1")]
    process: u64,
    #[prost(uint64, tag = "2")]
    sequence: u64,
}

#[derive(Clone, PartialEq, Message)]
struct StoredDays {
    #[prost(message, repeated, tag = "1")]
    days: Vec<StoredDay>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredDay {
    #[prost(uint32, tag = "1")]
    day: u32,
    #[prost(message, required, tag = "2")]
    counts: StoredCounts,
}

/// A gain, as it is appended to its subject's ledger.
pub fn encode_gain(mark: Mark, gain: &Gain) -> Vec<u8> {
    let mut frame = Vec::with_capacity(256);
    write_gain(&mut frame, mark, gain);
    frame
}

/// The same, written behind whatever stands there.
pub fn write_gain(out: &mut Vec<u8>, mark: Mark, gain: &Gain) {
    let Gain {
        hours,
        recent,
        ended,
    } = gain;
    writing::behind_its_length(out, |out| {
        writing::fixed(out, tag::PROCESS, mark.process);
        writing::number(out, tag::SEQUENCE, mark.sequence);
        let hours = hours.iter().map(|(hour, used)| (hour, used));
        write_rest(out, hours, recent, ended);
    });
}

/// What gains and what was folded have in common.
fn write_rest<'a>(
    out: &mut Vec<u8>,
    hours: impl Iterator<Item = (&'a Hour, &'a Use)>,
    recent: &VecDeque<Recent>,
    ended: &VecDeque<Ended>,
) {
    for (hour, used) in hours {
        writing::inner(out, tag::HOURS, |out| write_use(out, *hour, used));
    }
    for ended in ended {
        writing::message(out, tag::ENDED, &StoredEnded::from(ended));
    }
    if !recent.is_empty() {
        writing::inner(out, tag::RECENTS, |out| recents::write(out, recent));
    }
}

/// A ledger, folded into one frame.
pub fn encode_ledger(ledger: &Ledger) -> Vec<u8> {
    let Ledger {
        total,
        last_used,
        short,
        open,
        recent,
        ended,
        marks,
    } = ledger;
    let mut last = 0;
    let short = short.iter().flat_map(|(hour, requests)| {
        let gap = hour.number() - last;
        last = hour.number();
        [u64::from(gap), *requests]
    });
    let used = last_used.iter().map(|(version, at)| {
        let row = Version {
            requests: 0,
            last_used: Some(*at),
        };
        StoredVersion::of(*version, &row)
    });
    let folded = StoredFolded {
        total: total.into(),
        last_used: used.collect(),
        short: short.collect(),
        marks: marks
            .iter()
            .map(|Mark { process, sequence }| StoredMark {
                process: *process,
                sequence: *sequence,
            })
            .collect(),
    };
    let mut frame = Vec::with_capacity(1024);
    writing::behind_its_length(&mut frame, |out| {
        writing::message(out, tag::FOLDED, &folded);
        write_rest(out, open.iter(), recent, ended);
    });
    frame
}

/// Reads a ledger from all of its frames; an empty one from none.
pub fn decode_ledger(frames: &[u8]) -> Result<Ledger, StoreError> {
    let mut ledger = Ledger::default();
    add_frames(&mut ledger, frames)?;
    Ok(ledger)
}

/// Reads more frames of a ledger.
pub fn add_frames(ledger: &mut Ledger, frames: &[u8]) -> Result<(), StoreError> {
    for frame in Frames::<StoredFrame>::of(frames) {
        let StoredFrame {
            folded,
            process,
            sequence,
            hours,
            recent,
            ended,
            recents,
        } = frame?;
        let mut requests = recents::read(&recents)?;
        for recent in recent {
            requests.push_back(recent.read()?);
        }
        let ended = ended.into_iter().map(StoredEnded::read);
        let mut gain = Gain {
            hours: Vec::with_capacity(hours.len()),
            recent: requests,
            ended: ended.collect::<Result<_, _>>()?,
        };
        for stored in hours {
            let (hour, used) = stored.read()?;
            gain.add_hour(hour, used);
        }
        match folded {
            None => {
                ledger.add(Mark { process, sequence }, gain);
            }
            Some(folded) => *ledger = folded.read(gain)?,
        }
    }
    Ok(())
}

/// A closed hour's details, as they are appended to what was put there before.
pub fn encode_hour(hour: Hour, used: &Use) -> Vec<u8> {
    let mut frame = Vec::with_capacity(256);
    writing::behind_its_length(&mut frame, |out| write_use(out, hour, used));
    frame
}

/// Reads what was put down of closed hours, of one or of several.
pub fn decode_hours(frames: &[u8]) -> Result<BTreeMap<Hour, Use>, StoreError> {
    let mut hours = BTreeMap::<Hour, Use>::new();
    for frame in Frames::<StoredUse>::of(frames) {
        let (hour, used) = frame?.read()?;
        hours.entry(hour).or_default().add(used);
    }
    Ok(hours)
}

/// The sums of days.
pub fn encode_days(days: &BTreeMap<Day, Counts>) -> Vec<u8> {
    let stored = |(day, counts): (&Day, &Counts)| StoredDay {
        day: day.number(),
        counts: counts.into(),
    };
    let days = days.iter().map(stored).collect();
    StoredDays { days }.encode_to_vec()
}

pub fn decode_days(text: &[u8]) -> Result<BTreeMap<Day, Counts>, StoreError> {
    let StoredDays { days } = StoredDays::decode(text).map_err(|error| corrupt(&error))?;
    let read = |StoredDay { day, counts }| Ok((Day::from_number(day), counts.read()?));
    days.into_iter().map(read).collect()
}

impl StoredFolded {
    fn read(self, rest: Gain) -> Result<Ledger, StoreError> {
        let used = self.last_used.into_iter();
        let mut last = 0_u32;
        let short = pairs(&self.short)?.map(|(gap, requests)| {
            let hour = u32::try_from(gap).ok();
            let hour = hour.and_then(|gap| last.checked_add(gap));
            last = hour.ok_or_else(|| corrupt(&"an hour beyond all times"))?;
            Ok((Hour::from_number(last), requests))
        });
        let short = short.collect::<Result<_, StoreError>>()?;
        Ok(Ledger {
            total: self.total.read()?,
            last_used: used
                .map(|row| (row.version, Timestamp::from_micros(row.last_used)))
                .collect(),
            short,
            open: rest.hours.into_iter().collect(),
            recent: rest.recent,
            ended: rest.ended,
            marks: self
                .marks
                .into_iter()
                .map(|StoredMark { process, sequence }| Mark { process, sequence })
                .collect(),
        })
    }
}

/// Messages one after the other, each behind its length.
struct Frames<'a, M>(&'a [u8], PhantomData<M>);

impl<'a, M> Frames<'a, M> {
    fn of(bytes: &'a [u8]) -> Self {
        Self(bytes, PhantomData)
    }
}

impl<M: Message + Default> Iterator for Frames<'_, M> {
    type Item = Result<M, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let read = M::decode_length_delimited(&mut self.0);
        Some(read.map_err(|error| {
            // What follows cannot be found.
            self.0 = &[];
            corrupt(&error)
        }))
    }
}

fn corrupt(why: &dyn fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("usage: {why}"))
}

fn read_address(bytes: &[u8]) -> Result<Option<IpAddr>, StoreError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (four, sixteen) = (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes));
    let address = four.map(IpAddr::from).or(sixteen.map(IpAddr::from));
    let unlike = |_| corrupt(&format!("an address of {} bytes", bytes.len()));
    address.map(Some).map_err(unlike)
}

#[cfg(test)]
mod tests;
