//! Ownership of partitions: heartbeats, claims, releases, barriers.

use std::collections::HashSet;

use async_trait::async_trait;
use turnpike_types::{
    ClaimId, Epoch, Incarnation, NodeName, PartitionId, SegmentHash, SegmentNumber, Timestamp,
    capped,
};

use crate::{SegmentPosition, StoreError, StoreResult};

/// The most claims in one call of [`claim_many`](OwnershipStore::claim_many).
pub const CLAIMS_MAX: usize = 4096;

/// The time in which the count of flaps halves, in microseconds (P14).
pub(crate) const FLAPS_HALVE_US: i64 = 10 * 60 * 1_000_000;

/// What nodes write to become and stay the owners of partitions.
#[async_trait]
pub trait OwnershipStore: Send + Sync + 'static {
    /// Writes the node's heartbeat on a dedicated connection (P9). It fails with
    /// [`StoreError::Superseded`](crate::StoreError) when a newer incarnation has taken the node's
    /// name.
    async fn heartbeat(&self, beat: &NodeBeat) -> StoreResult<HeartbeatReply>;

    /// Claims one partition by a compare-and-set on the epoch; `None` when the present epoch is not
    /// the one that the claim names. The call may wait for an append in flight; on PostgreSQL it
    /// ends a backend that blocks it for longer than a limit (P3).
    async fn claim(&self, claim: &Claim) -> StoreResult<Option<Claimed>>;

    /// Makes many claims in one call (P20); outcomes in the order of `claims`. The call waits for
    /// no row: a partition whose row another statement holds is
    /// [`Busy`](crate::ClaimOutcome::Busy), and the caller claims it with [`claim`](Self::claim).
    /// SQLite has one write lock for the whole file; there the call waits for that lock, and no
    /// partition is busy.
    ///
    /// The call fails with [`StoreError::Refused`](crate::StoreError), and claims nothing, when
    /// there are more than [`CLAIMS_MAX`](crate::CLAIMS_MAX) claims, when two claims name the same
    /// partition, or when a partition does not exist.
    async fn claim_many(&self, claims: &[Claim]) -> StoreResult<Vec<ClaimOutcome>>;

    /// Releases the partition for the member `to` (P13); `false` when epoch or claim are not the
    /// present ones. Without `to`, the partition has no owner afterwards.
    async fn release(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        claim: ClaimId,
        to: Option<&NodeName>,
    ) -> StoreResult<bool>;

    /// Commits a write barrier (P17): a write that succeeds only while epoch, claim and the end of
    /// the log are as `held` says. After `true`, answers from state that the caller read before the
    /// call are valid: the state was not superseded, and it is of this history (P18).
    async fn barrier(&self, held: &OwnerToken) -> StoreResult<bool>;
}

/// A heartbeat: the state that a node reports once per heartbeat interval (P9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeBeat {
    /// The node.
    pub node: NodeName,
    /// The node's process start.
    pub incarnation: Incarnation,
    /// Grows with each heartbeat.
    pub counter: u64,
    /// The address at which fronts reach the node: `host:port`.
    pub address: String,
    /// The node is draining and claims no partition (P13).
    pub draining: bool,
    /// Exactly the partitions that the node serves and whose owner task has run lately. A heartbeat
    /// that was read from the database lists them by ascending partition.
    pub serving: Vec<Serving>,
    /// The position of each warm replica on the node (P14). A heartbeat that was read from the
    /// database lists them by ascending partition.
    pub following: Vec<Following>,
}

impl NodeBeat {
    /// The counter of the last heartbeat that a process writes when it shuts down. No later
    /// heartbeat of the same incarnation has a larger counter. A reader of an older release treats
    /// it as an ordinary heartbeat. It fits into 63 bits, so that the databases, which compare
    /// signed numbers, order it last.
    pub const GOODBYE: u64 = i64::MAX.cast_unsigned();

    /// Whether the process has shut down (P11); it writes no later heartbeat.
    pub const fn is_goodbye(&self) -> bool {
        self.counter == Self::GOODBYE
    }

    /// The claim under which the node serves `partition`. The heartbeat must have been read from
    /// the database: the search needs the sorted list.
    pub fn serves(&self, partition: PartitionId) -> Option<&Serving> {
        let place = self.serving.binary_search_by_key(&partition, |one| one.partition).ok()?;
        self.serving.get(place)
    }

    /// The position of the node's warm replica of `partition`. The heartbeat must have been read
    /// from the database: the search needs the sorted list.
    pub fn replica_of(&self, partition: PartitionId) -> Option<&Following> {
        let place = self.following.binary_search_by_key(&partition, |one| one.partition).ok()?;
        self.following.get(place)
    }

