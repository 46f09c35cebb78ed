//! Reading one series newest first, bucket by bucket.

use std::cmp::Ordering;
use std::collections::VecDeque;

use redis::{Cmd, Value, cmd};

use super::error::{micros, read};
use super::keys::{Keys, SeriesName};
use crate::domain::page::Cursor;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenId;
use crate::store::StoreError;

/// Least entries that are read of one series at once.
const CHUNK_MIN: usize = 4;
/// How many are read at once after that did not suffice, and twice that did not, ….
const CHUNK_GROWN: usize = 256;
/// Most buckets of one series that are read at once, after earlier ones were found empty.
const AHEAD_MAX: u64 = 16;

/// Where the walk is in one series.
pub(super) struct Source {
    name: SeriesName,
    /// The bucket to read next; `None` when the series is read to its end.
    bucket: Option<u64>,
    /// Latest time to read next, as Redis writes it.
    below: String,
    /// The last entry that was read, or what the walk begins behind. Only what comes after it is
    /// walked over: a token that came back to its owner may have several entries of one time.
    passed: Option<Cursor>,
    /// How many entries of a bucket are read at once.
    chunk: usize,
    /// How many buckets are read at once.
    ahead: u64,
    /// Entries that were read and not yet walked over.
    ready: VecDeque<Cursor>,
}

impl Source {
    /// Begins in `bucket`, behind `after` or at the newest entry, by reading `chunk` entries.
    pub(super) fn new(name: SeriesName, bucket: u64, after: Option<Cursor>, chunk: usize) -> Self {
        let time = |after: Cursor| after.create_time.micros().to_string();
        Self {
            name,
            bucket: Some(bucket),
            below: after.map_or("+inf".to_owned(), time),
            passed: after,
            chunk: chunk.max(CHUNK_MIN),
            ahead: 1,
            ready: VecDeque::new(),
        }
    }

    /// Whether nothing is ready.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Whether the series is read to its end.
    pub(super) fn is_read(&self) -> bool {
        self.bucket.is_none()
    }

    pub(super) fn pop(&mut self) -> Option<Cursor> {
        self.ready.pop_front()
    }

    /// Adds to `commands` what reads on; nothing where something is ready, or at the end.
    pub(super) fn ask(&self, keys: &Keys, commands: &mut Vec<Cmd>) {
        let Some(bucket) = self.bucket.filter(|_| self.is_empty()) else {
            return;
        };
        for bucket in (bucket.saturating_sub(self.ahead - 1)..=bucket).rev() {
            let mut command = cmd("ZRANGE");
            command.arg(keys.entries(&self.name, bucket));
            command
                .arg(&self.below)
                .arg("-inf")
                .arg("BYSCORE")
                .arg("REV");
            command
                .arg("LIMIT")
                .arg(0)
                .arg(self.chunk)
                .arg("WITHSCORES");
            commands.push(command);
        }
    }

    /// Takes what some buckets answered, newest bucket first.
    pub(super) fn take(&mut self, answers: Vec<Value>) -> Result<(), StoreError> {
        for answer in answers {
            let entries = read_entries(answer)?;
            let Some(bucket) = self.bucket else {
                return Ok(());
            };
            let whole = entries.len() < self.chunk;
            if let Some((last, _)) = entries.last() {
                let below = last.to_string();
                if !whole && below == self.below {
                    // Nothing but entries of one time: more at once come to the end of them.
                    self.chunk *= 2;
                }
                self.below = below;
            }
            for entry in entries.into_iter().filter_map(|(_, entry)| entry) {
                if self.passed.is_none_or(|passed| entry < passed) {
                    self.passed = Some(entry);
                    self.ready.push_back(entry);
                }
            }
            if !whole {
                // Older buckets were read in vain; they come again when it is their turn.
                break;
            }
            self.bucket = bucket.checked_sub(1);
        }
        if self.ready.is_empty() {
            self.ahead = (self.ahead * 2).min(AHEAD_MAX);
        } else {
            self.ahead = 1;
            // A series that ran dry is likely to be asked again.
            self.chunk = (self.chunk * 2).min(self.chunk.max(CHUNK_GROWN));
        }
        Ok(())
    }
}

/// By the newest entry that is ready.
impl Ord for Source {
    fn cmp(&self, other: &Self) -> Ordering {
        self.ready.front().cmp(&other.ready.front())
    }
}

