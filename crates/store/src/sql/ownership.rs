//! The fence, releases and barriers: statements, rows and steps.

use turnpike_types::{ClaimId, Epoch, NodeName, PartitionId, SegmentNumber};

use super::statement::{SqlSession, SqlStatement};
use super::values::{fixed, loaded, position, stored, stored_partition};
use crate::log::Fence;
use crate::{Claimed, OwnerToken, StoreError, StoreResult};

/// Parameter: partition. Returns a [`FenceTuple`].
const FENCE: &str = "SELECT epoch, claim, next_segment, last_hash, checkpoint_segment \
     FROM partitions WHERE id = $1";

/// Parameters: id, epoch, claim, to. If `to` is null, the partition has no owner afterwards.
const RELEASE: &str = "UPDATE partitions SET released_to = $4, \
     owner = CASE WHEN $4 IS NULL THEN NULL ELSE owner END WHERE id = $1 AND epoch = $2 AND claim = $3";

/// Parameters: id, epoch, claim, next segment, last hash.
const BARRIER: &str = "UPDATE partitions SET barriers = barriers + 1 \
     WHERE id = $1 AND epoch = $2 AND claim = $3 AND next_segment = $4 AND last_hash = $5";

/// Columns: epoch, claim, next_segment, last_hash, checkpoint_segment.
type FenceTuple = (i64, Vec<u8>, i64, Vec<u8>, i64);

/// The fence, and the segment of the newest published checkpoint, if there is one.
///
/// # Errors
/// `Refused` when the partition does not exist.
pub(crate) async fn fence_of(
    session: &mut impl SqlSession,
    partition: PartitionId,
    doing: &'static str,
) -> StoreResult<(Fence, Option<SegmentNumber>)> {
    let statement = SqlStatement::new(FENCE).bind(stored_partition(partition));
    match session.row(doing, statement).await? {
        Some(row) => fence(&row, doing),
        None => Err(StoreError::no_partition(partition)),
    }
}

fn fence(row: &FenceTuple, doing: &'static str) -> StoreResult<(Fence, Option<SegmentNumber>)> {
    let (epoch, claim, next, last_hash, checkpoint) = row;
    let fence = Fence {
        epoch: Epoch::stored(loaded(*epoch)),
        claim: ClaimId(fixed(claim, doing)?),
        position: position(*next, last_hash, doing)?,
    };
    // The column is -1 while there is no checkpoint.
    let checkpoint = u64::try_from(*checkpoint).ok().map(SegmentNumber);
    Ok((fence, checkpoint))
}

/// Columns: epoch, next_segment, last_hash.
pub(crate) type ClaimedTuple = (i64, i64, Vec<u8>);

pub(crate) fn claimed(row: &ClaimedTuple, doing: &'static str) -> StoreResult<Claimed> {
    let (epoch, next, last_hash) = row;
    let epoch = Epoch::stored(loaded(*epoch));
    Ok(Claimed { epoch, position: position(*next, last_hash, doing)? })
}

/// Releases a partition (P13); `false` when epoch or claim are not the present ones.
pub(crate) async fn release(
    session: &mut impl SqlSession,
    partition: PartitionId,
    epoch: Epoch,
    claim: ClaimId,
    to: Option<&NodeName>,
) -> StoreResult<bool> {
    let statement = SqlStatement::new(RELEASE)
        .bind(stored_partition(partition))
        .bind(stored(epoch.number()))
        .bind(&claim.0[..])
        .bind(to.map(|node| node.0.as_str()));
    Ok(session.execute("release", statement).await? == 1)
}

/// Commits a write barrier (P17); `false` when epoch, claim or the end of the log differ.
pub(crate) async fn barrier(session: &mut impl SqlSession, held: &OwnerToken) -> StoreResult<bool> {
    let statement = SqlStatement::new(BARRIER)
        .bind(stored_partition(held.partition))
        .bind(stored(held.epoch.number()))
        .bind(&held.claim.0[..])
        .bind(stored(held.position.next.0))
        .bind(&held.position.last_hash.0[..]);
    Ok(session.execute("barrier", statement).await? == 1)
}
