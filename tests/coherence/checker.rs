//! The judge of a history: it knows what was asked, changed and answered, and nothing of any cache.
//!
//! It is sound: an answer to a question that overlaps the change may be either, and no answer is no
//! lie.

use token_authority::transport::grpc::pb::Verdict;

use crate::history::{History, Life, Look};

/// What must never be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The state before was shown to whoever asked after the change was answered.
    Stale(Look, Life),
    /// A change was shown that nobody had asked for.
    Early(Look, Life),
    /// It was valid neither before nor after, but something else.
    Other(Look, Life),
}

/// Everything that is wrong with a history.
pub(crate) fn judge(history: &History) -> Vec<Wrong> {
    let looks = history.looks.iter();
    looks
        .filter_map(|look| fault(look, &history.lives[look.subject]))
        .collect()
}

fn fault(look: &Look, life: &Life) -> Option<Wrong> {
    let told = look.told?;
    let is_after = life.done.is_some_and(|done| done < look.began);
    let is_before = life.sent.is_none_or(|sent| look.ended < sent);
    match told {
        Verdict::Valid if is_after => Some(Wrong::Stale(*look, *life)),
        Verdict::Valid => None,
        told if told != life.way.verdict() => Some(Wrong::Other(*look, *life)),
        _ if is_before => Some(Wrong::Early(*look, *life)),
        _ => None,
    }
}

/// Fails the test if anything is wrong, and says what.
pub(crate) fn is_right(history: &History) {
    let wrong = judge(history);
    let some = wrong.iter().take(9).map(|wrong| format!("{wrong:?}"));
    let some = some.collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} wrongs:\n{some}", wrong.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Nanos, Way};

    const LIFE: Life = Life {
        way: Way::Revoked,
        born: 10,
        sent: Some(100),
        done: Some(200),
    };

    fn judged(life: Life, (began, ended): (Nanos, Nanos), told: Verdict) -> Vec<Wrong> {
        let look = Look {
            subject: 0,
            replica: 3,
            began,
            ended,
            told: Some(told),
        };
        let (lives, looks) = (vec![life], vec![look]);
        judge(&History { lives, looks })
    }

    fn is_stale(wrong: &[Wrong]) -> bool {
        matches!(wrong, [Wrong::Stale(..)])
    }

    #[test]
    fn what_was_valid_before_and_revoked_after_is_right() {
        assert_eq!(judged(LIFE, (20, 99), Verdict::Valid), []);
        assert_eq!(judged(LIFE, (201, 300), Verdict::Revoked), []);
    }

    #[test]
    fn a_question_that_overlaps_the_change_may_be_answered_either_way() {
        for span in [(20, 101), (20, 300), (101, 102), (199, 1000), (200, 201)] {
            assert_eq!(judged(LIFE, span, Verdict::Valid), []);
            assert_eq!(judged(LIFE, span, Verdict::Revoked), []);
        }
    }

    #[test]
    fn the_state_before_is_not_shown_to_who_asks_after_the_answer() {
        assert!(is_stale(&judged(LIFE, (201, 202), Verdict::Valid)));
        assert!(is_stale(&judged(LIFE, (9000, 9001), Verdict::Valid)));
    }

    #[test]
    fn a_change_is_not_shown_before_it_was_asked_for() {
        let early = judged(LIFE, (20, 99), Verdict::Revoked);
        assert!(matches!(*early, [Wrong::Early(..)]));
        let unchanged = Life {
            sent: None,
            done: None,
            ..LIFE
        };
        let early = judged(unchanged, (20, 9000), Verdict::Revoked);
        assert!(matches!(*early, [Wrong::Early(..)]));
    }

    #[test]
    fn a_change_that_was_never_answered_may_be_seen_or_not() {
        let lost = Life { done: None, ..LIFE };
        for told in [Verdict::Valid, Verdict::Revoked] {
            assert_eq!(judged(lost, (9000, 9001), told), []);
        }
    }

    #[test]
    fn an_outage_is_no_verdict_and_another_verdict_is_none_either() {
        for span in [(20, 99), (120, 130), (201, 202)] {
            for told in [Verdict::NotFound, Verdict::Expired, Verdict::Superseded] {
                let wrong = judged(LIFE, span, told);
                assert!(matches!(*wrong, [Wrong::Other(..)]), "{span:?} {told:?}");
            }
        }
        let silent = Look {
            subject: 0,
            replica: 0,
            began: 300,
            ended: 400,
            told: None,
        };
        let (lives, looks) = (vec![LIFE], vec![silent]);
        assert_eq!(judge(&History { lives, looks }), []);
    }

    #[test]
    fn each_way_ends_in_a_verdict_of_its_own() {
        for way in Way::ALL {
            let life = Life { way, ..LIFE };
            assert_eq!(judged(life, (201, 202), way.verdict()), []);
            assert!(is_stale(&judged(life, (201, 202), Verdict::Valid)));
            let others = Way::ALL.iter().filter(|other| **other != way);
            for other in others {
                assert_eq!(judged(life, (201, 202), other.verdict()).len(), 1);
            }
        }
    }
}
