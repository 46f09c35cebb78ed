//! The store's clock, set forward and back while a process answers from memory what has a deadline.
//!
//! A question may come at any instant: so it is no step, but is asked of each state; the lease is seen
//! in the instant it comes. What is asked about has a deadline that has just come by the store's clock:
//! where that is not answered valid, nor is what was over before. The deadline is as it was remembered:
//! that no change of it is missed is what all other scenarios are about. Those need no clock of the
//! store, so steps of it do them no harm: replica, barrier and registry take no [`Timestamp`], and the
//! revision of a token grows with each change, whatever that clock shows.
//!
//! A renewal that comes to nothing is as one that was not sent. No two are on their way at once.

use std::time::Duration;

use stateright::{Model, Property};

use token_authority::domain::coherence::bound::TimeBound;
use token_authority::domain::coherence::registry::{News, Renewed};
use token_authority::domain::coherence::replica::Replica;
use token_authority::domain::coherence::{Epoch, LEASE, PATIENCE, ReplicaId};
use token_authority::domain::time::{Steady, Timestamp};

use crate::omission::Omission;

/// How far the store's clock is set.
const STEP_MICROS: i64 = 5_000_000;
/// What the clocks show at first.
const STORE_BEGINS_MICROS: i64 = 100_000_000;
const OWN_BEGINNING: Steady = Steady::from_micros(10_000_000);

/// One bounded run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    /// How long a tick is by a clock that goes as the store's does, and how many there are.
    pub(crate) tick_micros: u64,
    pub(crate) ticks: u8,
    /// How much the clock of the process shows, and the store's meanwhile; each pair is a beginning.
    pub(crate) rates: &'static [(u64, u64)],
    /// Which ways the store's clock may be set, and how often.
    pub(crate) ways: &'static [i8],
    pub(crate) steps: u8,
    pub(crate) omission: Option<Omission>,
}

/// Everything at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Instant {
    tick: u8,
    rate: (u64, u64),
    /// How many steps the store's clock is ahead.
    ahead: i8,
    /// How often it may yet be set.
    left: u8,
    /// When it was set forward last.
    leapt: Option<u8>,
    /// The latest that it ever showed.
    latest: Timestamp,
    replica: Replica,
    told: TimeBound,
    renewing: Renewing,
}

/// How far a renewal has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Renewing {
    Idle,
    Sent { begun: Steady },
    Answered { begun: Steady, time: Timestamp },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Tick,
    SetClock(i8),
    Send,
    StoreAnswers,
    AnswerArrives,
}

impl Clocks {
    fn lacks(&self, omission: Omission) -> bool {
        self.omission == Some(omission)
    }

    fn start(&self, rate: (u64, u64)) -> Instant {
        let drawn = "0".repeat(ReplicaId::DIGITS);
        let mut instant = Instant {
            tick: 0,
            rate,
            ahead: 0,
            left: self.steps,
            leapt: None,
            latest: Timestamp::default(),
            replica: Replica::new(ReplicaId::parse(&drawn).unwrap()),
            told: TimeBound {
                time: Timestamp::default(),
                begun: OWN_BEGINNING,
            },
            renewing: Renewing::Idle,
        };
        instant.latest = self.store_time(&instant);
        for event in [Event::Send, Event::StoreAnswers, Event::AnswerArrives] {
            self.happens(&mut instant, event);
        }
        instant
    }

    /// The store's time.
    fn store_time(&self, instant: &Instant) -> Timestamp {
        let passed = self.micros(instant.tick) + i64::from(instant.ahead) * STEP_MICROS;
        Timestamp::from_micros(u64::try_from(STORE_BEGINS_MICROS + passed).unwrap())
    }

    fn micros(&self, ticks: u8) -> i64 {
        i64::try_from(u64::from(ticks) * self.tick_micros).unwrap()
    }

    /// The time of the process.
    fn own_time(&self, instant: &Instant) -> Steady {
        let (shows, meanwhile) = instant.rate;
        let passed = u64::from(instant.tick) * self.tick_micros * shows;
        assert_eq!(passed % meanwhile, 0, "no clock is to be rounded");
        OWN_BEGINNING.saturating_add(Duration::from_micros(passed / meanwhile))
    }

    fn holds_a_lease(&self, instant: &Instant) -> bool {
        instant.replica.may_answer(self.own_time(instant))
    }

    /// The store's time at the most, as the process believes.
    fn bound(&self, instant: &Instant) -> Timestamp {
        let (told, now) = (&instant.told, self.own_time(instant));
        match self.omission {
            Some(Omission::OwnTimeIsNotCounted) => told.time,
            Some(Omission::ClocksGoAlike) => {
                told.time.saturating_add(now.saturating_since(told.begun))
            }
            _ => told.at_most(now),
        }
    }

    /// Whether memory says that a token is valid that has this deadline.
    fn is_valid(&self, instant: &Instant, deadline: Timestamp) -> bool {
        let held = self.holds_a_lease(instant) || self.lacks(Omission::BoundServesWithoutALease);
        let ahead = self.bound(instant) < deadline || self.lacks(Omission::DeadlineIsNotCompared);
        held && ahead
    }

    /// Whether memory says so of a token whose deadline has come by the store's clock.
    fn is_late(&self, instant: &Instant) -> bool {
        self.is_valid(instant, self.store_time(instant))
    }

