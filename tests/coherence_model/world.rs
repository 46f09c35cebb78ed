//! The world as the model sees it: one store, two processes, two who change, and a clock.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use token_authority::domain::coherence::ReplicaId;
use token_authority::domain::coherence::barrier::{Barrier, Next};
use token_authority::domain::coherence::registry::{Absent, Attendance};
use token_authority::domain::time::Steady;

use crate::model::ASKED;
use crate::process::Process;
use crate::scenario::{Faults, Scenario};
use crate::shelf::Shelf;

/// What all clocks show at first.
const BEGINNING_MICROS: u64 = 10_000_000;

/// The token's revision: how many changes were written.
pub(crate) type Revision = u8;

/// Everything at one instant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct World {
    pub(crate) time: Time,
    pub(crate) shelf: Shelf,
    pub(crate) processes: [Process; 2],
    pub(crate) mutators: [Mutator; 2],
    /// The newest change whose call returned.
    pub(crate) returned: Revision,
    /// When a change was written that nobody will announce, by the clock of the process that is asked.
    pub(crate) orphaned: Option<Steady>,
    pub(crate) left: Faults,
    /// An answer was given as before a change that had returned when the question came.
    pub(crate) stale: bool,
    /// One was given as before a change that nobody announced, and that is too long ago.
    pub(crate) overdue: bool,
}

/// What the clocks of the processes show follows from this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Time {
    pub(crate) tick: u8,
    micros: u64,
    /// How fast the clock of each process goes, in tenths.
    rates: [u64; 2],
}

/// Whoever changes tokens, in one of the processes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mutator {
    pub(crate) home: usize,
    /// How many of its acts are done, or being done.
    pub(crate) begun: usize,
    pub(crate) revision: Revision,
    pub(crate) phase: Phase,
    /// Kept by the omission that looks too early.
    pub(crate) early: Option<Attendance>,
}

/// How far a change has come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    /// There is none, or it has returned.
    Resting,
    /// Written; the time is that of its process then.
    Written(Steady),
    /// Applied in its own process, too.
    AppliedHere(Steady),
    /// Announced, and waiting.
    Waiting(Waiting),
    /// The wait is over; who is absent is not struck off yet.
    Striking(Absent),
}

/// A barrier, and what it was made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) barrier: Barrier,
    pub(crate) begun: Steady,
    pub(crate) seen: Steady,
    pub(crate) settled: bool,
    pub(crate) number: u64,
}

impl Time {
    pub(crate) fn new(scenario: &Scenario, rates: [u64; 2]) -> Self {
        Self {
            tick: 0,
            micros: scenario.tick_millis * 1000,
            rates,
        }
    }

    /// What a clock shows that goes on while its machine sleeps.
    pub(crate) fn boot(&self, process: usize) -> Steady {
        self.after(self.tick, process)
    }

    /// What one shows that stood still for some ticks.
    pub(crate) fn awake(&self, process: usize, slept: u8) -> Steady {
        self.after(self.tick - slept, process)
    }

    fn after(&self, ticks: u8, process: usize) -> Steady {
        let since = u64::from(ticks) * self.micros * self.rates[process] / 10;
        Steady::from_micros(BEGINNING_MICROS + since)
    }
}

impl Mutator {
    pub(crate) fn at(home: usize) -> Self {
        Self {
            home,
            begun: 0,
            revision: 0,
            phase: Phase::Resting,
            early: None,
        }
    }

    /// It does nothing any more: its process died, or its call was answered with a failure.
    pub(crate) fn stop(&mut self) {
        self.phase = Phase::Resting;
        self.early = None;
    }
}

/// States that differ only in how often somebody renewed are the same: of the number of a renewal only
/// whether it is still the last of its member is ever asked.
impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.time.hash(state);
        self.shelf.hash(state);
        for (number, process) in self.processes.iter().enumerate() {
            process.hash_as(number == ASKED, state);
        }
        for mutator in &self.mutators {
            self.hash_mutator(mutator, state);
        }
        self.returned.hash(state);
        self.orphaned.hash(state);
        self.left.hash(state);
        (self.stale, self.overdue).hash(state);
    }
}

impl World {
    fn hash_mutator<H: Hasher>(&self, mutator: &Mutator, state: &mut H) {
        (mutator.home, mutator.begun, mutator.revision).hash(state);
        let early = mutator.early.as_ref();
        early.map(|early| &early.members).hash(state);
        match &mutator.phase {
            Phase::Resting => 0.hash(state),
            Phase::Written(when) => (1, when).hash(state),
            Phase::AppliedHere(when) => (2, when).hash(state),
            Phase::Waiting(waiting) => {
                let Waiting {
                    barrier,
                    begun,
                    seen,
                    settled,
                    number,
                } = waiting;
                (3, begun, seen, settled, number).hash(state);
                let at_last = barrier.next(Steady::from_micros(u64::MAX));
                if let Next::Done(Some(absent)) = at_last {
                    self.hash_absent(&absent, state);
                }
            }
            Phase::Striking(absent) => {
                4.hash(state);
                self.hash_absent(absent, state);
            }
        }
    }

    fn hash_absent<H: Hasher>(&self, absent: &Absent, state: &mut H) {
        absent.epoch.hash(state);
        let now = self.shelf.attendance();
        for (id, renewal) in &absent.members {
            let last = |id: &ReplicaId| now.members.get(id).map(|member| member.renewal);
            (id, last(id) == Some(*renewal)).hash(state);
            if self.shelf.counts_exactly() {
                renewal.hash(state);
            }
        }
    }
}

pub(crate) fn earlier(time: Steady, span: Duration) -> Steady {
    let span = u64::try_from(span.as_micros()).unwrap();
    Steady::from_micros(time.micros().saturating_sub(span))
}
