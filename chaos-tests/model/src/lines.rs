//! The protective lines of the protocol, each of which can be taken away.
//!
//! A model that holds says little until it is shown to fail where it should: `tests/mutants.rs`
//! takes each line away and names the property that then falls.

/// What an owner does when it does not learn what became of a statement (P2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unknown {
    /// Throws its speculative state away, claims, and only then reads.
    ClaimThenRead,
    /// Mutant: reads the log, claims, and trusts what it read.
    ReadThenClaim,
    /// Mutant: sends what it holds again, under the same claim.
    SendAgain,
}

/// Which protective lines stand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lines {
    /// P1: the append locks the row first, so that nothing comes between its fence and its insert.
    pub row_lock: bool,
    /// P1: the fence asks for the epoch.
    pub epoch_in_fence: bool,
    /// P1, P18: the fence asks for the claim, which no other history repeats.
    pub claim_in_fence: bool,
    /// P18: the fence asks for the hash of the last segment.
    pub hash_in_fence: bool,
    /// P1: an owner reads the log's tail after its claim, whatever it knows already.
    pub reload: bool,
    /// P1: an owner serves only when what it read ends where its claim found the log's end.
    pub position_after_claim: bool,
    /// P18: a kept copy of the log is compared with the log by hash, not by number alone.
    pub hash_of_copy: bool,
    /// P18: a copy that belongs to another history is thrown away and read anew.
    pub rebuild: bool,
    /// P2.
    pub unknown: Unknown,
    /// P4: an append that finds the log ahead is of unknown outcome, not "mine, committed".
    pub ahead_is_unknown: bool,
    /// An answer of the database belongs to the statement that it answers, not to the next one
    /// that is awaited. (A connection goes back to its pool only when it was answered in full.)
    pub attempt_token: bool,
    /// P5: a record in the open segment, or in the one in flight, is a duplicate.
    pub pending_keys: bool,
    /// P6: an answer waits for the segment that it depends on.
    pub answer_after_commit: bool,
    /// P6: a feed shows committed segments only.
    pub feed_after_commit: bool,
    /// P17: an answer from state waits for a commit begun after the request came.
    pub barrier: bool,
    /// P18: a barrier asks for the position too, as an append does.
    pub position_in_barrier: bool,
    /// P17: a front drops answers of an epoch below the highest that it saw.
    pub fronts_drop_lower: bool,
    /// P18: fronts forget the highest epoch that they saw when the epochs of another history start
    /// lower: they are started anew, by hand. (A restore makes all epochs jump instead.)
    pub fronts_start_anew: bool,
    /// P18: a consumer's cursor carries a hash.
    pub hash_of_cursor: bool,
}

impl Lines {
    /// The protocol as it is written.
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
