//! The checks of the protocol that a test can switch off.
//!
//! `tests/mutants.rs` switches each check off and names the property that is then violated. This
//! shows that the properties can detect a missing check.

/// The reaction of an owner to a statement whose outcome is unknown (P2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unknown {
    /// Discards its speculative state, claims, and reads the log after the claim.
    ClaimThenRead,
    /// Mutant: reads the log, claims, and relies on the log that it read before the claim.
    ReadThenClaim,
    /// Mutant: sends the same statement again under the same claim.
    SendAgain,
}

/// The checks that are on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EnabledChecks {
    /// P1: the append locks the row first, so that no other statement runs between its fence and
    /// its insert.
    pub row_lock: bool,
    /// P1: the fence compares the epoch.
    pub epoch_in_fence: bool,
    /// P1, P18: the fence compares the claim, which is never repeated, not even after a rollback.
    pub claim_in_fence: bool,
    /// P18: the fence compares the hash of the last segment.
    pub hash_in_fence: bool,
    /// P1: after its claim, an owner reads the rest of the log, even if it holds a replica.
    pub reload: bool,
    /// P1: an owner serves only if the log that it has read ends where the log ended at the time of
    /// its claim.
    pub position_after_claim: bool,
    /// P18: a replica is compared with the log by the hash of its last segment, not by number
    /// alone.
    pub hash_of_copy: bool,
    /// P18: a replica of another history is discarded and built again.
    pub rebuild: bool,
    /// P2: the reaction to an unknown outcome.
    pub unknown: Unknown,
    /// P4: if the log has more segments than the append expects, the outcome of the append is
    /// unknown; the append is not counted as committed.
    pub ahead_is_unknown: bool,
    /// An answer of the database counts only for the statement that it answers. Without this check,
    /// a late answer is taken as the answer to the next statement. (In the real system, a
    /// connection returns to its pool only after its statement was answered in full.)
    pub attempt_token: bool,
    /// P5: a record whose key is already in the open segment, or in the segment in flight, is a
    /// duplicate.
    pub pending_keys: bool,
    /// P6: an answer to a client waits for the commit of the segment that it depends on.
    pub answer_after_commit: bool,
    /// P6: a feed shows committed segments only.
    pub feed_after_commit: bool,
    /// P17: an answer that is read from an owner's memory waits for a commit that began after the
    /// request arrived.
    pub barrier: bool,
    /// P18: a barrier compares the end of the log too, as an append does.
    pub position_in_barrier: bool,
    /// P17: a front drops answers whose epoch is below the highest that it saw.
    pub fronts_drop_lower: bool,
    /// P18: after a failover to a history with lower epochs, fronts forget the highest epoch that
    /// they saw, because an operator restarts them. (After a restore from a backup this is not
    /// necessary, because the restore raises all epochs.)
    pub fronts_start_anew: bool,
    /// P18: the cursor of a consumer holds the hash of the last segment that the consumer pulled.
    pub hash_of_cursor: bool,
}

impl EnabledChecks {
    /// All checks on: the protocol as specified.
    pub const ALL: Self = Self {
        row_lock: true,
        epoch_in_fence: true,
        claim_in_fence: true,
        hash_in_fence: true,
        reload: true,
        position_after_claim: true,
        hash_of_copy: true,
        rebuild: true,
        unknown: Unknown::ClaimThenRead,
        ahead_is_unknown: true,
        attempt_token: true,
        pending_keys: true,
        answer_after_commit: true,
        feed_after_commit: true,
        barrier: true,
        position_in_barrier: true,
        fronts_drop_lower: true,
        fronts_start_anew: true,
        hash_of_cursor: true,
    };
}
