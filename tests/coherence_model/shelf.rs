//! The store of the model: the token's revision, the registry, and what is still on its way to them.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use token_authority::domain::coherence::registry::{
    Absent, Announced, Attendance, Known, News, Registry, Renewal, Renewed,
};
use token_authority::domain::coherence::{Epoch, Invalidation, Nudge, ReplicaId};

use crate::omission::Omission;
use crate::world::Revision;

/// One store, each act on it one step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shelf {
    registry: Registry,
    epochs: u8,
    kept: usize,
    pub(crate) revision: Revision,
    pub(crate) settled: bool,
    /// The number of the newest entry.
    pub(crate) last: u64,
    /// All that was ever announced. Each may be heard at any time, more than once, or never.
    pub(crate) nudges: Vec<Nudge>,
    /// A renewal whose sender does not wait for it any more.
    pub(crate) late: Option<Renewal>,
    omission: Option<Omission>,
    /// How often each member renewed, for the omission that goes by it.
    counts: BTreeMap<ReplicaId, u64>,
    /// What a backup has, for the omission that goes on with it.
    backup: Option<Box<Registry>>,
}

fn epoch(number: u8) -> Epoch {
    let digit = char::from(b'a' + number);
    let name: String = std::iter::repeat_n(digit, Epoch::DIGITS).collect();
    Epoch::parse(&name).unwrap()
}

impl Shelf {
    pub(crate) fn new(kept: usize, omission: Option<Omission>) -> Self {
        Self {
            registry: Registry::new(epoch(0), true).keeping(kept),
            epochs: 1,
            kept,
            revision: 0,
            settled: true,
            last: 0,
            nudges: Vec::new(),
            late: None,
            omission,
            counts: BTreeMap::new(),
            backup: None,
        }
    }

    pub(crate) fn lacks(&self, omission: Omission) -> bool {
        self.omission == Some(omission)
    }

    /// Whether numbers of renewals count beyond whether they are the last.
    pub(crate) fn counts_exactly(&self) -> bool {
        let exact = [
            Omission::RenewalsAreCountedPerMembership,
            Omission::RegistryOfAnotherRunIsKept,
            Omission::StrikesInAnyEpoch,
        ];
        self.omission
            .is_some_and(|omission| exact.contains(&omission))
    }

    /// How often each member renewed, where that matters.
    fn counts_of_members(&self) -> Option<&BTreeMap<ReplicaId, u64>> {
        let counted = self.lacks(Omission::RenewalsAreCountedPerMembership);
        counted.then_some(&self.counts)
    }

    pub(crate) fn back_up(&mut self) {
        self.backup = Some(Box::new(self.registry.clone()));
    }

    /// The registry is lost, or an earlier one came back with another run of the server.
    pub(crate) fn lose(&mut self) {
        self.last = 0;
        if let (true, Some(backup)) = (
            self.lacks(Omission::RegistryOfAnotherRunIsKept),
            &self.backup,
        ) {
            self.registry = Registry::clone(backup);
            return;
        }
        let settled = self.lacks(Omission::UnsettledIsNotWaitedFor);
        self.registry = Registry::new(epoch(self.epochs), settled).keeping(self.kept);
        self.settled = settled;
        self.epochs += 1;
        self.counts.clear();
    }

    pub(crate) fn renew(&mut self, renewal: &Renewal) -> Renewed {
        let member = self.registry.attendance();
        let member = member.members.get(&renewal.replica).copied();
        let known = renewal
            .known
            .filter(|known| known.epoch == self.registry.attendance().epoch);
        let mut renewal = renewal.clone();
        if self.lacks(Omission::SettledAtFirstSight)
            && let Some(known) = &mut renewal.known
        {
            known.long = true;
        }
        if member.is_none()
            && known.is_some()
            && self.lacks(Omission::WhoWasStruckIsToldWhatItLacks)
        {
            // First as somebody who knows nothing; then it is a member.
            let stranger = Renewal {
                known: None,
                ..renewal.clone()
            };
            self.registry.renew(&stranger);
        }
        let mut answer = self.registry.renew(&renewal);
        self.settled = answer.settled;
        *self.counts.entry(renewal.replica).or_default() += 1;
        if self.lacks(Omission::AnswerAcknowledges) && answer.news != News::DropAll {
            self.acknowledge(&renewal, &answer);
        }
        if answer.news == News::DropAll {
            self.told_to_drop(&renewal, member.is_some() && known.is_some(), &mut answer);
        }
        answer
    }

