//! The registry as a rule: what each act makes of it. A store carries out each in one step.

use std::collections::{BTreeMap, VecDeque};

use super::{Epoch, Invalidation, LOG_MAX, ReplicaId};

/// A log of changes, and the replicas that answer from memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Registry {
    epoch: Epoch,
    /// Every lease from before this epoch has run out; see [`Registry::renew`].
    settled: bool,
    /// The number of the newest entry; they count from 1.
    last: u64,
    /// The newest entries, and how many are kept.
    log: VecDeque<Invalidation>,
    kept: usize,
    /// How often anybody renewed.
    renewals: u64,
    members: Members,
}

/// The members of a registry.
pub type Members = BTreeMap<ReplicaId, Member>;

/// What is known of a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Member {
    /// The number of the last entry that it said it has applied; 0 where it has to drop all first.
    pub applied: u64,
    /// The number of its last renewal, among those of all: so no two renewals have the same, not even
    /// before and after a replica was struck off.
    pub renewal: u64,
}

/// Members that were waited for in vain, each with its last renewal by then.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Absent {
    pub epoch: Epoch,
    pub members: Vec<(ReplicaId, u64)>,
}

/// What a replica says when it renews.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Renewal {
    pub replica: ReplicaId,
    /// `None` before its first.
    pub known: Option<Known>,
}

/// What a replica knows of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Known {
    pub epoch: Epoch,
    /// The number of the last entry that it has applied.
    pub applied: u64,
    /// It has known the epoch for longer than any lease from before it lasts.
    pub long: bool,
}

/// What a renewal is answered. The lease that comes with it counts when the news was applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Renewed {
    pub epoch: Epoch,
    pub settled: bool,
    /// The number of the newest entry.
    pub last: u64,
    /// How many answer from memory, this one among them.
    pub members: u64,
    pub news: News,
}

/// What a replica has to apply.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum News {
    /// These entries, in their order; all later than those it said it has applied.
    Entries(Vec<Invalidation>),
    /// It cannot be told what it lacks: everything it remembers, and every read on its way.
    DropAll,
}

/// What an announcement is answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Announced {
    pub epoch: Epoch,
    pub settled: bool,
    /// The number of the last entry announced.
    pub last: u64,
    /// Who answered from memory then.
    pub members: Members,
}

/// Who answers from memory, and how far each has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attendance {
    pub epoch: Epoch,
    pub members: Members,
}

impl Registry {
    /// An empty one. It is settled only where nobody can hold a lease: at a store that was just made.
    pub fn new(epoch: Epoch, settled: bool) -> Self {
        Self {
            epoch,
            settled,
            last: 0,
            log: VecDeque::new(),
            kept: LOG_MAX,
            renewals: 0,
            members: Members::new(),
        }
    }

    /// The same, keeping only so many entries.
    pub fn keeping(self, entries: usize) -> Self {
        Self {
            kept: entries,
            ..self
        }
    }

    /// Notes what a replica has applied, and tells it what it lacks.
    ///
    /// A replica that is not a member, knows another epoch, or lacks more than the log holds, drops
    /// all. What it is told to drop it has not applied before it says so, with the next renewal.
    pub fn renew(&mut self, renewal: &Renewal) -> Renewed {
        let same = |known: &Known| known.epoch == self.epoch && known.applied <= self.last;
        let known = renewal.known.filter(same);
        if known.is_some_and(|known| known.long) {
            self.settled = true;
        }
        self.renewals += 1;
        let renewal_number = self.renewals;
        let kept = self.log.len() as u64;
        let news = match (known, self.members.get_mut(&renewal.replica)) {
            (Some(known), Some(member)) => {
                member.renewal = renewal_number;
                let lacking = self.last - known.applied;
                if lacking > kept {
                    News::DropAll
                } else {
                    member.applied = known.applied;
                    // At most as many as are kept.
                    let skipped = (kept - lacking) as usize;
                    News::Entries(self.log.range(skipped..).copied().collect())
                }
            }
            _ => {
                let member = Member {
                    applied: 0,
                    renewal: renewal_number,
                };
                self.members.insert(renewal.replica, member);
                News::DropAll
            }
        };
        Renewed {
            epoch: self.epoch,
            settled: self.settled,
            last: self.last,
            members: self.members.len() as u64,
            news,
        }
    }

    /// Adds to the log, and tells who has to apply it.
    pub fn announce(&mut self, changes: &[Invalidation]) -> Announced {
        self.last += changes.len() as u64;
        self.log.extend(changes);
        let excess = self.log.len().saturating_sub(self.kept);
        self.log.drain(..excess);
        Announced {
            epoch: self.epoch,
            settled: self.settled,
            last: self.last,
            members: self.members.clone(),
        }
    }

    pub fn attendance(&self) -> Attendance {
        Attendance {
            epoch: self.epoch,
            members: self.members.clone(),
        }
    }

    /// Removes those members that have not renewed since they were waited for.
    pub fn strike(&mut self, absent: &Absent) {
        if absent.epoch != self.epoch {
            return;
        }
        for (replica, renewal) in &absent.members {
            let member = self.members.get(replica);
            if member.is_some_and(|member| member.renewal == *renewal) {
                self.members.remove(replica);
            }
        }
    }

    /// Removes a replica that has given up its lease.
    pub fn resign(&mut self, replica: ReplicaId) {
        self.members.remove(&replica);
    }
}
