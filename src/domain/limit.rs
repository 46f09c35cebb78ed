//! Limits of a token: how fast it may be used (rate limits), and how often in all (quota).

use std::fmt;
use std::time::Duration;

use super::flaw::{Flaw, quoted};
use super::time::Timestamp;

/// Longest period of a rate limit or a quota: a leap year.
pub const PERIOD_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Shortest period of a rate limit or a quota.
pub const PERIOD_MIN: Duration = Duration::from_millis(1);
/// Most cost of one use.
pub const COST_MAX: u64 = RateLimit::REQUESTS_MAX;

/// Name of a rate limit: 1 to 63 of `a-z`, `0-9`, `-`, `_`, `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitName(String);

impl LimitName {
    /// The name of a limit that was given none.
    pub const FALLBACK: &'static str = "default";

    /// Empty text means [`LimitName::FALLBACK`].
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let known =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        if text.len() > 63 || !text.bytes().all(known) {
            return Err(Flaw::new(format!(
                "must be at most 63 of a-z, 0-9, '-', '_', '.'; got {}",
                quoted(text)
            )));
        }
        let text = if text.is_empty() {
            Self::FALLBACK
        } else {
            text
        };
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A rate limit, judged by GCRA, the generic cell rate algorithm (ITU-T I.371): `burst` uses at once,
/// and one more each `period / requests`. In any interval `w` at most `burst + w·requests/period`
/// pass, and there are no windows whose edges could be met twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    name: LimitName,
    requests: u64,
    period: Duration,
    burst: u64,
}

impl RateLimit {
    /// Most requests of a period, and most of a burst.
    pub const REQUESTS_MAX: u64 = 1_000_000_000;
    /// The period of a limit that was given none.
    pub const PERIOD_FALLBACK: Duration = Duration::from_secs(60);
    /// Longest time in which a spent burst may come back.
    pub const REFILL_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

    /// `period` absent is a minute, `burst` 0 is `requests`. A flaw comes with the field that it
    /// belongs to: `requests`, `period` or `burst`.
    pub fn new(
        name: LimitName,
        requests: u64,
        period: Option<Duration>,
        burst: u64,
    ) -> Result<Self, (&'static str, Flaw)> {
        let period = period.unwrap_or(Self::PERIOD_FALLBACK);
        let burst = if burst == 0 { requests } else { burst };
        count(requests, Self::REQUESTS_MAX).map_err(|flaw| ("requests", flaw))?;
        bounded(period).map_err(|flaw| ("period", flaw))?;
        count(burst, Self::REQUESTS_MAX).map_err(|flaw| ("burst", flaw))?;
        let refill = micros(period) * u128::from(burst) / u128::from(requests);
        if refill > micros(Self::REFILL_MAX) {
            let flaw = format!(
                "must come back within {} seconds; {burst} at {requests} each {} seconds do not",
                Self::REFILL_MAX.as_secs(),
                period.as_secs_f64()
            );
            return Err(("burst", Flaw::new(flaw)));
        }
        Ok(Self {
            name,
            requests,
            period,
            burst,
        })
    }

    pub fn name(&self) -> &LimitName {
        &self.name
    }

    pub fn requests(&self) -> u64 {
        self.requests
    }

    pub fn period(&self) -> Duration {
        self.period
    }

    pub fn burst(&self) -> u64 {
        self.burst
    }

    pub fn pace(&self) -> Pace {
        Pace::of(self)
    }

    /// The part of the limit that one of `members` may admit by itself. Together they admit no more
    /// than the limit, but that each admits one use at once, and one in each period, at least.
    pub fn share(&self, members: u64) -> Self {
        let members = members.max(1);
        let requests = (self.requests / members).max(1);
        // At the least pace, too, a burst comes back within its bounds.
        let returning = micros(Self::REFILL_MAX) * u128::from(requests) / micros(self.period);
        let returning = u64::try_from(returning).unwrap_or(u64::MAX);
        Self {
            name: self.name.clone(),
            requests,
            period: self.period,
            burst: (self.burst / members).clamp(1, returning),
        }
    }
}

/// A rate limit as arithmetic: a backlog in whole units grows by `step` with each use of cost 1,
/// shrinks by `drain` each microsecond, and may not exceed `full`.
///
/// All three stay below 2^52, so that doubles, which is what Redis' scripts compute with, are
/// exact. Where `period / requests` is no whole number in such units, the limit is kept by less
/// than a millionth more strictly than it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    pub step: u64,
    pub drain: u64,
    pub full: u64,
}

impl Pace {
    const UNITS_MAX: u128 = 1 << 52;

    fn of(limit: &RateLimit) -> Self {
        let (period, requests) = (micros(limit.period), u128::from(limit.requests));
        let burst = u128::from(limit.burst);
        let common = gcd(period, requests);
        let (mut step, mut drain) = (period / common, requests / common);
        if step * burst > Self::UNITS_MAX {
            // The finest units in which a burst still fits; the step rounded up.
            drain = (Self::UNITS_MAX - burst) * requests / (burst * period);
            step = (period * drain).div_ceil(requests);
        }
        let number = |value: u128| u64::try_from(value).unwrap_or(u64::MAX);
        Self {
            step: number(step),
            drain: number(drain),
            full: number(step * burst),
        }
    }

