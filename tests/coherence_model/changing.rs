//! How a change is made and made known, in the order of `authority/coherence.rs`. Its own task carries it
//! on whatever becomes of the call: a call that was given up is one whose return nobody sees.
//!
//! The answer to an announcement arrives with it, and that to a look: later ones only make a change
//! return later.

use token_authority::domain::coherence::barrier::{Barrier, Next};
use token_authority::domain::coherence::registry::{Absent, Attendance};
use token_authority::domain::coherence::{Invalidation, LEASE, PATIENCE};
use token_authority::domain::time::Steady;

use crate::model::{ASKED, Run, Sight, Step};
use crate::omission::Omission;
use crate::process::{Leaving, other, watched};
use crate::scenario::Act;
use crate::world::{Mutator, Phase, Waiting, World, earlier};

impl Run {
    pub(crate) fn changing_steps(&self, world: &World, number: usize, steps: &mut Vec<Step>) {
        let mutator = &world.mutators[number];
        if world.processes[mutator.home].leaving == Leaving::Resigned {
            return;
        }
        let early = self.lacks(Omission::LookFromBeforeTheAnnouncement);
        let rests = mutator.phase == Phase::Resting;
        if early && rests && mutator.early.is_none() {
            steps.push(Step::LookEarly(number));
        }
        match &mutator.phase {
            Phase::Resting => match self.next_act(mutator, number) {
                // There is nothing to repeat yet.
                Some(Act::Repeat) if world.shelf.revision == 0 => {}
                Some(_) => steps.push(Step::Write(number)),
                None => {}
            },
            Phase::Written(_) if mutator.home == ASKED => steps.push(Step::ApplyHere(number)),
            Phase::Written(_) | Phase::AppliedHere(_) => {
                steps.push(Step::Announce(number));
                if world.left.failures > 0 {
                    steps.push(Step::Fail(number));
                }
            }
            Phase::Waiting(_) => steps.push(Step::Look(number)),
            Phase::Striking(_) => steps.push(Step::Strike(number)),
        }
    }

    fn next_act(&self, mutator: &Mutator, number: usize) -> Option<Act> {
        self.scenario.acts[number].get(mutator.begun).copied()
    }

    /// The act that is being done.
    fn act(&self, mutator: &Mutator, number: usize) -> Act {
        self.scenario.acts[number][mutator.begun - 1]
    }

    /// What changes wait by.
    fn awake(world: &World, home: usize) -> Steady {
        world.time.awake(home, world.processes[home].slept)
    }

    pub(crate) fn changing_step(&self, world: &mut World, number: usize, step: Step) {
        let now = Self::awake(world, world.mutators[number].home);
        match step {
            Step::Write(_) => self.write(world, number, now),
            Step::ApplyHere(_) => {
                self.apply_here(world, number);
                world.mutators[number].phase = Phase::AppliedHere(now);
            }
            Step::Announce(_) => self.announce(world, number, now),
            Step::LookEarly(_) => {
                world.mutators[number].early = Some(world.shelf.attendance());
            }
            Step::Look(_) => self.look(world, number, now),
            Step::Strike(_) => {
                let phase = &world.mutators[number].phase;
                if let Phase::Striking(absent) = phase.clone() {
                    let before = world.shelf.attendance().members.len();
                    world.shelf.strike(&absent);
                    let struck = world.shelf.attendance().members.len() < before;
                    self.saw(match struck {
                        true => Sight::StruckOff,
                        false => Sight::NotStruckOff,
                    });
                }
                Self::come_back(world, number);
            }
            _ => {
                world.left.failures -= 1;
                self.abandon(world, number);
            }
        }
    }

    fn write(&self, world: &mut World, number: usize, now: Steady) {
        let mutator = &mut world.mutators[number];
        mutator.begun += 1;
        let act = self.scenario.acts[number][mutator.begun - 1];
        if self.lacks(Omission::AnnouncedBeforeItIsWritten) && act == Act::Change {
            mutator.revision = world.shelf.revision + 1;
        } else {
            if act == Act::Change {
                world.shelf.revision += 1;
            }
            mutator.revision = world.shelf.revision;
        }
        if act == Act::Other {
            // It says nothing about the token that is asked about.
            mutator.revision = 0;
        }
        mutator.phase = Phase::Written(now);
        if act == Act::Repeat && self.lacks(Omission::RepeatsReturnAtOnce) {
            Self::come_back(world, number);
        }
    }

    fn change(&self, mutator: &Mutator, number: usize) -> Invalidation {
        let token = match self.act(mutator, number) {
            Act::Other => other(),
            Act::Change | Act::Repeat => watched(),
        };
        Invalidation {
            token,
            revision: u64::from(mutator.revision),
        }
    }

