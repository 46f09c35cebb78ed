//! Counts and durations that every core notes for itself, and that are summed up when somebody reads.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

use crate::sharded::Sharded;

use super::SECONDS;

/// A counter.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Sharded<AtomicU64>>);

impl Tally {
    pub fn inc(&self) {
        self.0.own().1.fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        counts.fold(0, u64::wrapping_add)
    }
}

impl TypedMetric for Tally {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for Tally {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_counter::<NoLabelSet, _, u64>(&self.get(), None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// A histogram of durations, in the buckets of [`SECONDS`].
#[derive(Clone, Debug, Default)]
pub struct Durations(Arc<Sharded<Noted>>);

/// What one place noted.
#[derive(Debug, Default)]
struct Noted {
    /// By the first end that the duration does not exceed; the last has none.
    buckets: [AtomicU64; SECONDS.len() + 1],
    nanos: AtomicU64,
}

impl Durations {
    pub fn observe(&self, span: Duration) {
        let seconds = span.as_secs_f64();
        let bucket = SECONDS.iter().position(|end| seconds <= *end);
        let Noted { buckets, nanos } = self.0.own().1;
        buckets[bucket.unwrap_or(SECONDS.len())].fetch_add(1, Ordering::Relaxed);
        let span = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        nanos.fetch_add(span, Ordering::Relaxed);
    }
}

impl TypedMetric for Durations {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let ends = SECONDS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = ends
            .enumerate()
            .map(|(at, end)| {
                let counts = self.0.iter().map(|noted| &noted.buckets[at]);
                (end, counts.map(|count| count.load(Ordering::Relaxed)).sum())
            })
            .collect();
        let nanos = self
            .0
            .iter()
            .map(|noted| noted.nanos.load(Ordering::Relaxed));
        let sum: f64 = nanos
            .map(|nanos| Duration::from_nanos(nanos).as_secs_f64())
            .sum();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::registry::{Metric, Registry};

    fn text(metric: impl Metric) -> String {
        let mut registry = Registry::default();
        registry.register("shown", "As it is read", metric);
        let mut text = String::new();
        text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn durations_are_shown_as_a_histogram_of_the_library_would_be() {
        let (ours, theirs) = (Durations::default(), Histogram::new(SECONDS));
        for micros in [
            0, 99, 100, 101, 250, 40_000, 10_000_000, 10_000_001, 75_000_000,
        ] {
            let span = Duration::from_micros(micros);
            ours.observe(span);
            theirs.observe(span.as_secs_f64());
        }
        assert_eq!(text(ours), text(theirs));
    }

    #[test]
    fn what_threads_count_apart_is_shown_as_one() {
        let tally = Tally::default();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| tally.inc());
            }
        });
        assert!(text(tally).contains("shown_total 3\n"));
    }
}
