//! Pools: tokens that are interchangeable, and what holds for leasing them.

use std::time::Duration;

use super::flaw::Flaw;
use super::name::{Namespace, PoolName};

/// A pool, in the order of its namespace and then its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pool {
    pub namespace: Namespace,
    pub name: PoolName,
}

/// How a pool's tokens stand. At every instant, they are all of its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// In force, and nobody's.
    pub available: u64,
    pub leased: u64,
    /// Switched off, expired or revoked.
    pub unavailable: u64,
    /// Calls that wait for a lease.
    pub waiting: u64,
}

impl Standing {
    /// All tokens of the pool.
    pub fn tokens(&self) -> u64 {
        self.available + self.leased + self.unavailable
    }
}

/// What a deployment allows of leases, and what it gives where nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerms {
    duration: Duration,
    duration_max: Duration,
    keep_alive_ttl: Duration,
    keep_alive_ttl_max: Duration,
    wait_max: Duration,
}

impl Default for LeaseTerms {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(60),
            duration_max: Duration::from_secs(24 * 3600),
            keep_alive_ttl: Duration::from_secs(300),
            keep_alive_ttl_max: Duration::from_secs(366 * 24 * 3600),
            wait_max: Duration::from_secs(3600),
        }
    }
}

impl LeaseTerms {
    /// Shortest lease, and shortest life without a beat.
    pub const SPAN_MIN: Duration = Duration::from_secs(1);
    /// Longest of both that a deployment may allow.
    pub const SPAN_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
    /// Longest wait that a deployment may allow.
    pub const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

    /// A flaw comes with the part that it belongs to: `duration`, `max_duration`, `keep_alive_ttl`,
    /// `max_keep_alive_ttl` or `max_wait`.
    pub fn new(
        duration: Duration,
        duration_max: Duration,
        keep_alive_ttl: Duration,
        keep_alive_ttl_max: Duration,
        wait_max: Duration,
    ) -> Result<Self, (&'static str, Flaw)> {
        let within = |part, span: Duration, least, most| match (least..=most).contains(&span) {
            true => Ok(()),
            false => Err((part, out_of(span, least, most))),
        };
        let (least, most) = (Self::SPAN_MIN, Self::SPAN_MAX);
        within("max_duration", duration_max, least, most)?;
        if !(least..=duration_max).contains(&duration) {
            let most = duration_max.as_secs_f64();
            let flaw = format!(
                "must be 1 to {most} seconds (max_duration); got {} seconds",
                duration.as_secs_f64()
            );
            return Err(("duration", Flaw::new(flaw)));
        }
        within("max_keep_alive_ttl", keep_alive_ttl_max, least, most)?;
        if !keep_alive_ttl.is_zero() && !(least..=keep_alive_ttl_max).contains(&keep_alive_ttl) {
            let most = keep_alive_ttl_max.as_secs_f64();
            let flaw = format!(
                "must be 0, or 1 to {most} seconds (max_keep_alive_ttl); got {} seconds",
                keep_alive_ttl.as_secs_f64()
            );
            return Err(("keep_alive_ttl", Flaw::new(flaw)));
        }
        within("max_wait", wait_max, Duration::ZERO, Self::WAIT_MAX)?;
        Ok(Self {
            duration,
            duration_max,
            keep_alive_ttl,
            keep_alive_ttl_max,
            wait_max,
        })
    }

    /// How long a lease lasts for which `asked` was asked, if anything.
    pub fn duration(&self, asked: Option<Duration>) -> Result<Duration, Flaw> {
        match asked {
            None => Ok(self.duration),
            Some(span) if (Self::SPAN_MIN..=self.duration_max).contains(&span) => Ok(span),
            Some(span) => Err(out_of(span, Self::SPAN_MIN, self.duration_max)),
        }
    }

