//! Protobuf's instants and spans.

use std::time::Duration;

use crate::domain::flaw::Flaw;
use crate::domain::time::Timestamp;

const NANOS_PER_SECOND: i32 = 1_000_000_000;

/// An instant for the wire.
pub(in crate::transport) fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let (seconds, micros) = (at.micros() / 1_000_000, at.micros() % 1_000_000);
    // Both fit: a domain instant ends with the year 9999.
    prost_types::Timestamp {
        seconds: seconds as i64,
        nanos: micros as i32 * 1000,
    }
}

/// A span for the wire.
pub(super) fn duration(span: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: span.subsec_nanos().cast_signed(),
    }
}

/// An instant from the wire: 1970 to 9999, cut to the microsecond.
pub(super) fn instant(at: &prost_types::Timestamp) -> Result<Timestamp, Flaw> {
    let prost_types::Timestamp { seconds, nanos } = *at;
    let latest = i64::try_from(Timestamp::MAX.micros() / 1_000_000).unwrap_or(i64::MAX);
    if !(0..=latest).contains(&seconds) || !(0..NANOS_PER_SECOND).contains(&nanos) {
        return Err(Flaw::new(format!(
            "must be an instant from 1970 to 9999; got {seconds} seconds and {nanos} nanoseconds since 1970"
        )));
    }
    Ok(Timestamp::from_micros(
        seconds.unsigned_abs() * 1_000_000 + u64::from(nanos.unsigned_abs()) / 1000,
    ))
}

/// A span from the wire: not negative.
pub(super) fn span(span: &prost_types::Duration) -> Result<Duration, Flaw> {
    let prost_types::Duration { seconds, nanos } = *span;
    if seconds < 0 || !(0..NANOS_PER_SECOND).contains(&nanos) {
        return Err(Flaw::new(format!(
            "must not be negative; got {seconds} seconds and {nanos} nanoseconds"
        )));
    }
    Ok(Duration::new(seconds.unsigned_abs(), nanos.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_instant_is_read_or_refused(seconds: i64, nanos: i32) {
            let read = instant(&prost_types::Timestamp { seconds, nanos });
            if let Ok(at) = read {
                let back = timestamp(at);
                prop_assert_eq!((back.seconds, back.nanos), (seconds, nanos - nanos % 1000));
            } else {
                prop_assert!(!(0..=253_402_300_799).contains(&seconds) || !(0..NANOS_PER_SECOND).contains(&nanos));
            }
        }

        #[test]
        fn any_span_is_read_or_refused(seconds: i64, nanos: i32) {
            let read = span(&prost_types::Duration { seconds, nanos });
            prop_assert_eq!(read.is_ok(), seconds >= 0 && (0..NANOS_PER_SECOND).contains(&nanos));
        }
    }
}
