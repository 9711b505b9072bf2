//! Redundant checks: with one of them off, all properties still hold in these configurations. Each
//! is kept in case the other check has a defect; each test names that other check.

use protocol_model::check::holds;
use protocol_model::lines::{Lines, Unknown};
use protocol_model::model::Protocol;

/// Nodes keep replicas, statements arrive late, a client sends its question through another front.
fn plain(lines: Lines) -> Protocol {
    let sizes = Protocol { fronts: 2, questions: 1, records: 1, ..Protocol::small() };
    Protocol { keeps_copy: true, lines, ..sizes }
}

/// As [`plain`], without faults; instead the history of the database rolls back once.
fn rolled_back(lines: Lines) -> Protocol {
    Protocol { keeps_copy: true, failovers: 1, faults: 0, lines, ..Protocol::small() }
}

#[test]
fn comparing_the_claim_makes_comparing_the_epoch_redundant() {
    let lines = Lines { epoch_in_fence: false, ..Lines::ALL };
    holds("no epoch in the fence", plain(lines.clone()));
    holds("no epoch in the fence, failover", rolled_back(lines));
}

/// Only statements of one claim pass the fence, and the owner with this claim knows by number which
/// segments it appended.
#[test]
fn comparing_claim_and_number_makes_comparing_the_hash_redundant() {
    let lines = Lines { hash_in_fence: false, ..Lines::ALL };
    holds("no hash in the fence", plain(lines.clone()));
    holds("no hash in the fence, failover", rolled_back(lines));
}

/// The position check detects an owner that did not read the log after its claim.
#[test]
fn the_position_after_the_claim_catches_an_owner_that_did_not_reload() {
    let lines = Lines { reload: false, ..Lines::ALL };
    holds("no reload, but the position", plain(lines.clone()));
    holds("no reload, but the position, failover", rolled_back(lines));
}

/// The position check also detects an owner that read the log before its claim, if a late statement
/// committed between the two.
#[test]
fn the_position_after_the_claim_catches_an_owner_that_read_before_its_claim() {
    let lines = Lines { unknown: Unknown::ReadThenClaim, ..Lines::ALL };
    holds("read first, but the position", plain(lines));
}

/// Two copies of an append do no harm if the answer "ahead" to the second counts as an unknown
/// outcome.
#[test]
fn an_append_sent_again_is_caught_by_its_number() {
    let lines = Lines { unknown: Unknown::SendAgain, ..Lines::ALL };
    holds("sent again, but ahead is unknown", plain(lines));
}

/// Without rollback, the owner in the row also knows the end of the log (P17 as implemented).
#[test]
fn a_barrier_on_the_owner_alone_suffices_without_a_rollback() {
    let lines = Lines { position_in_barrier: false, ..Lines::ALL };
    holds("plain barrier", plain(lines));
}

/// Without owner comparison and row lock the log is still one chain, because each segment number
/// can be used only once. Answers to clients become wrong, see `mutants.rs`.
#[test]
fn the_segment_number_alone_keeps_the_log_whole() {
    let no_title = Lines { epoch_in_fence: false, claim_in_fence: false, ..Lines::ALL };
    let lines = Lines { row_lock: false, position_in_barrier: false, ..no_title };
    holds("number alone", Protocol { lines, ..Protocol::small() });
}
