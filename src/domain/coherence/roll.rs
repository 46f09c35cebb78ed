//! The roll: who has not renewed for longer than any lease lasts, so that no change waits for it first.

use std::collections::BTreeMap;

use super::registry::{Absent, Attendance};
use super::{Epoch, PATIENCE, ReplicaId};
use crate::domain::time::Steady;

/// What one process saw of the others' renewals. Its clock is that of a [`super::barrier::Barrier`].
#[derive(Debug, Default)]
pub struct Roll {
    epoch: Option<Epoch>,
    /// The last renewal of each, and when it was seen first.
    seen: BTreeMap<ReplicaId, (u64, Steady)>,
}

impl Roll {
    /// Takes note of a look at the registry that was asked for at `begun` and answered by `now`; answers
    /// whom nobody needs to wait for any more. Whoever renewed before a look was answered, and not
    /// since, has a lease from then at the latest.
    pub fn call(&mut self, attendance: &Attendance, begun: Steady, now: Steady) -> Option<Absent> {
        let Attendance { epoch, members } = attendance;
        if self.epoch != Some(*epoch) {
            self.epoch = Some(*epoch);
            self.seen.clear();
        }
        self.seen.retain(|id, _| members.contains_key(id));
        let mut absent = Vec::new();
        for (id, member) in members {
            let (renewal, since) = self.seen.entry(*id).or_insert((member.renewal, now));
            if *renewal != member.renewal {
                (*renewal, *since) = (member.renewal, now);
            } else if begun.saturating_since(*since) >= PATIENCE {
                absent.push((*id, member.renewal));
            }
        }
        (!absent.is_empty()).then_some(Absent {
            epoch: *epoch,
            members: absent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::coherence::registry::{Member, Members};

    fn at(millis: u64) -> Steady {
        Steady::from_micros(millis * 1000)
    }

    fn name<T>(parse: impl Fn(&str) -> T, letter: char) -> T {
        parse(&letter.to_string().repeat(ReplicaId::DIGITS))
    }

    fn replica(letter: char) -> ReplicaId {
        name(|text| ReplicaId::parse(text).unwrap(), letter)
    }

    fn seen(epoch: char, renewals: &[(char, u64)]) -> Attendance {
        let member = |(letter, renewal): &(char, u64)| {
            let member = Member {
                applied: 0,
                renewal: *renewal,
            };
            (replica(*letter), member)
        };
        Attendance {
            epoch: name(|text| Epoch::parse(text).unwrap(), epoch),
            members: renewals.iter().map(member).collect::<Members>(),
        }
    }

    fn absent(found: Option<Absent>) -> Vec<(ReplicaId, u64)> {
        found.map(|absent| absent.members).unwrap_or_default()
    }

    #[test]
    fn who_does_not_renew_for_longer_than_a_lease_is_absent() {
        let mut roll = Roll::default();
        assert_eq!(
            roll.call(&seen('e', &[('a', 1), ('b', 2)]), at(0), at(10)),
            None
        );
        let later = seen('e', &[('a', 3), ('b', 2)]);
        assert_eq!(
            roll.call(&later, at(1109), at(1110)),
            None,
            "counted from the answer"
        );
        assert_eq!(
            absent(roll.call(&later, at(1110), at(1111))),
            [(replica('b'), 2)]
        );
        assert_eq!(
            absent(roll.call(&later, at(2210), at(2211))),
            [(replica('a'), 3), (replica('b'), 2)]
        );
    }

    #[test]
    fn who_renewed_or_came_back_or_came_with_another_epoch_is_counted_anew() {
        let mut roll = Roll::default();
        let first = seen('e', &[('a', 1)]);
        roll.call(&first, at(0), at(0));
        assert_eq!(roll.call(&seen('e', &[('a', 2)]), at(2000), at(2000)), None);
        assert_eq!(roll.call(&seen('e', &[]), at(2001), at(2001)), None);
        assert_eq!(
            roll.call(&seen('e', &[('a', 2)]), at(3200), at(3200)),
            None,
            "it came back"
        );
        assert_eq!(
            roll.call(&seen('f', &[('a', 2)]), at(9000), at(9000)),
            None,
            "of another epoch"
        );
    }
}
