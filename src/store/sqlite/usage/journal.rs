//! The journal of usage: rows of gains, written as they come and read again after an unclean stop.
//!
//! SQLite writes a page for each row that changes; so gains of thousands of subjects are one row.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use prost::Message;
use prost::encoding::encode_varint;
use rusqlite::Connection;

use super::plain::{self, Kind, KindOf};
use super::unfolded::Unfolded;
use super::{key, subject};
use crate::domain::usage::{Gain, Hour, Mark, Subject};
use crate::domain::verdict::Verdict;
use crate::store::sqlite::error::Fault;
use crate::store::sqlite::tokens::Acts;
use crate::store::usage::write_gain;

/// Bytes from which on a row is full: few enough that acts in the same commit hardly wait for it.
const ROW_BYTES: usize = 256 * 1024;
/// Rows that one step cuts off: 1 MB of pages.
const CUT_AT_ONCE: i64 = 4;
/// Kinds of plain gains that a row has at the least, where gains are of many; and gains for each more.
const KINDS_LEAST: usize = 32;
const GAINS_OF_A_KIND: usize = 8;

/// One part of a row, which is a list of these, each behind its length: a kind of plain gains, or the
/// gains of one subject. Field numbers are for ever.
#[derive(Clone, PartialEq, Message)]
struct StoredGains {
    #[prost(string, tag = "1")]
    subject: String,
    #[prost(bytes = "vec", tag = "2")]
    frames: Vec<u8>,
    /// The number of the kind among those that came before in this row, from 1 on.
    #[prost(uint32, tag = "3")]
    plain: u32,
    /// As [`plain::write`] tells.
    #[prost(bytes = "vec", tag = "4")]
    requests: Vec<u8>,
    #[prost(message, optional, tag = "5")]
    kind: Option<StoredKind>,
}

const SUBJECT: u8 = 1 << 3 | 2;
const PLAIN: u8 = 3 << 3;
const REQUESTS: u8 = 4 << 3 | 2;

#[derive(Clone, PartialEq, Message)]
struct StoredKind {
    #[prost(fixed64, tag = "1")]
    process: u64,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    #[prost(uint32, tag = "3")]
    hour: u32,
    #[prost(uint32, tag = "4")]
    verdict: u32,
    #[prost(uint64, tag = "5")]
    cost: u64,
    #[prost(uint32, tag = "6")]
    version: u32,
    #[prost(string, tag = "7")]
    client: String,
    #[prost(bytes = "vec", tag = "8")]
    named_by: Vec<u8>,
    #[prost(string, tag = "9")]
    method: String,
    #[prost(string, tag = "10")]
    path: String,
    #[prost(string, tag = "11")]
    user_agent: String,
}

/// What is kept in memory of a row.
#[derive(Debug, Default)]
pub(super) struct Lot {
    pub(super) mark: Option<Mark>,
    pub(super) kinds: Vec<Arc<Kind>>,
    /// Of each subject the number of its kind, or 0 where it is a frame, and where in `bodies` what is
    /// told of it ends.
    pub(super) gains: Vec<(Subject, u32, usize)>,
    pub(super) bodies: Vec<u8>,
    /// Bytes of disk.
    pub(super) row_bytes: usize,
}

/// A row that is not written yet.
#[derive(Debug, Default)]
pub(super) struct Row {
    gains: Vec<u8>,
    lot: Lot,
    places: HashMap<u64, u32, RandomState>,
    /// The kind that was named last, which is mostly that of the next.
    last: u32,
}

impl Row {
    pub(super) fn of(mark: Mark) -> Self {
        let mut row = Self::default();
        row.gains.reserve(ROW_BYTES + 1024);
        row.lot.mark = Some(mark);
        row
    }

