//! The conformance suite: every behaviour that the stores' contract promises, over both stores.
//!
//! Each case is written once and listed once; a case that is not listed is dead code, which the
//! build refuses.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(
    clippy::too_many_lines,
    reason = "a test tells one story from its beginning to its end"
)]

mod acquisitions;
mod endings;
mod events;
mod fixture;
mod holding;
mod in_force;
mod leases;
mod limits;
mod listing;
mod lives;
mod namespaces;
mod owners;
mod peppers;
mod permits;
mod policies;
mod pools;
mod queues;
mod races;
mod registry;
mod reports;
mod requests;
mod retention;
mod returns;
mod spending;
mod status;
mod tokens;
mod usage;

#[path = "../support/mod.rs"]
mod support;

macro_rules! over {
    ($store:ident: $($room:ident { $($case:ident,)* })*) => {
        mod $store {
            $(mod $room {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::$room::$case(crate::fixture::$store().await).await;
                })*
            })*
        }
    };
}

macro_rules! conformance {
    ($($cases:tt)*) => {
        over!(on_sqlite: $($cases)*);
        over!(on_redis: $($cases)*);
    };
}

conformance! {
    tokens {
        a_created_token_is_found_as_it_was_issued,
        every_field_survives_the_store,
        an_unknown_id_is_absent,
        a_taken_id_answers_the_token_that_has_it,
        an_end_in_the_past_is_refused_and_leaves_nothing,
        a_token_expires_to_the_millisecond,
        a_change_is_stored_under_a_greater_revision,
        revisions_grow_while_the_clock_stands_still,
        a_kept_token_keeps_its_revision,
        a_refused_change_changes_nothing,
        a_change_of_nothing_is_absent,
        a_deleted_token_is_absent_everywhere,
        a_deleted_id_is_gone_for_a_while_and_then_free,
        a_refused_deletion_deletes_nothing,
        a_deletion_of_nothing_is_absent,
        a_new_token_of_an_old_id_has_a_greater_revision,
        namespaces_do_not_share_tokens_in_lists,
        a_token_is_unchanged_for_as_long_as_its_revision_stands,
        as_many_as_may_be_are_read_again_at_once,
        a_known_token_is_found_again_as_it_stands,
        reads_that_come_together_find_each_its_own,
    }
    requests {
        a_request_makes_one_token,
        a_request_makes_one_pooled_token,
        a_request_makes_one_token_whatever_the_pool,
        a_request_is_remembered_as_long_as_its_token,
        the_request_of_a_deleted_token_is_gone_for_a_while_and_then_free,
        the_request_of_a_deleted_pooled_token_is_gone_for_a_while_and_then_free,
    }
    listing {
        the_newest_token_comes_first,
        pages_follow_each_other_without_gap_or_repeat,
        a_full_last_page_has_no_successor,
        an_unknown_owner_is_an_empty_page,
        owners_and_pools_are_filtered_alone_and_together,
        states_are_filtered_as_of_the_stores_time,
        labels_are_filtered,
        all_namespaces_are_merged_newest_first,
        some_namespaces_are_merged_newest_first,
        many_namespaces_are_paged_without_gap_or_repeat,
        tokens_created_meanwhile_do_not_shift_a_page,
        tokens_deleted_meanwhile_do_not_shift_a_page,
        a_page_examines_a_bounded_number_of_entries,
        no_two_tokens_of_a_namespace_are_equally_old,
        a_pool_holds_the_tokens_of_its_namespace_only,
    }
    namespaces {
        a_new_store_has_no_namespaces,
        counts_follow_creations_and_deletions,
        an_ended_token_counts_until_it_is_deleted,
        what_came_to_nothing_is_not_counted,
        namespaces_are_listed_by_name_whatever_the_page,
        more_namespaces_than_one_exchange_carries_are_all_counted,
        only_namespaces_in_reach_are_listed,
        an_emptied_namespace_vanishes_and_may_come_back,
        namespaces_come_and_go_without_shifting_a_page,
    }
    policies {
        a_namespace_holds_no_more_tokens_than_it_may,
        a_limit_may_come_late_and_go,
        ended_tokens_take_room_until_they_are_deleted,
        a_request_is_answered_in_a_full_namespace_too,
        a_taken_id_is_answered_in_a_full_namespace_too,
        an_end_beyond_the_longest_lifetime_is_refused_and_leaves_nothing,
        a_namespace_is_never_overfilled_however_many_come_at_once,
    }
    owners {
        a_token_is_listed_by_its_new_owner_and_no_more_by_the_old,
        an_owner_may_be_taken_away_and_come_back,
        pages_of_an_owner_keep_their_order_when_owners_change,
        of_many_who_give_a_token_away_the_last_decides_who_lists_it,
    }
    races {
        one_of_many_wins_an_id,
        one_request_makes_one_token,
        one_request_makes_one_token_in_one_of_many_pools,
        one_of_many_revokes,
        changes_do_not_overwrite_each_other,
        a_deletion_and_a_revocation_end_in_an_absent_token,
        one_of_many_deletes,
        every_token_created_at_once_is_listed_once,
        lists_during_creates_never_skip_what_was_there,
    }
    limits {
        a_use_is_taken_from_all_limits_or_from_none,
        a_dry_run_takes_nothing,
        nothing_is_taken_from_a_token_that_is_not_as_it_was_judged,
        nothing_is_taken_once_the_judgement_no_longer_holds,
        a_caller_spends_its_rate_limits_and_no_quota,
        a_quota_is_full_again_with_each_period,
        a_changed_limit_keeps_what_was_used,
        a_lowered_and_raised_quota_owes_nothing,
        a_granted_remainder_counts_from_then_on,
        a_reset_forgets_what_was_spent,
        what_is_spent_survives_a_restart,
        a_deleted_token_leaves_nothing_spent_behind,
        a_vanished_token_leaves_nothing_spent_behind,
        exactly_as_many_uses_pass_at_once_as_the_limit_allows,
        a_quota_is_never_spent_twice,
        a_use_under_way_takes_nothing_back_from_a_later_grant,
        one_of_many_changes_wins_a_revision,
    }
    spending {
        a_store_judges_limits_as_the_rules_do,
    }
    permits {
        a_batch_is_taken_from_all_limits,
        a_batch_is_never_more_than_was_wished_for_and_never_one_use,
        batches_together_hold_a_fortieth_of_a_burst_and_no_more,
        the_smallest_limit_says_how_much_is_granted,
        near_a_limit_uses_are_taken_singly,
        what_a_batch_holds_does_not_drain_until_it_ends,
        a_use_finds_what_batches_hold_spent,
        batches_are_settled_in_the_order_of_their_ends,
        no_more_than_so_many_batches_are_remembered,
        a_batch_is_granted_once,
        a_dry_run_grants_nothing_and_gives_nothing_back,
        a_caller_takes_no_quota_ahead,
        a_batch_is_held_though_limits_change,
        a_token_that_moved_gives_nothing_back,
        what_batches_hold_survives_a_restart,
        a_deleted_token_leaves_no_batches_behind,
        of_many_who_take_ahead_at_once_all_get_no_more_than_the_limit,
    }
    returns {
        what_is_unused_of_a_live_batch_comes_back,
        an_ended_batch_gives_nothing_back_to_a_rate_limit,
        a_batch_comes_back_once,
        no_more_comes_back_than_was_granted,
        a_batch_comes_back_with_a_use_that_is_refused,
        a_quota_gets_back_what_is_unused_for_ten_seconds,
        nothing_comes_back_to_a_quota_of_another_period,
        nothing_comes_back_to_what_was_granted_anew,
        nothing_comes_back_to_a_quota_that_was_overdrawn,
    }
    retention {
        a_short_lived_token_vanishes_a_day_after_it_expired,
        a_token_that_lived_for_a_day_vanishes_thirty_days_after_it_expired,
        a_revoked_token_vanishes_thirty_days_after_its_revocation,
        a_token_without_an_end_never_vanishes,
        a_token_whose_end_was_moved_later_vanishes_after_the_new_end,
        a_token_whose_end_was_moved_earlier_vanishes_after_the_new_end,
        a_token_whose_end_was_taken_away_stays,
        of_a_vanished_token_nothing_is_left,
        a_request_is_free_once_its_token_vanished,
        a_deleted_token_does_not_vanish_again,
        many_vanish_in_bounded_steps_and_nobody_else,
        of_two_who_sweep_at_once_each_token_falls_to_one,
        a_sweep_beside_changes_takes_what_has_ended_only,
    }
    leases {
        a_token_is_leased_as_it_was_asked,
        a_token_has_one_holder_at_a_time,
        every_free_token_is_leased_before_any_is_refused,
        a_pool_without_tokens_is_empty_and_one_in_use_is_not,
        pools_of_one_name_in_two_namespaces_share_nothing,
        a_lease_is_over_at_the_instant_of_its_end_for_every_act,
        a_beat_just_before_the_end_is_in_time,
        fences_grow_with_every_lease_over_restarts,
        a_lease_survives_a_restart,
        a_lease_cannot_be_guessed_or_reached_from_elsewhere,
        a_token_in_no_pool_is_not_leased,
        a_beat_extends_a_lease_and_never_shortens_it,
        a_beat_of_a_token_leaves_its_lease_as_it_is,
        of_many_who_acquire_at_once_each_gets_a_token_of_its_own,
        a_lease_is_named_by_its_token_and_its_mark,
        a_closed_store_leases_nothing,
    }
    endings {
        a_released_lease_is_released_once,
        a_late_release_of_an_earlier_lease_ends_nothing,
        a_lease_may_be_taken_from_its_holder,
        a_lease_never_outlives_its_token,
        a_free_token_that_expired_is_not_leased_though_nobody_noted_it,
        a_lease_ends_with_its_token,
        a_change_beside_a_lease_leaves_it_in_force,
        ended_leases_are_remembered_for_an_hour,
        the_last_eight_ended_leases_are_remembered,
        of_many_who_release_at_once_one_ended_it,
        a_lease_that_another_followed_stays_over_when_the_clock_is_set_back,
    }
    queues {
        who_waits_longest_is_served_first,
        a_lease_that_ends_is_for_who_waits_longest,
        as_many_are_served_as_there_are_free_tokens,
        who_comes_without_waiting_never_overtakes,
        who_leaves_gives_up_its_place,
        who_comes_back_stands_at_the_end,
        who_is_served_stands_in_the_queue_no_more,
        a_caller_that_asks_no_more_loses_its_place,
        a_dead_queue_keeps_nobody_out,
        a_long_dead_queue_keeps_nobody_out,
        a_refused_call_is_told_when_its_turn_may_come,
        an_order_holds_over_all_processes,
        a_release_rings_for_who_waits_longest,
        whatever_frees_a_token_rings_for_who_waits,
        a_grant_with_more_left_rings_for_the_next,
        a_lease_that_was_granted_is_answered_again_without_waiting,
        who_is_answered_an_earlier_lease_waits_no_more,
        all_who_wait_at_once_are_served,
    }
    pools {
        every_token_is_counted_once_at_every_instant,
        a_token_that_expires_is_counted_out_at_that_instant,
        a_token_that_nobody_kept_alive_is_not_counted,
        pools_are_listed_in_the_order_of_their_names,
        a_page_begins_behind_whatever_it_is_given,
        a_pool_comes_with_its_first_token_and_goes_with_its_last,
        counts_add_up_while_tokens_change_hands,
    }
    lives {
        an_unbeaten_token_is_gone_everywhere_at_its_deadline,
        every_act_of_its_holders_is_a_beat,
        a_token_lives_on_after_its_lease_for_its_whole_span,
        a_beat_of_a_leased_token_counts_from_the_end_of_the_lease,
        what_changes_nothing_about_its_life_is_no_beat,
        six_minutes_away_delete_nothing,
        an_absence_is_noticed_by_whoever_judges_first,
        who_was_gone_before_an_absence_stays_gone,
        who_was_found_gone_stays_gone,
        a_token_that_was_given_back_early_vanishes_in_time,
        five_seconds_out_of_sight_are_no_absence,
        each_absence_gives_the_whole_span_again,
        a_lease_is_not_extended_by_an_absence,
        a_token_without_a_span_needs_nobody,
        a_token_that_was_over_before_is_kept_as_any_other,
        a_token_that_is_switched_off_can_be_kept_alive,
        a_changed_span_counts_from_its_change,
        a_sweep_takes_those_that_are_gone_and_nobody_else,
        the_request_of_a_gone_token_is_known_as_long_as_any_other,
        a_token_is_judged_with_its_life_as_it_is,
    }
    acquisitions {
        a_repeated_request_is_answered_the_same_lease_with_one_more_secret,
        a_request_with_other_arguments_is_refused,
        the_request_of_an_ended_lease_is_used_up,
        a_request_is_free_after_its_window,
        a_refused_request_may_be_repeated,
        a_request_is_known_after_a_restart,
        one_request_leases_one_token_however_often_it_comes_at_once,
        a_pool_that_lost_its_tokens_forgets_whose_they_were,
    }
    events {
        each_change_is_told_as_what_it_is_and_in_order,
        what_changes_nothing_is_not_told,
        an_end_is_told_once_for_each_span_before_it,
        what_came_due_while_nobody_told_it_is_told_in_order,
        a_change_beside_an_alarm_does_not_lose_it,
        a_moved_end_is_told_where_it_is,
        time_tells_nothing_of_a_token_that_is_revoked_or_has_no_end,
        a_token_that_vanishes_was_told_before,
        a_lease_is_told_from_its_beginning_to_its_end,
        a_lease_that_is_over_is_told_though_nobody_acts,
        a_lease_that_another_follows_is_told_to_be_over_once,
        a_lease_that_ends_with_its_token_is_told,
        a_lease_ends_by_the_end_of_its_token_alone,
        pages_follow_each_other_without_gap,
        a_cursor_survives_a_restart,
        an_end_that_came_while_the_store_was_closed_is_told,
        of_two_who_tell_at_once_nothing_is_lost,
        a_closed_store_tells_nothing,
    }
    registry {
        a_store_that_was_made_has_a_settled_registry,
        a_new_replica_drops_all_and_is_known_from_then_on,
        a_replica_is_told_what_it_lacks_and_nothing_else,
        what_a_replica_was_told_it_has_applied_when_it_says_so,
        a_replica_that_lacks_more_than_is_kept_drops_all,
        a_replica_that_knows_what_never_was_drops_all,
        an_announcement_tells_who_answers_from_memory,
        announcements_at_once_are_numbered_without_a_gap,
        a_replica_that_has_renewed_since_is_not_struck_off,
        a_replica_that_was_struck_off_drops_all,
        a_replica_that_has_resigned_is_waited_for_no_more,
        what_is_announced_is_heard_everywhere,
        a_store_keeps_its_registry_as_the_rule_does,
        a_closed_store_gives_no_lease,
    }
    usage {
        of_what_was_never_used_nothing_is_kept,
        what_was_added_is_read_again,
        a_flush_that_comes_again_counts_once,
        what_two_processes_counted_adds_up,
        what_comes_late_belongs_to_its_hour,
        lists_are_told_of_a_day_a_week_and_all_times,
        each_version_of_a_secret_has_its_last_use,
        the_last_requests_are_kept_in_full,
        a_token_takes_its_use_with_it,
        subjects_share_nothing,
        hours_are_dropped_in_time_and_days_later,
        many_subjects_are_added_at_once,
    }
    reports {
        a_report_is_what_an_independent_count_says,
    }
    in_force {
        all_but_those_that_are_not_in_force_are_counted,
        namespaces_are_counted_alone_and_together,
        those_that_expire_next_come_first,
        a_count_follows_every_change,
    }
    peppers {
        a_store_knows_its_peppers_again,
        another_pepper_under_a_known_id_is_an_outage_to_every_act,
        a_pepper_is_known_from_the_first_opening_on,
        a_refused_pepper_leaves_no_other_behind,
    }
    status {
        a_sound_store_can_be_read_and_written,
        a_closed_store_answers_errors_and_no_absence,
        what_is_closed_can_be_opened_again,
    }
}
