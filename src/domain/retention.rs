//! How long a token that has ended is still shown, and when it vanishes.

use std::time::Duration;

use super::time::Timestamp;
use super::token::{REPLAY_WINDOW, Token};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long ended tokens are kept, counted from their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Of a token that was revoked, or that expired after a day or more.
    pub ended: Duration,
    /// Of a token that expired after less than a day.
    pub short_lived: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            ended: DAY * 30,
            short_lived: DAY,
        }
    }
}

impl Token {
    /// When the token and all that is kept about it goes, as things stand; `None` if never.
    ///
    /// A pooled token that nobody keeps alive goes at once, unless it is over before: one of which
    /// somebody may still ask why it is refused is kept, however it was leased.
    ///
    /// A revocation decides even where the token would also expire, or had expired before it. A
    /// token that a request made stays for the replay window at least, so that a late repetition of
    /// the request meets it and makes no second one.
    pub fn vanish_time(&self, retention: &Retention) -> Option<Timestamp> {
        let deadline = self.tenure.as_ref().and_then(|tenure| tenure.deadline);
        let (end, kept) = match (&self.revoked, self.expire_time, deadline) {
            (Some(revocation), ..) => (revocation.time, retention.ended),
            (None, end, Some(deadline)) if end.is_none_or(|end| deadline < end) => {
                let replayed = self.origin.as_ref();
                let replayed = replayed.map(|_| self.create_time.saturating_add(REPLAY_WINDOW));
                return Some(replayed.map_or(deadline, |replayed| deadline.max(replayed)));
            }
            (None, Some(end), _) if end.saturating_since(self.create_time) < DAY => {
                (end, retention.short_lived)
            }
            (None, Some(end), _) => (end, retention.ended),
            (None, None, _) => return None,
        };
        let replayed = self
            .origin
            .as_ref()
            .map_or(Duration::ZERO, |_| REPLAY_WINDOW);
        Some(end.saturating_add(kept.max(replayed)))
    }

    /// The earliest that [`Self::vanish_time`] may become while the token itself is not changed: who
    /// holds it may give it back at any time from `now` on, and its life counts from there.
    pub fn may_vanish(&self, retention: &Retention, now: Timestamp) -> Option<Timestamp> {
        let time = self.vanish_time(retention)?;
        let leased = self.tenure.as_ref().and_then(|tenure| tenure.live(now));
        let span = leased.and(self.profile.keep_alive_ttl);
        Some(span.map_or(time, |span| time.min(now.saturating_add(span))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::name::Reason;
    use crate::domain::token::tests::{at, draft};
    use crate::domain::token::{Draft, Expiration, Origin, RequestKey, Ruling};

    fn living(seconds: Option<u64>) -> Token {
        let after = |seconds| Expiration::After(Duration::from_secs(seconds));
        let draft = Draft {
            expiration: seconds.map_or(Expiration::Never, after),
            ..draft()
        };
        draft.issue(at(1000)).unwrap()
    }

    fn revoked(token: &Token, seconds: u64) -> Token {
        match token.revoke(at(seconds), Reason::default()) {
            Ruling::Replace(token) => *token,
            other => panic!("expected a change, got {other:?}"),
        }
    }

    #[test]
    fn a_token_vanishes_some_time_after_its_end() {
        const DAY: u64 = 86_400;
        let forever = living(None);
        let (short, day) = (living(Some(DAY - 1)), living(Some(DAY)));
        let cases = [
            (forever.clone(), None),
            (short.clone(), Some(1000 + DAY - 1 + DAY)),
            (day.clone(), Some(1000 + DAY + 30 * DAY)),
            (revoked(&forever, 2000), Some(2000 + 30 * DAY)),
            (revoked(&short, 2000), Some(2000 + 30 * DAY)),
            (revoked(&day, 2000 + 5 * DAY), Some(2000 + 35 * DAY)),
        ];
        for (token, expected) in cases {
            let vanishes = token.vanish_time(&Retention::default());
            assert_eq!(vanishes, expected.map(at), "{token:?}");
        }
    }

    #[test]
    fn a_token_that_a_request_made_outlasts_the_repetitions_of_that_request() {
        let retention = Retention {
            ended: Duration::from_secs(1),
            short_lived: Duration::from_secs(1),
        };
        let mut token = living(Some(60));
        assert_eq!(token.vanish_time(&retention), Some(at(1061)));
        token.origin = Some(Origin {
            key: RequestKey([1; 32]),
            fingerprint: [2; 32],
        });
        assert_eq!(token.vanish_time(&retention), Some(at(1660)));
        let usual = Retention::default();
        assert_eq!(token.vanish_time(&usual), Some(at(1060 + 86_400)));
    }

    #[test]
    fn an_end_beyond_all_time_is_no_overflow() {
        let mut token = living(Some(60));
        token.expire_time = Some(Timestamp::MAX);
        assert_eq!(
            token.vanish_time(&Retention::default()),
            Some(Timestamp::MAX)
        );
    }
}
