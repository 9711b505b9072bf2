//! Switches each check off in turn, and finds a state that violates the property that the check
//! protects.
//!
//! `cargo test -p protocol-model --test suite mutants:: -- --nocapture` prints the shortest path to
//! each of these states.

use protocol_model::check::counterexample;
use protocol_model::enabled_checks::{EnabledChecks, Unknown};
use protocol_model::model::Protocol;
use protocol_model::properties::{I1, I2, I3, I4, I5, I6, I6_FRONT, I7, P6, P18};

/// Asserts that some state of `protocol`, in which a check is off, violates `property`. (The tests
/// in `protocol.rs` show that the property holds with all checks on.)
fn falls(mutant: &str, property: &'static str, protocol: Protocol) {
    let steps = counterexample(protocol, property);
    let steps = steps.unwrap_or_else(|| panic!("{mutant}: nothing breaks \"{property}\""));
    println!("\n{mutant}\n  breaks \"{property}\":");
    for (number, step) in (1..).zip(steps) {
        println!("  {number:2}. {step}");
    }
}

fn with(checks: EnabledChecks) -> Protocol {
    Protocol { checks, ..Protocol::small() }
}

fn asked(checks: EnabledChecks) -> Protocol {
    Protocol { fronts: 2, questions: 1, records: 1, ..with(checks) }
}

/// All checks except one: the barrier does not compare the end of the log. That comparison would
/// hide the missing check under test, and without rollbacks it is not needed.
fn plain_barrier() -> EnabledChecks {
    EnabledChecks { position_in_barrier: false, ..EnabledChecks::ALL }
}

fn warm(checks: EnabledChecks) -> Protocol {
    Protocol { keeps_copy: true, ..with(checks) }
}

fn rolled_back(checks: EnabledChecks) -> Protocol {
    Protocol { failovers: 1, faults: 0, ..warm(checks) }
}

#[test]
fn p1_an_append_that_reads_its_fence_and_then_inserts() {
    let checks = EnabledChecks { row_lock: false, ..plain_barrier() };
    falls("P1 without the row lock", I6, asked(checks));
}

#[test]
fn p1_a_fence_that_does_not_check_the_owner() {
    let checks = EnabledChecks { epoch_in_fence: false, claim_in_fence: false, ..plain_barrier() };
    falls("no epoch in the fence", I6, asked(checks));
}

#[test]
fn p18_a_fence_without_claim_when_history_rolls_back() {
    let checks = EnabledChecks { claim_in_fence: false, ..EnabledChecks::ALL };
    falls("no claim in the fence", I3, rolled_back(checks));
}

#[test]
fn p18_numbers_without_hashes_when_history_rolls_back() {
    let checks = EnabledChecks { hash_in_fence: false, hash_of_copy: false, ..EnabledChecks::ALL };
    for property in [I1, I2] {
        falls("no hash", property, rolled_back(checks.clone()));
    }
}

#[test]
fn p18_a_barrier_without_position_when_history_rolls_back() {
    falls("a barrier that compares only the owner", I1, rolled_back(plain_barrier()));
}

#[test]
fn p18_a_cursor_without_hash_when_history_rolls_back() {
    let checks = EnabledChecks { hash_of_cursor: false, ..EnabledChecks::ALL };
    let protocol = Protocol { has_consumer: true, ..rolled_back(checks) };
    falls("no hash in a cursor", P18, protocol);
}

#[test]
fn p18_a_copy_of_another_history_that_is_not_rebuilt() {
    let checks = EnabledChecks { rebuild: false, ..EnabledChecks::ALL };
    let protocol = Protocol { checks_healing: true, ..rolled_back(checks) };
    falls("no rebuild", I7, protocol);
}

#[test]
fn p18_fronts_that_hold_on_to_the_epochs_of_a_lost_history() {
    let checks = EnabledChecks { fronts_start_anew: false, ..EnabledChecks::ALL };
    let protocol = Protocol { checks_healing: true, sendings: 1, ..rolled_back(checks) };
    falls("fronts that are not restarted", I7, protocol);
}

#[test]
fn p1_an_owner_that_serves_without_reading_the_log() {
    let checks = EnabledChecks { reload: false, position_after_claim: false, ..EnabledChecks::ALL };
    for property in [I2, I4] {
        falls("no reload after a claim", property, warm(checks.clone()));
    }
}

#[test]
fn p2_reading_before_the_claim() {
    let unknown = Unknown::ReadThenClaim;
    let checks = EnabledChecks { unknown, position_after_claim: false, ..EnabledChecks::ALL };
    for property in [I2, I4] {
        falls("P2 reading first", property, with(checks.clone()));
    }
}

#[test]
fn p2_an_append_sent_again_whose_answer_may_be_of_the_first() {
    let unknown = Unknown::SendAgain;
    let checks = EnabledChecks { unknown, ahead_is_unknown: false, ..EnabledChecks::ALL };
    falls("no attempt token: sent again, and ahead taken as committed", I1, with(checks));
}

#[test]
fn p2_a_late_answer_taken_for_the_next_statements() {
    let checks = EnabledChecks { attempt_token: false, ..EnabledChecks::ALL };
    falls("no attempt token", I1, Protocol { slow_answers: true, ..with(checks) });
}

#[test]
fn p5_keys_that_count_only_once_committed() {
    let checks = EnabledChecks { pending_keys: false, ..EnabledChecks::ALL };
    for property in [I2, I5] {
        falls("P5 without pending keys", property, with(checks.clone()));
    }
}

#[test]
fn p6_an_answer_before_the_commit() {
    let checks = EnabledChecks { answer_after_commit: false, ..EnabledChecks::ALL };
    falls("P6 answered before the commit", I1, with(checks));
}

#[test]
fn p6_a_feed_from_memory() {
    let checks = EnabledChecks { feed_after_commit: false, ..EnabledChecks::ALL };
    falls("P6 a feed of uncommitted segments", P6, Protocol { has_consumer: true, ..with(checks) });
}

#[test]
fn p17_an_answer_from_state_without_a_commit() {
    let checks = EnabledChecks { barrier: false, ..EnabledChecks::ALL };
    falls("P17 without a barrier", I6, asked(checks));
}

#[test]
fn p17_a_front_that_takes_any_epoch() {
    let checks = EnabledChecks { fronts_drop_lower: false, ..EnabledChecks::ALL };
    falls(
        "P17 a front that accepts lower epochs",
        I6_FRONT,
        Protocol { slow_replies: true, sendings: 1, ..with(checks) },
    );
}