    /// How long ago the store's clock was set forward.
    fn since_leap(&self, instant: &Instant) -> Option<Duration> {
        let ticks = instant.tick - instant.leapt?;
        Some(Duration::from_micros(u64::from(ticks) * self.tick_micros))
    }

    fn happens(&self, instant: &mut Instant, event: Event) {
        let now = self.own_time(instant);
        match (event, instant.renewing) {
            (Event::Tick, _) => instant.tick += 1,
            (Event::SetClock(way), _) => {
                instant.left -= 1;
                instant.ahead += way;
                if way > 0 {
                    instant.leapt = Some(instant.tick);
                }
            }
            (Event::Send, _) => instant.renewing = Renewing::Sent { begun: now },
            (Event::StoreAnswers, Renewing::Sent { begun }) => {
                let time = self.store_time(instant);
                instant.renewing = Renewing::Answered { begun, time };
            }
            (Event::AnswerArrives, Renewing::Answered { begun, time }) => {
                instant.renewing = Renewing::Idle;
                self.renewed(instant, begun, time);
            }
            (event, renewing) => unreachable!("{event:?} while {renewing:?}"),
        }
        instant.latest = instant.latest.max(self.store_time(instant));
    }

    fn renewed(&self, instant: &mut Instant, begun: Steady, time: Timestamp) {
        let now = self.own_time(instant);
        let answer = Renewed {
            epoch: Epoch::parse(&"0".repeat(Epoch::DIGITS)).unwrap(),
            settled: true,
            last: 0,
            members: 1,
            news: News::Entries(Vec::new()),
        };
        let leased = match self.lacks(Omission::LeaseCountsFromTheReply) {
            true => now,
            false => begun,
        };
        let due = instant.replica.renewed(leased, now, answer);
        instant.replica.applied(due);
        let counted = match self.lacks(Omission::OwnTimeCountsFromTheAnswer) {
            true => now,
            false => begun,
        };
        instant.told = TimeBound {
            time,
            begun: counted,
        };
    }

    fn sights(&self) -> Vec<Property<Self>> {
        let mut sights: Vec<Property<Self>> = vec![
            Property::sometimes(SOON_OVER, |clocks: &Self, instant| {
                let own = clocks.own_time(instant);
                let soon = Duration::from_micros(clocks.tick_micros);
                let deadline = clocks.store_time(instant).saturating_add(soon);
                instant.told.begun < own && clocks.is_valid(instant, deadline)
            }),
            Property::sometimes(LEFT_TO_THE_STORE, |clocks, instant| {
                let ahead = clocks.store_time(instant) < clocks.bound(instant);
                clocks.holds_a_lease(instant) && ahead
            }),
            Property::sometimes(NO_LEASE, |clocks, instant| !clocks.holds_a_lease(instant)),
        ];
        if self.ways.contains(&1) {
            sights.push(Property::sometimes(LATE, Self::is_late));
            sights.push(Property::sometimes(SLOWLY_LATE, |clocks, instant| {
                let since = clocks.since_leap(instant);
                clocks.is_late(instant) && since.is_some_and(|since| LEASE < since)
            }));
        }
        if self.ways.contains(&-1) {
            sights.push(Property::sometimes(REVIVED, |clocks, instant| {
                clocks.is_valid(instant, instant.latest) && !clocks.is_late(instant)
            }));
        }
        sights
    }
}

impl Model for Clocks {
    type State = Instant;
    type Action = Event;

    fn init_states(&self) -> Vec<Instant> {
        let rates = self.rates.iter();
        rates.map(|rate| self.start(*rate)).collect()
    }

    fn actions(&self, instant: &Instant, events: &mut Vec<Event>) {
        if instant.tick < self.ticks {
            events.push(Event::Tick);
        }
        if instant.left > 0 {
            events.extend(self.ways.iter().map(|way| Event::SetClock(*way)));
        }
        events.push(match instant.renewing {
            Renewing::Idle => Event::Send,
            Renewing::Sent { .. } => Event::StoreAnswers,
            Renewing::Answered { .. } => Event::AnswerArrives,
        });
    }

    fn next_state(&self, before: &Instant, event: Event) -> Option<Instant> {
        let mut instant = before.clone();
        self.happens(&mut instant, event);
        Some(instant)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = self.sights();
        properties.push(Property::always(LATE_FOR_A_LEASE, |clocks, instant| {
            let since = clocks.since_leap(instant);
            !clocks.is_late(instant) || since.is_some_and(|since| since < PATIENCE)
        }));
        if !self.ways.contains(&1) {
            properties.push(Property::always(NEVER_LATE, |clocks, instant| {
                !clocks.is_late(instant)
            }));
        }
        properties
    }
}

pub(crate) const NEVER_LATE: &str =
    "memory says of nothing that it is valid whose deadline has come";
pub(crate) const LATE_FOR_A_LEASE: &str =
    "it does so for no longer than a lease after the store's clock was set forward";

const SOON_OVER: &str = "it says so of what is over a tick later, some time after it renewed";
const LEFT_TO_THE_STORE: &str =
    "it leaves to the store what lasts for a moment, though it holds a lease";
const NO_LEASE: &str = "it holds no lease";
const LATE: &str = "it says so of what is over since the clock was set forward";
const SLOWLY_LATE: &str = "it says so when that is longer ago than a lease, by its slower clock";
const REVIVED: &str = "it says so of what was over until the clock was set back, as the store does";
