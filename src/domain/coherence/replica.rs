//! A replica: what it knows of the registry, and until when it may answer from memory.

use super::registry::{Known, News, Renewal, Renewed};
use super::{Epoch, Invalidation, LEASE, Nudge, PATIENCE, ReplicaId};
use crate::domain::time::Steady;

/// One process that answers from memory. Its clock is one that goes on while the machine sleeps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    id: ReplicaId,
    known: Option<Sight>,
    /// When its lease runs out; `None` where it holds none.
    lease: Option<Steady>,
}

/// What was seen of a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sight {
    epoch: Epoch,
    applied: u64,
    /// When the epoch was seen first.
    since: Steady,
}

/// What has to be applied, and what counts when it was. It is given to [`Replica::applied`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "what was not applied is not acknowledged"]
pub struct Due {
    pub news: News,
    known: Sight,
    lease: Option<Steady>,
}

impl Replica {
    pub fn new(id: ReplicaId) -> Self {
        Self {
            id,
            known: None,
            lease: None,
        }
    }

    pub fn id(&self) -> ReplicaId {
        self.id
    }

    /// What to say, `now`, when renewing.
    pub fn renewal(&self, now: Steady) -> Renewal {
        let known = self.known.map(|sight| Known {
            epoch: sight.epoch,
            applied: sight.applied,
            long: now.saturating_since(sight.since) > PATIENCE,
        });
        Renewal {
            replica: self.id,
            known,
        }
    }

    /// What follows from the answer to a renewal that was begun at `begun`, before it was sent, and
    /// answered by `now`.
    pub fn renewed(&self, begun: Steady, now: Steady, answer: Renewed) -> Due {
        let before = self.known.filter(|sight| sight.epoch == answer.epoch);
        Due {
            news: answer.news,
            known: Sight {
                epoch: answer.epoch,
                applied: answer.last,
                since: before.map_or(now, |sight| sight.since),
            },
            lease: Some(begun.saturating_add(LEASE)),
        }
    }

    /// What follows from a nudge, if it brings all that is lacking: it is no renewal. `None` where
    /// there is nothing in it, or something before it is missing.
    pub fn nudged(&self, nudge: Nudge) -> Option<Due> {
        let known = self.known.filter(|sight| sight.epoch == nudge.epoch)?;
        let lacking = nudge.last.checked_sub(known.applied)?;
        let lacking = usize::try_from(lacking)
            .ok()
            .filter(|lacking| *lacking > 0)?;
        let skipped = nudge.entries.len().checked_sub(lacking)?;
        let entries: Vec<Invalidation> = nudge.entries[skipped..].to_vec();
        Some(Due {
            news: News::Entries(entries),
            known: Sight {
                applied: nudge.last,
                ..known
            },
            lease: self.lease,
        })
    }

    /// Whether there is nothing in a nudge that was not applied already.
    pub fn is_beyond(&self, nudge: &Nudge) -> bool {
        self.known
            .is_some_and(|known| known.epoch == nudge.epoch && nudge.last <= known.applied)
    }

    /// Notes that what was due was applied: only now does the lease count that came with it.
    pub fn applied(&mut self, due: Due) {
        self.known = Some(due.known);
        self.lease = due.lease;
    }

    /// When the lease runs out that is held; `None` where none is.
    pub fn lease(&self) -> Option<Steady> {
        self.lease
    }

    /// Whether it may answer from memory at an instant. To be asked when or after the question
    /// arrived, and before the record is read that is answered from.
    pub fn may_answer(&self, now: Steady) -> bool {
        self.lease.is_some_and(|until| now < until)
    }

    /// The number of the last entry that was applied.
    pub fn position(&self) -> u64 {
        self.known.map_or(0, |sight| sight.applied)
    }

    /// Answers nothing from memory any more.
    pub fn give_up(&mut self) {
        self.lease = None;
        self.known = None;
    }
}
