//! A replica of a partition's state: the newest checkpoint of this history, then segment after
//! segment of the log (P1, P25). An owner starts from one; a standby keeps one warm.

use turnpike_account::PartitionState;
use turnpike_mutants::{Check, off};
use turnpike_segment::Segment;
use turnpike_store::{CheckpointManifest, SegmentPosition, SegmentRow, SharedDatabase, StoreError};
use turnpike_types::{Epoch, PartitionId, SegmentHash, SegmentNumber};

use super::parts::{SealedKeyRun, parts_of};

/// Bytes of log per read.
const READ_BYTES: usize = 16 << 20;

/// Why a replica can't be loaded, or can't follow the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplicaError {
    /// The database does not answer.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The log or a checkpoint can't be read.
    #[error("{0}")]
    Damaged(String),
    /// The replica holds a segment that the log no longer holds (P18).
    #[error("the database's history was rolled back")]
    RolledBack,
}

/// A copy of a partition's state as of a segment of its log.
#[derive(Debug, Default)]
pub(crate) struct Replica {
    pub(crate) state: PartitionState,
    /// The runs (groups) of deduplication keys that checkpoints store.
    pub(crate) runs: Vec<SealedKeyRun>,
    /// Bytes of log since the checkpoint that `runs` belongs to.
    pub(crate) log_bytes: u64,
    /// The epoch under which the last segment was appended.
    epoch: Epoch,
    /// The newest catalogue that a segment was rated by (P36).
    pub(crate) catalogue_version: u64,
}

impl Replica {
    /// A replica of a state that equals the log. `epoch` is that of the last segment;
    /// `catalogue_version` is the newest catalogue that rated any segment.
    pub(crate) fn of(
        state: PartitionState,
        runs: Vec<SealedKeyRun>,
        log_bytes: u64,
        (epoch, catalogue_version): (Epoch, u64),
    ) -> Self {
        Self { state, runs, log_bytes, epoch, catalogue_version }
    }

    /// Loads the newest usable checkpoint of a log that ends before segment `end`. Returns an empty
    /// state if there is none. `alive` is called between steps, so that the owner task ticks.
    pub(crate) async fn load(
        db: &dyn SharedDatabase,
        partition: PartitionId,
        end: SegmentNumber,
        alive: &(dyn Fn() + Sync),
    ) -> Result<Self, ReplicaError> {
        for manifest in db.checkpoints(partition).await? {
            let is_before = manifest.segment < end;
            let row = if is_before { segment_of(db, &manifest).await? } else { None };
            let Some(row) = row else {
                tracing::warn!(%partition, segment = %manifest.segment,
                    "a checkpoint belongs to another history: skipped");
                continue;
            };
            if let Some(replica) = read(db, &manifest, alive).await? {
                return Ok(Self { catalogue_version: rated_by(&row), ..replica });
            }
        }
        Ok(Self::default())
    }

    /// The last segment that was applied.
    pub(crate) const fn last(&self) -> (SegmentNumber, SegmentHash) {
        self.state.last()
    }

    /// The position in the log after the last applied segment.
    pub(crate) fn position(&self) -> SegmentPosition {
        let (last, last_hash) = self.last();
        SegmentPosition { next: last.next(), last_hash }
    }

    /// Whether the replica ends exactly at `position`.
    pub(crate) fn stands_at(&self, position: &SegmentPosition) -> bool {
        let (last, hash) = self.last();
        last.next() == position.next && hash == position.last_hash
    }

    /// Applies the log up to `position`, and checks that the log ends there with the given hash.
    ///
    /// If this future is dropped, the replica stays whole, and ends after some applied segment.
    pub(crate) async fn catch_up(
        &mut self,
        db: &dyn SharedDatabase,
        partition: PartitionId,
        position: &SegmentPosition,
        alive: &(dyn Fn() + Sync),
    ) -> Result<(), ReplicaError> {
        while self.last().0.next() < position.next {
            let (after, _) = self.last();
            let rows = db.read_segments(partition, after, READ_BYTES).await?;
            if rows.is_empty() {
                let ends = format!("the log ends at segment {after}, before its recorded end");
                return Err(ReplicaError::Damaged(ends));
            }
            for row in rows.iter().take_while(|row| row.segment < position.next) {
                self.apply(row)?;
                alive();
                // Applying a segment takes a while: a standby lets other tasks run.
                tokio::task::yield_now().await;
            }
        }
        if self.stands_at(position) { Ok(()) } else { Err(ReplicaError::RolledBack) }
    }

