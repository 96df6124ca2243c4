//! The suite that every storage must pass: the contract of the storage port as code.
//!
//! Whoever implements [`Storage`](crate::storage::Storage) calls [`all`] from one test, with a
//! function that makes an **empty** store for each case:
//!
//! ```
//! # use std::sync::Arc;
//! use tidings::storage::{MemoryStorage, Storage, conformance};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! conformance::enqueue(async || Arc::new(MemoryStorage::new()) as Arc<dyn Storage>).await;
//! # }
//! ```
//!
//! or gets a test for each case from [`conformance_tests!`](crate::conformance_tests). Each case
//! is named by its claim. A case that fails panics with its name and the rule that was broken.
//!
//! The cases need nothing of their executor: calls that run at the same time are polled by one
//! future, nothing sleeps, and time is a parameter.
//!
//! This module is not covered by semantic versioning: a later version may ask more, where the
//! contract asked it all along.

// A test library: a case fails by a panic.
#![allow(clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

mod append;
mod claim;
mod enqueue;
mod fixtures;
mod health;
mod holders;
mod lanes;
mod leases;
mod listings;
mod order;
mod outcomes;
mod races;
mod replay;
mod retention;
mod route;
pub mod scale;
mod settle;
mod spans;
mod statistics;
mod sweep;
mod webhooks;
mod worker;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;

use crate::ports::storage::Storage;

type Run = fn(Arc<dyn Storage>) -> Pin<Box<dyn Future<Output = ()>>>;

/// One claim about a storage, and how it is tried.
#[derive(Clone, Copy)]
pub struct Case {
    topic: &'static str,
    name: &'static str,
    run: Run,
}

impl Case {
    /// The part of the contract that it is about.
    pub fn topic(&self) -> &'static str {
        self.topic
    }

    /// What it claims.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Tries it on a store that must be empty.
    ///
    /// # Panics
    /// If the store breaks the contract. The text has the case's name and what was broken.
    pub async fn run(&self, store: Arc<dyn Storage>) {
        let outcome = AssertUnwindSafe((self.run)(store)).catch_unwind().await;
        if let Err(panic) = outcome {
            panic!("storage conformance: {}::{}: {}", self.topic, self.name, text(&*panic));
        }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.topic, self.name)
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text")
}

