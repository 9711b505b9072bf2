//! Checkpoints of the partitions' states (P22).

use std::collections::HashSet;

use async_trait::async_trait;
use bytes::Bytes;
use turnpike_mutants::{Check, off};
use turnpike_types::{ClaimId, Epoch, PartitionId, SegmentHash, SegmentNumber};

use crate::log::Fence;
use crate::{StoreError, StoreResult};

/// The number of manifests that a partition keeps (P22): the newest, and one to fall back on.
pub(crate) const MANIFESTS_KEPT: usize = 2;

/// Parts of checkpoints, and the manifests that name them.
#[async_trait]
pub trait CheckpointStore: Send + Sync + 'static {
    /// Inserts a part of a checkpoint. It has no effect until a manifest names it (P22). Writing
    /// the same part again is no error; other bytes under the same name are
    /// [`StoreError::Refused`](crate::StoreError).
    async fn put_checkpoint_part(
        &self,
        partition: PartitionId,
        part: &CheckpointPart,
    ) -> StoreResult<()>;

    /// Publishes a checkpoint under the fence (P22): `false` when epoch or claim are not the
    /// present ones, or when a checkpoint of this or a later segment was published. Afterwards it
    /// deletes all manifests but the two newest, and the parts that neither of these names.
    async fn publish_checkpoint(
        &self,
        manifest: &CheckpointManifest,
        epoch: Epoch,
        claim: ClaimId,
    ) -> StoreResult<bool>;

    /// The retained checkpoints, newest first.
    async fn checkpoints(&self, partition: PartitionId) -> StoreResult<Vec<CheckpointManifest>>;

    /// A part's bytes; `None` when there is no such part.
    async fn checkpoint_part(
        &self,
        partition: PartitionId,
        name: &str,
    ) -> StoreResult<Option<Bytes>>;
}

/// Part of a checkpoint: opaque bytes under a name. A part is written once and never changed; one
/// manifest or more refer to it (P22).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointPart {
    /// Unique within the partition; holds the segment number and the claim that wrote it.
    pub name: String,
    /// The last segment that the content covers. Pruning keeps a part that is newer than the older
    /// retained checkpoint, because the manifest of that part may not be published yet.
    pub segment: SegmentNumber,
    /// The part's bytes.
    pub body: Bytes,
}

/// A checkpoint: the state derived from the log up to a segment (P22).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointManifest {
    /// The partition.
    pub partition: PartitionId,
    /// The last segment that the state covers.
    pub segment: SegmentNumber,
    /// That segment's hash. A checkpoint of another history is not used (P18).
    pub hash: SegmentHash,
    /// The names of the checkpoint's parts, in order.
    pub parts: Vec<String>,
    /// Opaque bytes that the writer needs when it loads the parts again.
    pub summary: Bytes,
}

/// Whether the fence admits the publication of a checkpoint: epoch and claim are the present ones,
/// and no checkpoint of this or a later segment was published. `newest` is the segment of the newest
/// published checkpoint.
///
/// # Errors
/// `Refused` when the fence admits it, and the segment of the checkpoint was not appended.
pub(crate) fn admits(
    fence: &Fence,
    newest: Option<SegmentNumber>,
    manifest: &CheckpointManifest,
    epoch: Epoch,
    claim: ClaimId,
) -> StoreResult<bool> {
    let is_owner = (fence.epoch == epoch && fence.claim == claim) || off(Check::CheckpointFence);
    let is_newer = newest < Some(manifest.segment) || off(Check::CheckpointForward);
    if is_owner && is_newer && fence.position.next <= manifest.segment {
        return Err(bad_manifest(manifest, NOT_APPENDED));
    }
    Ok(is_owner && is_newer)
}

/// The checkpoint parts of a partition: name, and the last segment that the content covers.
pub(crate) type Parts = Vec<(String, SegmentNumber)>;

/// Why a manifest is refused: its segment was not appended.
const NOT_APPENDED: &str = "no such segment was appended yet";

/// Why a manifest is refused: it is of another history (P18).
pub(crate) const OTHER_HASH: &str = "the segment in the log has another hash";

/// Refuses a name that a manifest, which lists one name a line, could not hold.
///
/// # Errors
/// `Refused` when it is empty, longer than 256 bytes, or holds a line break.
pub(crate) fn check_part_name(name: &str) -> StoreResult<()> {
    if (1..=256).contains(&name.len()) && !name.contains(['\n', '\r', '\0']) {
        return Ok(());
    }
    Err(StoreError::Refused(format!(
        "{name:?}: the name of a checkpoint part has 1 to 256 bytes and no line break"
    )))
}

/// The error for a manifest that names a part which is not among `parts`; `None` if all are there.
pub(crate) fn missing_part(
    manifest: &CheckpointManifest,
    parts: &[(String, SegmentNumber)],
) -> Option<StoreError> {
    let there: HashSet<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
    let missing = manifest.parts.iter().find(|name| !there.contains(name.as_str()))?;
    Some(bad_manifest(manifest, &format!("part {missing} was not written")))
}

/// The parts that may be deleted: no retained manifest names them, and they are not newer than the
/// oldest retained manifest. A newer part may belong to a manifest that is not published yet (P22).
///
/// `retained` is sorted newest first. No part may be deleted while fewer than [`MANIFESTS_KEPT`]
/// manifests exist.
pub(crate) fn prunable_parts(
    retained: &[CheckpointManifest],
    parts: impl IntoIterator<Item = (String, SegmentNumber)>,
) -> Vec<String> {
    let Some(oldest) = retained.get(MANIFESTS_KEPT - 1) else {
        return Vec::new();
    };
    let named: HashSet<&str> =
        retained.iter().flat_map(|manifest| manifest.parts.iter().map(String::as_str)).collect();
    parts
        .into_iter()
        .filter(|(name, segment)| *segment <= oldest.segment && !named.contains(name.as_str()))
        .map(|(name, _)| name)
        .collect()
}

/// The error for a part that was written before with other bytes.
pub(crate) fn part_differs(name: &str) -> StoreError {
    StoreError::Refused(format!("checkpoint part {name} already exists with other bytes"))
}

/// The error for a manifest that does not match the log or the written parts.
pub(crate) fn bad_manifest(manifest: &CheckpointManifest, why: &str) -> StoreError {
    StoreError::Refused(format!(
        "checkpoint of partition {} at segment {}: {why}",
        manifest.partition, manifest.segment
    ))
}
