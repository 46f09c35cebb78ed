//! The real binary, called over gRPC as its users call it, on both stores.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(
    clippy::too_many_lines,
    reason = "a test tells one story from its beginning to its end"
)]

mod access;
mod access_logs;
mod audit;
mod bad_input;
mod bad_limits;
mod batches;
mod caller_limits;
mod certificate_reload;
mod checking;
mod cli_tls;
mod client_certificates;
mod console;
mod console_sessions;
mod consoling;
mod deadlines;
mod degraded;
mod deploy_files;
#[cfg(target_os = "linux")]
mod disk;
mod doctor;
mod drain;
mod encrypted;
mod escalation;
mod every_method;
mod ext_authz;
mod ext_authz_refusals;
mod failure_budgets;
mod forward_auth;
mod forwarding;
mod gone;
mod harness;
mod health;
mod healthcheck;
mod hidden;
mod introspection;
mod keep_alive;
mod leases;
mod leasing;
mod life;
mod limits;
mod many_questions;
mod metrics;
mod namespaces;
mod outages;
mod pages;
mod peppers;
mod policies;
mod pools;
mod process;
mod questions;
mod quiet_streams;
mod quotas;
mod raw_bytes;
mod redis_acl;
mod redis_tls;
mod reports;
mod request_ids;
mod restrictions;
mod retention;
mod root_token;
mod rotations;
mod round_trips;
mod rpcs;
mod scrape;
mod secrecy;
mod service_manager;
mod startup;
mod threads;
mod tls;
mod unix_sockets;
mod updates;
mod usage;
mod visibility;
mod waiting;
mod waiting_questions;
mod watching;

#[path = "../attacks/peer.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod peer;
#[path = "../support/mod.rs"]
mod support;

macro_rules! on_both_stores {
    ($($room:ident { $($case:ident,)* })*) => {
        mod on_sqlite {
            $(mod $room {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::$room::$case(crate::harness::Authority::on_sqlite()).await;
                })*
            })*
        }
        mod on_redis {
            $(mod $room {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::$room::$case(crate::harness::Authority::on_redis()).await;
                })*
            })*
        }
    };
}

