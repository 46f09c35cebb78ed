//! Walking listing indexes newest first: several series as if they were one.

use std::collections::VecDeque;

use redis::{Cmd, Value, cmd};

use super::Access;
use super::error::{micros, read, unexpected};
use super::keys::SeriesName;
use super::series::{Series, read_directory};
use crate::domain::page::Cursor;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenId;
use crate::store::StoreError;

/// Least entries that are read of one series at once.
const CHUNK_MIN: usize = 4;
/// Most buckets of one series that are read at once, after earlier ones were found empty.
const AHEAD_MAX: u64 = 16;

/// A walk through some series.
pub(super) struct Walk<'a> {
    access: &'a Access,
    after: Option<Cursor>,
    sources: Vec<Source>,
}

/// Where the walk is in one series.
struct Source {
    name: SeriesName,
    /// The bucket to read next; `None` when the series is read to its end.
    bucket: Option<u64>,
    /// Upper bound of the times to read next, as Redis writes it.
    below: String,
    /// How many buckets are read at once.
    ahead: u64,
    /// Entries that were read and not yet walked over.
    ready: VecDeque<Cursor>,
}

impl<'a> Walk<'a> {
    /// Begins behind `after`, or at the newest entry.
    pub(super) async fn open(
        access: &'a Access,
        series: &Series,
        names: Vec<SeriesName>,
        after: Option<Cursor>,
    ) -> Result<Self, StoreError> {
        let time = after.map(|after| after.create_time.micros());
        let asked = names.iter().map(|name| series.ask_directory(name, time));
        let answers = access.ask_all(asked.collect()).await?;
        let mut sources = Vec::with_capacity(names.len());
        for (name, answer) in names.into_iter().zip(answers) {
            sources.push(Source {
                name,
                bucket: Some(read_directory(answer)?.number),
                below: time.map_or("+inf".to_owned(), |time| time.to_string()),
                ahead: 1,
                ready: VecDeque::new(),
            });
        }
        Ok(Self {
            access,
            after,
            sources,
        })
    }

    /// The next `count` entries, fewer at the end; and whether it is known that there are no more.
    pub(super) async fn next(&mut self, count: usize) -> Result<(Vec<Cursor>, bool), StoreError> {
        let chunk = (2 * count / self.sources.len().max(1)).clamp(CHUNK_MIN, count.max(CHUNK_MIN));
        let mut entries = Vec::with_capacity(count);
        loop {
            if entries.len() == count {
                return Ok((entries, self.sources.iter().all(Source::is_over)));
            }
            self.fill(chunk).await?;
            // All sources are filled: whatever is newest among them is newest of all, until one of
            // them runs dry.
            while entries.len() < count {
                let newest = self
                    .sources
                    .iter_mut()
                    .max_by_key(|source| source.ready.front().copied());
                let Some(source) = newest else {
                    return Ok((entries, true));
                };
                let Some(entry) = source.ready.pop_front() else {
                    return Ok((entries, true));
                };
                entries.push(entry);
                if source.is_dry() {
                    break;
                }
            }
        }
    }

    /// Reads on in every series that has nothing ready, until it has, or has ended.
    async fn fill(&mut self, chunk: usize) -> Result<(), StoreError> {
        loop {
            let mut commands = Vec::new();
            let mut asked = Vec::new();
            for (index, source) in self.sources.iter().enumerate() {
                let Some(bucket) = source.bucket.filter(|_| source.ready.is_empty()) else {
                    continue;
                };
                let buckets = bucket.saturating_sub(source.ahead - 1)..=bucket;
                asked.push((index, buckets.clone().count()));
                commands.extend(buckets.rev().map(|bucket| self.ask(source, bucket, chunk)));
            }
            if commands.is_empty() {
                return Ok(());
            }
            let mut answers = self.access.ask_all(commands).await?.into_iter();
            for (index, count) in asked {
                let answers = answers.by_ref().take(count).collect();
                self.sources[index].take(answers, chunk, self.after)?;
            }
        }
    }

