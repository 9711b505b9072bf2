//! A copy of a partition's state, as the log tells it: the newest checkpoint of this history, then
//! segment after segment (P1, P25). An owner begins with one; a standby keeps one warm.

use turnpike_account::PartitionState;
use turnpike_mutants::{Line, off};
use turnpike_segment::Segment;
use turnpike_store::{CheckpointManifest, SegmentPosition, SegmentRow, SharedDatabase, StoreError};
use turnpike_types::{Epoch, PartitionId, SegmentHash, SegmentNumber};

use crate::owner::{Run, parts_of};

/// Log read in one go, in bytes.
const READ_BYTES: usize = 16 << 20;

/// Why a copy can't be made, or can't follow.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    /// The database does not answer.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The log or a checkpoint can't be read.
    #[error("{0}")]
    Damaged(String),
    /// What was copied is not what the log says now (P18).
    #[error("the database's history was rolled back")]
    RolledBack,
}

/// The copy.
#[derive(Debug, Default)]
pub(crate) struct Copy {
    pub(crate) state: PartitionState,
    /// Runs of keys that stand in checkpoints.
    pub(crate) runs: Vec<Run>,
    /// Log since the checkpoint that the runs are of.
    pub(crate) log_bytes: u64,
    /// Under which the last segment was appended.
    epoch: Epoch,
    /// The newest catalogue by which a segment was rated (P36).
    pub(crate) catalogue_version: u64,
}

impl Copy {
    /// A state that is as the log tells it, the last segment appended under `epoch`; nothing in the
    /// log was rated by a newer catalogue than `catalogue_version`.
    pub(crate) fn of(
        state: PartitionState,
        runs: Vec<Run>,
        log_bytes: u64,
        (epoch, catalogue_version): (Epoch, u64),
    ) -> Self {
        Self { state, runs, log_bytes, epoch, catalogue_version }
    }

    /// The newest checkpoint that can be used, of a log that ends before segment `end`; an empty
    /// state when there is none. `alive` is called now and then.
    pub(crate) async fn load(
        db: &dyn SharedDatabase,
        partition: PartitionId,
        end: SegmentNumber,
        alive: &(dyn Fn() + Sync),
    ) -> Result<Self, CopyError> {
        for manifest in db.checkpoints(partition).await? {
            let is_before = manifest.segment < end;
            let row = if is_before { segment_of(db, &manifest).await? } else { None };
            let Some(row) = row else {
                tracing::warn!(%partition, segment = %manifest.segment,
                    "checkpoint of another history");
                continue;
            };
            if let Some(copy) = read(db, &manifest, alive).await? {
                return Ok(Self { catalogue_version: rated_by(&row), ..copy });
            }
        }
        Ok(Self::default())
    }

    /// The last segment that is in here.
    pub(crate) const fn last(&self) -> (SegmentNumber, SegmentHash) {
        self.state.last()
    }

    /// Where the log goes on after this.
    pub(crate) fn position(&self) -> SegmentPosition {
        let (last, last_hash) = self.last();
        SegmentPosition { next: last.next(), last_hash }
    }

    /// Is this what the log is at `position`?
    pub(crate) fn stands_at(&self, position: &SegmentPosition) -> bool {
        let (last, hash) = self.last();
        last.next() == position.next && hash == position.last_hash
    }

    /// Applies the log up to `position`, and checks that it ends there as the position says.
    ///
    /// Dropped half way, the copy is whole, and stands wherever it came to.
    pub(crate) async fn catch_up(
        &mut self,
        db: &dyn SharedDatabase,
        partition: PartitionId,
        position: &SegmentPosition,
        alive: &(dyn Fn() + Sync),
    ) -> Result<(), CopyError> {
        while self.last().0.next() < position.next {
            let (after, _) = self.last();
            let rows = db.read_segments(partition, after, READ_BYTES).await?;
            if rows.is_empty() {
                let ends = format!("the log ends at segment {after}, too early");
                return Err(CopyError::Damaged(ends));
            }
            for row in rows.iter().take_while(|row| row.segment < position.next) {
                self.apply(row)?;
                alive();
                // A standby lets others run; each segment is a while's work.
                tokio::task::yield_now().await;
            }
        }
        if self.stands_at(position) { Ok(()) } else { Err(CopyError::RolledBack) }
    }