impl PartialOrd for Source {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Source {}

/// Reads entries and the times that they are scored by: each is a token's id, followed by the
/// digits of a time. What is no entry is passed over: it must not hide all that are.
fn read_entries(answer: Value) -> Result<Vec<(u64, Option<Cursor>)>, StoreError> {
    let flat: Vec<(Vec<u8>, String)> = read(answer)?;
    let mut entries = Vec::with_capacity(flat.len());
    for (entry, time) in flat {
        let create_time = Timestamp::from_micros(micros(&time)?);
        let id = read_id(&entry);
        if id.is_none() {
            let entry = String::from_utf8_lossy(&entry);
            tracing::error!(?entry, "a listing passed over what is no index entry");
        }
        let cursor = |id| Cursor { create_time, id };
        entries.push((create_time.micros(), id.map(cursor)));
    }
    Ok(entries)
}

fn read_id(entry: &[u8]) -> Option<TokenId> {
    let (id, since) = entry.split_at_checked(TokenId::DIGITS)?;
    let digits = !since.is_empty() && since.iter().all(u8::is_ascii_digit);
    let id = std::str::from_utf8(id).ok().filter(|_| digits)?;
    TokenId::parse(id).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::name::Namespace;

    fn source() -> Source {
        Source {
            name: SeriesName::namespace(&Namespace::fallback()),
            bucket: Some(2),
            below: "+inf".to_owned(),
            passed: None,
            chunk: 2,
            ahead: 1,
            ready: VecDeque::new(),
        }
    }

    fn answer(times: &[u64]) -> Value {
        let id = "0123456789ABCDEFGHIJKL";
        let pair = |time: &u64| [format!("{id}{time}"), time.to_string()];
        let texts = times.iter().flat_map(pair);
        Value::Array(texts.map(|text| Value::BulkString(text.into())).collect())
    }

    fn times(source: &Source) -> Vec<u64> {
        let time = |entry: &Cursor| entry.create_time.micros();
        source.ready.iter().map(time).collect()
    }

    #[test]
    fn a_bucket_is_left_once_it_answered_less_than_was_asked() {
        let mut source = source();
        source.take(vec![answer(&[9, 8])]).unwrap();
        assert_eq!((source.bucket, source.below.as_str()), (Some(2), "8"));
        source.ready.clear();
        source.take(vec![answer(&[7])]).unwrap();
        assert_eq!((source.bucket, times(&source)), (Some(1), vec![7]));
    }

    #[test]
    fn empty_buckets_are_passed_ever_faster() {
        let mut source = source();
        source.bucket = Some(100);
        for ahead in [1, 2, 4, 8, 16, 16] {
            assert_eq!(source.ahead, ahead);
            let answers = (0..ahead).map(|_| answer(&[])).collect();
            source.take(answers).unwrap();
        }
        assert_eq!(source.bucket, Some(100 - 47));
        source.take(vec![answer(&[5])]).unwrap();
        assert_eq!(source.ahead, 1);
    }

    #[test]
    fn buckets_read_behind_one_that_is_not_at_its_end_wait_for_their_turn() {
        let mut source = source();
        source
            .take(vec![answer(&[]), answer(&[9, 8]), answer(&[1])])
            .unwrap();
        assert_eq!((source.bucket, times(&source)), (Some(1), vec![9, 8]));
    }

    #[test]
    fn entries_at_the_cursor_and_before_it_are_passed_over() {
        let mut source = source();
        source.passed = read_entries(answer(&[8])).unwrap()[0].1;
        source.take(vec![answer(&[9, 8, 7])]).unwrap();
        assert_eq!(times(&source), vec![7]);
    }

    #[test]
    fn entries_of_one_token_are_walked_over_once_however_they_are_read() {
        let text = |id: char, since: u64| format!("{}{since}", id.to_string().repeat(22));
        let read = |entries: &[(char, u64)], below: &str, chunk: usize| {
            let from = entries.iter().filter(|(id, _)| below != "7" || *id != 'c');
            let pairs = from.take(chunk).flat_map(|(id, since)| {
                let time = if *id == 'c' { "8" } else { "7" };
                [text(*id, *since), time.to_owned()]
            });
            Value::Array(pairs.map(|text| Value::BulkString(text.into())).collect())
        };
        // As Redis orders them: by time, then by text, newest first.
        let entries = [
            ('c', 8),
            ('b', 42),
            ('b', 41),
            ('b', 40),
            ('a', 9),
            ('a', 7),
        ];
        let mut source = source();
        while source.bucket == Some(2) {
            let (below, chunk) = (source.below.clone(), source.chunk);
            source.take(vec![read(&entries, &below, chunk)]).unwrap();
        }
        let ids: Vec<char> = source
            .ready
            .iter()
            .map(|entry| entry.id.as_str().chars().next().unwrap())
            .collect();
        assert_eq!(ids, ['c', 'b', 'a']);
    }

    #[test]
    fn what_is_no_entry_is_passed_over() {
        let mut source = source();
        let odd = ["\u{fffd}9", "9", "0123456789ABCDEFGHIJKL", "8"];
        let odd = odd.map(|text| Value::BulkString(text.into())).to_vec();
        source.take(vec![Value::Array(odd)]).unwrap();
        assert_eq!((source.below.as_str(), times(&source)), ("8", vec![]));
        source.take(vec![answer(&[7])]).unwrap();
        assert_eq!(times(&source), vec![7]);
    }
}
