//! One suite that every implementation of [`SharedDatabase`] passes.
//!
//! ```text
//!  tests/memory.rs  tests/sqlite.rs  tests/postgres.rs      a Subject each, and conformance!(...)
//!         \              |               /
//!   fence.rs        appends, and why they are refused
//!   claims.rs       who wins, whatever is in flight (P1, P3, P17)
//!   takeover.rs     many claims at once (P20), and flaps (P14)
//!   wishes.rs       pins and draining (P13), and nodes that have gone
//!   nodes.rs        heartbeats and observations (P9, P11)
//!   postings.rs     where in the log postings are (P33)
//!   chain.rs        random interleavings keep the log whole (I3)
//!   checkpoints.rs  parts and manifests (P22)
//!   topology.rs     partitions; many openers at once
//!   catalogue.rs    plans and tables (P36)
//!   feeds.rs        identities (P28) and consumers (P38)
//! ```
//!
//! Nothing here measures time: a case waits for what must happen, and proves what must not by
//! what the log holds in the end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

pub mod catalogue;
pub mod chain;
pub mod checkpoints;
pub mod claims;
pub mod feeds;
pub mod fence;
pub mod nodes;
mod owner;
pub mod postings;
pub mod takeover;
pub mod topology;
pub mod wishes;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

pub use self::owner::{Dice, Owner, check_chain, claim, member, read_all, spec};
use crate::SharedDatabase;

/// Opens a view of the database under test, as another process would.
pub type Opener = Arc<dyn Fn() -> BoxFuture<'static, Arc<dyn SharedDatabase>> + Send + Sync>;
/// Lets go of what a [`Holder`] holds.
pub type LetGo = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;
/// Makes appends stop on their way to the commit until the returned function is called.
pub type Holder = Arc<dyn Fn() -> BoxFuture<'static, LetGo> + Send + Sync>;

/// Lets this much time pass by the database's clock.
pub type Passage = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// One empty database under test.
pub struct Subject {
    /// Opens a view of it.
    pub open: Opener,
    /// Stops appends half way.
    pub hold_appends: Holder,
    /// Lets time pass.
    pub let_pass: Passage,
}

impl Subject {
    /// A view of the database, as another process would have it.
    pub async fn view(&self) -> Arc<dyn SharedDatabase> {
        (self.open)().await
    }

    /// A view of the database, in which partition 1 (accounts 1 to 1,000) has been created.
    pub async fn with_partition(&self) -> Arc<dyn SharedDatabase> {
        let db = self.view().await;
        db.create_partitions(&[spec(1, 1, 1000)]).await.unwrap();
        db
    }
}

/// SQL that makes all that stands in a database this much older, as though the time had passed.
pub fn age_statements(time: Duration) -> String {
    let us = time.as_micros();
    format!(
        "UPDATE partitions SET flapped_at = flapped_at - {us}; \
         UPDATE pins SET until_us = until_us - {us}; \
         UPDATE nodes SET beat_at = beat_at - {us};"
    )
}