    /// How long it takes to drain `backlog`.
    pub fn time_to_drain(&self, backlog: u64) -> Duration {
        Duration::from_micros(backlog.div_ceil(self.drain))
    }

    /// What is left of a backlog after `span`.
    pub fn drained(&self, backlog: u64, span: Duration) -> u64 {
        let gone = micros(span) * u128::from(self.drain);
        let left = u128::from(backlog).saturating_sub(gone);
        u64::try_from(left).unwrap_or(u64::MAX)
    }
}

/// The rate limits of one token: at most [`RateLimits::COUNT_MAX`], each with a name of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimits(Vec<RateLimit>);

impl RateLimits {
    pub const COUNT_MAX: usize = 4;

    /// A flaw comes with the place of the limit that it belongs to; `None` is the whole list.
    pub fn new(limits: Vec<RateLimit>) -> Result<Self, (Option<usize>, Flaw)> {
        if limits.len() > Self::COUNT_MAX {
            return Err((None, Self::too_many(limits.len())));
        }
        for (at, limit) in limits.iter().enumerate() {
            if limits[..at]
                .iter()
                .any(|earlier| earlier.name == limit.name)
            {
                let flaw = format!("must differ from those before it; got \"{}\"", limit.name);
                return Err((Some(at), Flaw::new(flaw)));
            }
        }
        Ok(Self(limits))
    }

    /// What is wrong with a list of `count` limits, where that is more than are allowed.
    pub fn too_many(count: usize) -> Flaw {
        let most = Self::COUNT_MAX;
        Flaw::new(format!("has {count} entries; at most {most} are allowed"))
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &RateLimit> + Clone {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The [share](RateLimit::share) of each.
    pub fn share(&self, members: u64) -> Self {
        Self(self.iter().map(|limit| limit.share(members)).collect())
    }
}

/// How much a token may be used in all, or in each period counted from its creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    limit: u64,
    period: Option<Duration>,
}

impl Quota {
    pub const LIMIT_MAX: u64 = 1_000_000_000_000_000;

    /// A flaw comes with the field that it belongs to: `limit` or `period`.
    pub fn new(limit: u64, period: Option<Duration>) -> Result<Self, (&'static str, Flaw)> {
        count(limit, Self::LIMIT_MAX).map_err(|flaw| ("limit", flaw))?;
        if let Some(period) = period {
            bounded(period).map_err(|flaw| ("period", flaw))?;
        }
        Ok(Self { limit, period })
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    pub fn period(&self) -> Option<Duration> {
        self.period
    }

    /// The number of the period that `now` lies in, for a token of that creation; 0 without one.
    pub fn window(&self, create_time: Timestamp, now: Timestamp) -> u64 {
        let Some(period) = self.period else {
            return 0;
        };
        let number = now.saturating_since(create_time).as_micros() / micros(period);
        u64::try_from(number).unwrap_or(u64::MAX)
    }

    /// The time from `now` until the quota is full again; `None` when never.
    pub fn refill_after(&self, create_time: Timestamp, now: Timestamp) -> Option<Duration> {
        let period = micros(self.period?);
        let into = now.saturating_since(create_time).as_micros() % period;
        u64::try_from(period - into).ok().map(Duration::from_micros)
    }
}

fn count(value: u64, most: u64) -> Result<(), Flaw> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(Flaw::new(format!("must be 1 to {most}; got {value}")))
}

/// A period in whole microseconds, within its bounds.
fn bounded(period: Duration) -> Result<(), Flaw> {
    if period < PERIOD_MIN || period > PERIOD_MAX {
        return Err(Flaw::new(format!(
            "must be {} to {} seconds; got {} seconds",
            PERIOD_MIN.as_secs_f64(),
            PERIOD_MAX.as_secs(),
            period.as_secs_f64()
        )));
    }
    if !period.subsec_nanos().is_multiple_of(1000) {
        return Err(Flaw::new(format!(
            "must be whole microseconds; got {} nanoseconds",
            period.as_nanos()
        )));
    }
    Ok(())
}

fn micros(span: Duration) -> u128 {
    span.as_micros()
}

fn gcd(mut one: u128, mut other: u128) -> u128 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn limit(requests: u64, seconds: u64, burst: u64) -> RateLimit {
        let name = LimitName::parse("").unwrap();
        RateLimit::new(name, requests, Some(Duration::from_secs(seconds)), burst).unwrap()
    }

    #[test]
    fn a_limit_has_a_period_of_a_minute_and_a_burst_of_its_requests_unless_told_otherwise() {
        let plain = RateLimit::new(LimitName::parse("").unwrap(), 200, None, 0).unwrap();
        assert_eq!(plain, limit(200, 60, 200));
        assert_eq!(plain.name().as_str(), "default");
    }

