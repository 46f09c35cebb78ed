//! Freshness: how late a change of a token may show in answers about it.

use std::time::Duration;

use super::flaw::Flaw;
use super::time::Timestamp;
use super::token::Token;
use super::verdict::{self, Credential, Verdict};

/// How late a change may show in answers about the tokens of a namespace; by default not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    cache_ttl: Duration,
    max_staleness: Duration,
}

/// An answer about a token, as far as it matters for whether it may be repeated.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub verdict: Verdict,
    pub token: &'a Token,
    pub credential: Credential,
    /// When the verdict was so, by the store's time or an upper bound of it.
    pub now: Timestamp,
    pub dry_run: bool,
    pub degraded: bool,
}

impl Freshness {
    /// Longest that a change may be late.
    pub const SPAN_MAX: Duration = Duration::from_secs(3600);

    /// Zero is not at all. A flaw comes with the part that it belongs to: `cache_ttl` or
    /// `max_staleness`.
    pub fn new(cache_ttl: Duration, max_staleness: Duration) -> Result<Self, (&'static str, Flaw)> {
        bounded(cache_ttl).map_err(|flaw| ("cache_ttl", flaw))?;
        bounded(max_staleness).map_err(|flaw| ("max_staleness", flaw))?;
        Ok(Self {
            cache_ttl,
            max_staleness,
        })
    }

    /// How long whoever asked may repeat the answer to itself, from when it asked; zero for not at
    /// all.
    ///
    /// Only what time alone can end may be repeated, and only until then: each use of a limited token
    /// counts, how a pooled one is held changes without its record, a dry run and a degraded answer
    /// are no licence, and a refusal shall end as soon as its reason does.
    pub fn cache_ttl(&self, answer: &Answer<'_>) -> Duration {
        let Answer {
            verdict,
            token,
            credential,
            now,
            dry_run,
            degraded,
        } = *answer;
        // First: as a rule none may be, and the token need not be looked at.
        if self.cache_ttl.is_zero() {
            return Duration::ZERO;
        }
        let changing = token.is_limited() || token.profile.pool.is_some();
        if verdict != Verdict::Valid || changing || dry_run || degraded {
            return Duration::ZERO;
        }
        let left = verdict::changes_at(token, credential).map(|end| end.saturating_since(now));
        left.map_or(self.cache_ttl, |left| left.min(self.cache_ttl))
    }

    /// How old what is known of a token may be to be answered while the store cannot be asked;
    /// `None` where that is no answer.
    pub fn max_staleness(&self) -> Option<Duration> {
        Some(self.max_staleness).filter(|span| *span > Duration::ZERO)
    }
}

fn bounded(span: Duration) -> Result<(), Flaw> {
    let longest = Freshness::SPAN_MAX;
    if span <= longest {
        return Ok(());
    }
    let (most, got) = (longest.as_secs(), span.as_secs_f64());
    Err(Flaw::new(format!(
        "must be at most {most} seconds; got {got} seconds"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limit::{LimitName, Quota, RateLimit, RateLimits};
    use crate::domain::name::PoolName;
    use crate::domain::profile::Profile;
    use crate::domain::token::tests::{at, draft};
    use crate::domain::token::{Draft, Expiration};

    const SPAN: Duration = Duration::from_secs(10);

    const CURRENT: Credential = Credential::Own {
        version: 1,
        until: None,
    };

    fn token(profile: Profile, expiration: Expiration) -> Token {
        let draft = Draft {
            profile,
            expiration,
            ..draft()
        };
        draft.issue(at(0)).unwrap()
    }

    fn plain() -> Token {
        token(Profile::default(), Expiration::Never)
    }

    fn valid(token: &Token, now: u64) -> Answer<'_> {
        Answer {
            verdict: Verdict::Valid,
            token,
            credential: CURRENT,
            now: at(now),
            dry_run: false,
            degraded: false,
        }
    }

    fn cache_ttl(answer: &Answer<'_>) -> Duration {
        let freshness = Freshness::new(SPAN, Duration::ZERO).unwrap();
        freshness.cache_ttl(answer)
    }

    #[test]
    fn a_valid_answer_may_be_repeated_for_as_long_as_the_policy_says() {
        let token = plain();
        assert_eq!(cache_ttl(&valid(&token, 1)), SPAN);
        let none = Freshness::default().cache_ttl(&valid(&token, 1));
        assert_eq!(none, Duration::ZERO);
    }

    #[test]
    fn no_answer_may_be_repeated_beyond_a_deadline() {
        let ending = token(
            Profile::default(),
            Expiration::After(Duration::from_secs(60)),
        );
        for (now, left) in [(49, 10), (50, 10), (51, 9), (59, 1), (60, 0), (61, 0)] {
            let left = Duration::from_secs(left);
            assert_eq!(cache_ttl(&valid(&ending, now)), left, "{now}");
        }
        let replaced = Answer {
            credential: Credential::Own {
                version: 1,
                until: Some(at(54)),
            },
            ..valid(&ending, 51)
        };
        assert_eq!(cache_ttl(&replaced), Duration::from_secs(3));
    }

    #[test]
    fn what_changes_with_each_use_or_by_a_holder_is_not_to_be_repeated() {
        let limit = RateLimit::new(LimitName::parse("").unwrap(), 10, None, 0).unwrap();
        for profile in [
            Profile {
                rate_limits: RateLimits::new(vec![limit]).unwrap(),
                ..Profile::default()
            },
            Profile {
                quota: Quota::new(10, None).ok(),
                ..Profile::default()
            },
            Profile {
                pool: PoolName::parse("gpu").ok(),
                ..Profile::default()
            },
        ] {
            let changing = token(profile, Expiration::Never);
            let told = cache_ttl(&valid(&changing, 1));
            assert_eq!(told, Duration::ZERO, "{changing:?}");
        }
    }

    #[test]
    fn refusals_dry_runs_and_degraded_answers_are_not_to_be_repeated() {
        let token = plain();
        let valid = valid(&token, 1);
        let refused = |verdict| Answer { verdict, ..valid };
        for answer in [
            refused(Verdict::Disabled),
            refused(Verdict::ScopeDenied),
            refused(Verdict::AddressDenied),
            Answer {
                dry_run: true,
                ..valid
            },
            Answer {
                degraded: true,
                ..valid
            },
        ] {
            assert_eq!(cache_ttl(&answer), Duration::ZERO, "{answer:?}");
        }
    }

    #[test]
    fn a_change_may_be_late_by_an_hour_and_no_more() {
        let longest = Freshness::SPAN_MAX;
        let (none, beyond) = (Duration::ZERO, longest + Duration::from_millis(1));
        let refused = |cache_ttl, max_staleness| {
            let (part, flaw) = Freshness::new(cache_ttl, max_staleness).unwrap_err();
            (part, flaw.to_string())
        };
        let told = "must be at most 3600 seconds; got 3600.001 seconds".to_owned();
        assert_eq!(refused(beyond, none), ("cache_ttl", told.clone()));
        assert_eq!(refused(longest, beyond), ("max_staleness", told));
        let widest = Freshness::new(longest, longest).unwrap();
        assert_eq!(widest.max_staleness(), Some(longest));
        assert_eq!(Freshness::default().max_staleness(), None);
    }
}
