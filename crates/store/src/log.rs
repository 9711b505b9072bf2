//! The log of each partition: segments are appended under the fence, and never changed.

use async_trait::async_trait;
use bytes::Bytes;
use turnpike_mutants::{Check, off};
use turnpike_types::{ClaimId, Epoch, PartitionId, SegmentHash, SegmentNumber};

use crate::StoreResult;

/// The most bytes of bodies in one answer to
/// [`posting_segments`](LogStore::posting_segments); a single segment may be larger.
pub const POSTING_BYTES_MAX: usize = 16 << 20;

/// Appends to the logs of the partitions, and reads of them.
#[async_trait]
pub trait LogStore: Send + Sync + 'static {
    /// Appends a segment under the fence (P1): the check and the write are atomic, under the lock
    /// of the partition's row.
    async fn append(&self, append: &AppendSegment) -> StoreResult<AppendOutcome>;

    /// Committed segments after `after`, in order: at most `bytes_max` bytes of bodies, but at
    /// least one segment if there is one.
    async fn read_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        bytes_max: usize,
    ) -> StoreResult<Vec<SegmentRow>>;

    /// Committed segments after `after` that were appended with postings (P33), in order: at most
    /// `most` segments and [`POSTING_BYTES_MAX`](crate::POSTING_BYTES_MAX) bytes of bodies, but at
    /// least one segment if there is one and `most` is not zero.
    async fn posting_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        most: usize,
    ) -> StoreResult<Vec<SegmentRow>>;
}

/// The end of a log: the number of the next segment and the hash of the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentPosition {
    /// The next segment's number.
    pub next: SegmentNumber,
    /// The hash of the last segment; zeros while the log is empty.
    pub last_hash: SegmentHash,
}

/// A segment to append, and the fence under which it may be appended.
#[derive(Clone, Debug)]
pub struct AppendSegment {
    /// The partition.
    pub partition: PartitionId,
    /// The owner's epoch.
    pub epoch: Epoch,
    /// The id of the owner's claim.
    pub claim: ClaimId,
    /// This segment's number.
    pub segment: SegmentNumber,
    /// The hash of the preceding segment.
    pub prev_hash: SegmentHash,
    /// This segment's hash.
    pub hash: SegmentHash,
    /// Whether the segment holds postings to accounts of other partitions (P33). The log is the
    /// outbox: receivers read only segments with this flag.
    pub has_postings: bool,
    /// This segment's bytes.
    pub body: Bytes,
}

/// The outcome of an append, as the fence classifies it (P4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// The segment is durable.
    Committed,
    /// Another claim owns the partition. The caller stops and sends no answers.
    Fenced,
    /// The claim is the present one, but the log ends earlier than the owner knows, or with another
    /// hash: the database's history was rolled back (P18).
    RolledBack,
    /// The claim is the present one, but the log ends later than the owner knows: an earlier append
    /// of unknown outcome has committed (P2).
    Ahead,
}

/// A committed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRow {
    /// The segment's number.
    pub segment: SegmentNumber,
    /// The epoch under which it was appended.
    pub epoch: Epoch,
    /// The hash of the preceding segment.
    pub prev_hash: SegmentHash,
    /// The segment's hash.
    pub hash: SegmentHash,
    /// The segment's bytes.
    pub body: Bytes,
}

/// The values of a partition's row that the fence compares (P1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fence {
    pub(crate) epoch: Epoch,
    pub(crate) claim: ClaimId,
    pub(crate) position: SegmentPosition,
}

impl Fence {
    /// Classifies an append that the fence refused (P4); `None` when the fence would admit it.
    pub(crate) fn judge(&self, append: &AppendSegment) -> Option<AppendOutcome> {
        let SegmentPosition { next, last_hash } = self.position;
        let is_epoch =
            self.epoch == append.epoch || off(Check::FenceEpoch) || off(Check::FenceOwner);
        let is_claim =
            self.claim == append.claim || off(Check::FenceClaim) || off(Check::FenceOwner);
        let is_hash = last_hash == append.prev_hash || off(Check::FenceHash);
        if !is_epoch || !is_claim {
            Some(AppendOutcome::Fenced)
        } else if next > append.segment {
            Some(AppendOutcome::Ahead)
        } else if next < append.segment || !is_hash {
            // A log of the same length with another last hash is another history too (P18).
            Some(AppendOutcome::RolledBack)
        } else {
            None
        }
    }
}
