//! Policies of namespaces: how long the tokens of one may live, how many there may be, what they get
//! when nothing is asked for, and how late a change of them may show.

use std::collections::BTreeMap;
use std::time::Duration;

use super::flaw::Flaw;
use super::freshness::Freshness;
use super::limit::RateLimits;
use super::name::Namespace;
use super::time::Timestamp;
use super::token::{Draft, Expiration, Ruling, TTL_MAX, Token};

/// What holds in one namespace; by default no restriction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    default_ttl: Option<Duration>,
    max_ttl: Option<Duration>,
    default_rate_limits: RateLimits,
    max_tokens: Option<u64>,
    freshness: Freshness,
}

impl Policy {
    /// Shortest lifetime that a policy may name.
    pub const TTL_MIN: Duration = Duration::from_millis(1);
    /// Largest number of tokens that a namespace may be limited to.
    pub const TOKENS_MAX: u64 = 1_000_000_000_000;

    /// A flaw comes with the part that it belongs to: `default_ttl`, `max_ttl` or `max_tokens`.
    pub fn new(
        default_ttl: Option<Duration>,
        max_ttl: Option<Duration>,
        default_rate_limits: RateLimits,
        max_tokens: Option<u64>,
    ) -> Result<Self, (&'static str, Flaw)> {
        lifetime(default_ttl, TTL_MAX).map_err(|flaw| ("default_ttl", flaw))?;
        lifetime(max_ttl, TTL_MAX).map_err(|flaw| ("max_ttl", flaw))?;
        let longest = max_ttl.unwrap_or(TTL_MAX);
        lifetime(default_ttl, longest).map_err(|flaw| ("default_ttl", flaw))?;
        if let Some(tokens) = max_tokens.filter(|tokens| !(1..=Self::TOKENS_MAX).contains(tokens)) {
            let flaw = format!("must be 1 to {}; got {tokens}", Self::TOKENS_MAX);
            return Err(("max_tokens", Flaw::new(flaw)));
        }
        Ok(Self {
            default_ttl,
            max_ttl,
            default_rate_limits,
            max_tokens,
            freshness: Freshness::default(),
        })
    }

    /// The same, with answers about the namespace's tokens as fresh as this.
    pub fn with_freshness(self, freshness: Freshness) -> Self {
        Self { freshness, ..self }
    }

    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// Applies the policy to what was asked for; a flaw is one of the `ttl`. To come after
    /// [`Draft::made_by`]: a replay is known by what was asked, whatever the policy says by then.
    pub fn settle(&self, draft: Draft) -> Result<Draft, Flaw> {
        let mut profile = draft.profile;
        profile.rate_limits = self.rate_limits(profile.rate_limits);
        Ok(Draft {
            profile,
            expiration: self.expiration(draft.expiration)?,
            bounds: self.bounds(),
            ..draft
        })
    }

    /// When a token shall end for which `asked` was asked. A flaw is one of the `ttl`; an end at an
    /// instant is judged by the store's time, see [`Bounds::check_end`].
    pub fn expiration(&self, asked: Expiration) -> Result<Expiration, Flaw> {
        let Some(longest) = self.max_ttl else {
            return Ok(match (asked, self.default_ttl) {
                (Expiration::Unsaid, Some(ttl)) => Expiration::After(ttl),
                (Expiration::Unsaid, None) => Expiration::Never,
                (asked, _) => asked,
            });
        };
        let got = match asked {
            Expiration::Unsaid => {
                let ttl = self.default_ttl.unwrap_or(longest);
                return Ok(Expiration::After(ttl));
            }
            Expiration::After(ttl) if ttl > longest => format!("{} seconds", seconds(ttl)),
            Expiration::Never => "0, which means never".to_owned(),
            Expiration::After(_) | Expiration::At(_) => return Ok(asked),
        };
        Err(Flaw::new(format!(
            "must be 1 millisecond to {} seconds, the longest lifetime in this namespace; got {got}",
            seconds(longest)
        )))
    }

    /// What becomes of a change of `token` that `ruling` allows: it may leave the end of the token as
    /// it is, or move it to where that of a new token may be; a flaw is one of the `expire_time`.
    pub fn review(&self, token: &Token, now: Timestamp, ruling: Ruling) -> Result<Ruling, Flaw> {
        match &ruling {
            Ruling::Replace(changed) if changed.expire_time != token.expire_time => {
                self.check_expire_time(now, changed.expire_time)?;
            }
            Ruling::Replace(_) | Ruling::Keep | Ruling::Refuse(_) => {}
        }
        Ok(ruling)
    }

    /// Whether a token may get, `now`, this end or none; a flaw is one of the `expire_time`.
    pub fn check_expire_time(&self, now: Timestamp, end: Option<Timestamp>) -> Result<(), Flaw> {
        self.bounds().check_end(now, end)
    }

    /// The rate limits of a token for which `asked` was asked.
    pub fn rate_limits(&self, asked: RateLimits) -> RateLimits {
        if asked.is_empty() {
            self.default_rate_limits.clone()
        } else {
            asked
        }
    }