on_both_stores! {
    life {
        a_token_is_created_validated_listed_revoked_and_deleted,
        a_revocation_is_idempotent_and_keeps_its_first_reason,
        a_secret_revokes_its_own_token_without_a_credential,
        a_wrong_secret_revokes_nothing_and_is_answered_alike,
        a_replayed_create_answers_one_more_secret_of_the_same_token,
        lists_are_paged_and_filtered,
        tokens_survive_a_restart,
        what_was_acknowledged_survives_a_kill,
    }
    restrictions {
        every_refusal_has_its_verdict,
        a_token_expires_while_the_authority_runs,
        namespaces_are_walls,
        tricky_paths_are_refused,
        addresses_are_judged_whatever_their_family,
    }
    many_questions {
        a_batch_answers_each_question_in_its_place,
        a_batch_of_no_question_or_too_many_is_refused,
        many_tokens_that_nobody_remembers_are_judged_in_one_call,
        a_batch_takes_a_use_of_its_callers_limit_for_each_question,
        each_question_of_a_batch_takes_its_cost_from_its_token,
        a_stream_answers_each_question_by_its_id,
        questions_of_a_stream_count_against_its_callers_limit,
        a_question_about_a_foreign_namespace_is_denied_for_itself,
        a_stream_of_questions_ends_with_the_right_of_its_caller,
        a_stream_of_questions_ends_when_the_server_leaves,
        questions_of_a_stream_outlast_an_outage_of_the_store,
    }
    namespaces {
        namespaces_are_listed_with_what_they_hold,
        namespaces_are_listed_as_far_as_the_caller_may_read,
        page_tokens_of_namespaces_serve_whom_they_were_given,
    }
    policies {
        a_policy_gives_tokens_their_end_and_bounds_it,
        a_full_namespace_takes_no_more_tokens,
        a_policy_holds_for_whoever_creates_from_the_start_on,
        a_policy_bounds_changes_of_an_end_and_leaves_others_alone,
        a_policy_gives_tokens_their_rate_limits,
        a_policy_says_for_how_long_an_answer_may_be_repeated,
    }
    access {
        nothing_is_answered_without_a_credential,
        two_different_credentials_are_refused,
        a_token_without_permissions_may_only_ask_who_it_is,
        permissions_hold_in_their_namespace_only,
        a_foreign_token_is_exactly_as_an_absent_one,
        nobody_grants_or_ends_more_than_they_hold,
        an_expired_or_revoked_caller_is_refused,
        every_management_call_and_refusal_leaves_an_audit_line,
    }
    bad_input {
        all_violations_come_in_one_answer,
        a_flood_of_violations_still_fits_the_headers,
        every_limit_is_exact,
        page_tokens_of_other_filters_are_refused,
        absurd_times_are_refused,
        rubbish_secrets_are_malformed,
    }
    bad_limits {
        a_wrong_limit_is_refused_by_its_field,
        all_that_is_wrong_about_limits_is_said_at_once,
        the_widest_limits_are_answered_as_they_were_given,
    }
    raw_bytes {
        text_that_is_not_utf8_is_an_invalid_argument,
        an_oversized_message_is_refused_and_the_server_lives_on,
        an_unknown_method_is_unimplemented,
        a_broken_frame_is_an_invalid_argument,
        a_call_that_never_says_what_it_wants_is_ended_in_time,
    }
    health {
        health_is_told_of_every_name,
        both_reflections_describe_every_service_with_comments,
    }
    healthcheck {
        a_serving_and_a_draining_server_are_told_apart,
    }
    forward_auth {
        an_allowed_request_is_told_whose_it_is,
        every_refusal_has_its_status,
        only_what_trusted_peers_tell_is_believed,
        a_proxy_asks_as_its_peers_may_or_shows_a_credential,
        limits_may_be_told_as_nginx_can_hear_them,
        pages_and_methods_that_there_are_not_are_told,
        it_is_asked_over_http2_and_a_unix_socket_too,
        it_leaves_with_idle_connections_when_told_to,
    }
    console {
        a_token_is_made_changed_and_ended_by_forms,
        several_tokens_are_revoked_and_a_lease_is_taken_back,
        no_page_lets_a_hostile_name_out_of_its_place,
        a_form_of_another_site_does_nothing,
        what_one_may_not_do_is_neither_shown_nor_done,
    }
    console_sessions {
        who_signs_in_gets_a_session_that_scripts_and_other_sites_cannot_use,
        a_session_ends_with_its_token,
        who_guesses_secrets_is_told_to_wait,
        a_session_ends_when_its_time_is_over,
    }
    introspection {
        a_token_in_force_is_active_and_all_else_is_not,
        who_asks_must_be_known_and_may_validate,
        what_is_no_form_is_refused,
        an_introspection_counts_as_a_use,
        a_secret_revokes_its_token_and_is_answered_as_any_other,
    }
    pages {
        readiness_is_told_until_the_drain_and_life_to_the_end,
    }
    deadlines {
        a_tiny_deadline_is_exceeded_or_met_and_nothing_is_half_done,
    }
    degraded {
        what_is_known_is_answered_while_the_store_is_away,
        what_is_known_is_an_outage_when_it_is_too_old,
    }
    drain {
        it_stops_with_idle_silent_and_streaming_connections,
        what_was_acknowledged_before_a_stop_is_stored,
    }
    peppers {
        two_peppers_live_until_the_older_one_is_taken_away,
        a_wrong_pepper_is_an_outage_and_the_right_one_ends_it,
        a_store_that_was_stolen_without_its_pepper_is_of_no_use,
    }
    metrics {
        every_kind_of_call_is_counted,
        all_that_is_judged_is_taken_down_but_for_dry_runs,
        strangers_make_no_series,
        plain_http_is_answered_beside_grpc,
    }
    usage {
        what_is_judged_is_told_by_hour_endpoint_secret_and_client,
        lists_and_tokens_tell_of_their_use,
        an_overview_sums_up_a_namespace_and_all_of_them,
        a_window_that_cannot_be_is_refused,
        what_was_counted_before_a_stop_is_kept,
        where_no_usage_is_kept_asking_is_refused,
        no_more_is_kept_of_clients_than_is_wanted,
        no_secret_is_kept_that_a_path_or_a_user_agent_holds,
    }
    access_logs {
        access_logs_complete_what_was_judged,
        a_header_that_a_client_forged_feeds_nobodys_usage,
        access_logs_need_the_permission_to_report,
        a_stream_of_access_logs_ends_with_the_right_of_its_proxy,
        a_proxy_over_its_limit_loses_entries_and_not_its_stream,
        a_stream_of_access_logs_ends_well_when_the_server_leaves,
    }
    reports {
        reports_complete_what_was_judged,
        a_wrong_report_ends_the_stream_and_what_came_before_counts,
        a_report_about_a_foreign_token_is_one_about_none,
        a_stream_of_reports_ends_with_the_right_of_its_caller,
        reports_count_against_the_limit_of_their_caller,
        a_quiet_stream_of_reports_outlasts_the_deadline_of_calls,
        a_stream_of_reports_ends_when_the_server_leaves,
    }
    request_ids {
        a_callers_id_is_in_answers_errors_and_log_lines,
        a_call_without_an_id_gets_one_that_nothing_else_has,
        what_can_be_no_id_is_replaced,
    }
    audit {
        every_management_call_leaves_one_line_in_the_file,
        audit_lines_on_standard_output_are_the_same,
        leases_leave_lines_and_their_beats_none,
        a_hangup_opens_the_file_again,
    }
    updates {
        a_mask_names_only_what_can_be_changed,
        each_field_changes_alone,
        what_the_mask_does_not_name_is_not_looked_at,
        a_path_named_twice_is_as_named_once,
        a_named_field_left_empty_is_cleared_but_nothing_opens_by_accident,
        a_revoked_token_is_final,
        an_expired_token_lives_again_by_a_later_end,
    }
    visibility {
        of_many_changes_that_ask_for_one_revision_one_is_carried_out,
        a_new_owner_is_listed_and_judged_at_once,
    }
    rotations {
        a_replaced_secret_is_valid_for_its_grace_and_then_superseded,
        the_last_four_replaced_secrets_are_remembered,
        no_secret_is_forgotten_in_its_grace,
        a_replayed_rotation_answers_one_more_secret_of_its_version,
        of_one_rotation_sent_many_times_at_once_three_are_answered,
        of_many_rotations_that_ask_for_one_revision_one_is_carried_out,
        a_token_that_is_over_is_not_rotated,
        a_rotation_that_cannot_be_says_which_field,
        a_rotated_caller_is_known_for_its_grace_only,
        only_a_secret_in_force_gives_its_token_up,
        limits_are_of_the_token_whichever_secret_is_used,
    }
    limits {
        exactly_a_hundred_of_two_thousand_concurrent_calls_pass,
        a_use_is_taken_from_all_limits_or_from_none,
        a_refused_call_spends_nothing_and_says_nothing_of_limits,
        a_use_costs_what_it_says,
        a_dry_run_answers_the_same_and_takes_nothing,
        limits_are_shown_as_they_stand_and_reset,
        a_limit_admits_its_burst_and_then_one_at_a_time,
        a_changed_limit_goes_on_from_what_was_used_of_it,
        what_came_back_before_a_change_is_not_owed_after_it,
    }
    caller_limits {
        a_caller_beyond_its_limit_is_refused_by_every_method,
        what_a_caller_is_used_for_and_what_it_calls_share_its_limit,
        a_limited_caller_is_let_in_again_when_it_was_told,
        a_caller_that_is_not_in_force_spends_nothing,
    }
    failure_budgets {
        a_client_that_keeps_failing_is_shed_and_nobody_else_notices,
        questions_of_batches_and_streams_are_failures_as_any_other,
        who_was_shed_is_let_in_again_when_it_was_told,
        strangers_with_wrong_credentials_are_shed_at_their_address,
        secrets_that_are_over_are_failures_and_ended_tokens_are_none,
        without_a_budget_every_secret_is_judged,
    }
    hidden {
        in_every_method_a_foreign_token_is_exactly_as_an_absent_one,
        in_every_method_a_foreign_namespace_is_denied,
    }
    escalation {
        callers_may_change_exactly_what_the_model_says,
        no_sequence_of_calls_yields_more_than_its_caller_holds,
        a_replay_yields_no_more_than_its_caller_holds,
        no_wildcard_grants_anything_on_the_authority,
        a_caller_raises_itself_no_more_than_others,
    }
    quotas {
        an_update_moves_what_is_left_as_it_says,
        a_quota_that_cannot_be_changed_so_says_which_field,
        an_exhausted_quota_is_full_again_with_the_next_period,
        what_is_spent_survives_a_stop,
        no_use_of_a_quota_is_given_twice_over_a_kill,
    }
    doctor {
        a_sound_server_is_told_as_such_and_goes_on,
        a_wrong_pepper_is_told,
    }
    leases {
        a_token_has_one_holder_at_a_time,
        the_secret_of_a_lease_is_valid_for_exactly_that_lease,
        a_lease_ends_by_itself_at_its_time,
        a_released_lease_is_released_once,
        what_names_no_lease_or_both_is_refused_by_its_field,
        a_replayed_acquire_answers_one_more_secret_of_its_lease,
        a_lease_ends_with_its_token,
        whoever_shows_the_secret_of_a_lease_gives_up_that_lease_alone,
        limits_are_of_the_token_whoever_holds_it,
        a_limited_token_is_shown_with_the_lease_that_it_has_now,
        a_worker_leases_and_whoever_manages_takes_back,
        leases_and_fences_survive_a_restart,
    }
    keep_alive {
        a_beat_extends_a_lease_and_never_shortens_it,
        a_beat_by_token_leaves_its_lease_as_it_is,
        a_token_that_nobody_keeps_alive_is_gone_at_its_time,
        how_long_a_token_lives_is_asked_and_changed_within_bounds,
        time_in_which_the_authority_was_down_does_not_count,
        one_stream_keeps_all_leases_of_a_worker_alive,
        a_stream_ends_with_the_right_of_its_caller,
        a_stream_ends_when_the_server_leaves,
    }
    quiet_streams {
        a_quiet_stream_ends_when_its_caller_is_revoked_and_others_stay,
        a_quiet_stream_ends_when_its_caller_loses_the_permission,
        a_quiet_stream_ends_when_its_caller_expires,
        a_quiet_stream_outlasts_an_outage_of_the_store,
    }
    watching {
        whatever_happens_to_a_token_is_told,
        leases_are_told_and_their_names_are_not,
        an_end_is_told_before_it_comes_and_when,
        a_watcher_hears_what_it_asked_for_and_may_read,
        who_may_not_read_hears_nothing,
        a_watcher_goes_on_where_it_was_whatever_dies,
        a_watcher_that_comes_too_late_is_told_so,
        a_stream_of_events_ends_with_the_right_of_its_caller,
        a_stream_of_events_ends_when_the_server_leaves,
        a_watcher_that_takes_nothing_is_cut_and_goes_on_without_a_gap,
    }
    waiting {
        who_waits_longest_is_served_first_and_at_once,
        a_lease_that_ends_by_itself_is_the_next_ones,
        a_wait_is_over_at_its_end,
        who_gives_up_leaves_the_queue_and_takes_nothing,
        a_token_that_comes_to_the_pool_wakes_who_waits,
        a_stop_does_not_wait_for_those_who_wait,
        no_more_wait_than_may_and_others_are_served_meanwhile,
        a_wait_may_outlast_every_deadline_of_other_calls,
        who_loses_the_right_while_waiting_gets_nothing,
    }
    pools {
        every_token_of_a_pool_is_counted_once,
        pools_are_listed_in_pages_as_far_as_the_caller_may_read,
    }
    batches {
        a_batch_fills_a_pool,
        a_replayed_batch_answers_the_same_tokens,
        where_there_is_no_room_for_all_none_stays,
        a_batch_that_cannot_be_says_which_field,
    }
    ext_authz {
        an_allowed_request_is_told_whose_it_is_in_both_encodings,
        what_a_client_says_of_itself_never_reaches_the_upstream,
        the_secret_of_a_lease_is_told_with_its_fence,
        limits_are_told_with_every_answer,
        routes_of_envoy_say_what_they_demand,
        what_is_checked_counts_as_what_is_validated,
    }
    ext_authz_refusals {
        every_refusal_has_its_status,
        an_unknown_secret_is_not_told_from_a_revoked_one,
        credentials_that_differ_are_refused,
        a_client_of_grpc_is_refused_in_its_own_language,
        who_may_not_ask_is_refused_by_a_decision,
        what_is_no_request_of_http_is_refused,
        floods_are_refused_and_pass_nowhere,
    }
    secrecy {
        no_secret_is_kept_or_logged_anywhere,
    }
}