    pub(super) fn add(&mut self, mark: Mark, subject: &Subject, gain: &Gain) {
        let begin = self.lot.bodies.len();
        let kind = match subject {
            Subject::Token(id) => plain::kind(*id, gain),
            Subject::Namespace(_) => None,
        };
        let place = kind.and_then(|kind| self.place(mark, &kind).map(|place| (kind, place)));
        match (subject, place) {
            (Subject::Token(id), Some((kind, place))) => {
                plain::write(&mut self.lot.bodies, &kind, gain);
                let body = &self.lot.bodies[begin..];
                write_plain(&mut self.gains, id.as_str(), place, body);
                self.lot.add(subject, place);
            }
            _ => {
                write_gain(&mut self.lot.bodies, mark, gain);
                let stored = StoredGains {
                    subject: key(subject),
                    frames: self.lot.bodies[begin..].to_vec(),
                    ..StoredGains::default()
                };
                append(&mut self.gains, &stored);
                self.lot.add(subject, 0);
            }
        }
        self.lot.row_bytes = self.gains.len();
    }

    /// The number of a kind, which is written down before it is first named; `None` where gains are of
    /// too many kinds to be told so.
    fn place(&mut self, mark: Mark, kind: &KindOf<&str>) -> Option<u32> {
        let is = |kinds: &[Arc<Kind>], place: u32| {
            let known = kinds.get((place as usize).checked_sub(1)?)?;
            (known.borrowed() == *kind).then_some(place)
        };
        if let Some(place) = is(&self.lot.kinds, self.last) {
            return Some(place);
        }
        let hash = self.places.hasher().hash_one(kind);
        if let Some(place) = self.places.get(&hash) {
            // Another one by the same hash is no plain gain.
            self.last = *place;
            return is(&self.lot.kinds, *place);
        }
        if self.lot.kinds.len() >= KINDS_LEAST + self.lot.gains.len() / GAINS_OF_A_KIND {
            return None;
        }
        let stored = StoredGains {
            kind: Some(StoredKind::of(mark, kind)),
            ..StoredGains::default()
        };
        append(&mut self.gains, &stored);
        self.lot.kinds.push(Arc::new(kind.kept()));
        let place = self.lot.kinds.len() as u32;
        self.places.insert(hash, place);
        self.last = place;
        Some(place)
    }

    pub(super) fn is_full(&self) -> bool {
        self.gains.len() >= ROW_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lot.gains.is_empty()
    }
}

impl Lot {
    fn add(&mut self, subject: &Subject, kind: u32) {
        let end = self.bodies.len();
        self.gains.push((subject.clone(), kind, end));
    }

    /// Of frames as they were added.
    pub(super) fn add_frames(&mut self, subject: &Subject, frames: &[u8]) {
        self.bodies.extend_from_slice(frames);
        self.add(subject, 0);
    }
}

fn append(gains: &mut Vec<u8>, stored: &StoredGains) {
    // A vector has room for whatever there is memory for.
    stored.encode_length_delimited(gains).unwrap_or_default();
}

/// The same of a plain gain, of which there are many. Whoever has some requests has a short body.
fn write_plain(gains: &mut Vec<u8>, subject: &str, kind: u32, body: &[u8]) {
    let begin = gains.len();
    gains.extend_from_slice(&[0, 0, SUBJECT, subject.len() as u8]);
    gains.extend_from_slice(subject.as_bytes());
    gains.push(PLAIN);
    encode_varint(kind.into(), gains);
    gains.push(REQUESTS);
    encode_varint(body.len() as u64, gains);
    gains.extend_from_slice(body);
    // A length may be written longer than it had to be; this is below 2^14.
    let length = gains.len() - begin - 2;
    gains[begin] = length as u8 | 0x80;
    gains[begin + 1] = (length >> 7) as u8;
}

impl StoredKind {
    fn of(mark: Mark, kind: &KindOf<&str>) -> Self {
        Self {
            process: mark.process,
            sequence: mark.sequence,
            hour: kind.hour.number(),
            verdict: kind.verdict.number().into(),
            cost: kind.cost,
            version: kind.version,
            client: kind
                .client
                .map_or_else(String::new, |client| client.to_string()),
            named_by: kind.process.to_vec(),
            method: kind.method.to_owned(),
            path: kind.path.to_owned(),
            user_agent: kind.user_agent.to_owned(),
        }
    }