    fn ask(&self, source: &Source, bucket: u64, chunk: usize) -> Cmd {
        let mut command = cmd("ZRANGE");
        command.arg(self.access.keys.entries(&source.name, bucket));
        command
            .arg(&source.below)
            .arg("-inf")
            .arg("BYSCORE")
            .arg("REV");
        command.arg("LIMIT").arg(0).arg(chunk).arg("WITHSCORES");
        command
    }
}

impl Source {
    fn is_dry(&self) -> bool {
        self.ready.is_empty() && self.bucket.is_some()
    }

    fn is_over(&self) -> bool {
        self.ready.is_empty() && self.bucket.is_none()
    }

    /// Takes what some buckets answered, newest bucket first.
    fn take(
        &mut self,
        answers: Vec<Value>,
        chunk: usize,
        after: Option<Cursor>,
    ) -> Result<(), StoreError> {
        for answer in answers {
            let entries = read_entries(answer)?;
            let Some(bucket) = self.bucket else {
                return Ok(());
            };
            let whole = entries.len() < chunk;
            if let Some(last) = entries.last() {
                // Within a series no two entries that count have one time.
                self.below = format!("({}", last.create_time.micros());
            }
            let fresh = |entry: &Cursor| after.is_none_or(|after| *entry < after);
            self.ready.extend(entries.into_iter().filter(fresh));
            if !whole {
                // Older buckets were read in vain; they come again when it is their turn.
                break;
            }
            self.bucket = bucket.checked_sub(1);
        }
        self.ahead = if self.ready.is_empty() {
            (self.ahead * 2).min(AHEAD_MAX)
        } else {
            1
        };
        Ok(())
    }
}

fn read_entries(answer: Value) -> Result<Vec<Cursor>, StoreError> {
    let flat: Vec<String> = read(answer)?;
    let entry = |pair: &[String]| match pair {
        [id, time] => Ok(Cursor {
            create_time: Timestamp::from_micros(micros(time)?),
            id: TokenId::parse(id).map_err(|flaw| unexpected(&flaw.to_string()))?,
        }),
        _ => Err(unexpected("an entry without its time")),
    };
    flat.chunks(2).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source {
            name: SeriesName::namespaces(),
            bucket: Some(2),
            below: "+inf".to_owned(),
            ahead: 1,
            ready: VecDeque::new(),
        }
    }

    fn answer(times: &[u64]) -> Value {
        let id = "0123456789ABCDEFGHIJKL";
        let pair = |time: &u64| [id.to_owned(), time.to_string()];
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
        source.take(vec![answer(&[9, 8])], 2, None).unwrap();
        assert_eq!((source.bucket, source.below.as_str()), (Some(2), "(8"));
        source.ready.clear();
        source.take(vec![answer(&[7])], 2, None).unwrap();
        assert_eq!((source.bucket, times(&source)), (Some(1), vec![7]));
    }

    #[test]
    fn empty_buckets_are_passed_ever_faster() {
        let mut source = source();
        source.bucket = Some(100);
        for ahead in [1, 2, 4, 8, 16, 16] {
            assert_eq!(source.ahead, ahead);
            let answers = (0..ahead).map(|_| answer(&[])).collect();
            source.take(answers, 2, None).unwrap();
        }
        assert_eq!(source.bucket, Some(100 - 47));
        source.take(vec![answer(&[5])], 2, None).unwrap();
        assert_eq!(source.ahead, 1);
    }

    #[test]
    fn buckets_read_behind_one_that_is_not_at_its_end_wait_for_their_turn() {
        let mut source = source();
        source
            .take(vec![answer(&[]), answer(&[9, 8]), answer(&[1])], 2, None)
            .unwrap();
        assert_eq!((source.bucket, times(&source)), (Some(1), vec![9, 8]));
    }

    #[test]
    fn entries_at_the_cursor_and_before_it_are_passed_over() {
        let mut source = source();
        let after = read_entries(answer(&[8])).unwrap()[0];
        source
            .take(vec![answer(&[9, 8, 7])], 3, Some(after))
            .unwrap();
        assert_eq!(times(&source), vec![7]);
    }
}