    #[test]
    fn absurd_limits_are_refused_by_the_field_that_is_wrong() {
        let new = |requests, seconds, burst| {
            let period = Some(Duration::from_secs(seconds));
            let name = LimitName::parse("x").unwrap();
            RateLimit::new(name, requests, period, burst).map_err(|(field, _)| field)
        };
        assert_eq!(new(0, 60, 0), Err("requests"));
        assert_eq!(new(0, 60, 5), Err("requests"));
        assert_eq!(new(RateLimit::REQUESTS_MAX + 1, 60, 0), Err("requests"));
        assert_eq!(new(1, 0, 0), Err("period"));
        assert_eq!(new(1, 100 * 366 * 24 * 3600, 0), Err("period"));
        assert_eq!(new(1, 60, RateLimit::REQUESTS_MAX + 1), Err("burst"));
        assert_eq!(new(1, 366 * 24 * 3600, 100), Err("burst"));
        assert!(new(RateLimit::REQUESTS_MAX, 1, 0).is_ok());
    }

    #[test]
    fn common_limits_are_exact() {
        let pace = limit(200, 60, 200).pace();
        assert_eq!((pace.step, pace.drain, pace.full), (300_000, 1, 60_000_000));
        let odd = limit(7, 60, 7).pace();
        assert_eq!((odd.step, odd.drain), (60_000_000, 7));
    }

    #[test]
    fn shares_are_no_more_than_the_limit_and_none_is_nothing() {
        assert_eq!(limit(200, 60, 50).share(3), limit(66, 60, 16));
        assert_eq!(limit(200, 60, 50).share(1), limit(200, 60, 50));
        assert_eq!(limit(200, 60, 50).share(0), limit(200, 60, 50));
        assert_eq!(limit(2, 60, 1).share(5), limit(1, 60, 1));
    }

    #[test]
    fn no_more_than_four_limits_and_no_two_of_one_name() {
        let named =
            |name: &str| RateLimit::new(LimitName::parse(name).unwrap(), 1, None, 0).unwrap();
        let of = |names: &[&str]| RateLimits::new(names.iter().map(|name| named(name)).collect());
        assert!(of(&["a", "b", "c", "d"]).is_ok());
        assert_eq!(of(&["a", "b", "c", "d", "e"]).unwrap_err().0, None);
        assert_eq!(of(&["a", "", "default"]).unwrap_err().0, Some(2));
    }

    #[test]
    fn a_quota_counts_its_periods_from_the_creation() {
        let quota = Quota::new(5, Some(Duration::from_secs(10))).unwrap();
        let at = |seconds: u64| Timestamp::from_micros(seconds * 1_000_000);
        assert_eq!(quota.window(at(100), at(100)), 0);
        assert_eq!(quota.window(at(100), at(109)), 0);
        assert_eq!(quota.window(at(100), at(110)), 1);
        assert_eq!(
            quota.refill_after(at(100), at(103)),
            Some(Duration::from_secs(7))
        );
        assert!(Quota::new(0, None).is_err());
        assert!(Quota::new(1, Some(Duration::ZERO)).is_err());
        assert_eq!(Quota::new(1, None).unwrap().window(at(1), at(999)), 0);
    }

    proptest! {
        #[test]
        fn a_pace_is_never_faster_than_its_limit_and_hardly_slower(
            requests in 1u64..=RateLimit::REQUESTS_MAX,
            period in 1_000u64..=31_622_400_000_000,
            burst in 1u64..=RateLimit::REQUESTS_MAX,
        ) {
            let name = LimitName::parse("x").unwrap();
            let period = Duration::from_micros(period);
            let limit = RateLimit::new(name, requests, Some(period), burst);
            prop_assume!(limit.is_ok());
            let pace = limit.unwrap().pace();
            prop_assert!(pace.drain >= 1 && pace.step >= 1);
            prop_assert_eq!(pace.full, pace.step * burst);
            prop_assert!(pace.full < 1 << 53);
            // step / drain >= period / requests, and less than a millionth above it.
            let (mine, said) = (
                u128::from(pace.step) * u128::from(requests),
                period.as_micros() * u128::from(pace.drain),
            );
            prop_assert!(mine >= said);
            prop_assert!((mine - said) * 1_000_000 <= said);
        }

        #[test]
        fn a_share_of_any_limit_is_a_sound_limit(
            requests in 1u64..=RateLimit::REQUESTS_MAX,
            period in 1_000u64..=31_622_400_000_000,
            burst in 1u64..=RateLimit::REQUESTS_MAX,
            members in 1u64..=10_000,
        ) {
            let name = LimitName::parse("x").unwrap();
            let period = Duration::from_micros(period);
            let limit = RateLimit::new(name.clone(), requests, Some(period), burst);
            prop_assume!(limit.is_ok());
            let share = limit.unwrap().share(members);
            let anew = RateLimit::new(name, share.requests(), Some(period), share.burst());
            prop_assert_eq!(anew, Ok(share));
        }

        #[test]
        fn names_are_read_or_refused(text: String) {
            let _ = LimitName::parse(&text);
        }
    }
}
