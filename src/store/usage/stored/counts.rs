//! The stored form of counts.

use prost::Message;
use prost::encoding::encode_varint;

use super::{corrupt, writing};
use crate::domain::usage::{CLASSES, Completed, Counts, Histogram};
use crate::domain::verdict::Verdict;
use crate::store::StoreError;

/// Verdicts as their numbers, each followed by how many requests had it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredCounts {
    #[prost(uint64, repeated, tag = "1")]
    verdicts: Vec<u64>,
    #[prost(uint64, tag = "2")]
    cost: u64,
    #[prost(message, optional, boxed, tag = "3")]
    completed: Option<Box<StoredCompleted>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredCompleted {
    #[prost(uint64, tag = "1")]
    requests: u64,
    #[prost(uint64, tag = "2")]
    unjudged: u64,
    #[prost(uint64, tag = "3")]
    unjudged_failed: u64,
    #[prost(uint64, tag = "4")]
    failed: u64,
    #[prost(uint64, tag = "5")]
    succeeded: u64,
    #[prost(uint64, tag = "6")]
    request_bytes: u64,
    #[prost(uint64, tag = "7")]
    response_bytes: u64,
    /// By the first digit of the status, from 1 on.
    #[prost(uint64, repeated, tag = "8")]
    classes: Vec<u64>,
    /// Each followed by how many spans lie in it.
    #[prost(uint64, repeated, tag = "9")]
    buckets: Vec<u64>,
    #[prost(uint64, tag = "10")]
    latency_sum: u64,
}

impl From<&Counts> for StoredCounts {
    fn from(counts: &Counts) -> Self {
        let verdicts = counts.verdicts();
        Self {
            verdicts: verdicts
                .flat_map(|(verdict, count)| [u64::from(verdict.number()), *count])
                .collect(),
            cost: counts.cost(),
            completed: counts
                .completed()
                .map(|completed| Box::new(completed.into())),
        }
    }
}

/// Writes them down as the same message.
pub(super) fn write_counts(out: &mut Vec<u8>, counts: &Counts) {
    if counts.verdicts().next().is_some() {
        writing::inner(out, 1, |out| {
            for (verdict, count) in counts.verdicts() {
                encode_varint(verdict.number().into(), out);
                encode_varint(*count, out);
            }
        });
    }
    writing::number(out, 2, counts.cost());
    if let Some(completed) = counts.completed() {
        writing::message(out, 3, &StoredCompleted::from(completed));
    }
}

impl StoredCounts {
    pub(super) fn read(self) -> Result<Counts, StoreError> {
        let verdicts = pairs(&self.verdicts)?.map(|(number, count)| {
            let verdict = u8::try_from(number).ok().and_then(Verdict::of_number);
            let verdict = verdict.ok_or_else(|| corrupt(&format!("no verdict is {number}")))?;
            Ok((verdict, count))
        });
        let verdicts: Vec<_> = verdicts.collect::<Result<_, StoreError>>()?;
        let completed = self.completed.map(|completed| completed.read());
        Ok(Counts::of_parts(
            verdicts,
            self.cost,
            completed.transpose()?,
        ))
    }
}

impl From<&Completed> for StoredCompleted {
    fn from(completed: &Completed) -> Self {
        let Completed {
            requests,
            unjudged,
            unjudged_failed,
            failed,
            succeeded,
            latency,
            request_bytes,
            response_bytes,
            classes,
        } = completed;
        let buckets = latency.buckets().iter();
        Self {
            requests: *requests,
            unjudged: *unjudged,
            unjudged_failed: *unjudged_failed,
            failed: *failed,
            succeeded: *succeeded,
            request_bytes: *request_bytes,
            response_bytes: *response_bytes,
            classes: classes.to_vec(),
            buckets: buckets
                .flat_map(|(bucket, count)| [u64::from(*bucket), *count])
                .collect(),
            latency_sum: latency.sum(),
        }
    }
}

impl StoredCompleted {
    fn read(self) -> Result<Completed, StoreError> {
        let buckets = pairs(&self.buckets)?.map(|(bucket, count)| {
            let bucket = u16::try_from(bucket);
            let bucket = bucket.map_err(|_| corrupt(&"a bucket beyond all spans"))?;
            Ok((bucket, count))
        });
        let buckets: Vec<_> = buckets.collect::<Result<_, StoreError>>()?;
        let mut classes = [0; CLASSES];
        for (class, count) in classes.iter_mut().zip(self.classes) {
            *class = count;
        }
        Ok(Completed {
            requests: self.requests,
            unjudged: self.unjudged,
            unjudged_failed: self.unjudged_failed,
            failed: self.failed,
            succeeded: self.succeeded,
            latency: Histogram::of(buckets, self.latency_sum),
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            classes,
        })
    }
}

/// Numbers that stand two by two.
pub(super) fn pairs(numbers: &[u64]) -> Result<impl Iterator<Item = (u64, u64)>, StoreError> {
    let (pairs, []) = numbers.as_chunks::<2>() else {
        return Err(corrupt(&"a number that has no second"));
    };
    Ok(pairs.iter().map(|[first, second]| (*first, *second)))
}
