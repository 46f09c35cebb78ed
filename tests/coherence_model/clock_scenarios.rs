//! The store's clock in bounded runs that are sound, and with each part of its bound left out.

use stateright::{Checker, HasDiscoveries, Model};

use crate::at_length;
use crate::clock::{Clocks, LATE_FOR_A_LEASE, NEVER_LATE};
use crate::omission::Omission;

/// The clock of the process goes slower than the store's by a tenth, alike, or faster.
const APART: &[(u64, u64)] = &[(10, 11), (1, 1), (11, 10)];

/// Nobody sets the store's clock.
const UNTOUCHED: Clocks = Clocks {
    tick_micros: 220_000,
    ticks: 8,
    rates: APART,
    ways: &[],
    steps: 0,
    omission: None,
};

/// It is set back, once or twice.
const SET_BACK: Clocks = Clocks {
    ways: &[-1],
    steps: 2,
    ..UNTOUCHED
};

/// It is set forward or back, once or twice; ticks end just before the last moment of a lease.
const SET_EITHER_WAY: Clocks = Clocks {
    tick_micros: 269_500,
    ticks: 6,
    ways: &[1, -1],
    steps: 2,
    ..UNTOUCHED
};

fn follow(clocks: Clocks) -> impl Checker<Clocks> {
    let checker = clocks.checker().finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let states = checker.unique_state_count();
    eprintln!("{:?}: {states} states", clocks.omission);
    checker
}

fn holds(clocks: Clocks, states: usize) {
    let checker = follow(clocks);
    checker.assert_properties();
    let followed = checker.unique_state_count();
    assert!(followed <= states, "{followed} states are too many");
    if at_length() {
        let ticks = clocks.ticks + 3;
        follow(Clocks { ticks, ..clocks }).assert_properties();
    }
}

fn goes_wrong(clocks: Clocks, omission: Omission, property: &'static str) {
    let checker = follow(Clocks {
        omission: Some(omission),
        ..clocks
    });
    let events = checker.assert_any_discovery(property).into_actions();
    eprintln!("{events:?}");
}

#[test]
fn nothing_is_valid_from_memory_past_its_deadline() {
    holds(UNTOUCHED, 10_000);
}

#[test]
fn nor_is_it_when_the_clock_of_the_store_is_set_back() {
    holds(SET_BACK, 200_000);
}

#[test]
fn a_clock_that_is_set_forward_is_noticed_within_a_lease() {
    holds(SET_EITHER_WAY, 200_000);
}

#[test]
fn time_goes_on_since_the_store_told_it() {
    goes_wrong(UNTOUCHED, Omission::OwnTimeIsNotCounted, NEVER_LATE);
}

#[test]
fn time_goes_on_while_the_answer_is_on_its_way() {
    goes_wrong(UNTOUCHED, Omission::OwnTimeCountsFromTheAnswer, NEVER_LATE);
}

#[test]
fn a_clock_may_be_the_slower_one() {
    goes_wrong(UNTOUCHED, Omission::ClocksGoAlike, NEVER_LATE);
}

#[test]
fn a_deadline_is_compared_with_the_bound() {
    goes_wrong(UNTOUCHED, Omission::DeadlineIsNotCompared, NEVER_LATE);
}

#[test]
fn only_the_end_of_a_lease_notices_that_the_clock_was_set_forward() {
    goes_wrong(
        SET_EITHER_WAY,
        Omission::BoundServesWithoutALease,
        LATE_FOR_A_LEASE,
    );
}

#[test]
fn a_lease_from_before_the_clock_was_set_forward_is_no_longer_for_a_late_answer() {
    goes_wrong(
        SET_EITHER_WAY,
        Omission::LeaseCountsFromTheReply,
        LATE_FOR_A_LEASE,
    );
}

#[test]
fn a_clock_that_is_slower_by_more_than_a_tenth_is_not_allowed_for() {
    let slower = Clocks {
        rates: &[(9, 10)],
        ..UNTOUCHED
    };
    follow(slower).assert_any_discovery(NEVER_LATE);
}
