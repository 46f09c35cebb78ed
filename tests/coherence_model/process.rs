//! A process of the model: its replica, how far its renewal has come, and what it remembers.

use std::hash::{Hash, Hasher};

use token_authority::domain::coherence::registry::{News, Renewed};
use token_authority::domain::coherence::replica::Replica;
use token_authority::domain::coherence::{Epoch, Invalidation, RECORD_AGE_MAX, ReplicaId};
use token_authority::domain::time::Steady;
use token_authority::domain::token_id::TokenId;

use crate::omission::Omission;
use crate::world::Revision;

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) replica: Replica,
    pub(crate) renewing: Renewing,
    /// What it saw last of the registry, and when first.
    pub(crate) sight: Option<(Epoch, Steady)>,
    pub(crate) memory: Memory,
    /// Ticks that its machine slept.
    pub(crate) slept: u8,
    pub(crate) leaving: Leaving,
    starts: u8,
}

/// How a process ends in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Leaving {
    No,
    /// It answers nothing from memory any more, and has not said so yet.
    GaveUp,
    Resigned,
}

/// How far a renewal has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Renewing {
    Idle,
    Answered(Answer),
    /// All flights are poisoned, and the record is still there; nor does the lease count yet.
    Poisoned(Answer),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Answer {
    pub(crate) begun: Steady,
    pub(crate) renewed: Renewed,
}

/// What a process remembers of the token, what is being read, and one question. Other questions are
/// there as the flights that they began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Memory {
    pub(crate) record: Option<Record>,
    pub(crate) flight: Option<Flight>,
    pub(crate) reread: Option<Reread>,
    pub(crate) question: Option<Question>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) revision: Revision,
    /// `None` where its age is not looked at, which only lets more be answered from it.
    pub(crate) begun: Option<Steady>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flight {
    pub(crate) begun: Option<Steady>,
    pub(crate) found: Revision,
    pub(crate) poisoned: bool,
}

/// The record is read again, before it is old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reread {
    pub(crate) begun: Steady,
    /// The very record that was there then; it has still the revision that was read.
    pub(crate) record: Record,
}

/// A Validate, and the newest change that had returned when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    /// It saw the lease in force.
    Held { floor: Revision, at: Steady },
    /// It waits for a flight that began before.
    Joined { floor: Revision, at: Steady },
    /// The omission that looks at the record first: what it read there.
    Read {
        floor: Revision,
        at: Steady,
        record: Record,
    },
}

/// An answer from memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) revision: Revision,
    pub(crate) floor: Revision,
    pub(crate) at: Steady,
}

/// The token that is asked about.
pub(crate) fn watched() -> TokenId {
    TokenId::parse("tttttttttttttttttttttt").unwrap()
}

/// Another one: nobody asks about it.
pub(crate) fn other() -> TokenId {
    TokenId::parse("oooooooooooooooooooooo").unwrap()
}

fn replica_id(process: usize, starts: u8) -> ReplicaId {
    let digit = |number: usize| u8::try_from(number).unwrap();
    let letter = char::from(b'a' + digit(process) + 2 * starts);
    let name: String = std::iter::repeat_n(letter, ReplicaId::DIGITS).collect();
    ReplicaId::parse(&name).unwrap()
}

impl Process {
    pub(crate) fn start(process: usize, starts: u8) -> Self {
        Self {
            replica: Replica::new(replica_id(process, starts)),
            renewing: Renewing::Idle,
            sight: None,
            memory: Memory::default(),
            slept: 0,
            leaving: Leaving::No,
            starts,
        }
    }

    /// Another process in its place. Its machine is the same.
    pub(crate) fn start_again(&mut self, process: usize) {
        *self = Self {
            slept: self.slept,
            ..Self::start(process, self.starts + 1)
        };
    }

    /// When an epoch that is seen now was seen first.
    pub(crate) fn see(&mut self, epoch: Epoch, now: Steady) -> Steady {
        match self.sight {
            Some((known, since)) if known == epoch => since,
            _ => {
                self.sight = Some((epoch, now));
                now
            }
        }
    }
}

/// The lease of a process that nobody asks makes no difference.
impl Process {
    pub(crate) fn hash_as<H: Hasher>(&self, asked: bool, state: &mut H) {
        (self.slept, self.leaving, self.sight).hash(state);
        if asked {
            (&self.replica, &self.renewing, &self.memory).hash(state);
        } else {
            self.replica.renewal(Steady::default()).hash(state);
        }
    }
}

impl Memory {
    /// Applies entries: the record is dropped and the flight poisoned in one.
    pub(crate) fn apply(&mut self, entries: &[Invalidation], omission: Option<Omission>) {
        for entry in entries.iter().filter(|entry| entry.token == watched()) {
            if omission != Some(Omission::FlightsAreNotPoisoned) {
                self.poison(omission);
            }
            if omission != Some(Omission::RecordIsNotDropped) {
                self.record = self
                    .record
                    .filter(|record| u64::from(record.revision) >= entry.revision);
            }
        }
    }

    pub(crate) fn poison(&mut self, omission: Option<Omission>) {
        // What it found matters to nobody any more, unless that is left out.
        let keeps_result = omission.is_some_and(Omission::uses_poisoned);
        if let Some(flight) = &mut self.flight {
            flight.poisoned = true;
            if !keeps_result {
                flight.found = Revision::MAX;
            }
        }
    }

    pub(crate) fn recall(&self, at: Steady, omission: Option<Omission>) -> Option<Record> {
        let young = |record: &Record| {
            let age = record.begun.map(|begun| at.saturating_since(begun));
            age.is_none_or(|age| age < RECORD_AGE_MAX)
        };
        let ageless = omission == Some(Omission::RecordsDoNotAge);
        self.record.filter(|record| ageless || young(record))
    }

    /// The record that was read again is renewed, if it is still there.
    pub(crate) fn renew(&mut self, omission: Option<Omission>) {
        let Some(Reread { begun, record }) = self.reread.take() else {
            return;
        };
        let brings_back = omission == Some(Omission::RenewalBringsBackWhatWasDropped);
        if self.record == Some(record) || brings_back {
            self.record = Some(Record {
                begun: Some(begun),
                ..record
            });
        }
    }

    /// A flight lands; answers what is told to the question that waited for it.
    pub(crate) fn land(&mut self, omission: Option<Omission>) -> Option<Told> {
        let flight = self.flight.take()?;
        let revision = flight.found;
        if !flight.poisoned || omission == Some(Omission::PoisonedResultIsRemembered) {
            self.record = Some(Record {
                revision,
                begun: flight.begun,
            });
        }
        let Some(Question::Joined { floor, at }) = self.question else {
            return None;
        };
        self.question = None;
        // Else it reads again, and what it reads then cannot be old.
        let answers = [
            Omission::PoisonedResultIsAnswered,
            Omission::PoisonedIsJoinedAndAnswered,
        ];
        let good = !flight.poisoned || omission.is_some_and(|omission| answers.contains(&omission));
        good.then_some(Told {
            revision,
            floor,
            at,
        })
    }
}

impl Answer {
    pub(crate) fn brings_news(&self) -> bool {
        self.renewed.news != News::Entries(Vec::new())
    }
}