    fn apply(&mut self, row: &SegmentRow) -> Result<(), CopyError> {
        let segment = row.segment;
        let damaged = |error: &dyn std::fmt::Display| {
            CopyError::Damaged(format!("segment {segment}: {error}"))
        };
        if row.epoch < self.epoch {
            return Err(damaged(&"its epoch is below the one before it (I3)"));
        }
        if row.prev_hash != self.last().1 {
            // Not damaged: it is well, and builds on another history than we know.
            return Err(CopyError::RolledBack);
        }
        let decoded = Segment::decode_checked(&row.body, row.prev_hash, row.hash)
            .map_err(|error| damaged(&error))?;
        self.state.replay(&decoded, row.prev_hash, row.hash).map_err(|error| damaged(&error))?;
        self.epoch = row.epoch;
        self.catalogue_version = self.catalogue_version.max(decoded.header().catalogue_version);
        self.log_bytes += row.body.len() as u64;
        metrics::counter!("turnpike_log_applied_bytes_total").increment(row.body.len() as u64);
        Ok(())
    }

    /// The copy, as though it had all that the log has: what it must never be taken for (P1).
    pub(crate) fn skip_to(mut self, end: &SegmentPosition) -> Self {
        let last = SegmentNumber(end.next.0.saturating_sub(1));
        let time = self.state.time();
        self.state.advance(last, end.last_hash, time);
        self
    }

    /// Takes over what the retained checkpoints say of the keys, see [`note_checkpoints`].
    pub(crate) fn note_checkpoints(&mut self, manifests: &[CheckpointManifest]) {
        note_checkpoints(&mut self.state, &mut self.runs, manifests);
        self.log_bytes = 0;
    }
}

/// Takes over which keys stand in the newest checkpoint's runs: they need not be written again, and
/// older runs may be gone (P22). `manifests` are newest first, of this history.
pub(crate) fn note_checkpoints(
    state: &mut PartitionState,
    runs: &mut Vec<Run>,
    manifests: &[CheckpointManifest],
) {
    let newest = manifests.iter().find(|manifest| manifest.segment <= state.last().0);
    let Some(newest) = newest else { return };
    *runs = parts_of(newest).filter_map(|part| part.run()).collect();
    if let Some(run) = runs.last() {
        state.seal_keys(run.through());
    }
}

/// Reads a checkpoint; `None` when it is not whole. The log is the truth: a checkpoint that can't be
/// used only costs time.
async fn read(
    db: &dyn SharedDatabase,
    manifest: &CheckpointManifest,
    alive: &(dyn Fn() + Sync),
) -> Result<Option<Copy>, CopyError> {
    let partition = manifest.partition;
    let (mut snapshot, mut bodies, mut runs) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts_of(manifest) {
        alive();
        let Some(bytes) = db.checkpoint_part(partition, part.name()).await? else {
            tracing::warn!(%partition, part = part.name(), "a checkpoint is not whole");
            return Ok(None);
        };
        match part.run() {
            None => snapshot.extend_from_slice(&bytes),
            Some(run) => {
                bodies.push(bytes);
                runs.push(run);
            }
        }
    }
    match PartitionState::decode(&snapshot, &bodies, alive) {
        Ok(state) if state.last() == (manifest.segment, manifest.hash) => {
            Ok(Some(Copy { state, runs, ..Copy::default() }))
        }
        Ok(_) => {
            tracing::warn!(%partition, "a checkpoint is not of the segment that it says");
            Ok(None)
        }
        Err(error) => {
            tracing::warn!(%partition, %error, "a checkpoint can't be read");
            Ok(None)
        }
    }
}

/// The segment with which a checkpoint ends; `None` when it is of another history.
async fn segment_of(
    db: &dyn SharedDatabase,
    manifest: &CheckpointManifest,
) -> Result<Option<SegmentRow>, StoreError> {
    let after = SegmentNumber(manifest.segment.0.saturating_sub(1));
    let rows = db.read_segments(manifest.partition, after, 1).await?;
    let is_its = |row: &SegmentRow| {
        row.segment == manifest.segment
            && (row.hash == manifest.hash || off(Line::CheckpointHistory))
    };
    Ok(rows.into_iter().find(is_its))
}

/// The catalogue by which a segment was rated.
fn rated_by(row: &SegmentRow) -> u64 {
    match Segment::decode(&row.body) {
        Ok(segment) => segment.header().catalogue_version,
        Err(error) => {
            // The checkpoint stands for it: nothing else of it is needed.
            tracing::warn!(segment = %row.segment, %error, "a segment can't be read");
            0
        }
    }
}
