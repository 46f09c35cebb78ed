//! What is left of a token's limits, in headers: those of habit (`x-ratelimit-*`), and those of
//! draft-ietf-httpapi-ratelimit-headers-10 (`ratelimit`, `ratelimit-policy`, structured by RFC 9651).

use std::time::{Duration, UNIX_EPOCH};

use crate::authority::validate::{Subject, Validation};
use crate::domain::limit::RateLimit;
use crate::domain::spending::RateStatus;
use crate::domain::time::Timestamp;
use crate::domain::verdict::Verdict;

const LIMIT: &str = "x-ratelimit-limit";
const REMAINING: &str = "x-ratelimit-remaining";
const RESET: &str = "x-ratelimit-reset";
const POLICIES: &str = "ratelimit-policy";
const STANDINGS: &str = "ratelimit";

/// The quota among policies; no rate limit can have a name with a space.
const QUOTA: &str = "token quota";
/// Largest integer of a structured field (RFC 9651, section 3.3.1).
const INTEGER_MAX: u64 = 999_999_999_999_999;

/// How `x-ratelimit-reset` says when a limit is whole again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reset {
    /// In so many seconds.
    #[default]
    Seconds,
    /// At this instant (RFC 3339).
    Rfc3339,
}

/// How a token's limits stand after it was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::transport) struct Standing {
    now: Timestamp,
    lines: Vec<Line>,
    /// Which of them tells most: what refused, else what will refuse first.
    foremost: usize,
    /// Until what was refused would pass; `None` if it passed, or never will.
    pub(in crate::transport) retry_after: Option<Duration>,
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    name: String,
    limit: u64,
    remaining: u64,
    /// In which `limit` comes back; `None` if it never does.
    window: Option<Duration>,
    /// Until all of it is back.
    reset_after: Option<Duration>,
    /// Until the use that it refused would pass.
    retry_after: Option<Duration>,
}

impl Standing {
    /// `None` where no limit was judged.
    pub(in crate::transport) fn of(validation: &Validation) -> Option<Self> {
        let subject = validation.subject.as_ref()?;
        let lines = lines(subject, validation);
        let foremost = match validation.verdict {
            Verdict::QuotaExhausted => lines.len().checked_sub(1)?,
            verdict => foremost(&lines, verdict == Verdict::RateLimited)?,
        };
        Some(Self {
            now: subject.now,
            retry_after: lines[foremost].retry_after,
            lines,
            foremost,
        })
    }

    pub(in crate::transport) fn headers(&self, reset: Reset) -> Vec<(&'static str, String)> {
        let line = &self.lines[self.foremost];
        let policies = self.lines.iter().map(Line::policy).collect::<Vec<_>>();
        let standings = self.lines.iter().map(Line::standing).collect::<Vec<_>>();
        let mut headers = vec![
            (LIMIT, line.limit.to_string()),
            (REMAINING, line.remaining.to_string()),
        ];
        if let Some(after) = line.reset_after {
            let text = match reset {
                Reset::Seconds => seconds(after).to_string(),
                Reset::Rfc3339 => instant(self.now.saturating_add(after)),
            };
            headers.push((RESET, text));
        }
        headers.push((POLICIES, policies.join(", ")));
        headers.push((STANDINGS, standings.join(", ")));
        headers
    }
}

impl Line {
    fn policy(&self) -> String {
        let quota = format!("\"{}\";q={}", self.name, self.limit.min(INTEGER_MAX));
        match self.window {
            None => quota,
            Some(window) => format!("{quota};w={}", seconds(window)),
        }
    }

    fn standing(&self) -> String {
        let remaining = format!("\"{}\";r={}", self.name, self.remaining.min(INTEGER_MAX));
        match self.reset_after {
            None => remaining,
            Some(after) => format!("{remaining};t={}", seconds(after)),
        }
    }
}