/// Makes a test of each case. `$subject` is an `async fn() -> Subject` for a fresh database.
#[macro_export]
macro_rules! conformance {
    ($subject:path) => {
        $crate::conformance!($subject;
            fence: an_append_under_the_current_claim_commits_and_moves_the_position,
            fence: an_append_of_a_stale_epoch_is_fenced,
            fence: an_append_of_another_epoch_is_fenced_even_under_the_right_claim,
            fence: an_append_of_a_stale_claim_is_fenced_even_under_the_right_epoch,
            fence: an_append_ahead_of_the_log_says_that_history_was_rolled_back,
            fence: an_append_on_another_hash_says_that_history_was_rolled_back,
            fence: an_append_again_says_that_the_log_is_ahead_and_changes_nothing,
            fence: an_append_to_no_partition_is_refused,
            fence: a_tail_is_contiguous_and_bounded_by_bytes,
            fence: a_large_body_comes_back_as_it_was,
            fence: partitions_append_side_by_side,
            claims: of_many_claims_with_the_same_epoch_one_wins,
            claims: a_claim_of_a_passed_epoch_loses,
            claims: a_claim_of_no_partition_is_refused,
            claims: an_append_in_flight_is_in_the_claimed_position_or_not_in_the_log,
            claims: an_append_that_was_dropped_half_way_is_settled_by_the_next_claim,
            claims: a_release_names_its_target_and_the_next_claim_clears_it,
            claims: a_release_for_nobody_leaves_no_owner,
            claims: a_barrier_holds_only_for_the_owner,
            claims: a_barrier_holds_only_where_the_log_ends_as_the_owner_knows,
            claims: p18_what_an_owner_writes_is_fenced_by_its_epoch_and_by_its_claim,
            takeover: a_thousand_partitions_are_claimed_in_one_call,
            takeover: an_outcome_stands_where_its_claim_stood,
            takeover: claims_that_cannot_be_made_together_are_refused_and_nothing_is_claimed,
            takeover: of_claimants_of_everything_each_partition_has_one_winner,
            takeover: an_append_in_flight_makes_its_partition_busy_or_is_waited_for,
            takeover: a_forced_claim_counts_as_a_flap_and_another_does_not,
            takeover: a_first_claim_is_no_flap_however_forced,
            takeover: flaps_halve_every_ten_minutes,
            wishes: a_pin_is_shown_until_it_expires,
            wishes: a_pin_is_replaced_and_taken_back,
            wishes: a_pin_names_a_member_of_a_partition_that_is_there,
            wishes: a_pin_outlives_claims_and_waits_for_no_append,
            wishes: a_node_is_asked_to_drain_whatever_it_says_itself,
            wishes: a_node_that_never_beat_is_not_drained,
            wishes: a_node_that_has_gone_is_forgotten_and_one_that_beats_is_not,
            wishes: a_forgotten_node_that_lives_after_all_comes_back,
            wishes: a_superseded_incarnation_of_a_forgotten_node_stays_superseded,
            nodes: a_heartbeat_comes_back_in_every_view,
            nodes: how_far_a_node_follows_is_shown_as_it_said_last,
            nodes: a_long_serving_list_comes_back,
            nodes: a_superseded_incarnation_is_refused_for_ever,
            nodes: an_overtaken_beat_changes_nothing,
            nodes: beats_of_many_nodes_do_not_disturb_each_other,
            nodes: beats_get_through_while_another_view_appends_without_pause,
            postings: an_append_with_postings_is_shown_by_every_observation,
            postings: an_append_that_is_refused_shows_no_postings,
            postings: segments_with_postings_come_in_order_and_no_others,
            postings: an_answer_is_bounded_by_bytes_and_holds_at_least_one,
            chain: random_claims_and_appends_leave_a_whole_chain,
            chain: racing_owners_leave_a_whole_chain,
            checkpoints: a_part_is_written_once,
            checkpoints: a_checkpoint_is_fenced,
            checkpoints: a_checkpoint_only_moves_forward,
            checkpoints: a_manifest_of_what_is_not_there_is_refused,
            checkpoints: two_manifests_and_their_parts_are_kept,
            checkpoints: a_part_of_a_manifest_to_come_is_not_pruned,
            checkpoints: p22_checkpoints_of_two_partitions_do_not_touch_each_other,
            checkpoints: p22_a_part_of_another_segment_is_another_part,
            topology: created_again_is_no_error,
            topology: what_collides_is_refused_and_named,
            topology: all_are_created_or_none,
            topology: a_spec_comes_back_whole,
            topology: creators_at_once_agree,
            topology: many_openers_at_once_find_one_history,
            topology: a_thousand_partitions_are_observed,
            catalogue: versions_are_immutable,
            catalogue: one_start_has_one_version_unless_it_is_superseded,
            catalogue: publishers_at_once_make_a_catalogue_without_gaps,
            catalogue: a_publication_is_seen_by_heartbeat_observation_and_reader,
            catalogue: plans_and_tables_share_nothing_but_the_catalogue_version,
            catalogue: a_further_version_never_starts_in_the_past,
            catalogue: a_table_keeps_its_kind_of_key,
            catalogue: a_page_of_the_catalogue_is_bounded_and_holds_at_least_one,
            catalogue: heads_are_listed_without_bodies,
            catalogue: a_long_list_of_heads_comes_in_pages,
            feeds: identities_are_bound_for_intervals_that_never_overlap,
            feeds: binders_at_once_never_overlap,
            feeds: a_binding_that_can_never_stand_is_refused_and_nothing_is_written,
            feeds: histories_come_in_the_order_asked,
            feeds: a_consumer_begins_everywhere_and_moves_by_compare_and_set,
            feeds: p38_a_cursor_that_differs_in_anything_is_not_moved_and_no_other_one_moves,
            feeds: p38_registering_again_moves_no_cursor,
            feeds: of_two_pullers_under_one_name_one_moves_the_cursor,
        );
    };
    ($subject:path; $($module:ident: $case:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::$module::$case(&$subject().await).await;
            }
        )+
    };
}