/// Runs every case, each on a store of its own that `make` makes.
///
/// # Panics
/// As [`Case::run`], at the first case that fails.
pub async fn all<F, Fut>(make: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Storage>>,
{
    for case in cases() {
        case.run(make().await).await;
    }
}

async fn topic<F, Fut>(topic: &str, make: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Storage>>,
{
    for case in cases().into_iter().filter(|case| case.topic == topic) {
        case.run(make().await).await;
    }
}

/// The case of this name.
///
/// # Panics
/// If there is none.
pub fn case(name: &str) -> Case {
    let found = cases().into_iter().find(|case| case.name == name);
    found.unwrap_or_else(|| panic!("there is no case {name}"))
}

/// The one list of the cases: makes [`cases`], a function for each topic, and the macro.
macro_rules! list {
    ($d:tt $($(#[$doc:meta])* $topic:ident { $($case:ident,)* })*) => {
        /// Every case, in order of topic.
        pub fn cases() -> Vec<Case> {
            vec![$($(Case {
                topic: stringify!($topic),
                name: stringify!($case),
                run: |store| Box::pin(async move { $topic::$case(&*store).await }),
            },)*)*]
        }

        $(
            $(#[$doc])*
            ///
            /// # Panics
            /// As [`Case::run`], at the first case that fails.
            pub async fn $topic<F, Fut>(make: F)
            where
                F: Fn() -> Fut,
                Fut: Future<Output = Arc<dyn Storage>>,
            {
                topic(stringify!($topic), make).await;
            }
        )*

        /// Makes a `#[test]` of every case of the storage's conformance suite. `run` is a function
        /// that takes a [`Case`](crate::storage::conformance::Case) and runs it on an empty store.
        ///
        /// ```
        /// fn over_memory(case: tidings::storage::conformance::Case) {
        ///     let store = std::sync::Arc::new(tidings::storage::MemoryStorage::new());
        ///     let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        ///     runtime.block_on(case.run(store));
        /// }
        ///
        /// tidings::conformance_tests!(over_memory);
        /// # fn main() {}
        /// ```
        #[macro_export]
        macro_rules! conformance_tests {
            ($d run:path) => {
                $($(
                    /// Runs the case of this name on a store of its own.
                    #[test]
                    fn $case() {
                        $d run($d crate::storage::conformance::case(stringify!($case)));
                    }
                )*)*
            };
        }
    };
}

list! {
    $
    /// Webhooks are kept whole, replaced only by who has seen the present version, deleted for good.
    webhooks {
        a_new_webhook_is_stored_as_version_one,
        every_field_survives,
        every_status_survives,
        sealed_secrets_are_kept_as_they_are,
        a_replacement_counts_the_version_up,
        a_stale_edit_changes_nothing,
        an_edit_of_nothing_is_not_found,
        a_taken_id_is_a_conflict,
        of_concurrent_edits_one_wins,
        of_concurrent_inserts_one_wins,
        a_webhook_is_deleted_once,
        nothing_is_claimed_for_a_deleted_webhook,
        what_has_ended_outlives_its_webhook,
        an_edit_leaves_the_lane_alone,
    }
    /// Events are kept all or none, each id once, byte for byte.
    append {
        an_empty_append_is_answered,
        a_repeated_event_is_a_duplicate,
        a_rebuilt_event_is_a_duplicate,
        other_content_under_an_id_is_a_conflict,
        a_call_is_compared_with_itself,
        a_call_conflicts_with_itself,
        a_conflict_keeps_nothing_of_its_call,
        of_concurrent_publishes_one_is_stored,
        of_concurrent_contents_one_is_stored,
        batches_that_cross_do_not_fail,
        one_callers_error_is_his_alone,
        payloads_are_kept_byte_for_byte,
        renderings_are_kept_byte_for_byte,
        a_trace_is_kept_with_its_event,
        every_column_of_an_event_survives,
        a_delivery_knows_when_its_event_was_published,
        an_event_for_one_webhook_reaches_it_alone,
        an_event_for_one_webhook_is_stored_once,
        an_event_for_a_strangers_webhook_is_refused,
        an_event_for_a_disabled_webhook_waits,
    }
    /// A fresh cause makes one more delivery.
    enqueue {
        a_fresh_cause_makes_a_delivery,
        the_same_cause_makes_nothing_twice,
        what_is_enqueued_is_not_routed_twice,
        what_cannot_be_owed_is_told,
        what_is_owed_to_a_disabled_webhook_waits,
        of_concurrent_enqueues_one_makes_it,
    }
    /// Who gets an event is decided by when it was published.
    spans {
        a_disabled_webhook_gets_nothing_published_meanwhile,
        no_clock_decides_who_gets_an_event,
        spans_without_an_event_change_nothing,
        an_event_before_its_webhook_does_not_reach_it,
        an_edit_of_patterns_holds_from_the_next_publish,
        an_edit_of_anything_else_changes_nothing,
        an_edit_of_a_disabled_webhook_opens_nothing,
        a_status_and_its_patterns_change_together,
        what_a_deleted_webhook_was_owed_is_cancelled,
        accounts_and_modes_are_apart,
        patterns_match_whole_segments_exactly,
        overlapping_patterns_make_one_delivery,
        what_was_answered_before_a_disable_is_owed,
        a_publish_that_overlaps_a_disable_falls_on_one_side,
    }
    /// Marks become deliveries, born leased where nothing stands in the way.
    route {
        a_delivery_is_born_leased,
        a_lease_has_the_webhook_as_it_is_now,
        without_a_permit_a_delivery_is_born_waiting,
        a_webhook_gets_no_more_leases_than_it_has_room_for,
        behind_a_waiting_delivery_none_is_born_leased,
        in_a_paused_lane_none_is_born_leased,
        for_a_disabled_webhook_a_delivery_is_born_waiting,
        events_that_match_nothing_are_counted,
        no_more_marks_are_looked_at_than_asked,
        a_wide_event_is_routed_over_several_turns,
        a_half_routed_event_keeps_its_webhooks,
        one_accounts_flood_does_not_stand_before_anothers_ten,
        what_was_routed_is_not_routed_again,
        only_a_living_dispatcher_routes,
    }
    /// What is due is leased, in order, within the permits.
    claim {
        nothing_is_claimed_before_its_due_time,
        a_lane_is_claimed_in_due_order,
        the_lane_that_was_ready_first_goes_first,
        next_due_is_the_least_moment_that_is_left,
        next_due_is_in_the_past_when_permits_ran_out,
        whatever_makes_a_delivery_wait_lowers_next_due,
        leases_never_exceed_the_permits,
        a_lane_without_room_does_not_hold_up_the_others,
        a_long_lane_does_not_starve_the_others,
        what_is_leased_is_not_claimed_again,
        only_a_living_dispatcher_claims,
        a_disabled_webhooks_deliveries_wait,
        enabling_an_empty_lane_needs_no_probe,
        the_oldest_due_is_found_where_it_is_told,
        who_fails_is_found_where_it_is_told,
    }
    /// Pauses and probes.
    lanes {
        a_paused_lane_is_left_in_peace,
        after_a_pause_one_probe_is_out_at_a_time,
        of_concurrent_claims_one_gets_the_probe,
        a_probe_that_arrives_opens_the_lane,
        a_probe_that_fails_pauses_on,
        a_probe_that_fails_soon_pauses_for_its_own_time,
        a_pause_that_came_during_a_probe_stays,
        a_probe_that_was_not_sent_is_taken_again,
        of_two_pauses_the_later_counts,
        a_pause_and_a_probe_combine,
        a_dead_dispatchers_probe_is_taken_again,
        a_success_that_was_no_probe_does_not_open,
    }
    /// Outcomes are written by the holder of the lease and by nobody else.
    settle {
        an_empty_settlement_is_answered,
        a_settlement_is_applied_whole,
        every_field_of_an_attempt_survives,
        attempts_are_listed_in_order,
        a_lease_given_back_is_not_charged,
        a_repeated_settlement_changes_nothing,
        a_repetition_does_not_touch_the_lane,
        a_late_settlement_is_lost,
        a_settlement_after_a_reap_is_lost,
        a_lost_settlement_touches_neither_lane_nor_webhook,
        every_part_of_the_fence_counts,
        what_is_lost_or_gone_does_not_touch_the_others,
        an_unknown_delivery_is_gone,
        what_a_deleted_webhook_had_in_flight_ends,
        concurrent_settlements_are_each_applied_once,
    }
    /// What settlements say of a webhook is compared with the stored facts.
    health {
        a_stretch_of_failure_begins_once_and_ends_with_a_success,
        a_settlement_disables_the_webhook,
        a_disable_needs_the_stretch_that_it_saw,
        a_webhook_is_disabled_once,
        an_older_edit_does_not_undo_a_disable,
        filters_end_with_a_disable_by_settlement,
        enabling_begins_a_clean_record,
        the_lane_is_changed_before_the_health,
        a_stretch_of_failure_is_warned_of_once,
        a_report_is_kept_if_it_comes_true,
    }
    /// What may be taken away, and how much there is.
    retention {
        an_expunged_event_keeps_its_record,
        an_account_is_expunged_in_steps,
        the_backlog_is_what_waits_and_what_is_to_be_routed,
    }
    /// Leases belong to dispatchers.
    leases {
        a_dispatcher_is_new_once,
        a_living_dispatchers_leases_hold,
        a_dead_dispatchers_leases_go_back,
        a_claim_reaps_also_without_permits,
        interruptions_are_counted,
        a_reaped_lease_waits_behind_its_webhooks_state,
        a_late_sign_of_life_tells_what_became_of_the_leases,
        a_dispatcher_that_ends_gives_back,
        an_end_makes_no_dispatcher_known,
        abandoned_leases_go_back_uncharged,
        an_abandoned_call_that_still_comes_leases_nothing,
        an_abandoned_route_gives_back,
    }
    /// A lane has one holder where its webhook needs one; the next one waits for what was begun.
    holders {
        a_webhook_that_needs_a_holder_is_kept_or_refused,
        nothing_is_born_leased_where_a_holder_is_needed,
        a_holder_leases_within_its_room,
        a_lane_has_one_holder,
        of_concurrent_claims_one_takes_the_lane,
        no_more_lanes_are_taken_than_asked,
        a_lane_that_is_not_named_is_given_back,
        a_holder_that_ends_frees_its_lane,
        a_dead_holders_lane_is_taken_after_the_wait,
        a_holder_that_was_given_up_has_lost_its_lane,
        a_living_holder_keeps_its_lane,
        an_edit_is_learned_before_the_next_lease,
        a_first_limit_waits_for_those_who_send_without,
        without_a_limit_nobody_holds_the_lane,
        what_was_cut_off_is_waited_for,
        an_abandoned_claim_takes_nothing,
        plain_lanes_are_served_beside_held_ones,
    }
    /// Of one webhook and one object the first that has not ended goes first.
    order {
        events_of_one_object_go_one_after_the_other,
        a_delivery_that_waits_holds_its_object_up,
        whatever_ends_a_delivery_frees_the_next,
        an_object_is_told_by_its_key,
        what_was_asked_for_has_no_place_in_the_order,
        without_order_nothing_stands_behind,
        what_was_routed_without_order_waits_for_nobody,
        order_outlives_its_holder,
        routing_in_small_steps_keeps_the_order,
        a_long_queue_of_one_object_hides_no_other,
        what_stands_behind_is_cancelled_too,
    }
    /// Listings show what fits, in falling order, page by page, also while things change.
    listings {
        webhooks_are_listed_by_every_field,
        events_are_listed_by_number_of_publish,
        events_are_listed_by_every_field,
        deliveries_are_listed_by_every_field,
        pages_of_webhooks_hold_while_things_change,
        pages_of_events_hold_while_things_change,
        pages_of_deliveries_hold_while_things_change,
        a_page_has_up_to_a_hundred_items,
        an_empty_listing_is_an_empty_page,
    }
    /// What is over goes, what is still owed does not.
    sweep {
        a_sweep_may_find_nothing,
        waiting_deliveries_expire_by_their_publish,
        an_expired_delivery_is_never_claimed,
        a_redelivery_expires_by_its_own_time,
        a_deleted_webhooks_waiting_deliveries_are_cancelled,
        a_step_is_bounded_and_says_whether_there_is_more,
        a_finished_event_is_pruned_with_its_record,
        pruning_goes_by_the_time_of_the_publish,
        an_unfinished_event_is_never_pruned,
        what_cannot_be_pruned_does_not_hide_what_can,
        what_expired_or_was_cancelled_is_pruned_in_time,
    }
    /// Past events are delivered once more, in bounded steps, each once for a job.
    replay {
        a_job_is_kept_whole_and_once,
        jobs_are_listed_by_every_field,
        all_are_those_that_the_filters_ask_for,
        failed_are_those_that_no_try_brought,
        missed_are_those_that_it_never_had,
        a_job_delivers_an_event_once,
        a_job_keeps_its_pace_in_bounded_steps,
        steps_that_meet_make_nothing_twice,
        an_event_is_replayed_after_it_was_routed,
        a_cancelled_job_withdraws_what_waits,
        a_job_minds_its_webhook,
        one_event_goes_to_whom_it_is_meant_for,
        what_ended_long_ago_is_forgotten,
    }
    /// What is counted equals a recount of the record. A store without statistics passes.
    statistics {
        what_has_not_happened_is_not_counted,
        attempts_and_ends_are_counted_in_their_hours,
        a_repetition_is_counted_once,
        a_late_attempt_is_counted_once,
        whatever_ends_a_delivery_is_counted,
        counts_are_found_by_what_is_asked,
        counts_outlive_what_they_tell_of,
        old_hours_are_forgotten_step_by_step,
        counts_are_those_of_the_record,
        concurrent_settlements_are_each_counted,
    }
    /// Calls that meet, and calls whose callers go away.
    races {
        no_delivery_is_stranded_by_a_settle_and_a_claim,
        no_delivery_is_stranded_by_those_who_add,
        two_dispatchers_route_each_event_once,
        several_dispatchers_share_the_work,
        a_settle_and_a_reap_do_not_both_win,
        calls_of_every_kind_meet_without_harm,
        a_dropped_publish_can_be_repeated,
        a_dropped_call_strands_nothing,
        a_dropped_edit_is_whole_or_nothing,
    }
    /// Many events and many webhooks.
    scale {
        ten_thousand_events_reach_three_webhooks,
        a_hundred_events_reach_a_hundred_webhooks,
        ten_thousand_events_are_one_call,
        a_long_lane_is_one_value,
    }
}