/// The rate limits in their order, then the quota.
fn lines(subject: &Subject, validation: &Validation) -> Vec<Line> {
    let Some(left) = &subject.left else {
        return Vec::new();
    };
    let token = subject.about.token();
    let refused = (validation.verdict == Verdict::RateLimited).then_some(validation.cost);
    let statuses = left.statuses(token, refused).into_iter();
    let limits = token.profile.rate_limits.iter();
    let rate = |(status, limit): (RateStatus, &RateLimit)| {
        let pace = limit.pace();
        Line {
            name: status.name.to_string(),
            limit: status.limit,
            remaining: status.remaining,
            window: Some(pace.time_to_drain(pace.full)),
            reset_after: Some(status.reset_after),
            retry_after: status.retry_after,
        }
    };
    let quota = token.profile.quota.zip(left.quota).map(|(quota, left)| {
        let refill = quota.refill_after(token.create_time, subject.now);
        let exhausted = validation.verdict == Verdict::QuotaExhausted;
        Line {
            name: QUOTA.to_owned(),
            limit: quota.limit(),
            remaining: left,
            window: quota.period(),
            reset_after: refill,
            retry_after: refill.filter(|_| exhausted && validation.cost <= quota.limit()),
        }
    });
    statuses.zip(limits).map(rate).chain(quota).collect()
}

/// Where some were refused by a rate limit: what makes them wait longest, or where no waiting helps,
/// the smallest of all. Else what has least left, and of such the one that is whole again last.
fn foremost(lines: &[Line], refused: bool) -> Option<usize> {
    let longest = |line: &Line| std::cmp::Reverse(line.reset_after);
    let numbered = || lines.iter().enumerate();
    let refusing = numbered().filter(|(_, line)| refused && line.retry_after.is_some());
    let refusing = refusing.max_by_key(|(_, line)| line.retry_after);
    let tightest = numbered().min_by_key(|(_, line)| match refused {
        true => (line.limit, longest(line)),
        false => (line.remaining, longest(line)),
    });
    refusing.or(tightest).map(|(at, _)| at)
}

/// Whole seconds, never too few.
pub(in crate::transport) fn seconds(span: Duration) -> u64 {
    let more = u64::from(span.subsec_nanos() > 0);
    span.as_secs().saturating_add(more).min(INTEGER_MAX)
}

