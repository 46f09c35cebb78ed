//! The real binary, called over gRPC as its users call it, on both stores.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(
    clippy::too_many_lines,
    reason = "a test tells one story from its beginning to its end"
)]

mod access;
mod audit;
mod bad_input;
mod deadlines;
#[cfg(target_os = "linux")]
mod disk;
mod drain;
mod harness;
mod health;
mod life;
mod metrics;
mod namespaces;
mod outages;
mod peppers;
mod policies;
mod raw_bytes;
mod request_ids;
mod restrictions;
mod retention;
mod root_token;
mod round_trips;
mod scrape;
mod secrecy;
mod startup;

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
    raw_bytes {
        text_that_is_not_utf8_is_an_invalid_argument,
        an_oversized_message_is_refused_and_the_server_lives_on,
        an_unknown_method_is_unimplemented,
    }
    health {
        health_is_told_of_every_name,
        both_reflections_describe_every_service_with_comments,
    }
    deadlines {
        a_tiny_deadline_is_exceeded_or_met_and_nothing_is_half_done,
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
        strangers_make_no_series,
        plain_http_is_answered_beside_grpc,
    }
    request_ids {
        a_callers_id_is_in_answers_errors_and_log_lines,
        a_call_without_an_id_gets_one_that_nothing_else_has,
        what_can_be_no_id_is_replaced,
    }
    audit {
        every_management_call_leaves_one_line_in_the_file,
        audit_lines_on_standard_output_are_the_same,
        a_hangup_opens_the_file_again,
    }
    secrecy {
        no_secret_is_kept_or_logged_anywhere,
    }
}
