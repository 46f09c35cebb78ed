//! Each step of the protocol left out, in a scenario that is sound with it: then it goes wrong; but for a
//! few that nobody misses.

use stateright::Checker;

use crate::follow;
use crate::model::{NEVER_OVERDUE, NEVER_STALE};
use crate::omission::Omission;
use crate::scenario::{self, Scenario};

fn goes_wrong(scenario: Scenario, omission: Omission) {
    let property = match omission {
        Omission::RecordsDoNotAge | Omission::WhateverIsReadRenews => NEVER_OVERDUE,
        _ => NEVER_STALE,
    };
    let checker = follow(scenario, Some(omission));
    let steps = checker.assert_any_discovery(property).into_actions();
    eprintln!("{steps:?}");
}

/// What is left out here was believed to be needed, or is for speed only.
fn holds_all_the_same(scenario: Scenario, omission: Omission) {
    follow(scenario, Some(omission)).assert_no_discovery(NEVER_STALE);
}

#[test]
fn a_replica_acknowledges_only_what_it_has_applied() {
    goes_wrong(scenario::ALONE, Omission::AnswerAcknowledges);
}

#[test]
fn a_lease_counts_only_when_what_came_with_it_is_applied() {
    goes_wrong(scenario::ALONE, Omission::LeaseCountsBeforeNewsAreApplied);
}

#[test]
fn a_lease_counts_from_before_it_was_asked_for() {
    goes_wrong(scenario::ALONE, Omission::LeaseCountsFromTheReply);
}

#[test]
fn a_lease_goes_on_while_its_machine_sleeps() {
    goes_wrong(scenario::ASLEEP, Omission::LeaseClockStandsStillInSleep);
}

#[test]
fn an_entry_drops_the_record() {
    goes_wrong(scenario::ALONE, Omission::RecordIsNotDropped);
}

#[test]
fn dropping_all_poisons_flights() {
    goes_wrong(scenario::ALONE, Omission::DropAllForgetsFlights);
}

#[test]
fn dropping_all_poisons_flights_first() {
    goes_wrong(
        scenario::ALONE,
        Omission::RecordIsClearedBeforeFlightsArePoisoned,
    );
}

#[test]
fn a_nudge_counts_only_with_all_before_it() {
    goes_wrong(scenario::TRIMMED, Omission::NudgeMayLeaveAGap);
}

#[test]
fn a_nudge_is_no_renewal() {
    goes_wrong(scenario::CALM, Omission::NudgeRenews);
}

#[test]
fn the_renewing_ends_before_the_lease_is_given_up() {
    goes_wrong(scenario::ROLLING, Omission::RenewingOutlivesTheLease);
}

#[test]
fn whoever_resigns_has_given_up_its_lease() {
    goes_wrong(scenario::ROLLING, Omission::ResignsWithALease);
}

#[test]
fn the_lease_is_seen_before_the_record() {
    goes_wrong(scenario::ALONE, Omission::LeaseIsSeenAfterTheRecord);
}

#[test]
fn a_flight_is_joined_under_a_lease_only() {
    goes_wrong(scenario::ALONE, Omission::JoinsWithoutALease);
}

#[test]
fn an_entry_poisons_flights() {
    goes_wrong(scenario::ALONE, Omission::FlightsAreNotPoisoned);
}

#[test]
fn a_poisoned_flight_is_not_joined() {
    goes_wrong(scenario::ALONE, Omission::PoisonedIsJoinedAndAnswered);
}

#[test]
fn what_a_poisoned_flight_brings_is_not_remembered() {
    goes_wrong(scenario::ALONE, Omission::PoisonedResultIsRemembered);
}

#[test]
fn a_record_is_answered_from_for_a_while_only() {
    goes_wrong(scenario::ORPHANED, Omission::RecordsDoNotAge);
}

#[test]
fn a_renewal_brings_nothing_back() {
    goes_wrong(
        scenario::ORPHANED,
        Omission::RenewalBringsBackWhatWasDropped,
    );
}

#[test]
fn a_record_is_renewed_only_where_it_stands_unchanged() {
    goes_wrong(scenario::ORPHANED, Omission::WhateverIsReadRenews);
}

