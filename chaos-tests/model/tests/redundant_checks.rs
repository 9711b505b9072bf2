//! Redundant checks: with one of them off, all properties still hold in these configurations,
//! because another check, named in each test, detects the same fault. The redundant check is kept
//! in case the other one has a defect.

use protocol_model::check::holds;
use protocol_model::enabled_checks::{EnabledChecks, Unknown};
use protocol_model::model::Protocol;

/// A configuration in which nodes keep replicas, statements arrive late, and a client sends its
/// question through another front than its record.
fn plain(checks: EnabledChecks) -> Protocol {
    let sizes = Protocol { fronts: 2, questions: 1, records: 1, ..Protocol::small() };
    Protocol { keeps_copy: true, checks, ..sizes }
}

/// A configuration without crashes in which nodes keep replicas and the history of the database
/// rolls back once.
fn rolled_back(checks: EnabledChecks) -> Protocol {
    Protocol { keeps_copy: true, failovers: 1, faults: 0, checks, ..Protocol::small() }
}

#[test]
fn comparing_the_claim_makes_comparing_the_epoch_redundant() {
    let checks = EnabledChecks { epoch_in_fence: false, ..EnabledChecks::ALL };
    holds("no epoch in the fence", plain(checks.clone()));
    holds("no epoch in the fence, failover", rolled_back(checks));
}

/// Only statements of one claim pass the fence, and the owner with this claim knows by number which
/// segments it appended.
#[test]
fn comparing_claim_and_number_makes_comparing_the_hash_redundant() {
    let checks = EnabledChecks { hash_in_fence: false, ..EnabledChecks::ALL };
    holds("no hash in the fence", plain(checks.clone()));
    holds("no hash in the fence, failover", rolled_back(checks));
}

/// Comparing the end of the log that an owner has read with the end that its claim returned detects
/// an owner that did not read the log after its claim.
#[test]
fn the_position_after_the_claim_catches_an_owner_that_did_not_reload() {
    let checks = EnabledChecks { reload: false, ..EnabledChecks::ALL };
    holds("no reload, but the position", plain(checks.clone()));
    holds("no reload, but the position, failover", rolled_back(checks));
}

/// Comparing the end of the log that an owner has read with the end that its claim returned also
/// detects an owner that read the log before its claim, if a late statement committed in between.
#[test]
fn the_position_after_the_claim_catches_an_owner_that_read_before_its_claim() {
    let checks = EnabledChecks { unknown: Unknown::ReadThenClaim, ..EnabledChecks::ALL };
    holds("read first, but the position", plain(checks));
}

/// Two copies of an append do no harm if the answer "ahead" to the second counts as an unknown
/// outcome.
#[test]
fn an_append_sent_again_is_caught_by_its_number() {
    let checks = EnabledChecks { unknown: Unknown::SendAgain, ..EnabledChecks::ALL };
    holds("sent again, but ahead is unknown", plain(checks));
}

/// Without a rollback of the history, the owner that the row names also knows the end of the log.
/// So a barrier need not compare the end of the log.
#[test]
fn a_barrier_on_the_owner_alone_suffices_without_a_rollback() {
    let checks = EnabledChecks { position_in_barrier: false, ..EnabledChecks::ALL };
    holds("plain barrier", plain(checks));
}

/// If the fence neither compares the owner nor locks the row, the log is still one chain, because
/// each segment number can be used only once. Answers to clients become wrong, see `mutants.rs`.
#[test]
fn the_segment_number_alone_keeps_the_log_whole() {
    let no_title =
        EnabledChecks { epoch_in_fence: false, claim_in_fence: false, ..EnabledChecks::ALL };
    let checks = EnabledChecks { row_lock: false, position_in_barrier: false, ..no_title };
    holds("number alone", Protocol { checks, ..Protocol::small() });
}
