//! The judge of a history: it knows what was told to whom and when, and nothing of any store.
//!
//! It is sound: where an answer was lost, it assumes whatever excuses the store.

use std::collections::BTreeMap;

use crate::history::{Counts, History, Hold, Micros};

/// By how much a store's word about a time may miss the time of the call that it answers: the clock
/// may be set meanwhile.
const SET: Micros = 50_000;

/// What must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// A token was held by two.
    Overlap { token: String, fences: [u64; 2] },
    /// A later lease has no greater fence.
    Fence { token: String, fences: [u64; 2] },
    /// A lease was kept alive that was over for certain.
    LateBeat { token: String, fence: u64 },
    /// A lease did not begin while it was asked for.
    Time { token: String, fence: u64 },
    /// The pool's tokens do not add up.
    Counts(Counts),
}

impl Hold {
    /// Until when it was held for certain.
    fn surely_until(&self) -> Micros {
        let told = self.beats.iter().filter_map(|beat| beat.answer.flatten());
        let until = told.fold(self.granted.until, Micros::max);
        let answers = self.releases.iter().filter_map(|release| release.answer);
        let ended = answers.flatten().min();
        let asked = self.releases.iter().map(|release| release.sent).min();
        until.min(ended.or(asked).unwrap_or(Micros::MAX))
    }

    /// Whether a beat was answered that came after the lease was over for certain.
    fn was_kept_late(&self) -> bool {
        let mut until = Some(self.granted.until);
        for beat in &self.beats {
            match (beat.answer, until) {
                (Some(Some(_)), Some(until)) if until <= beat.sent => return true,
                (Some(Some(later)), Some(before)) => until = Some(before.max(later)),
                (Some(None), _) => {}
                // It may have been kept alive without anybody knowing for how long.
                (None, _) | (_, None) => until = None,
            }
        }
        let released = |beat: Micros| {
            let mut known = self.releases.iter().filter_map(|asked| asked.answer);
            known.any(|end| end.is_none_or(|end| end + SET < beat))
        };
        // A beat that was sent before the release may be answered after it.
        let kept = self
            .beats
            .iter()
            .filter(|beat| beat.answer.flatten().is_some());
        let first = self.releases.iter().map(|release| release.sent).min();
        kept.filter(|beat| first.is_some_and(|first| first < beat.sent))
            .any(|beat| released(beat.sent))
    }

    fn begins_while_asked(&self) -> bool {
        let asked = self.sent.saturating_sub(SET)..=self.received + SET;
        asked.contains(&self.granted.from) && self.granted.from < self.granted.until
    }
}

/// Everything that is wrong with a history of a pool of so many tokens.
pub(crate) fn judge(history: &History, tokens: u64) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let mut by_token: BTreeMap<&str, Vec<&Hold>> = BTreeMap::new();
    for hold in &history.holds {
        by_token.entry(&hold.granted.token).or_default().push(hold);
    }
    for (token, mut holds) in by_token {
        holds.sort_by_key(|hold| (hold.granted.from, hold.granted.fence));
        let token = token.to_owned();
        for hold in &holds {
            let (token, fence) = (token.clone(), hold.granted.fence);
            if hold.was_kept_late() {
                wrong.push(Wrong::LateBeat { token, fence });
            } else if !hold.begins_while_asked() {
                wrong.push(Wrong::Time { token, fence });
            }
        }
        wrong.extend(clashes(&token, &holds));
    }
    let unequal = |counts: &&Counts| counts.iter().sum::<u64>() != tokens;
    let samples = history.samples.iter().filter(unequal);
    wrong.extend(samples.map(|counts| Wrong::Counts(*counts)));
    wrong
}