    fn apply(&mut self, row: &SegmentRow) -> Result<(), ReplicaError> {
        let segment = row.segment;
        let damaged = |error: &dyn std::fmt::Display| {
            ReplicaError::Damaged(format!("segment {segment}: {error}"))
        };
        if row.epoch < self.epoch {
            return Err(damaged(&"its epoch is below that of the segment before it (I3)"));
        }
        if row.prev_hash != self.last().1 {
            // The segment is intact, but continues another history than the replica's.
            return Err(ReplicaError::RolledBack);
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

    /// Takes over the keys that the retained checkpoints hold, see [`stored_runs`].
    pub(crate) fn note_checkpoints(&mut self, manifests: &[CheckpointManifest]) {
        if let Some(runs) = stored_runs(self.last().0, manifests) {
            if let Some(run) = runs.last() {
                self.state.seal_keys(run.through());
            }
            self.runs = runs;
        }
        self.log_bytes = 0;
    }
}

/// The runs (groups) of deduplication keys that the newest checkpoint stores. These keys need not be
/// written again, and the parts of older runs may have been deleted (P22). `None` if no checkpoint
/// ends at `last` or before. `manifests` are newest first, of this history.
pub(crate) fn stored_runs(
    last: SegmentNumber,
    manifests: &[CheckpointManifest],
) -> Option<Vec<SealedKeyRun>> {
    let newest = manifests.iter().find(|manifest| manifest.segment <= last)?;
    Some(parts_of(newest).filter_map(|part| part.run()).collect())
}

/// Reads a checkpoint. Returns `None` when it is unusable, which only costs time, since the log
/// holds the same state.
async fn read(
    db: &dyn SharedDatabase,
    manifest: &CheckpointManifest,
    alive: &(dyn Fn() + Sync),
) -> Result<Option<Replica>, ReplicaError> {
    let partition = manifest.partition;
    let (mut snapshot, mut bodies, mut runs) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts_of(manifest) {
        alive();
        let Some(bytes) = db.checkpoint_part(partition, part.name()).await? else {
            tracing::warn!(
                %partition, part = part.name(),
                "a part of a checkpoint is missing: skipped"
            );
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
            Ok(Some(Replica { state, runs, ..Replica::default() }))
        }
        Ok(_) => {
            tracing::warn!(
                %partition,
                "a checkpoint ends at another segment than its manifest says: skipped"
            );
            Ok(None)
        }
        Err(error) => {
            tracing::warn!(%partition, %error, "a checkpoint can't be read: skipped");
            Ok(None)
        }
    }
}

/// The segment at which a checkpoint ends. `None` if the checkpoint belongs to another history.
async fn segment_of(
    db: &dyn SharedDatabase,
    manifest: &CheckpointManifest,
) -> Result<Option<SegmentRow>, StoreError> {
    let after = SegmentNumber(manifest.segment.0.saturating_sub(1));
    let rows = db.read_segments(manifest.partition, after, 1).await?;
    let is_its = |row: &SegmentRow| {
        row.segment == manifest.segment
            && (row.hash == manifest.hash || off(Check::CheckpointHistory))
    };
    Ok(rows.into_iter().find(is_its))
}

/// The catalogue version that a segment was rated by.
fn rated_by(row: &SegmentRow) -> u64 {
    match Segment::decode(&row.body) {
        Ok(segment) => segment.header().catalogue_version,
        Err(error) => {
            // The checkpoint replaces the segment: nothing but its catalogue version is needed.
            tracing::warn!(
                segment = %row.segment, %error,
                "the last segment of a checkpoint can't be read"
            );
            0
        }
    }
}