    /// What omissions make of an answer that says to drop all.
    fn told_to_drop(&mut self, renewal: &Renewal, trimmed: bool, answer: &mut Renewed) {
        let at_once = match trimmed {
            true => Omission::TrimmedIsAcknowledgedAtOnce,
            false => Omission::NewcomerAcknowledgesAtOnce,
        };
        if self.lacks(at_once) {
            self.acknowledge(renewal, answer);
        }
        let told_nothing = match (trimmed, renewal.known) {
            (true, _) => Omission::TrimmedIsToldNothing,
            (false, Some(known)) if known.epoch != answer.epoch => Omission::NewEpochIsToldNothing,
            (false, Some(_)) => Omission::WhoWasStruckIsToldNothing,
            (false, None) => Omission::NewcomerIsToldNothing,
        };
        if self.lacks(told_nothing) {
            answer.news = News::Entries(Vec::new());
        }
    }

    /// Notes that all is applied that an answer brings.
    fn acknowledge(&mut self, renewal: &Renewal, answer: &Renewed) {
        let known = Known {
            epoch: answer.epoch,
            applied: answer.last,
            long: false,
        };
        self.registry.renew(&Renewal {
            replica: renewal.replica,
            known: Some(known),
        });
    }

    pub(crate) fn announce(&mut self, change: Invalidation) -> Announced {
        let mut announced = self.registry.announce(&[change]);
        self.last = announced.last;
        self.nudges.push(Nudge {
            epoch: announced.epoch,
            last: announced.last,
            entries: vec![change],
        });
        if self.lacks(Omission::RenewalsAreCountedPerMembership) {
            for (id, member) in &mut announced.members {
                member.renewal = self.counts[id];
            }
        }
        announced
    }

    pub(crate) fn attendance(&self) -> Attendance {
        self.registry.attendance()
    }

    pub(crate) fn strike(&mut self, absent: &Absent) {
        let mut absent = absent.clone();
        let now = self.registry.attendance();
        if self.lacks(Omission::StrikesInAnyEpoch) {
            absent.epoch = now.epoch;
        }
        for (id, renewal) in &mut absent.members {
            let Some(member) = now.members.get(id) else {
                continue;
            };
            let same = match self.omission {
                Some(Omission::RenewalsAreCountedPerMembership) => self.counts[id] == *renewal,
                Some(Omission::StrikesWhoeverItWaitedFor) => true,
                _ => continue,
            };
            *renewal = if same { member.renewal } else { u64::MAX };
        }
        self.registry.strike(&absent);
        let now = self.registry.attendance().members;
        self.counts.retain(|id, _| now.contains_key(id));
    }

    pub(crate) fn resign(&mut self, replica: ReplicaId) {
        self.registry.resign(replica);
        self.counts.remove(&replica);
    }
}

impl Hash for Shelf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.epochs, self.revision, self.settled).hash(state);
        self.late.hash(state);
        for nudge in &self.nudges {
            (nudge.epoch, nudge.last).hash(state);
            nudge.entries.hash(state);
        }
        self.counts_of_members().hash(state);
        if self.counts_exactly() && self.counts_of_members().is_none() {
            self.registry.hash(state);
            return;
        }
        for (id, member) in &self.registry.attendance().members {
            (id, member.applied).hash(state);
        }
    }
}