    /// How long a token lives without a beat for which `asked` was asked, if anything; zero, and so
    /// `None`, is for ever.
    pub fn keep_alive_ttl(&self, asked: Option<Duration>) -> Result<Option<Duration>, Flaw> {
        let span = asked.unwrap_or(self.keep_alive_ttl);
        if span.is_zero() {
            return Ok(None);
        }
        let (least, most) = (Self::SPAN_MIN, self.keep_alive_ttl_max);
        match asked.is_none() || (least..=most).contains(&span) {
            true => Ok(Some(span)),
            false => Err(Flaw::new(format!(
                "must be 0, or {} to {} seconds; got {} seconds",
                least.as_secs_f64(),
                most.as_secs_f64(),
                span.as_secs_f64()
            ))),
        }
    }

    /// How long a call may wait for a lease that wants to wait for `asked`.
    pub fn wait(&self, asked: Duration) -> Result<Duration, Flaw> {
        match asked <= self.wait_max {
            true => Ok(asked),
            false => Err(out_of(asked, Duration::ZERO, self.wait_max)),
        }
    }

    /// Longest time that a call may wait for a lease.
    pub fn wait_max(&self) -> Duration {
        self.wait_max
    }
}

fn out_of(span: Duration, least: Duration, most: Duration) -> Flaw {
    Flaw::new(format!(
        "must be {} to {} seconds; got {} seconds",
        least.as_secs_f64(),
        most.as_secs_f64(),
        span.as_secs_f64()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_not_asked_for_follows_from_the_terms() {
        let terms = LeaseTerms::default();
        assert_eq!(terms.duration(None), Ok(seconds(60)));
        assert_eq!(terms.keep_alive_ttl(None), Ok(Some(seconds(300))));
        assert_eq!(terms.keep_alive_ttl(Some(Duration::ZERO)), Ok(None));
        let lasting = LeaseTerms::new(
            seconds(60),
            seconds(60),
            Duration::ZERO,
            seconds(1),
            seconds(0),
        );
        assert_eq!(lasting.unwrap().keep_alive_ttl(None), Ok(None));
    }

    #[test]
    fn what_is_asked_for_is_given_or_refused_and_never_cut() {
        let terms = LeaseTerms::default();
        assert_eq!(terms.duration(Some(seconds(1))), Ok(seconds(1)));
        assert_eq!(terms.duration(Some(seconds(86_400))), Ok(seconds(86_400)));
        let told = terms.duration(Some(seconds(86_401))).unwrap_err();
        assert_eq!(
            told.to_string(),
            "must be 1 to 86400 seconds; got 86401 seconds"
        );
        assert!(terms.duration(Some(Duration::ZERO)).is_err());
        assert!(
            terms
                .keep_alive_ttl(Some(Duration::from_millis(1)))
                .is_err()
        );
        assert!(terms.wait(seconds(3601)).is_err());
    }

    #[test]
    fn terms_that_contradict_themselves_are_refused() {
        let refused = |duration, longest, ttl, longest_ttl, wait| {
            LeaseTerms::new(
                seconds(duration),
                seconds(longest),
                seconds(ttl),
                seconds(longest_ttl),
                seconds(wait),
            )
            .unwrap_err()
        };
        // The other setting may be the one that was changed, and 0 is for ever.
        let (part, flaw) = refused(60, 30, 0, 1, 0);
        assert_eq!(part, "duration");
        assert_eq!(
            flaw.to_string(),
            "must be 1 to 30 seconds (max_duration); got 60 seconds"
        );
        let (_, flaw) = refused(1, 1, 300, 60, 0);
        assert_eq!(
            flaw.to_string(),
            "must be 0, or 1 to 60 seconds (max_keep_alive_ttl); got 300 seconds"
        );
        let refused = |duration, longest, ttl, longest_ttl, wait| {
            refused(duration, longest, ttl, longest_ttl, wait).0
        };
        assert_eq!(refused(61, 60, 0, 1, 0), "duration");
        assert_eq!(refused(0, 60, 0, 1, 0), "duration");
        assert_eq!(refused(1, 0, 0, 1, 0), "max_duration");
        assert_eq!(refused(1, 1, 2, 1, 0), "keep_alive_ttl");
        assert_eq!(refused(1, 1, 0, 0, 0), "max_keep_alive_ttl");
        assert_eq!(refused(1, 1, 0, 1, 86_401), "max_wait");
    }
}
