//! Postings are booked exactly once (P33), and each check is necessary for this.

use protocol_model::postings::{CONSERVED, Postings};
use stateright::{Checker, Model};

#[test]
fn p33_postings_are_booked_once_and_in_order() {
    let checker = Postings::small().checker().spawn_bfs().join();
    println!("postings: {} states, depth {}", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
}

fn loses_money(mutant: &str, postings: Postings) {
    let checker = postings.checker().spawn_bfs().join();
    let path = checker.assert_any_discovery(CONSERVED);
    println!("\n{mutant} breaks \"{CONSERVED}\": {:?}", path.into_actions());
}

#[test]
fn p33_a_cursor_that_moves_beside_the_segment() {
    loses_money("cursor apart", Postings { cursor_in_segment: false, ..Postings::small() });
}

#[test]
fn p33_a_horizon_for_postings() {
    loses_money("horizon", Postings { no_horizon: false, ..Postings::small() });
}

#[test]
fn p6_postings_fetched_before_the_sender_committed() {
    loses_money("fetched too early", Postings { fetch_after_commit: false, ..Postings::small() });
}

#[test]
fn p1_a_receiver_without_fence() {
    loses_money("no fence", Postings { fence: false, ..Postings::small() });
}
