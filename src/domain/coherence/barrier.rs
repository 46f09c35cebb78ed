//! The barrier: whom a change waits for, and for how long.

use super::registry::{Absent, Announced, Attendance, Members};
use super::{Epoch, PATIENCE, ReplicaId};
use crate::domain::time::Steady;

/// A change that was announced, and who has not applied it yet.
///
/// Its clock is that of the process that changes. It may stand still while the machine sleeps: then
/// the change waits longer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Barrier {
    epoch: Epoch,
    /// The number of the entry that all must have applied.
    number: u64,
    waiting: Members,
    /// When no member can hold a lease any more that it got before the announcement.
    patience_ends: Steady,
    /// When nobody can hold a lease any more from before the epoch.
    settled_at: Option<Steady>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Every replica answers as after the change. Those that were waited for in vain should be struck
    /// off the registry, so that nobody else waits for them.
    Done(Option<Absent>),
    /// Look again who has applied it; at that time it is over at the latest, if nothing is known by
    /// then.
    Wait(Steady),
}

impl Barrier {
    /// Begins to wait. `own` is the replica of this process, which has applied the change already;
    /// `seen` is when this process saw the epoch first, and `now` is after the answer.
    pub fn begin(announced: Announced, own: ReplicaId, seen: Steady, now: Steady) -> Self {
        let Announced {
            epoch,
            settled,
            last,
            members: mut waiting,
        } = announced;
        waiting.retain(|id, member| *id != own && member.applied < last);
        Self {
            epoch,
            number: last,
            waiting,
            patience_ends: now.saturating_add(PATIENCE),
            settled_at: (!settled).then(|| seen.saturating_add(PATIENCE)),
        }
    }

    /// Takes note of how far the members have come, by what was asked for after the announcement.
    ///
    /// One that is not a member any more gave up its lease, or was struck off after somebody had
    /// waited for it. Nothing is learned from a registry of another epoch: then patience decides.
    pub fn attended(&mut self, attendance: &Attendance) {
        if attendance.epoch != self.epoch {
            return;
        }
        let number = self.number;
        self.waiting.retain(|id, _| {
            let member = attendance.members.get(id);
            member.is_some_and(|member| member.applied < number)
        });
    }

    pub fn next(&self, now: Steady) -> Next {
        if let Some(settled_at) = self.settled_at.filter(|settled_at| now < *settled_at) {
            return Next::Wait(settled_at.max(self.ends()));
        }
        if self.waiting.is_empty() || self.patience_ends <= now {
            let absent = self.waiting.iter();
            let members: Vec<_> = absent.map(|(id, member)| (*id, member.renewal)).collect();
            return Next::Done((!members.is_empty()).then_some(Absent {
                epoch: self.epoch,
                members,
            }));
        }
        Next::Wait(self.patience_ends)
    }

    /// Whether there is anybody whose attendance is worth asking for.
    pub fn awaits_somebody(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn ends(&self) -> Steady {
        match self.waiting.is_empty() {
            true => Steady::default(),
            false => self.patience_ends,
        }
    }
}
