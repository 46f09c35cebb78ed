//! Each fault in a bounded run of its own, which is sound.

use stateright::Checker;

use crate::model::Sight::{
    AnsweredByAnothersRead, AnsweredFromMemory, AppliedWhileAwaited, AwaitedInVain, DroppedAll,
    LandedPoisoned, NotStruckOff, NudgeApplied, Renewed, RenewedLate, StruckOff, TooOld,
    WaitedToSettle,
};
use crate::model::{NEVER_OVERDUE, NEVER_STALE, Sight};
use crate::scenario::{self, Scenario};
use crate::{at_length, follow};

/// Follows a scenario through at most so many states, and sees what it is about.
fn holds(scenario: Scenario, states: usize, sights: &[Sight]) {
    follow(scenario.coarse(), None).assert_no_discovery(NEVER_STALE);
    let checker = follow(scenario, None);
    checker.assert_no_discovery(NEVER_STALE);
    checker.assert_no_discovery(NEVER_OVERDUE);
    let seen = checker.model().seen.lock().unwrap();
    for sight in sights {
        assert!(seen.contains(sight), "{sight:?} did not come about");
    }
    let followed = checker.unique_state_count();
    assert!(followed <= states, "{followed} states are too many");
    if at_length() {
        let checker = follow(scenario.longer(), None);
        checker.assert_no_discovery(NEVER_STALE);
        checker.assert_no_discovery(NEVER_OVERDUE);
    }
}

#[test]
fn two_changes_are_seen_by_all_however_slow_everybody_is() {
    let sights = [
        AnsweredFromMemory,
        AnsweredByAnothersRead,
        LandedPoisoned,
        NudgeApplied,
        DroppedAll,
        AwaitedInVain,
        AppliedWhileAwaited,
        StruckOff,
        NotStruckOff,
    ];
    holds(scenario::CALM, 100_000, &sights);
}

#[test]
fn a_change_is_seen_by_all_that_lag_behind() {
    let sights = [AnsweredFromMemory, LandedPoisoned, AwaitedInVain, StruckOff];
    holds(scenario::ALONE, 40_000, &sights);
}

#[test]
fn clocks_that_run_apart_by_a_tenth_are_waited_for() {
    let sights = [AnsweredFromMemory, LandedPoisoned, AppliedWhileAwaited];
    holds(scenario::BEFORE_THE_END, 2_000, &sights);
}

#[test]
fn whoever_was_struck_off_and_came_back_is_waited_for() {
    let sights = [AwaitedInVain, StruckOff, NotStruckOff, DroppedAll];
    holds(scenario::THREE_CHANGES, 400_000, &sights);
}

#[test]
fn a_process_that_begins_drops_what_it_read_before_it_was_known() {
    let sights = [DroppedAll, LandedPoisoned, AppliedWhileAwaited];
    holds(scenario::BEGINNING, 40_000, &sights);
}

#[test]
fn a_change_that_failed_is_seen_by_all_when_its_repeat_returned_elsewhere() {
    let sights = [AnsweredFromMemory, AppliedWhileAwaited, AwaitedInVain];
    holds(scenario::REPEATED, 80_000, &sights);
}

#[test]
fn renewals_that_arrive_late_or_whose_answers_are_lost_harm_nobody() {
    let sights = [RenewedLate, StruckOff];
    holds(scenario::SWALLOWED, 10_000, &sights);
}

#[test]
fn leases_go_on_while_a_machine_sleeps() {
    let sights = [AwaitedInVain, StruckOff, AppliedWhileAwaited];
    holds(scenario::ASLEEP, 80_000, &sights);
}

#[test]
fn a_killed_process_holds_up_a_change_and_no_more() {
    let sights = [AwaitedInVain, StruckOff];
    holds(scenario::KILLED, 40_000, &sights);
}

#[test]
fn processes_leave_and_come_between_changes() {
    let sights = [AppliedWhileAwaited, DroppedAll];
    holds(scenario::ROLLING, 40_000, &sights);
}

#[test]
fn a_registry_that_is_lost_is_waited_for_to_settle() {
    let sights = [WaitedToSettle, DroppedAll];
    holds(scenario::LOST, 200_000, &sights);
}

#[test]
fn whoever_lacks_more_than_the_log_keeps_drops_all() {
    let sights = [DroppedAll, AppliedWhileAwaited];
    holds(scenario::TRIMMED, 100_000, &sights);
}

#[test]
fn a_change_that_nobody_announced_is_seen_when_records_are_old() {
    let sights = [TooOld, AnsweredFromMemory, Renewed];
    holds(scenario::ORPHANED, 400_000, &sights);
}
