//! The model: which steps there are, and what each makes of the world.

use std::collections::BTreeSet;
use std::sync::Mutex;

use stateright::{Model, Property};

use crate::omission::Omission;
use crate::process::{Leaving, Process};
use crate::scenario::Scenario;
use crate::shelf::Shelf;
use crate::world::{Mutator, Time, World};

/// The process that is asked. What the other one remembers matters to nobody here; it renews, is waited
/// for, and changes.
pub(crate) const ASKED: usize = 1;

/// A scenario, perhaps with one step left out.
pub(crate) struct Run {
    pub(crate) scenario: Scenario,
    pub(crate) omission: Option<Omission>,
    /// What came about at least once.
    pub(crate) seen: Mutex<BTreeSet<Sight>>,
}

/// What has to come about in some runs, lest they show nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sight {
    AnsweredFromMemory,
    AnsweredByAnothersRead,
    LandedPoisoned,
    NothingRemembered,
    NudgeApplied,
    DroppedAll,
    AwaitedInVain,
    AppliedWhileAwaited,
    StruckOff,
    NotStruckOff,
    WaitedToSettle,
    RenewedLate,
    TooOld,
    Renewed,
}

/// One step of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Tick,
    /// A tick while the machine of a process sleeps.
    TickAsleep(usize),
    /// A renewal is sent, and reaches the store.
    Renew(usize),
    /// What is told to be dropped is dropped.
    AnswerArrives(usize),
    RecordIsCleared(usize),
    NudgeArrives(usize, usize),
    FlightBegins,
    FlightLands,
    RereadBegins,
    RereadLands,
    Ask,
    Recall,
    Write(usize),
    ApplyHere(usize),
    Announce(usize),
    LookEarly(usize),
    Look(usize),
    Strike(usize),
    /// The announcement fails, and the call with it.
    Fail(usize),
    /// Nobody waits for an answer any more, or for a renewal that has yet to reach the store.
    AbandonRenewal(usize),
    LateRenewalReachesStore,
    LoseRegistry,
    Kill(usize),
    GiveUp(usize),
    Resign(usize),
    StartAgain(usize),
}

impl Run {
    pub(crate) fn new(scenario: Scenario, omission: Option<Omission>) -> Self {
        Self {
            scenario,
            omission,
            seen: Mutex::default(),
        }
    }

    pub(crate) fn lacks(&self, omission: Omission) -> bool {
        self.omission == Some(omission)
    }

    pub(crate) fn saw(&self, sight: Sight) {
        self.seen.lock().unwrap().insert(sight);
    }

    fn start(&self, rates: [u64; 2]) -> World {
        let scenario = &self.scenario;
        let mut world = World {
            time: Time::new(scenario, rates),
            shelf: Shelf::new(scenario.kept, self.omission),
            processes: [Process::start(0, 0), Process::start(1, 0)],
            mutators: scenario.homes.map(Mutator::at),
            returned: 0,
            orphaned: None,
            left: scenario.faults,
            stale: false,
            overdue: false,
        };
        if scenario.warm {
            self.warm_up(&mut world);
        }
        world.shelf.back_up();
        world
    }

    fn faults(&self, world: &World, steps: &mut Vec<Step>) {
        let left = &world.left;
        if left.losses > 0 {
            steps.push(Step::LoseRegistry);
        }
        if world.shelf.late.is_some() {
            steps.push(Step::LateRenewalReachesStore);
        }
        for (number, process) in world.processes.iter().enumerate() {
            match process.leaving {
                Leaving::No => {
                    if left.deaths > 0 {
                        steps.push(Step::Kill(number));
                    }
                    if left.leavings > 0 {
                        steps.push(Step::GiveUp(number));
                    }
                }
                Leaving::GaveUp => steps.push(Step::Resign(number)),
                Leaving::Resigned => steps.push(Step::StartAgain(number)),
            }
        }
    }

    fn fail(&self, world: &mut World, step: Step) {
        match step {
            Step::LoseRegistry => {
                world.left.losses -= 1;
                world.shelf.lose();
            }
            Step::Kill(process) => {
                world.left.deaths -= 1;
                self.orphan(world, process);
                world.processes[process].start_again(process);
            }
            Step::GiveUp(process) => {
                world.left.leavings -= 1;
                self.give_up(world, process);
            }
            Step::Resign(process) => {
                let leaving = &mut world.processes[process];
                leaving.leaving = Leaving::Resigned;
                let id = leaving.replica.id();
                world.shelf.resign(id);
            }
            Step::StartAgain(process) => {
                self.orphan(world, process);
                world.processes[process].start_again(process);
            }
            Step::LateRenewalReachesStore => {
                if let Some(late) = world.shelf.late.take() {
                    world.shelf.renew(&late);
                    self.saw(Sight::RenewedLate);
                }
            }
            _ => unreachable!("{step:?} is no fault"),
        }
    }
}

impl Model for Run {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        self.scenario
            .rates
            .iter()
            .map(|rates| self.start(*rates))
            .collect()
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.stale || world.overdue {
            return;
        }
        if world.time.tick < self.scenario.ticks {
            steps.push(Step::Tick);
            if world.left.sleeps > 0 {
                steps.extend([Step::TickAsleep(0), Step::TickAsleep(1)]);
            }
        }
        for process in 0..world.processes.len() {
            self.renewing_steps(world, process, steps);
        }
        self.asking_steps(world, steps);
        for mutator in 0..world.mutators.len() {
            self.changing_steps(world, mutator, steps);
        }
        self.faults(world, steps);
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut world = before.clone();
        match step {
            Step::Tick => world.time.tick += 1,
            Step::TickAsleep(process) => {
                world.time.tick += 1;
                world.left.sleeps -= 1;
                world.processes[process].slept += 1;
            }
            Step::Renew(process)
            | Step::AnswerArrives(process)
            | Step::RecordIsCleared(process)
            | Step::AbandonRenewal(process)
            | Step::NudgeArrives(process, _) => self.renewing_step(&mut world, process, step),
            Step::FlightBegins
            | Step::FlightLands
            | Step::RereadBegins
            | Step::RereadLands
            | Step::Ask
            | Step::Recall => self.asking_step(&mut world, step),
            Step::Write(mutator)
            | Step::ApplyHere(mutator)
            | Step::Announce(mutator)
            | Step::LookEarly(mutator)
            | Step::Look(mutator)
            | Step::Strike(mutator)
            | Step::Fail(mutator) => self.changing_step(&mut world, mutator, step),
            _ => self.fail(&mut world, step),
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NEVER_STALE, |_, world: &World| !world.stale),
            Property::always(NEVER_OVERDUE, |_, world: &World| !world.overdue),
        ]
    }
}

pub(crate) const NEVER_STALE: &str =
    "no answer is as before a change that had returned when the question came";
pub(crate) const NEVER_OVERDUE: &str = "no answer is as before a change that was written, whoever died then, for longer than records last";