/// Holds of one token, in their order, that overlap, or whose fences do not grow.
fn clashes(token: &str, holds: &[&Hold]) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for pair in holds.windows(2) {
        let [before, after] = [pair[0], pair[1]];
        let fences = [before.granted.fence, after.granted.fence];
        let token = token.to_owned();
        if after.granted.from < before.surely_until() {
            wrong.push(Wrong::Overlap { token, fences });
        } else if fences[1] <= fences[0] {
            wrong.push(Wrong::Fence { token, fences });
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Asked, Granted};

    const TOKENS: u64 = 1;

    fn hold(from: Micros, until: Micros, fence: u64) -> Hold {
        Hold {
            sent: from,
            received: from,
            granted: Granted {
                token: "one".to_owned(),
                lease: String::new(),
                fence,
                from,
                until,
            },
            beats: Vec::new(),
            releases: Vec::new(),
        }
    }

    fn asked(sent: Micros, answer: Option<Option<Micros>>) -> Asked<Option<Micros>> {
        Asked { sent, answer }
    }

    fn judged(holds: Vec<Hold>) -> Vec<Wrong> {
        let samples = Vec::new();
        judge(&History { holds, samples }, TOKENS)
    }

    fn overlap(fences: [u64; 2]) -> Vec<Wrong> {
        let token = "one".to_owned();
        vec![Wrong::Overlap { token, fences }]
    }

    #[test]
    fn holds_that_follow_each_other_are_right() {
        let mut released = hold(0, 100, 1);
        released.releases = vec![asked(40, Some(Some(50)))];
        let mut unheard = hold(50, 150, 2);
        unheard.releases = vec![asked(80, None)];
        let lapsed = hold(80, 180, 3);
        assert_eq!(
            judged(vec![hold(180, 280, 9), lapsed, unheard, released]),
            []
        );
    }

    #[test]
    fn two_holders_at_once_are_seen() {
        assert_eq!(
            judged(vec![hold(0, 100, 1), hold(99, 199, 2)]),
            overlap([1, 2])
        );
        let mut released = hold(0, 100, 1);
        released.releases = vec![asked(40, Some(Some(50)))];
        assert_eq!(judged(vec![hold(49, 149, 2), released]), overlap([1, 2]));
        let mut kept = hold(0, 100, 1);
        kept.beats = vec![asked(50, Some(Some(150)))];
        assert_eq!(judged(vec![kept, hold(149, 249, 2)]), overlap([1, 2]));
    }

    #[test]
    fn what_was_never_answered_excuses_the_store() {
        let mut kept = hold(0, 100, 1);
        kept.beats = vec![asked(50, None), asked(130, Some(Some(230)))];
        assert_eq!(judged(vec![kept]), [], "the first may have been heard");
        let mut released = hold(0, 100, 1);
        released.releases = vec![asked(40, None), asked(60, Some(Some(41)))];
        assert_eq!(judged(vec![released, hold(41, 141, 2)]), []);
    }

    #[test]
    fn fences_that_do_not_grow_are_seen() {
        let token = "one".to_owned();
        let fences = [7, 7];
        let wrong = [Wrong::Fence { token, fences }];
        assert_eq!(judged(vec![hold(0, 100, 7), hold(100, 200, 7)]), wrong);
        assert_eq!(judged(vec![hold(0, 100, 8), hold(100, 200, 7)]).len(), 1);
    }

    #[test]
    fn a_lease_that_was_kept_alive_too_late_is_seen() {
        let late = |sent, answer| {
            let mut late = hold(0, 100, 1);
            late.beats = vec![asked(sent, Some(answer))];
            judged(vec![late])
        };
        let token = "one".to_owned();
        assert_eq!(late(99, Some(199)), []);
        assert_eq!(late(100, None), []);
        assert_eq!(late(100, Some(200)), [Wrong::LateBeat { token, fence: 1 }]);
        let mut released = hold(0, 900_000, 1);
        released.releases = vec![asked(40, Some(Some(50)))];
        released.beats = vec![asked(51 + SET, Some(Some(990_000)))];
        assert_eq!(judged(vec![released]).len(), 1);
    }

    #[test]
    fn a_lease_that_began_at_another_time_is_seen() {
        let mut early = hold(1_000_000, 1_000_100, 1);
        early.sent = 1_000_001 + SET;
        early.received = early.sent;
        let token = "one".to_owned();
        assert_eq!(judged(vec![early]), [Wrong::Time { token, fence: 1 }]);
    }

    #[test]
    fn counts_that_do_not_add_up_are_seen() {
        let history = History {
            holds: Vec::new(),
            samples: vec![[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]],
        };
        let wrong = [Wrong::Counts([1, 1, 0]), Wrong::Counts([0, 0, 0])];
        assert_eq!(judge(&history, TOKENS), wrong);
    }
}
