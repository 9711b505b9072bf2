//! The state of a partition: checkpoints, compared with the log.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use turnpike_account::PartitionState;
use turnpike_segment::Segment;
use turnpike_store::{SegmentRow, SharedDatabase};
use turnpike_types::PartitionId;

/// Checks I4: each retained checkpoint with a replay of the later segments gives the same bytes as
/// a replay of the whole log. Returns the number of checkpoints.
///
/// # Errors
/// The first checkpoint that violates I4.
pub async fn check_replay(
    db: &dyn SharedDatabase,
    partition: PartitionId,
    rows: &[SegmentRow],
) -> Result<usize> {
    let whole = replay(PartitionState::default(), rows)?.encode();
    let manifests = db.checkpoints(partition).await?;
    for manifest in &manifests {
        let (mut snapshot, mut runs): (Vec<u8>, Vec<Bytes>) = (Vec::new(), Vec::new());
        for name in &manifest.parts {
            let body = db.checkpoint_part(partition, name).await?.context("a part is missing")?;
            if name.starts_with("keys-") {
                runs.push(body);
            } else {
                snapshot.extend_from_slice(&body);
            }
        }
        let state = replay(PartitionState::decode(&snapshot, &runs, &|| ())?, rows)?;
        ensure!(
            state.encode() == whole,
            "checkpoint {} with its tail gives another state",
            manifest.segment
        );
    }
    Ok(manifests.len())
}

fn replay(mut state: PartitionState, rows: &[SegmentRow]) -> Result<PartitionState> {
    let (last, _) = state.last();
    for row in rows.iter().filter(|row| row.segment > last) {
        let segment = Segment::decode_checked(&row.body, row.prev_hash, row.hash)?;
        state.replay(&segment, row.prev_hash, row.hash)?;
    }
    Ok(state)
}
