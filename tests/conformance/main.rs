//! The conformance suite: every behaviour that the stores' contract promises, over both stores.
//!
//! Each case is written once and listed once; a case that is not listed is dead code, which the
//! build refuses.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(
    clippy::too_many_lines,
    reason = "a test tells one story from its beginning to its end"
)]

mod fixture;
mod limits;
mod listing;
mod namespaces;
mod owners;
mod peppers;
mod policies;
mod races;
mod requests;
mod retention;
mod status;
mod tokens;

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
        a_store_judges_limits_as_the_rules_do,
        exactly_as_many_uses_pass_at_once_as_the_limit_allows,
        a_quota_is_never_spent_twice,
        a_use_under_way_takes_nothing_back_from_a_later_grant,
        one_of_many_changes_wins_a_revision,
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
