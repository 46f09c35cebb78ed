//! Scenarios: who changes what, what goes wrong, and how far it is followed.

/// One bounded run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// In which process each mutator is, and what it does, one act after the other.
    pub(crate) homes: [usize; 2],
    pub(crate) acts: [&'static [Act]; 2],
    /// How long a tick is, and how many there are.
    pub(crate) tick_millis: u64,
    pub(crate) ticks: u8,
    /// How fast the clocks of the processes go, in tenths; each pair is a beginning.
    pub(crate) rates: &'static [[u64; 2]],
    /// How many entries the log keeps.
    pub(crate) kept: usize,
    /// At the beginning both hold a lease, and the record is remembered.
    pub(crate) warm: bool,
    /// Whether the ages of records are followed.
    pub(crate) ages: bool,
    pub(crate) faults: Faults,
}

/// One act of a mutator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Change,
    /// A change that finds nothing left to do.
    Repeat,
    /// A change of another token.
    Other,
}

/// How often what may go wrong, at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Faults {
    /// The registry is lost.
    pub(crate) losses: u8,
    /// A process dies, and another takes its place.
    pub(crate) deaths: u8,
    /// One leaves in order, and another takes its place.
    pub(crate) leavings: u8,
    /// A machine sleeps for a tick.
    pub(crate) sleeps: u8,
    /// A renewal, or its answer, is given up.
    pub(crate) abandoned: u8,
    /// An announcement fails for good.
    pub(crate) failures: u8,
}

/// Whoever changes has the faster clock; a replica whose clock goes faster only gives up sooner.
const HURRIED: &[[u64; 2]] = &[[11, 10]];

pub(crate) const NONE: Faults = Faults {
    losses: 0,
    deaths: 0,
    leavings: 0,
    sleeps: 0,
    abandoned: 0,
    failures: 0,
};

/// Two changes by two processes, and nothing goes wrong but that everybody may be slow.
pub(crate) const CALM: Scenario = Scenario {
    homes: [0, 1],
    acts: [&[Act::Change], &[Act::Change]],
    tick_millis: 500,
    ticks: 2,
    rates: HURRIED,
    kept: 8,
    warm: true,
    ages: false,
    faults: NONE,
};

/// One change, followed for longer.
pub(crate) const ALONE: Scenario = Scenario {
    acts: [&[Act::Change], &[]],
    ticks: 3,
    ..CALM
};

/// One change, where ticks end just before the last moment of a lease.
pub(crate) const BEFORE_THE_END: Scenario = Scenario {
    tick_millis: 475,
    acts: [&[Act::Change], &[]],
    ..CALM
};

/// One process makes two changes at once, and then a third.
pub(crate) const THREE_CHANGES: Scenario = Scenario {
    homes: [0, 0],
    acts: [&[Act::Other, Act::Change], &[Act::Other]],
    ticks: 2,
    ..CALM
};

/// Nobody knows the registry yet.
pub(crate) const BEGINNING: Scenario = Scenario {
    homes: [0, 0],
    acts: [&[Act::Change], &[]],
    warm: false,
    ..CALM
};

/// An announcement fails, and the change is repeated at the other process.
pub(crate) const REPEATED: Scenario = Scenario {
    acts: [&[Act::Change], &[Act::Repeat]],
    faults: Faults {
        failures: 1,
        ..NONE
    },
    ..CALM
};

/// A renewal reaches the store when nobody waits for it, or its answer nobody.
pub(crate) const SWALLOWED: Scenario = Scenario {
    homes: [0, 1],
    faults: Faults {
        abandoned: 1,
        ..NONE
    },
    acts: [&[Act::Change], &[]],
    ..CALM
};

/// A machine sleeps for half a lease, and again.
pub(crate) const ASLEEP: Scenario = Scenario {
    acts: [&[Act::Change], &[]],
    ticks: 4,
    faults: Faults { sleeps: 2, ..NONE },
    ..CALM
};

/// A process is killed, at any time.
pub(crate) const KILLED: Scenario = Scenario {
    faults: Faults { deaths: 1, ..NONE },
    acts: [&[Act::Change], &[]],
    ..CALM
};

/// A process leaves, and another takes its place.
pub(crate) const ROLLING: Scenario = Scenario {
    faults: Faults {
        leavings: 1,
        ..NONE
    },
    acts: [&[Act::Change], &[]],
    ..CALM
};

/// The registry is lost, or an earlier one comes back with another run of the server.
pub(crate) const LOST: Scenario = Scenario {
    homes: [0, 1],
    ticks: 2,
    faults: Faults { losses: 1, ..NONE },
    acts: [&[Act::Change, Act::Change], &[]],
    ..CALM
};

/// The log keeps less than somebody lacks.
pub(crate) const TRIMMED: Scenario = Scenario {
    acts: [&[Act::Change], &[Act::Other]],
    kept: 1,
    homes: [0, 0],
    ..CALM
};

/// A process dies between the write and the announcement, and another goes on answering.
pub(crate) const ORPHANED: Scenario = Scenario {
    acts: [&[Act::Change], &[]],
    tick_millis: 2600,
    ticks: 2,
    ages: true,
    faults: Faults { deaths: 1, ..NONE },
    ..CALM
};

impl Scenario {
    /// The same, in one tick as long as a lease.
    pub(crate) fn coarse(self) -> Self {
        Self {
            tick_millis: 1000,
            ticks: 1,
            ..self
        }
    }

    /// The same, followed for another tick.
    pub(crate) fn longer(self) -> Self {
        Self {
            ticks: self.ticks + 1,
            ..self
        }
    }

    pub(crate) fn changes(&self) -> u8 {
        let acts = self.acts.iter().flat_map(|acts| acts.iter());
        let changes = acts.filter(|act| **act == Act::Change).count();
        u8::try_from(changes).unwrap()
    }
}