fn instant(at: Timestamp) -> String {
    let whole = Duration::from_secs(at.micros().div_ceil(1_000_000));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + whole).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::validate::About;
    use crate::domain::limit::{LimitName, Quota, RateLimits};
    use crate::domain::profile::Profile;
    use crate::domain::spending::Left;
    use crate::domain::token::tests::{at, draft};
    use crate::domain::token::{Draft, Token};
    use crate::domain::verdict::Credential;
    use std::sync::Arc;

    fn rate(name: &str, requests: u64, seconds: u64, burst: u64) -> RateLimit {
        let name = LimitName::parse(name).unwrap();
        RateLimit::new(name, requests, Some(Duration::from_secs(seconds)), burst).unwrap()
    }

    fn token(rates: Vec<RateLimit>, quota: Option<Quota>) -> Token {
        let profile = Profile {
            rate_limits: RateLimits::new(rates).unwrap(),
            quota,
            ..Profile::default()
        };
        Draft { profile, ..draft() }.issue(at(1)).unwrap()
    }

    /// Judged ten seconds after it was issued, with so many uses spent of each rate limit.
    fn judged(token: Token, spent: &[u64], quota: Option<u64>, verdict: Verdict) -> Validation {
        let limits = token.profile.rate_limits.iter();
        let backlogs = limits
            .zip(spent)
            .map(|(limit, uses)| limit.pace().step * uses);
        let left = Left {
            now: at(11),
            backlogs: backlogs.collect(),
            quota,
        };
        Validation {
            verdict,
            subject: Some(Subject {
                about: About::Token(Arc::new(token)),
                credential: Credential::Own {
                    version: 1,
                    until: None,
                },
                now: at(11),
                left: Some(left),
            }),
            cost: 1,
            cache_ttl: Duration::ZERO,
            degraded: false,
            id: String::new(),
        }
    }

    fn told(validation: &Validation, reset: Reset) -> String {
        let headers = Standing::of(validation).unwrap().headers(reset);
        let lines = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_has_least_left_is_told_in_the_old_headers_and_all_in_the_new() {
        let token = token(vec![rate("a", 60, 60, 0), rate("b", 10, 3600, 20)], None);
        let valid = judged(token, &[1, 4], None, Verdict::Valid);
        assert_eq!(
            told(&valid, Reset::Seconds),
            "x-ratelimit-limit: 20\n\
             x-ratelimit-remaining: 16\n\
             x-ratelimit-reset: 1440\n\
             ratelimit-policy: \"a\";q=60;w=60, \"b\";q=20;w=7200\n\
             ratelimit: \"a\";r=59;t=1, \"b\";r=16;t=1440"
        );
        assert_eq!(Standing::of(&valid).unwrap().retry_after, None);
    }

    #[test]
    fn a_refusal_tells_of_what_refused_and_when_it_would_pass() {
        let token = token(vec![rate("a", 1, 60, 1), rate("b", 1, 10, 1)], None);
        let limited = judged(token, &[1, 1], None, Verdict::RateLimited);
        let standing = Standing::of(&limited).unwrap();
        assert_eq!(standing.retry_after, Some(Duration::from_secs(60)));
        let first = standing.headers(Reset::Rfc3339);
        assert_eq!(first[2], (RESET, "1970-01-01T00:01:11Z".to_owned()));
    }

    #[test]
    fn what_never_passes_has_no_time_to_try_again() {
        let token = token(vec![rate("a", 9, 60, 9), rate("b", 2, 60, 2)], None);
        let dear = Validation {
            cost: 5,
            ..judged(token, &[8, 0], None, Verdict::RateLimited)
        };
        let standing = Standing::of(&dear).unwrap();
        assert_eq!(standing.retry_after, None);
        assert_eq!(standing.headers(Reset::Seconds)[0], (LIMIT, "2".to_owned()));
    }

    #[test]
    fn a_quota_is_told_as_the_last_policy_and_comes_back_with_its_period_or_never() {
        let refilling = Quota::new(5, Some(Duration::from_secs(30))).unwrap();
        let spent = judged(
            token(Vec::new(), Some(refilling)),
            &[],
            Some(0),
            Verdict::QuotaExhausted,
        );
        assert_eq!(
            told(&spent, Reset::Seconds),
            "x-ratelimit-limit: 5\n\
             x-ratelimit-remaining: 0\n\
             x-ratelimit-reset: 20\n\
             ratelimit-policy: \"token quota\";q=5;w=30\n\
             ratelimit: \"token quota\";r=0;t=20"
        );
        let after = Standing::of(&spent).unwrap().retry_after;
        assert_eq!(after, Some(Duration::from_secs(20)));
        let once = token(
            vec![rate("a", 9, 60, 9)],
            Some(Quota::new(Quota::LIMIT_MAX, None).unwrap()),
        );
        let spent = judged(once, &[0], Some(0), Verdict::QuotaExhausted);
        assert_eq!(
            told(&spent, Reset::Seconds),
            "x-ratelimit-limit: 1000000000000000\n\
             x-ratelimit-remaining: 0\n\
             ratelimit-policy: \"a\";q=9;w=60, \"token quota\";q=999999999999999\n\
             ratelimit: \"a\";r=9;t=0, \"token quota\";r=0"
        );
        assert_eq!(Standing::of(&spent).unwrap().retry_after, None);
    }

    #[test]
    fn where_there_are_no_limits_nothing_is_told() {
        let plain = judged(token(Vec::new(), None), &[], None, Verdict::Valid);
        assert_eq!(Standing::of(&plain), None);
    }

    #[test]
    fn seconds_are_never_too_few() {
        assert_eq!(seconds(Duration::ZERO), 0);
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::from_millis(60_001)), 61);
        assert_eq!(seconds(Duration::MAX), INTEGER_MAX);
    }
}
