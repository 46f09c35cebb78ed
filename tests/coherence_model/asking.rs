//! How a question is answered, in the order of `authority/look.rs` and `authority/cache.rs`.
//!
//! A question begins with the look at the lease: had it come earlier, less would be demanded of its
//! answer. One that reads the store itself cannot be wrong, so it ends where that begins. And a flight
//! begins where it reads: what poisons it before then only makes it worth less.

use token_authority::domain::coherence::RECORD_AGE_MAX;
use token_authority::domain::time::Steady;

use crate::model::{ASKED, Run, Sight, Step};
use crate::omission::Omission;
use crate::process::{Flight, Memory, Process, Question, Record, Reread, Told};
use crate::world::World;

impl Run {
    pub(crate) fn asking_steps(&self, world: &World, steps: &mut Vec<Step>) {
        let process = &world.processes[ASKED];
        let memory = &process.memory;
        match memory.flight {
            // By somebody who has to read; or who wants to, though there is a record.
            None if self.fills(world) => steps.push(Step::FlightBegins),
            None => {}
            Some(_) => steps.push(Step::FlightLands),
        }
        match (memory.reread, memory.record) {
            (Some(_), _) => steps.push(Step::RereadLands),
            (None, Some(record)) if self.rereads(world, record) => {
                steps.push(Step::RereadBegins);
            }
            _ => {}
        }
        match memory.question {
            None => steps.push(Step::Ask),
            Some(Question::Held { .. } | Question::Read { .. }) => steps.push(Step::Recall),
            _ => {}
        }
    }

    /// Whether a flight could bring what is not remembered, or will be old when it lands.
    fn fills(&self, world: &World) -> bool {
        let at = self.lease_clock(world, ASKED);
        let record = world.processes[ASKED].memory.recall(at, self.omission);
        let revision = world.shelf.revision;
        let fresh = record.is_some_and(|record| record.revision == revision);
        !fresh || revision < self.scenario.changes()
    }

    /// Whether reading a record again could renew it. One that was changed is forgotten, as at any time.
    fn rereads(&self, world: &World, record: Record) -> bool {
        let older = record
            .begun
            .is_some_and(|begun| begun < self.lease_clock(world, ASKED));
        let unchanged = record.revision == world.shelf.revision;
        older && (unchanged || self.lacks(Omission::WhateverIsReadRenews))
    }

    /// Whether a question that comes now could ever be answered wrongly: what is read from now on is
    /// as after every change that returned.
    fn may_go_wrong(&self, world: &World) -> bool {
        let memory = &world.processes[ASKED].memory;
        let records = memory.record.map(|record| record.revision);
        let flights = memory.flight.map(|flight| flight.found);
        let reread = memory.reread.map(|reread| reread.record.revision);
        let oldest = records.into_iter().chain(flights).chain(reread).min();
        let newest = match world.orphaned {
            Some(_) => world.shelf.revision,
            None => world.returned,
        };
        oldest.is_some_and(|oldest| oldest < newest)
    }

    pub(crate) fn asking_step(&self, world: &mut World, step: Step) {
        let at = self.lease_clock(world, ASKED);
        let (revision, returned) = (world.shelf.revision, world.returned);
        let ages = self.scenario.ages;
        let process = &mut world.processes[ASKED];
        match step {
            Step::FlightBegins => {
                process.memory.flight = Some(Flight {
                    begun: ages.then_some(at),
                    found: revision,
                    poisoned: false,
                });
            }
            Step::FlightLands => {
                if process.memory.flight.is_some_and(|flight| flight.poisoned) {
                    self.saw(Sight::LandedPoisoned);
                }
                if let Some(told) = process.memory.land(self.omission) {
                    self.judge(world, told);
                }
            }
            Step::RereadBegins => {
                let record = process.memory.record;
                process.memory.reread = record.map(|record| Reread { begun: at, record });
            }
            Step::RereadLands => {
                let there = process.memory.reread.map(|reread| reread.record);
                if process.memory.record == there {
                    self.saw(Sight::Renewed);
                }
                process.memory.renew(self.omission);
            }
            Step::Ask => {
                let may_go_wrong = self.may_go_wrong(world);
                let process = &mut world.processes[ASKED];
                self.ask(process, returned, at);
                if !may_go_wrong {
                    // It is answered at once: the world stays as it is.
                    self.answer_at_once(&mut process.memory);
                }
            }
            _ => self.recall(world, at),
        }
    }

    fn ask(&self, process: &mut Process, floor: u8, at: Steady) {
        let memory = &mut process.memory;
        if self.lacks(Omission::LeaseIsSeenAfterTheRecord) {
            let record = memory.recall(at, self.omission);
            memory.question = record.map(|record| Question::Read { floor, at, record });
        } else if process.replica.may_answer(at) {
            memory.question = Some(Question::Held { floor, at });
        } else if self.lacks(Omission::JoinsWithoutALease)
            && memory.flight.is_some_and(|flight| !flight.poisoned)
        {
            memory.question = Some(Question::Joined { floor, at });
        }
    }

    fn answer_at_once(&self, memory: &mut Memory) {
        if memory.question.take().is_some() {
            self.saw(match (memory.record, memory.flight) {
                (Some(_), _) => Sight::AnsweredFromMemory,
                (None, Some(_)) => Sight::AnsweredByAnothersRead,
                (None, None) => Sight::NothingRemembered,
            });
        }
    }

    fn recall(&self, world: &mut World, now: Steady) {
        let process = &mut world.processes[ASKED];
        let memory = &mut process.memory;
        let told = match memory.question.take() {
            Some(Question::Held { floor, at }) => match memory.recall(at, self.omission) {
                Some(record) => {
                    let revision = record.revision;
                    Some(Told {
                        revision,
                        floor,
                        at,
                    })
                }
                None => {
                    if memory.record.is_some() {
                        self.saw(Sight::TooOld);
                    }
                    // A read that takes longer fails by its limit.
                    let lasts = |begun: Steady| at.saturating_since(begun) < RECORD_AGE_MAX;
                    let joins = memory.flight.is_some_and(|flight| {
                        let good =
                            !flight.poisoned || self.lacks(Omission::PoisonedIsJoinedAndAnswered);
                        good && flight.begun.is_none_or(lasts)
                    });
                    memory.question = joins.then_some(Question::Joined { floor, at });
                    None
                }
            },
            Some(Question::Read { floor, at, record }) => {
                let revision = record.revision;
                process.replica.may_answer(now).then_some(Told {
                    revision,
                    floor,
                    at,
                })
            }
            other => {
                memory.question = other;
                None
            }
        };
        if let Some(told) = told {
            self.judge(world, told);
        }
    }

    fn judge(&self, world: &mut World, told: Told) {
        world.stale |= told.revision < told.floor;
        let orphaned = world
            .orphaned
            .filter(|_| told.revision < world.shelf.revision);
        let late = orphaned.map(|since| told.at.saturating_since(since));
        world.overdue |= late.is_some_and(|late| late >= RECORD_AGE_MAX);
    }

    /// The record is read at once.
    pub(crate) fn fill(&self, world: &mut World) {
        for step in [Step::FlightBegins, Step::FlightLands] {
            self.asking_step(world, step);
        }
    }
}
