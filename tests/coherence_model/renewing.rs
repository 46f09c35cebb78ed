//! How a replica renews, in the order of `authority/coherence/renewing.rs`.
//!
//! A renewal reaches the store as it is sent: one that takes longer brings a shorter lease. A lease counts in the step that applies what came with it: one that counts later only lets less be
//! answered.

use std::mem;

use token_authority::domain::coherence::registry::{News, Renewed};
use token_authority::domain::coherence::replica::Due;
use token_authority::domain::coherence::{LEASE, Nudge};
use token_authority::domain::time::Steady;

use crate::model::{ASKED, Run, Sight, Step};
use crate::omission::Omission;
use crate::process::{Answer, Leaving, Process, Renewing};
use crate::world::{World, earlier};

impl Run {
    /// The clock of a lease.
    pub(crate) fn lease_clock(&self, world: &World, process: usize) -> Steady {
        match self.lacks(Omission::LeaseClockStandsStillInSleep) {
            true => world.time.awake(process, world.processes[process].slept),
            false => world.time.boot(process),
        }
    }

    /// Both know the registry and hold a lease, and the record is remembered.
    pub(crate) fn warm_up(&self, world: &mut World) {
        for process in 0..world.processes.len() {
            self.renew_at_once(world, process);
        }
        self.fill(world);
    }

    pub(crate) fn renewing_steps(&self, world: &World, number: usize, steps: &mut Vec<Step>) {
        let process = &world.processes[number];
        let goes_on = self.lacks(Omission::RenewingOutlivesTheLease);
        if process.leaving != Leaving::No && !goes_on {
            return;
        }
        match process.renewing {
            Renewing::Idle => {
                if self.is_worth_it(world, number) {
                    steps.push(Step::Renew(number));
                }
                if number == ASKED {
                    let now = self.lease_clock(world, number);
                    let nudges = world.shelf.nudges.iter().enumerate();
                    let told = nudges.filter(|(_, nudge)| self.told(process, nudge, now).is_some());
                    steps.extend(told.map(|(nudge, _)| Step::NudgeArrives(number, nudge)));
                }
            }
            Renewing::Answered(_) => steps.push(Step::AnswerArrives(number)),
            Renewing::Poisoned(_) => steps.push(Step::RecordIsCleared(number)),
        }
        if world.left.abandoned > 0
            && matches!(process.renewing, Renewing::Idle | Renewing::Answered(_))
        {
            steps.push(Step::AbandonRenewal(number));
        }
    }

    /// Whether a renewal would tell or bring anything. One that does neither changes nothing.
    fn is_worth_it(&self, world: &World, number: usize) -> bool {
        let replica = &world.processes[number].replica;
        let now = self.lease_clock(world, number);
        let attendance = world.shelf.attendance();
        let member = attendance.members.get(&replica.id());
        let known = replica.renewal(now).known;
        let up_to_date = known.is_some_and(|known| {
            let member = member.is_some_and(|member| member.applied == known.applied);
            let last = world.shelf.last;
            member && known.epoch == attendance.epoch && known.applied == last
        });
        let longer = number == ASKED && replica.lease() != Some(now.saturating_add(LEASE));
        let hasty = self.lacks(Omission::SettledAtFirstSight);
        let settles = known.is_some_and(|known| known.long || hasty) && !world.shelf.settled;
        !up_to_date || longer || settles
    }

    /// What a process makes of a nudge.
    fn told(&self, process: &Process, nudge: &Nudge, now: Steady) -> Option<Due> {
        let replica = &process.replica;
        let due = replica.nudged(nudge.clone());
        let begun = match self.omission {
            Some(Omission::NudgeRenews) if due.is_some() => now,
            Some(Omission::NudgeMayLeaveAGap) => {
                let known = replica.renewal(now).known?;
                let news = known.epoch == nudge.epoch && known.applied < nudge.last;
                news.then(|| earlier(replica.lease().unwrap_or_default(), LEASE))?
            }
            _ => return due,
        };
        let renewed = Renewed {
            epoch: nudge.epoch,
            settled: true,
            last: nudge.last,
            members: 0,
            news: News::Entries(nudge.entries.clone()),
        };
        Some(replica.renewed(begun, now, renewed))
    }

