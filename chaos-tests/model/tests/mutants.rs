//! Without each check, the property that it protects is violated.
//!
//! `cargo test -p protocol-model --test suite mutants:: -- --nocapture` prints the shortest path to
//! each.

use protocol_model::check::counterexample;
use protocol_model::lines::{Lines, Unknown};
use protocol_model::model::Protocol;
use protocol_model::properties::{I1, I2, I3, I4, I5, I6, I6_FRONT, I7, P6, P18};

/// The property holds with all checks on (`protocol.rs` tests this in larger configurations) and is
/// violated in `protocol`, which has a check off.
fn falls(mutant: &str, property: &'static str, protocol: Protocol) {
    let steps = counterexample(protocol, property);
    let steps = steps.unwrap_or_else(|| panic!("{mutant}: nothing breaks \"{property}\""));
    println!("\n{mutant}\n  breaks \"{property}\":");
    for (number, step) in (1..).zip(steps) {
        println!("  {number:2}. {step}");
    }
}

fn with(lines: Lines) -> Protocol {
    Protocol { lines, ..Protocol::small() }
}

fn asked(lines: Lines) -> Protocol {
    Protocol { fronts: 2, questions: 1, records: 1, ..with(lines) }
}

/// A barrier that compares only the owner. Without rollbacks this is sufficient, but the position
/// in the barrier would hide the missing checks under test.
fn plain_barrier() -> Lines {
    Lines { position_in_barrier: false, ..Lines::ALL }
}

fn warm(lines: Lines) -> Protocol {
    Protocol { keeps_copy: true, ..with(lines) }
}

fn rolled_back(lines: Lines) -> Protocol {
    Protocol { failovers: 1, faults: 0, ..warm(lines) }
}

#[test]
fn p1_an_append_that_reads_its_fence_and_then_inserts() {
    let lines = Lines { row_lock: false, ..plain_barrier() };
    falls("P1 without the row lock", I6, asked(lines));
}

#[test]
fn p1_a_fence_that_does_not_check_the_owner() {
    let lines = Lines { epoch_in_fence: false, claim_in_fence: false, ..plain_barrier() };
    falls("no epoch in the fence", I6, asked(lines));
}

#[test]
fn p18_a_fence_without_claim_when_history_rolls_back() {
    let lines = Lines { claim_in_fence: false, ..Lines::ALL };
    falls("no claim in the fence", I3, rolled_back(lines));
}

#[test]
fn p18_numbers_without_hashes_when_history_rolls_back() {
    let lines = Lines { hash_in_fence: false, hash_of_copy: false, ..Lines::ALL };
    for property in [I1, I2] {
        falls("no hash", property, rolled_back(lines.clone()));
    }
}

#[test]
fn p18_a_barrier_without_position_when_history_rolls_back() {
    falls("a barrier that compares only the owner", I1, rolled_back(plain_barrier()));
}

#[test]
fn p18_a_cursor_without_hash_when_history_rolls_back() {
    let lines = Lines { hash_of_cursor: false, ..Lines::ALL };
    let protocol = Protocol { has_consumer: true, ..rolled_back(lines) };
    falls("no hash in a cursor", P18, protocol);
}

#[test]
fn p18_a_copy_of_another_history_that_is_not_rebuilt() {
    let lines = Lines { rebuild: false, ..Lines::ALL };
    let protocol = Protocol { checks_healing: true, ..rolled_back(lines) };
    falls("no rebuild", I7, protocol);
}

#[test]
fn p18_fronts_that_hold_on_to_the_epochs_of_a_lost_history() {
    let lines = Lines { fronts_start_anew: false, ..Lines::ALL };
    let protocol = Protocol { checks_healing: true, sendings: 1, ..rolled_back(lines) };
    falls("fronts that are not restarted", I7, protocol);
}

#[test]
fn p1_an_owner_that_serves_without_reading_the_log() {
    let lines = Lines { reload: false, position_after_claim: false, ..Lines::ALL };
    for property in [I2, I4] {
        falls("no reload after a claim", property, warm(lines.clone()));
    }
}

#[test]
fn p2_reading_before_the_claim() {
    let unknown = Unknown::ReadThenClaim;
    let lines = Lines { unknown, position_after_claim: false, ..Lines::ALL };
    for property in [I2, I4] {
        falls("P2 reading first", property, with(lines.clone()));
    }
}

#[test]
fn p2_an_append_sent_again_whose_answer_may_be_of_the_first() {
    let unknown = Unknown::SendAgain;
    let lines = Lines { unknown, ahead_is_unknown: false, ..Lines::ALL };
    falls("no attempt token: sent again, and ahead taken as committed", I1, with(lines));
}

#[test]
fn p2_a_late_answer_taken_for_the_next_statements() {
    let lines = Lines { attempt_token: false, ..Lines::ALL };
    falls("no attempt token", I1, Protocol { slow_answers: true, ..with(lines) });
}

#[test]
fn p5_keys_that_count_only_once_committed() {
    let lines = Lines { pending_keys: false, ..Lines::ALL };
    for property in [I2, I5] {
        falls("P5 without pending keys", property, with(lines.clone()));
    }
}

#[test]
fn p6_an_answer_before_the_commit() {
    let lines = Lines { answer_after_commit: false, ..Lines::ALL };
    falls("P6 answered before the commit", I1, with(lines));
}

#[test]
fn p6_a_feed_from_memory() {
    let lines = Lines { feed_after_commit: false, ..Lines::ALL };
    falls("P6 a feed of uncommitted segments", P6, Protocol { has_consumer: true, ..with(lines) });
}

#[test]
fn p17_an_answer_from_state_without_a_commit() {
    let lines = Lines { barrier: false, ..Lines::ALL };
    falls("P17 without a barrier", I6, asked(lines));
}

#[test]
fn p17_a_front_that_takes_any_epoch() {
    let lines = Lines { fronts_drop_lower: false, ..Lines::ALL };
    falls(
        "P17 a front that accepts lower epochs",
        I6_FRONT,
        Protocol { slow_letters: true, sendings: 1, ..with(lines) },
    );
}
