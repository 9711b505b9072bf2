//! From a claim that won to the state that the log tells: the newest checkpoint that belongs to
//! this history, then the tail, up to exactly where the claim found the log's end (P1).

use turnpike_account::PartitionState;
use turnpike_segment::Segment;
use turnpike_store::{CheckpointManifest, SegmentRow};
use turnpike_types::{Epoch, SegmentHash, SegmentNumber};

use super::checkpoint::{Run, parts_of};
use super::{Ended, Ownership, Shared, Ticks};

/// Log read in one go, in bytes.
const READ_BYTES: usize = 16 << 20;

pub(super) struct Recovered {
    pub(super) state: PartitionState,
    pub(super) runs: Vec<Run>,
    /// Log after the checkpoint.
    pub(super) log_bytes: u64,
}

pub(super) async fn recover(
    shared: &Shared,
    ownership: &Ownership,
    ticks: &Ticks,
) -> Result<Recovered, Ended> {
    let (mut state, runs) = load_checkpoint(shared, ownership, ticks).await?;
    let mut log_bytes = 0;
    let mut epoch = Epoch::UNOWNED;
    while state.last().0.next() < ownership.next {
        let (after, _) = state.last();
        let rows = shared.db.read_segments(ownership.spec.id, after, READ_BYTES).await?;
        if rows.is_empty() {
            return Err(Ended::Damaged(format!("the log ends at segment {after}, too early")));
        }
        for row in rows {
            if row.epoch < epoch {
                let segment = row.segment;
                return Err(Ended::Damaged(format!("the epoch falls at segment {segment} (I3)")));
            }
            epoch = row.epoch;
            log_bytes += row.body.len() as u64;
            apply(&mut state, &row)?;
            ticks.tick();
        }
    }
    if state.last().0.next() != ownership.next || state.last().1 != ownership.last_hash {
        return Err(Ended::RolledBack);
    }
    Ok(Recovered { state, runs, log_bytes })
}

fn apply(state: &mut PartitionState, row: &SegmentRow) -> Result<(), Ended> {
    let damaged =
        |error: &dyn std::fmt::Display| Ended::Damaged(format!("segment {}: {error}", row.segment));
    let segment = Segment::decode_checked(&row.body, row.prev_hash, row.hash);
    let segment = segment.map_err(|error| damaged(&error))?;
    state.replay(&segment, row.prev_hash, row.hash).map_err(|error| damaged(&error))
}

/// The newest checkpoint that can be used; an empty state when there is none.
async fn load_checkpoint(
    shared: &Shared,
    ownership: &Ownership,
    ticks: &Ticks,
) -> Result<(PartitionState, Vec<Run>), Ended> {
    let partition = ownership.spec.id;
    for manifest in shared.db.checkpoints(partition).await? {
        if manifest.segment >= ownership.next
            || !is_of_this_history(shared, ownership, &manifest).await?
        {
            tracing::warn!(%partition, segment = %manifest.segment, "checkpoint of another history");
            continue;
        }
        let (mut snapshot, mut runs, mut names) = (Vec::new(), Vec::new(), Vec::new());
        let mut whole = true;
        for part in parts_of(&manifest) {
            ticks.tick();
            let bytes = shared.db.checkpoint_part(partition, part.name()).await?;
            match (bytes, part.run()) {
                (None, _) => whole = false,
                (Some(bytes), None) => snapshot.extend_from_slice(&bytes),
                (Some(bytes), Some(run)) => {
                    runs.push(bytes);
                    names.push(run);
                }
            }
        }
        match PartitionState::decode(&snapshot, &runs, &|| ticks.tick()) {
            Ok(state) if whole && state.last() == (manifest.segment, manifest.hash) => {
                return Ok((state, names));
            }
            // The log is the truth: a checkpoint that can't be used only costs time.
            Ok(_) => tracing::warn!(%partition, "a checkpoint is not whole"),
            Err(error) => tracing::warn!(%partition, %error, "a checkpoint can't be read"),
        }
    }
    Ok((PartitionState::default(), Vec::new()))
}

async fn is_of_this_history(
    shared: &Shared,
    ownership: &Ownership,
    manifest: &CheckpointManifest,
) -> Result<bool, Ended> {
    let after = SegmentNumber(manifest.segment.0.saturating_sub(1));
    let rows = shared.db.read_segments(ownership.spec.id, after, 1).await?;
    let hash: Option<SegmentHash> =
        rows.iter().find(|row| row.segment == manifest.segment).map(|row| row.hash);
    Ok(hash == Some(manifest.hash))
}