    /// What is left for the store to judge.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            lifetime_max: self.max_ttl,
            tokens_max: self.max_tokens,
        }
    }
}

/// What a policy demands of a new token that only the store can judge, since that takes its time or
/// what it holds; by default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    pub lifetime_max: Option<Duration>,
    /// Most tokens of the namespace.
    pub tokens_max: Option<u64>,
}

impl Bounds {
    /// Whether a token may get, `now`, this end or none.
    pub fn check_end(&self, now: Timestamp, end: Option<Timestamp>) -> Result<(), Flaw> {
        let Some(longest) = self.lifetime_max else {
            return Ok(());
        };
        let got = match end.map(|end| end.saturating_since(now)) {
            Some(lifetime) if lifetime <= longest => return Ok(()),
            Some(lifetime) => format!("{} seconds after it", seconds(lifetime)),
            None => "none, which means never".to_owned(),
        };
        Err(Flaw::new(format!(
            "must be at most {} seconds after the store's time, the longest lifetime in this \
             namespace; got {got}",
            seconds(longest)
        )))
    }
}

/// The policies of all namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    named: BTreeMap<Namespace, Policy>,
    others: Policy,
}

impl Policies {
    /// In the namespaces that are not `named` there is no restriction.
    pub fn new(named: BTreeMap<Namespace, Policy>) -> Self {
        Self {
            named,
            others: Policy::default(),
        }
    }

    pub fn of(&self, namespace: &Namespace) -> &Policy {
        self.of_named(namespace.as_str())
    }

    /// That of a namespace of that name.
    pub fn of_named(&self, namespace: &str) -> &Policy {
        self.named.get(namespace).unwrap_or(&self.others)
    }

    /// The longest [`Freshness::max_staleness`] of all namespaces; `None` where none has one.
    pub fn longest_staleness(&self) -> Option<Duration> {
        let policies = self.named.values().chain([&self.others]);
        let spans = policies.map(|policy| policy.freshness.max_staleness());
        spans.max().flatten()
    }
}

fn lifetime(ttl: Option<Duration>, longest: Duration) -> Result<(), Flaw> {
    match ttl {
        Some(ttl) if !(Policy::TTL_MIN..=longest).contains(&ttl) => Err(Flaw::new(format!(
            "must be 1 millisecond to {} seconds; got {} seconds",
            seconds(longest),
            seconds(ttl)
        ))),
        _ => Ok(()),
    }
}

fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limit::{LimitName, RateLimit};
    use crate::domain::token::tests::{at, draft};
    use crate::domain::token::{Refusal, RequestKey};

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn policy(default_ttl: Option<Duration>, max_ttl: Option<Duration>) -> Policy {
        Policy::new(default_ttl, max_ttl, RateLimits::default(), None).unwrap()
    }

    #[test]
    fn what_was_not_asked_for_follows_from_the_policy() {
        let unsaid = |policy: Policy| policy.expiration(Expiration::Unsaid).unwrap();
        assert_eq!(unsaid(Policy::default()), Expiration::Never);
        let after = Expiration::After;
        assert_eq!(unsaid(policy(Some(HOUR), None)), after(HOUR));
        assert_eq!(unsaid(policy(Some(HOUR), Some(DAY))), after(HOUR));
        assert_eq!(unsaid(policy(None, Some(DAY))), after(DAY));
    }

    #[test]
    fn what_was_asked_for_is_kept_or_refused_and_never_cut() {
        let (short, long) = (Expiration::After(HOUR), Expiration::After(DAY + HOUR));
        let instant = Expiration::At(at(1));
        let free = policy(Some(HOUR), None);
        for asked in [short, long, instant, Expiration::Never] {
            assert_eq!(free.expiration(asked), Ok(asked), "{asked:?}");
        }
        let strict = policy(None, Some(DAY));
        for asked in [short, Expiration::After(DAY), instant] {
            assert_eq!(strict.expiration(asked), Ok(asked), "{asked:?}");
        }
        let told = |asked| strict.expiration(asked).unwrap_err().to_string();
        assert_eq!(
            told(long),
            "must be 1 millisecond to 86400 seconds, the longest lifetime in this namespace; \
             got 90000 seconds"
        );
        assert!(told(Expiration::Never).ends_with("got 0, which means never"));
    }

    #[test]
    fn an_end_is_as_late_as_the_longest_lifetime_and_no_later() {
        let strict = policy(None, Some(DAY));
        let now = at(1_000);
        let check = |end| strict.check_expire_time(now, end);
        assert_eq!(check(Some(now.saturating_add(DAY))), Ok(()));
        assert_eq!(
            check(Some(at(1))),
            Ok(()),
            "that it is past is another rule"
        );
        let late = now.saturating_add(DAY + Duration::from_millis(1));
        let told = check(Some(late)).unwrap_err().to_string();
        assert!(told.contains("at most 86400 seconds"), "{told}");
        assert!(told.ends_with("got 86400.001 seconds after it"), "{told}");
        let told = check(None).unwrap_err().to_string();
        assert!(told.ends_with("never"), "{told}");
        assert_eq!(Policy::default().check_expire_time(now, None), Ok(()));
    }

    #[test]
    fn a_settled_draft_is_judged_by_the_stores_time() {
        let strict = policy(None, Some(DAY));
        let ending = |expiration| {
            let draft = Draft {
                expiration,
                ..draft()
            };
            strict.settle(draft).unwrap().issue(at(1_000))
        };
        let token = ending(Expiration::Unsaid).unwrap();
        assert_eq!(token.expire_time, Some(at(1_000).saturating_add(DAY)));
        let last = at(1_000).saturating_add(DAY);
        assert!(ending(Expiration::At(last)).is_ok());
        let late = ending(Expiration::At(last.saturating_add(HOUR)));
        let named = matches!(&late, Err(Refusal::Breaks { field, .. }) if field == "expire_time");
        assert!(named, "{late:?}");
    }

    #[test]
    fn a_replay_is_known_by_what_was_asked_whatever_the_policy() {
        let key = Some(RequestKey([1; 32]));
        let settled = |policy: Policy, expiration| {
            let draft = Draft {
                expiration,
                ..draft()
            };
            policy.settle(draft.made_by(key)).unwrap().origin
        };
        let free = settled(Policy::default(), Expiration::Unsaid);
        let kept = settled(policy(None, Some(DAY)), Expiration::Unsaid);
        assert_eq!(free, kept);
        assert_ne!(free, settled(Policy::default(), Expiration::Never));
        assert_ne!(
            kept,
            settled(policy(None, Some(DAY)), Expiration::After(DAY))
        );
    }

    #[test]
    fn rate_limits_that_were_asked_for_stand_alone() {
        let limit = |name: &str| {
            let name = LimitName::parse(name).unwrap();
            RateLimits::new(vec![RateLimit::new(name, 10, None, 0).unwrap()]).unwrap()
        };
        let policy = Policy::new(None, None, limit("given"), None).unwrap();
        assert_eq!(policy.rate_limits(RateLimits::default()), limit("given"));
        assert_eq!(policy.rate_limits(limit("asked")), limit("asked"));
        let settled = policy.settle(draft()).unwrap();
        assert_eq!(settled.profile.rate_limits, limit("given"));
    }

    #[test]
    fn a_change_may_move_an_end_to_where_that_of_a_new_token_may_be() {
        let strict = policy(None, Some(DAY));
        // From before there was a policy.
        let token = draft().issue(at(1)).unwrap();
        let now = at(1_000);
        let review = |end: Option<Timestamp>| {
            let changed = Token {
                expire_time: end,
                update_time: now,
                ..token.clone()
            };
            let ruling = Ruling::Replace(Box::new(changed));
            strict.review(&token, now, ruling.clone()) == Ok(ruling)
        };
        assert!(review(None), "what stays as it is");
        assert!(review(Some(now.saturating_add(DAY))));
        assert!(!review(Some(now.saturating_add(DAY + HOUR))));
        assert_eq!(strict.review(&token, now, Ruling::Keep), Ok(Ruling::Keep));
    }

    #[test]
    fn a_policy_that_contradicts_itself_is_refused() {
        let refused = |default_ttl, max_ttl, max_tokens| {
            let policy = Policy::new(default_ttl, max_ttl, RateLimits::default(), max_tokens);
            policy.unwrap_err().0
        };
        let beyond = TTL_MAX + Policy::TTL_MIN;
        assert_eq!(refused(Some(Duration::ZERO), None, None), "default_ttl");
        assert_eq!(refused(Some(beyond), None, None), "default_ttl");
        assert_eq!(refused(Some(DAY), Some(HOUR), None), "default_ttl");
        assert_eq!(refused(None, Some(Duration::ZERO), None), "max_ttl");
        assert_eq!(refused(None, Some(beyond), None), "max_ttl");
        assert_eq!(refused(None, None, Some(0)), "max_tokens");
        let most = Policy::TOKENS_MAX;
        assert_eq!(refused(None, None, Some(most + 1)), "max_tokens");
        let widest = Policy::new(None, Some(TTL_MAX), RateLimits::default(), Some(most));
        assert!(widest.is_ok());
    }

    #[test]
    fn the_longest_staleness_is_that_of_any_namespace() {
        let stale = |seconds| {
            let span = Duration::from_secs(seconds);
            let freshness = Freshness::new(Duration::ZERO, span).unwrap();
            Policy::default().with_freshness(freshness)
        };
        let longest = |seconds: &[u64]| {
            let named = seconds.iter().enumerate().map(|(at, seconds)| {
                let name = Namespace::parse(&format!("n{at}")).unwrap();
                (name, stale(*seconds))
            });
            Policies::new(named.collect()).longest_staleness()
        };
        assert_eq!(longest(&[]), None);
        assert_eq!(longest(&[0]), None);
        assert_eq!(longest(&[0, 30, 5]), Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_namespace_that_is_not_named_is_free() {
        let name = |text: &str| Namespace::parse(text).unwrap();
        let strict = policy(None, Some(HOUR));
        let policies = Policies::new(BTreeMap::from([(name("shop"), strict.clone())]));
        assert_eq!(policies.of(&name("shop")), &strict);
        assert_eq!(policies.of(&name("default")), &Policy::default());
    }
}