    fn apply_here(&self, world: &mut World, number: usize) {
        let mutator = &world.mutators[number];
        if mutator.home == ASKED && !self.lacks(Omission::OwnRecordIsNotDropped) {
            let change = self.change(mutator, number);
            world.processes[ASKED]
                .memory
                .apply(&[change], self.omission);
        }
    }

    fn announce(&self, world: &mut World, number: usize, now: Steady) {
        let mutator = &world.mutators[number];
        let home = mutator.home;
        let since = match mutator.phase {
            Phase::Written(since) | Phase::AppliedHere(since) => since,
            _ => now,
        };
        let announced = world.shelf.announce(self.change(mutator, number));
        let seen = world.processes[home].see(announced.epoch, now);
        let begun = match self.omission {
            Some(Omission::PatienceCountsFromBeforeTheAnnouncement) => since,
            // As if it had begun so much earlier.
            Some(Omission::PatienceIsOnlyALease) => earlier(now, PATIENCE - LEASE),
            Some(Omission::PatienceIsHalfALease) => earlier(now, PATIENCE - LEASE / 2),
            _ => now,
        };
        let (settled, number_announced) = (announced.settled, announced.last);
        let own = world.processes[home].replica.id();
        let mut barrier = Barrier::begin(announced, own, seen, begun);
        let everybody_left = Attendance {
            members: Default::default(),
            ..world.shelf.attendance()
        };
        if self.lacks(Omission::MembersAreNotWaitedFor) {
            barrier.attended(&everybody_left);
        }
        if let Some(early) = world.mutators[number].early.take() {
            barrier.attended(&early);
        }
        world.mutators[number].phase = Phase::Waiting(Waiting {
            barrier,
            begun,
            seen,
            settled,
            number: number_announced,
        });
    }

    fn look(&self, world: &mut World, number: usize, now: Steady) {
        let Phase::Waiting(waiting) = &mut world.mutators[number].phase else {
            return;
        };
        let barrier = &mut waiting.barrier;
        let Some(awaited) = self.wait(barrier, now) else {
            return Self::come_back(world, number);
        };
        if let Awaited::Nobody(absent) = awaited {
            self.saw(Sight::AwaitedInVain);
            world.mutators[number].phase = match self.lacks(Omission::NobodyIsStruckOff) {
                true => return Self::come_back(world, number),
                false => Phase::Striking(absent),
            };
            return;
        }
        let mut attendance = world.shelf.attendance();
        if self.lacks(Omission::AttendanceOfAnyEpochCounts)
            && let Next::Done(Some(absent)) = barrier.next(Steady::from_micros(u64::MAX))
        {
            attendance.epoch = absent.epoch;
        }
        let awaited = barrier.awaits_somebody();
        barrier.attended(&attendance);
        if awaited && !barrier.awaits_somebody() {
            self.saw(Sight::AppliedWhileAwaited);
        }
        if self.wait(barrier, now).is_none() {
            Self::come_back(world, number);
        }
    }

    /// Whether a barrier waits on; `None` where it is passed.
    fn wait(&self, barrier: &Barrier, now: Steady) -> Option<Awaited> {
        match barrier.next(now) {
            Next::Done(None) => None,
            Next::Done(Some(absent)) => Some(Awaited::Nobody(absent)),
            Next::Wait(_) => {
                if !barrier.awaits_somebody() {
                    self.saw(Sight::WaitedToSettle);
                }
                Some(Awaited::Somebody)
            }
        }
    }

    /// The call returns.
    fn come_back(world: &mut World, number: usize) {
        let mutator = &mut world.mutators[number];
        mutator.phase = Phase::Resting;
        // It was long ago, unless that is left out.
        world.shelf.revision = world.shelf.revision.max(mutator.revision);
        world.returned = world.returned.max(mutator.revision);
        if world.returned == world.shelf.revision {
            world.orphaned = None;
        }
    }

    /// Nobody makes the change known any more, if it was written.
    fn abandon(&self, world: &mut World, number: usize) {
        let at = self.lease_clock(world, ASKED);
        let mutator = &mut world.mutators[number];
        let written = matches!(mutator.phase, Phase::Written(_) | Phase::AppliedHere(_));
        if self.scenario.ages && written && world.returned < world.shelf.revision {
            world.orphaned = world.orphaned.or(Some(at));
        }
        mutator.stop();
    }

    /// What a process was changing ends with it.
    pub(crate) fn orphan(&self, world: &mut World, process: usize) {
        for number in 0..world.mutators.len() {
            if world.mutators[number].home == process {
                self.abandon(world, number);
            }
        }
    }
}

/// What a wait has come to.
enum Awaited {
    Somebody,
    Nobody(Absent),
}