#[test]
fn a_change_is_written_before_it_is_announced() {
    goes_wrong(scenario::ALONE, Omission::AnnouncedBeforeItIsWritten);
}

#[test]
fn a_change_is_applied_in_its_own_process() {
    goes_wrong(scenario::CALM, Omission::OwnRecordIsNotDropped);
}

#[test]
fn a_repeat_passes_the_barrier() {
    goes_wrong(scenario::REPEATED, Omission::RepeatsReturnAtOnce);
}

#[test]
fn members_are_waited_for() {
    goes_wrong(scenario::ALONE, Omission::MembersAreNotWaitedFor);
}

#[test]
fn patience_is_longer_than_a_lease_by_a_tenth() {
    goes_wrong(scenario::BEFORE_THE_END, Omission::PatienceIsOnlyALease);
}

#[test]
fn patience_is_longer_than_a_lease() {
    goes_wrong(scenario::ALONE, Omission::PatienceIsHalfALease);
}

#[test]
fn patience_counts_from_the_announcement() {
    goes_wrong(
        scenario::ALONE,
        Omission::PatienceCountsFromBeforeTheAnnouncement,
    );
}

#[test]
fn who_has_applied_a_change_is_looked_for_after_its_announcement() {
    goes_wrong(
        scenario::BEGINNING.coarse(),
        Omission::LookFromBeforeTheAnnouncement,
    );
}

#[test]
fn who_attends_in_another_epoch_says_nothing() {
    goes_wrong(scenario::LOST, Omission::AttendanceOfAnyEpochCounts);
}

#[test]
fn a_newcomer_drops_all() {
    goes_wrong(scenario::BEGINNING, Omission::NewcomerIsToldNothing);
}

#[test]
fn a_new_epoch_drops_all() {
    goes_wrong(scenario::LOST, Omission::NewEpochIsToldNothing);
}

#[test]
fn whoever_was_struck_off_is_told() {
    goes_wrong(scenario::ALONE, Omission::WhoWasStruckIsToldNothing);
}

#[test]
fn whoever_lacks_more_than_the_log_keeps_is_told() {
    goes_wrong(scenario::TRIMMED, Omission::TrimmedIsToldNothing);
}

#[test]
fn to_be_told_to_drop_all_acknowledges_nothing() {
    goes_wrong(scenario::TRIMMED, Omission::TrimmedIsAcknowledgedAtOnce);
}

#[test]
fn what_is_not_settled_is_waited_for() {
    goes_wrong(scenario::LOST, Omission::UnsettledIsNotWaitedFor);
}

#[test]
fn a_registry_settles_only_when_it_was_known_for_long() {
    goes_wrong(scenario::LOST, Omission::SettledAtFirstSight);
}

#[test]
fn what_another_run_of_the_server_kept_is_made_anew() {
    goes_wrong(scenario::LOST, Omission::RegistryOfAnotherRunIsKept);
}

#[test]
fn whoever_has_renewed_is_not_struck_off() {
    goes_wrong(scenario::THREE_CHANGES, Omission::StrikesWhoeverItWaitedFor);
}

#[test]
fn a_strike_is_for_one_epoch() {
    goes_wrong(scenario::LOST.coarse(), Omission::StrikesInAnyEpoch);
}

#[test]
fn renewals_are_counted_over_all_memberships() {
    goes_wrong(
        scenario::THREE_CHANGES.coarse(),
        Omission::RenewalsAreCountedPerMembership,
    );
}

#[test]
fn whoever_joined_before_the_poison_may_be_answered_all_the_same() {
    holds_all_the_same(scenario::REPEATED, Omission::PoisonedResultIsAnswered);
}

#[test]
fn a_newcomer_holds_no_lease_and_may_count_as_up_to_date() {
    holds_all_the_same(scenario::BEGINNING, Omission::NewcomerAcknowledgesAtOnce);
}

#[test]
fn whoever_was_struck_off_might_be_told_what_it_lacks_only() {
    holds_all_the_same(
        scenario::THREE_CHANGES,
        Omission::WhoWasStruckIsToldWhatItLacks,
    );
}

#[test]
fn whoever_is_not_struck_off_is_only_waited_for_again() {
    holds_all_the_same(scenario::THREE_CHANGES, Omission::NobodyIsStruckOff);
}