    pub(crate) fn renewing_step(&self, world: &mut World, number: usize, step: Step) {
        if number != ASKED {
            self.renew_at_once(world, number);
            return;
        }
        let now = self.lease_clock(world, number);
        let awake = world.time.awake(number, world.processes[number].slept);
        let process = &mut world.processes[number];
        let before = mem::replace(&mut process.renewing, Renewing::Idle);
        process.renewing = match (step, before) {
            (Step::Renew(_), _) => Renewing::Answered(Answer {
                begun: now,
                renewed: world.shelf.renew(&process.replica.renewal(now)),
            }),
            (Step::AnswerArrives(_), Renewing::Answered(answer)) => {
                process.see(answer.renewed.epoch, awake);
                self.answered(process, answer, now)
            }
            (Step::RecordIsCleared(_), Renewing::Poisoned(answer)) => {
                if self.lacks(Omission::RecordIsClearedBeforeFlightsArePoisoned) {
                    process.memory.poison(self.omission);
                } else {
                    process.memory.record = None;
                }
                if self.lacks(Omission::LeaseCountsBeforeNewsAreApplied) {
                    process.memory.poison(self.omission);
                }
                self.count(process, &answer, now)
            }
            (Step::NudgeArrives(_, nudge), _) => {
                let nudge = &world.shelf.nudges[nudge];
                process.memory.apply(&nudge.entries, self.omission);
                if let Some(due) = self.told(process, nudge, now) {
                    process.replica.applied(due);
                }
                self.saw(Sight::NudgeApplied);
                Renewing::Idle
            }
            (Step::AbandonRenewal(_), before) => {
                world.left.abandoned -= 1;
                if before == Renewing::Idle {
                    world.shelf.late = Some(process.replica.renewal(now));
                }
                Renewing::Idle
            }
            (_, before) => before,
        };
    }

    fn answered(&self, process: &mut Process, answer: Answer, now: Steady) -> Renewing {
        if self.lacks(Omission::LeaseCountsBeforeNewsAreApplied) {
            self.count(process, &answer, now);
            // The rest is done with the next step.
            return match answer.brings_news() {
                true => Renewing::Poisoned(answer),
                false => Renewing::Idle,
            };
        }
        let memory = &mut process.memory;
        match &answer.renewed.news {
            News::Entries(entries) => {
                memory.apply(entries, self.omission);
                self.count(process, &answer, now)
            }
            News::DropAll => {
                self.saw(Sight::DroppedAll);
                if self.lacks(Omission::RecordIsClearedBeforeFlightsArePoisoned) {
                    memory.record = None;
                } else if !self.lacks(Omission::DropAllForgetsFlights) {
                    memory.poison(self.omission);
                }
                Renewing::Poisoned(answer)
            }
        }
    }

    /// What was due is applied: the lease counts.
    fn count(&self, process: &mut Process, answer: &Answer, now: Steady) -> Renewing {
        let begun = match self.lacks(Omission::LeaseCountsFromTheReply) {
            true => now,
            false => answer.begun,
        };
        let due = process.replica.renewed(begun, now, answer.renewed.clone());
        process.replica.applied(due);
        Renewing::Idle
    }

    /// A renewal in one step, of a process that nobody asks.
    fn renew_at_once(&self, world: &mut World, number: usize) {
        let now = self.lease_clock(world, number);
        let awake = world.time.awake(number, world.processes[number].slept);
        let process = &mut world.processes[number];
        let answer = world.shelf.renew(&process.replica.renewal(now));
        process.see(answer.epoch, awake);
        let due = process.replica.renewed(now, now, answer);
        process.replica.applied(due);
    }

    /// The process answers nothing from memory any more; its renewing has ended before.
    pub(crate) fn give_up(&self, world: &mut World, number: usize) {
        let process = &mut world.processes[number];
        process.leaving = Leaving::GaveUp;
        if !self.lacks(Omission::RenewingOutlivesTheLease) {
            process.renewing = Renewing::Idle;
        }
        if !self.lacks(Omission::ResignsWithALease) {
            process.memory.poison(self.omission);
            process.memory.record = None;
            process.replica.give_up();
        }
    }
}
