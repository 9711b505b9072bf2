//! The tables of the database in memory. Every operation makes all checks before its first change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::Mutex;
use turnpike_types::{
    ClaimId, Epoch, Incarnation, NodeName, PartitionId, PrefixLengths, SegmentHash, SegmentNumber,
    Timestamp,
};

use super::audit_table::AuditTable;
use crate::access::AccessArea;
use crate::identities::row::BindingRow;
use crate::log::Fence;
use crate::{
    CatalogueEntry, CheckpointManifest, CheckpointPart, Consumer, NodeRow, PartitionRow,
    PartitionSpec, SegmentPosition, SegmentRow, StoreError, StoreIncarnation, StoreResult,
};

pub(super) struct State {
    pub(super) incarnation: StoreIncarnation,
    pub(super) partitions: BTreeMap<PartitionId, Partition>,
    pub(super) nodes: BTreeMap<NodeName, Node>,
    /// Every process start that has written a heartbeat (P11).
    pub(super) starts: BTreeSet<(NodeName, Incarnation)>,
    pub(super) catalogue: Vec<CatalogueEntry>,
    /// The history of each identity, by its key.
    pub(super) bindings: BTreeMap<String, Vec<BindingRow>>,
    pub(super) withdrawn_bindings: BTreeMap<String, Vec<BindingRow>>,
    pub(super) bindings_recorded: Timestamp,
    pub(super) guided_through: Timestamp,
    pub(super) prefix_lengths: PrefixLengths,
    pub(super) bindings_version: u64,
    pub(super) cursors: BTreeMap<(String, PartitionId), Consumer>,
    pub(super) access: AccessArea,
    pub(super) audit: AuditTable,
}

/// A node that has written a heartbeat.
pub(super) struct Node {
    pub(super) row: NodeRow,
    /// Observations omit the node until its next heartbeat.
    pub(super) forgotten: bool,
}

pub(super) struct Partition {
    /// The row as it was last written: its count of flaps is as of `flapped_at`, and its pin may
    /// have expired.
    pub(super) row: PartitionRow,
    pub(super) flapped_at: Timestamp,
    /// The row's lock: a statement that writes the row holds it, also while the statement waits.
    pub(super) lock: Arc<Mutex<()>>,
    /// Segment `n` has index `n - 1`.
    pub(super) segments: Vec<SegmentRow>,
    /// The segments with postings (P33), in order.
    pub(super) postings: Vec<SegmentNumber>,
    pub(super) parts: BTreeMap<String, CheckpointPart>,
    /// The published manifests, newest first.
    pub(super) manifests: Vec<CheckpointManifest>,
}

impl Partition {
    pub(super) fn new(spec: PartitionSpec) -> Self {
        let next = SegmentPosition { next: SegmentNumber(1), last_hash: SegmentHash::default() };
        let row = PartitionRow {
            spec,
            epoch: Epoch::UNOWNED,
            owner: None,
            claim: ClaimId::default(),
            next,
            released_to: None,
            last_posting: SegmentNumber(0),
            flaps: 0,
            pin: None,
        };
        Self {
            row,
            flapped_at: Timestamp::default(),
            lock: Arc::default(),
            segments: Vec::new(),
            postings: Vec::new(),
            parts: BTreeMap::new(),
            manifests: Vec::new(),
        }
    }

    pub(super) fn fence(&self) -> Fence {
        Fence { epoch: self.row.epoch, claim: self.row.claim, position: self.row.next }
    }

    pub(super) fn is_owned_by(&self, epoch: Epoch, claim: ClaimId) -> bool {
        self.row.epoch == epoch && self.row.claim == claim
    }

    pub(super) fn segment(&self, segment: SegmentNumber) -> Option<&SegmentRow> {
        let index = usize::try_from(segment.0.checked_sub(1)?).ok()?;
        self.segments.get(index)
    }
}

impl State {
    pub(super) fn new(incarnation: StoreIncarnation) -> Self {
        Self {
            incarnation,
            partitions: BTreeMap::new(),
            nodes: BTreeMap::new(),
            starts: BTreeSet::new(),
            catalogue: Vec::new(),
            bindings: BTreeMap::new(),
            withdrawn_bindings: BTreeMap::new(),
            bindings_recorded: Timestamp(0),
            guided_through: Timestamp(0),
            prefix_lengths: PrefixLengths::NONE,
            bindings_version: 0,
            cursors: BTreeMap::new(),
            access: AccessArea::default(),
            audit: AuditTable::default(),
        }
    }

    pub(super) fn partition(&self, id: PartitionId) -> StoreResult<&Partition> {
        self.partitions.get(&id).ok_or_else(|| StoreError::no_partition(id))
    }

    pub(super) fn partition_mut(&mut self, id: PartitionId) -> StoreResult<&mut Partition> {
        self.partitions.get_mut(&id).ok_or_else(|| StoreError::no_partition(id))
    }

    pub(super) fn catalogue_version(&self) -> u64 {
        self.catalogue.last().map_or(0, |entry| entry.head.catalogue_version)
    }
}

/// The first of `rows`, and further ones while the sum of their bytes is at most `bytes_max`.
pub(super) fn within<'a, T: Clone + 'a>(
    bytes_max: usize,
    bytes_of: impl Fn(&T) -> usize,
    rows: impl Iterator<Item = &'a T>,
) -> Vec<T> {
    let (mut bytes, mut is_first) = (0usize, true);
    let fits = |row: &&T| {
        bytes = bytes.saturating_add(bytes_of(row));
        std::mem::take(&mut is_first) || bytes <= bytes_max
    };
    rows.take_while(fits).cloned().collect()
}
