//! Instants as the rules see them: microseconds since 1970, always read from a store's clock.

use std::time::Duration;

/// An instant, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 9999-12-31T23:59:59.999999Z, the last instant that protobuf's `Timestamp` can say.
    pub const MAX: Timestamp = Timestamp(253_402_300_799_999_999);

    /// The instant `micros` after 1970, or [`Timestamp::MAX`] if that is later.
    pub const fn from_micros(micros: u64) -> Self {
        if micros > Self::MAX.0 {
            Self::MAX
        } else {
            Self(micros)
        }
    }

    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Cuts to the millisecond, the resolution of every deadline.
    pub const fn floor_to_millis(self) -> Self {
        Self(self.0 - self.0 % 1000)
    }

    /// This instant plus `span`, at most [`Timestamp::MAX`].
    pub fn saturating_add(self, span: Duration) -> Self {
        let span = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Self::from_micros(self.0.saturating_add(span))
    }

    /// Time from `earlier` to this instant; zero if `earlier` is later.
    pub fn saturating_since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// An instant of a clock that never steps: microseconds since a beginning that only its process knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Steady(u64);

impl Steady {
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    pub const fn micros(self) -> u64 {
        self.0
    }

    /// This instant and `span`; the last one there is, where that is later.
    pub fn saturating_add(self, span: Duration) -> Self {
        let span = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(span))
    }

    /// Time from `earlier` to this instant; zero if `earlier` is later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_stop_at_the_last_instant() {
        assert_eq!(
            Timestamp::from_micros(5).saturating_add(Duration::MAX),
            Timestamp::MAX
        );
        assert_eq!(Timestamp::from_micros(u64::MAX), Timestamp::MAX);
    }

    #[test]
    fn deadlines_are_cut_to_the_millisecond() {
        assert_eq!(
            Timestamp::from_micros(1_234_567).floor_to_millis().micros(),
            1_234_000
        );
    }
}