    /// With both lists by ascending partition, as databases return heartbeats.
    pub fn sorted(mut self) -> Self {
        self.serving.sort_unstable_by_key(|one| one.partition);
        self.following.sort_unstable_by_key(|one| one.partition);
        self
    }
}

/// A partition that a node reports to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serving {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch under which the node serves it.
    pub epoch: Epoch,
    /// The claim under which the node serves it.
    pub claim: ClaimId,
}

/// The position of a node's warm replica of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Following {
    /// The partition.
    pub partition: PartitionId,
    /// The last segment that the replica has applied; zero before the first.
    pub segment: SegmentNumber,
    /// That segment's hash. A replica of another history is not warm, whatever its segment (P18).
    pub hash: SegmentHash,
}

/// The database's answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// The database's clock.
    pub now: Timestamp,
    /// The catalogue's version (P36).
    pub catalogue_version: u64,
}

/// A node's attempt to become the owner of a partition.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch that the claimant has read; the claim loses when the present epoch differs.
    pub seen: Epoch,
    /// The claimant.
    pub node: NodeName,
    /// The claimant's process start.
    pub incarnation: Incarnation,
    /// A random id, drawn anew for each claim.
    pub claim: ClaimId,
    /// The owner did not release the partition, so that the claim counts as a flap (P14).
    pub forced: bool,
}

/// The result of a claim that won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The new epoch.
    pub epoch: Epoch,
    /// The end of the log. The new owner reads the log up to here before it serves (P1).
    pub position: SegmentPosition,
}

/// The outcome of one claim in a call of many (P20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// The claimant owns the partition.
    Won(Claimed),
    /// The present epoch is not the one that the claim names.
    Lost,
    /// Another statement holds the partition's row, most likely an append in flight. A claim of
    /// this partition alone waits for that statement, and ends its backend after a limit (P3).
    Busy,
}

/// An owner's fencing token and the end of the log as the owner knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerToken {
    /// The partition.
    pub partition: PartitionId,
    /// The owner's epoch.
    pub epoch: Epoch,
    /// The id of the owner's claim.
    pub claim: ClaimId,
    /// The end of the log; the next append goes here.
    pub position: SegmentPosition,
}

/// Refuses a list of claims that one call can't make.
///
/// # Errors
/// `Refused` when there are more than [`CLAIMS_MAX`], or when two name the same partition.
pub(crate) fn check_claims(claims: &[Claim]) -> StoreResult<()> {
    if claims.len() > CLAIMS_MAX {
        return Err(StoreError::Refused(format!(
            "{} claims in one call; at most {CLAIMS_MAX} are taken: split them over several calls",
            claims.len()
        )));
    }
    let mut named = HashSet::new();
    match claims.iter().find(|claim| !named.insert(claim.partition)) {
        Some(Claim { partition, .. }) => {
            Err(StoreError::Refused(format!("partition {partition} is claimed twice in one call")))
        }
        None => Ok(()),
    }
}

/// The count of flaps at `now`, given the count at `flapped_at`: it halves every
/// [`FLAPS_HALVE_US`]. The SQL of the claims computes the same with a shift.
pub(crate) fn decayed_flaps(flaps: u32, flapped_at: Timestamp, now: Timestamp) -> u32 {
    let passed = now.micros().saturating_sub(flapped_at.micros()).max(0);
    let halvings = capped((passed / FLAPS_HALVE_US).unsigned_abs());
    // Nothing is left after 32 halvings.
    flaps.checked_shr(halvings).unwrap_or(0)
}

/// The error for an incarnation whose node name another process has taken since (P11).
pub(crate) fn superseded(node: &NodeName) -> StoreError {
    StoreError::Superseded(format!(
        "another process has started as node {node} since: this one is superseded and must stop"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60 * 1_000_000;

    fn after_minutes(flaps: u32, minutes: i64) -> u32 {
        let flapped_at = Timestamp(1_700_000_000_000_000);
        decayed_flaps(flaps, flapped_at, flapped_at.saturating_add(minutes * MINUTE))
    }

    #[test]
    fn a_count_of_flaps_halves_every_ten_minutes() {
        let of_eleven = [0, 9, 10, 19, 20, 30, 40, 1000].map(|minutes| after_minutes(11, minutes));
        assert_eq!(of_eleven, [11, 11, 5, 5, 2, 1, 0, 0]);
        assert_eq!(after_minutes(u32::MAX, 310), 1);
        assert_eq!(after_minutes(u32::MAX, 320), 0);
    }

    #[test]
    fn a_clock_that_was_set_back_neither_raises_nor_lowers_the_count() {
        assert_eq!(after_minutes(11, -60), 11);
        assert_eq!(decayed_flaps(11, Timestamp::MAX, Timestamp::MIN), 11);
        assert_eq!(decayed_flaps(11, Timestamp::MIN, Timestamp::MAX), 0);
    }
}
