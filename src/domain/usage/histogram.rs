//! Spans of time in buckets that add up, for percentiles of a stated error.
//!
//! Each power of two of microseconds is cut into sixteen buckets, as HdrHistogram does
//! (<https://hdrhistogram.org>): a span lies within 1/32, or 3.2 %, of what is answered for its bucket.

use std::time::Duration;

use super::Add;

/// Buckets of each power of two, as a power of two.
const PARTS: u32 = 4;

/// How many spans lie in which bucket, and how long they are together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// By bucket, ascending; none of them 0.
    buckets: Vec<(u16, u64)>,
    /// Microseconds.
    sum: u64,
}

impl Histogram {
    /// Of buckets in any order, which may come twice.
    pub fn of(buckets: impl IntoIterator<Item = (u16, u64)>, sum: u64) -> Self {
        let mut histogram = Self {
            buckets: Vec::new(),
            sum,
        };
        for (bucket, count) in buckets.into_iter().filter(|(_, count)| *count > 0) {
            histogram.count(bucket, count);
        }
        histogram
    }

    pub fn note(&mut self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.sum = self.sum.saturating_add(micros);
        self.count(bucket_of(micros), 1);
    }

    fn count(&mut self, bucket: u16, more: u64) {
        match self
            .buckets
            .binary_search_by_key(&bucket, |(known, _)| *known)
        {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(more),
            Err(at) => self.buckets.insert(at, (bucket, more)),
        }
    }

    pub fn spans(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// Microseconds of all spans together.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    pub fn buckets(&self) -> &[(u16, u64)] {
        &self.buckets
    }

    /// Exact; `None` where there is no span.
    pub fn average(&self) -> Option<Duration> {
        let micros = self.sum.checked_div(self.spans())?;
        Some(Duration::from_micros(micros))
    }

    /// The shortest span that at least `share` (0 to 1) of all are no longer than; `None` where there
    /// is no span.
    pub fn percentile(&self, share: f64) -> Option<Duration> {
        let spans = self.spans();
        // Less than 2^53 spans are counted exactly; beyond, by one in as many.
        let rank = ((share * spans as f64).ceil() as u64).clamp(1, spans.max(1));
        let mut before = 0;
        let within = |(_, count): &&(u16, u64)| {
            before += count;
            before >= rank
        };
        let (bucket, _) = self.buckets.iter().find(within)?;
        Some(Duration::from_micros(middle_of(*bucket)))
    }
}

impl Add for Histogram {
    fn add(&mut self, other: Self) {
        self.sum = self.sum.saturating_add(other.sum);
        for (bucket, count) in other.buckets {
            self.count(bucket, count);
        }
    }

    fn weight(&self) -> u64 {
        self.spans()
    }
}

fn bucket_of(micros: u64) -> u16 {
    let power = u64::BITS - micros.leading_zeros();
    match power <= PARTS {
        // Each has a bucket of its own.
        true => u16::try_from(micros).unwrap_or_default(),
        false => {
            let shift = power - 1 - PARTS;
            let part = (micros >> shift) & ((1 << PARTS) - 1);
            let bucket = u64::from((shift + 1) << PARTS) + part;
            u16::try_from(bucket).unwrap_or(u16::MAX)
        }
    }
}

fn middle_of(bucket: u16) -> u64 {
    let (shift, part) = (u32::from(bucket) >> PARTS, u64::from(bucket) & 15);
    match shift.checked_sub(1) {
        None => part,
        Some(shift) => {
            // Of what is no bucket's, the greatest.
            let shift = shift.min(u64::BITS - 1 - PARTS);
            let least = ((1 << PARTS) + part) << shift;
            least.saturating_add((1 << shift) >> 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_span_lies_within_the_stated_error() {
        let spans = (0..64).flat_map(|power| [0, 1, 3, 7].map(|more| (1_u64 << power) + more));
        for micros in spans.chain([u64::MAX, 0]) {
            let middle = middle_of(bucket_of(micros));
            let error = middle.abs_diff(micros);
            assert!(error as f64 <= micros as f64 / 32.0, "{micros}: {middle}");
        }
    }

    #[test]
    fn percentiles_are_those_of_the_spans() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.5), None);
        assert_eq!(histogram.average(), None);
        (1..=10).for_each(|micros| histogram.note(Duration::from_micros(micros)));
        let at = |share| histogram.percentile(share).map(|span| span.as_micros());
        assert_eq!((at(0.5), at(0.95), at(1.0)), (Some(5), Some(10), Some(10)));
        assert_eq!(histogram.average(), Some(Duration::from_micros(5)));
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_whole(spans in prop::collection::vec((any::<u32>(), any::<bool>()), 0..50)) {
            let (mut whole, mut one, mut other) = <(Histogram, Histogram, Histogram)>::default();
            for (micros, first) in spans {
                let span = Duration::from_micros(micros.into());
                whole.note(span);
                if first { &mut one } else { &mut other }.note(span);
            }
            let read = Histogram::of(whole.buckets().iter().copied(), whole.sum());
            prop_assert_eq!(&read, &whole);
            one.add(other);
            prop_assert_eq!(one, whole);
        }
    }
}