    fn read(self) -> Result<(Mark, Kind), String> {
        let verdict = u8::try_from(self.verdict).ok().and_then(Verdict::of_number);
        let client = match self.client.is_empty() {
            true => None,
            false => Some(self.client.parse::<IpAddr>().map_err(|e| e.to_string())?),
        };
        let mark = Mark {
            process: self.process,
            sequence: self.sequence,
        };
        let named_by = self.named_by.try_into();
        Ok((
            mark,
            KindOf {
                hour: Hour::from_number(self.hour),
                verdict: verdict.ok_or("no such verdict")?,
                cost: self.cost,
                version: self.version,
                client,
                process: named_by.map_err(|_| "a process's name of another length")?,
                method: self.method.into(),
                path: self.path.into(),
                user_agent: self.user_agent.into(),
            },
        ))
    }
}

impl Acts<'_> {
    /// Appends a row.
    pub(super) fn journal(&self, row: Row) -> Result<(), Fault> {
        let Row { gains, lot, .. } = row;
        let number = self.unfolded.number();
        self.connection
            .prepare_cached("INSERT INTO usage_journal (number, gains) VALUES (?1, ?2)")?
            .execute((number, gains))?;
        self.unfolded.added(number, lot);
        Ok(())
    }

    /// Cuts some rows off, the oldest first, none behind `until`; answers whether there may be more.
    pub(super) fn cut(&self, until: i64) -> Result<bool, Fault> {
        let cut = self
            .connection
            .prepare_cached(
                "DELETE FROM usage_journal WHERE number IN \
                 (SELECT number FROM usage_journal WHERE number <= ?1 ORDER BY number LIMIT ?2)",
            )?
            .execute((until, CUT_AT_ONCE))?;
        Ok(cut as i64 == CUT_AT_ONCE)
    }
}

/// What an earlier run has left unfolded. What cannot be read is told, and left out.
pub(in crate::store::sqlite) fn replay(connection: &Connection) -> Result<Unfolded, Fault> {
    let mut statement =
        connection.prepare("SELECT number, gains FROM usage_journal ORDER BY number")?;
    let mut rows = statement.query([])?;
    let mut unfolded = Unfolded::default();
    while let Some(row) = rows.next()? {
        let number = row.get(0)?;
        unfolded.resume(number, &read(number, row.get_ref(1)?.as_blob()?));
    }
    Ok(unfolded)
}

fn read(number: i64, gains: &[u8]) -> Lot {
    let mut lot = Lot {
        row_bytes: gains.len(),
        ..Lot::default()
    };
    let mut rest = gains;
    while !rest.is_empty() {
        if let Err(reason) = read_one(&mut rest, &mut lot) {
            tracing::error!(number, reason, "a row of the journal of usage is damaged");
            break;
        }
    }
    lot
}

fn read_one(rest: &mut &[u8], lot: &mut Lot) -> Result<(), String> {
    let stored = StoredGains::decode_length_delimited(rest);
    let stored = stored.map_err(|error| error.to_string())?;
    if let Some(kind) = stored.kind {
        let (mark, kind) = kind.read()?;
        lot.mark = Some(mark);
        lot.kinds.push(Arc::new(kind));
        return Ok(());
    }
    let subject = subject(&stored.subject).map_err(|flaw| flaw.to_string())?;
    if stored.plain == 0 {
        lot.add_frames(&subject, &stored.frames);
        return Ok(());
    }
    let mut body = stored.requests.as_slice();
    let whole = plain::skip(&mut body).is_ok() && body.is_empty();
    if !whole || stored.plain as usize > lot.kinds.len() {
        return Err("a plain gain that cannot be told".to_owned());
    }
    lot.bodies.extend_from_slice(&stored.requests);
    lot.add(&subject, stored.plain);
    Ok(())
}
