//! Absences: when nobody could have kept a token alive, because the authority or its store was down.
//!
//! The authority shows itself to its store at least once a second. Where it was not seen for longer
//! than [`UNSEEN_MAX`], that was an absence, and every token that had not gone before has its whole
//! span again from its end on.

use std::time::Duration;

use super::time::Timestamp;

/// Longest time between two sights of the authority that is no absence.
pub const UNSEEN_MAX: Duration = Duration::from_secs(5);
/// Most absences that are remembered; beyond that the two oldest become one.
pub const REMEMBERED_MAX: usize = 16;

/// A time in which nobody could call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    /// When the authority was seen last.
    pub from: Timestamp,
    /// When it was seen again.
    pub until: Timestamp,
}

/// The absences of a store's authority, oldest first, as known at an instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Absences {
    list: Vec<Absence>,
    /// When the authority was seen last.
    seen: Timestamp,
}

impl Absences {
    pub fn new(list: Vec<Absence>, seen: Timestamp) -> Self {
        Self { list, seen }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Absence> {
        self.list.iter()
    }

    /// When the authority was seen last.
    pub fn seen(&self) -> Timestamp {
        self.seen
    }

    /// Until when nothing can be judged wrongly by these: an absence that is not among them would
    /// have begun after the last sight, and be no shorter than it takes.
    pub fn known_until(&self) -> Timestamp {
        self.seen.saturating_add(UNSEEN_MAX)
    }

    /// Notes that the authority is there.
    pub fn see(&mut self, now: Timestamp) {
        if self.known_until() < now {
            let (from, until) = (self.seen, now);
            self.list.push(Absence { from, until });
        }
        if self.list.len() > REMEMBERED_MAX {
            // Nobody is treated worse for it.
            let oldest = self.list.remove(0);
            self.list[0].from = oldest.from;
        }
        self.seen = self.seen.max(now);
    }

    /// When a token goes that was to go at `deadline` after `span` without a beat.
    pub fn deadline(&self, deadline: Timestamp, span: Duration) -> Timestamp {
        let mut deadline = deadline;
        for Absence { from, until } in &self.list {
            if deadline <= *from {
                break;
            }
            deadline = deadline.max(until.saturating_add(span));
        }
        deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::token::tests::at;

    const SPAN: Duration = Duration::from_secs(300);

    fn seen_at(seconds: &[u64]) -> Absences {
        let mut absences = Absences::new(Vec::new(), at(seconds[0]));
        seconds.iter().for_each(|second| absences.see(at(*second)));
        absences
    }

    #[test]
    fn five_seconds_out_of_sight_are_no_absence() {
        assert_eq!(seen_at(&[100, 105, 110]).iter().count(), 0);
        let absences = seen_at(&[100, 106]);
        let expected = Absence {
            from: at(100),
            until: at(106),
        };
        assert_eq!(absences.iter().collect::<Vec<_>>(), [&expected]);
        assert_eq!(absences.known_until(), at(111));
    }

    #[test]
    fn who_lived_when_the_authority_went_has_the_whole_span_from_its_return() {
        let absences = seen_at(&[100, 460]);
        assert_eq!(absences.deadline(at(101), SPAN), at(760));
        assert_eq!(absences.deadline(at(500), SPAN), at(760));
        // Kept alive after the return.
        assert_eq!(absences.deadline(at(900), SPAN), at(900));
    }

    #[test]
    fn who_had_gone_before_stays_gone() {
        let absences = seen_at(&[100, 460]);
        assert_eq!(absences.deadline(at(100), SPAN), at(100));
        assert_eq!(absences.deadline(at(99), SPAN), at(99));
    }

    #[test]
    fn every_absence_counts_for_who_lived_through_those_before() {
        let mut absences = seen_at(&[100, 460]);
        (461..=759)
            .step_by(2)
            .for_each(|second| absences.see(at(second)));
        absences.see(at(1000));
        assert_eq!(absences.deadline(at(101), SPAN), at(1300));
        let mut late = seen_at(&[100, 460]);
        (461..=761)
            .step_by(2)
            .for_each(|second| late.see(at(second)));
        late.see(at(1000));
        assert_eq!(
            late.deadline(at(101), SPAN),
            at(760),
            "it went while all was well"
        );
    }

    #[test]
    fn the_oldest_absences_become_one_when_there_are_many() {
        let mut absences = seen_at(&[100]);
        (0..40).for_each(|n| absences.see(at(200 + n * 100)));
        assert_eq!(absences.iter().count(), REMEMBERED_MAX);
        assert_eq!(absences.iter().next().unwrap().from, at(100));
        assert_eq!(absences.deadline(at(101), SPAN), at(200 + 3900 + 300));
    }

    #[test]
    fn a_clock_that_is_set_back_is_no_absence() {
        assert_eq!(seen_at(&[100, 50, 101]), seen_at(&[100, 101]));
    }
}
