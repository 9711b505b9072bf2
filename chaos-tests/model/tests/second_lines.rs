//! Lines that stand behind another one: taken away alone, nothing falls in these configurations.
//! They are kept because the other line may one day have a hole; each test names it.

use protocol_model::check::holds;
use protocol_model::lines::{Lines, Unknown};
use protocol_model::model::Protocol;

/// Nodes keep copies, statements come late, a client asks through another front.
fn plain(lines: Lines) -> Protocol {
    let sizes = Protocol { fronts: 2, questions: 1, records: 1, ..Protocol::small() };
    Protocol { keeps_copy: true, lines, ..sizes }
}

/// The same without faults, but the database's history rolls back once.
fn rolled_back(lines: Lines) -> Protocol {
    Protocol { keeps_copy: true, failovers: 1, faults: 0, lines, ..Protocol::small() }
}

#[test]
fn the_claim_says_all_that_the_epoch_says() {
    let lines = Lines { epoch_in_fence: false, ..Lines::ALL };
    holds("no epoch in the fence", plain(lines.clone()));
    holds("no epoch in the fence, failover", rolled_back(lines));
}

/// Only one claim's statements can pass, and its owner knows by number what it appended.
#[test]
fn the_claim_and_the_number_say_all_that_the_hash_in_the_fence_says() {
    let lines = Lines { hash_in_fence: false, ..Lines::ALL };
    holds("no hash in the fence", plain(lines.clone()));
    holds("no hash in the fence, failover", rolled_back(lines));
}

/// An owner that did not read what its claim found is caught by the position.
#[test]
fn the_position_after_the_claim_catches_who_did_not_reload() {
    let lines = Lines { reload: false, ..Lines::ALL };
    holds("no reload, but the position", plain(lines.clone()));
    holds("no reload, but the position, failover", rolled_back(lines));
}

/// So is one that read before it claimed, if a late statement came in between.
#[test]
fn the_position_after_the_claim_catches_who_read_first() {
    let lines = Lines { unknown: Unknown::ReadThenClaim, ..Lines::ALL };
    holds("read first, but the position", plain(lines));
}

/// Two copies of an append are harmless where the second is told that the log is ahead, and
/// believes it.
#[test]
fn an_append_sent_again_is_caught_by_its_number() {
    let lines = Lines { unknown: Unknown::SendAgain, ..Lines::ALL };
    holds("sent again, but ahead is unknown", plain(lines));
}

/// Without rollback the owner of the row is the owner of the log's end (P17 as it is built).
#[test]
fn a_barrier_that_asks_for_the_owner_only_is_enough_while_history_stands() {
    let lines = Lines { position_in_barrier: false, ..Lines::ALL };
    holds("plain barrier", plain(lines));
}

/// Nobody asks who appends, nothing is locked: the log stays whole all the same, because a number
/// is taken once. What falls is the truth of answers, see `mutants.rs`.
#[test]
fn the_segment_number_alone_keeps_the_log_whole() {
    let no_title = Lines { epoch_in_fence: false, claim_in_fence: false, ..Lines::ALL };
    let lines = Lines { row_lock: false, position_in_barrier: false, ..no_title };
    holds("number alone", Protocol { lines, ..Protocol::small() });
}
