//! The tables of the database in memory; heartbeats, claims, pins and drains are in `ownership.rs`.
//! Every operation makes all checks before its first change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::Mutex;
use turnpike_mutants::{Check, off};
use turnpike_types::{
    AccountNumber, ClaimId, Epoch, Incarnation, NodeName, PartitionId, PrefixLengths, SegmentHash,
    SegmentNumber, Timestamp,
};

use crate::bindings::{self, Asked, BindingRow, Histories, RowChange};
use crate::catalogue::{self, CATALOGUE_BYTES_MAX, CATALOGUE_HEADS_MAX, Judgement};
use crate::rules::{self, Fence};
use crate::{
    AppendOutcome, AppendSegment, BindOutcome, Binding, BindingsMark, CatalogueEntry,
    CatalogueHead, CatalogueKind, CheckpointManifest, CheckpointPart, Consumer, CursorAck,
    IdentityHistory, NodeRow, OwnerToken, PartitionRow, PartitionSpec, Publish, PublishOutcome,
    RebindOutcome, Rebinding, SegmentPosition, SegmentRow, StoreIncarnation, StoreResult,
};

pub(super) struct State {
    pub(super) incarnation: StoreIncarnation,
    pub(super) partitions: BTreeMap<PartitionId, Partition>,
    pub(super) nodes: BTreeMap<NodeName, Node>,
    /// Every process start that has written a heartbeat (P11).
    pub(super) starts: BTreeSet<(NodeName, Incarnation)>,
    catalogue: Vec<CatalogueEntry>,
    /// The history of each identity, by its key.
    bindings: BTreeMap<String, Vec<BindingRow>>,
    withdrawn_bindings: BTreeMap<String, Vec<BindingRow>>,
    bindings_recorded: Timestamp,
    guided_through: Timestamp,
    prefix_lengths: PrefixLengths,
    bindings_version: u64,
    cursors: BTreeMap<(String, PartitionId), Consumer>,
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
    segments: Vec<SegmentRow>,
    /// The segments with postings (P33), in order.
    postings: Vec<SegmentNumber>,
    pub(super) parts: BTreeMap<String, CheckpointPart>,
    /// The published manifests, newest first.
    pub(super) manifests: Vec<CheckpointManifest>,
}

impl Partition {
    fn new(spec: PartitionSpec) -> Self {
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

    pub(super) fn is_held(&self, held: &OwnerToken) -> bool {
        (self.is_owned_by(held.epoch, held.claim) || off(Check::BarrierOwner))
            && (self.row.next == held.position || off(Check::BarrierPosition))
    }

    pub(super) fn is_at(&self, epoch: Epoch) -> bool {
        self.row.epoch == epoch || off(Check::ClaimSeen)
    }

    fn segment(&self, segment: SegmentNumber) -> Option<&SegmentRow> {
        let index = usize::try_from(segment.0.checked_sub(1)?).ok()?;
        self.segments.get(index)
    }

    pub(super) fn read_segments(&self, after: SegmentNumber, bytes_max: usize) -> Vec<SegmentRow> {
        let skip = usize::try_from(after.0).unwrap_or(usize::MAX);
        let bytes = |row: &SegmentRow| row.body.len();
        within(bytes_max, bytes, self.segments.iter().skip(skip))
    }

    pub(super) fn posting_segments(&self, after: SegmentNumber, most: usize) -> Vec<SegmentRow> {
        let skip = self.postings.partition_point(|segment| *segment <= after);
        let rows = self.postings.iter().skip(skip).filter_map(|segment| self.segment(*segment));
        within(rules::POSTING_BYTES_MAX, |row| row.body.len(), rows.take(most))
    }
}

/// The first of `rows`, and further ones while the sum of their bytes is at most `bytes_max`.
fn within<'a, T: Clone + 'a>(
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
        }
    }

    pub(super) fn partition(&self, id: PartitionId) -> StoreResult<&Partition> {
        self.partitions.get(&id).ok_or_else(|| rules::no_partition(id))
    }

    pub(super) fn partition_mut(&mut self, id: PartitionId) -> StoreResult<&mut Partition> {
        self.partitions.get_mut(&id).ok_or_else(|| rules::no_partition(id))
    }

    pub(super) fn create_partitions(&mut self, asked: &[PartitionSpec]) -> StoreResult<()> {
        let existing: Vec<PartitionSpec> =
            self.partitions.values().map(|partition| partition.row.spec.clone()).collect();
        for spec in rules::new_partitions(&existing, asked)? {
            self.partitions.insert(spec.id, Partition::new(spec));
        }
        Ok(())
    }

    pub(super) fn catalogue_version(&self) -> u64 {
        self.catalogue.last().map_or(0, |entry| entry.head.catalogue_version)
    }

    pub(super) fn append(&mut self, append: &AppendSegment) -> StoreResult<AppendOutcome> {
        let partition = self.partition_mut(append.partition)?;
        // With the check `RowLock` off, only the segment number is compared: the primary key of the
        // real table would still refuse the same number twice.
        let is_next = partition.row.next.next == append.segment;
        if let Some(outcome) = partition.fence().judge(append)
            && !(off(Check::RowLock) && is_next)
        {
            return Ok(outcome);
        }
        partition.segments.push(SegmentRow {
            segment: append.segment,
            epoch: append.epoch,
            prev_hash: append.prev_hash,
            hash: append.hash,
            body: append.body.clone(),
        });
        if append.has_postings {
            partition.postings.push(append.segment);
            partition.row.last_posting = append.segment;
        }
        partition.row.next =
            SegmentPosition { next: append.segment.next(), last_hash: append.hash };
        Ok(AppendOutcome::Committed)
    }

    pub(super) fn put_checkpoint_part(
        &mut self,
        partition: PartitionId,
        part: &CheckpointPart,
    ) -> StoreResult<()> {
        rules::check_part_name(&part.name)?;
        let parts = &mut self.partition_mut(partition)?.parts;
        match parts.get(&part.name) {
            Some(old) if old == part => Ok(()),
            Some(_) => Err(rules::part_differs(&part.name)),
            None => {
                parts.insert(part.name.clone(), part.clone());
                Ok(())
            }
        }
    }

    pub(super) fn publish_checkpoint(
        &mut self,
        manifest: &CheckpointManifest,
        epoch: Epoch,
        claim: ClaimId,
    ) -> StoreResult<bool> {
        let partition = self.partition_mut(manifest.partition)?;
        let newest = partition.manifests.first().map(|newest| newest.segment);
        let is_owner = partition.is_owned_by(epoch, claim) || off(Check::CheckpointFence);
        let is_newer = newest < Some(manifest.segment) || off(Check::CheckpointForward);
        if !is_owner || !is_newer {
            return Ok(false);
        }
        if manifest.segment >= partition.row.next.next {
            return Err(rules::bad_manifest(manifest, rules::NOT_APPENDED));
        }
        if partition.segment(manifest.segment).is_some_and(|row| row.hash != manifest.hash) {
            return Err(rules::bad_manifest(manifest, rules::OTHER_HASH));
        }
        let parts: rules::Parts =
            partition.parts.values().map(|part| (part.name.clone(), part.segment)).collect();
        if let Some(missing) = rules::missing_part(manifest, &parts)
            && !off(Check::CheckpointParts)
        {
            return Err(missing);
        }
        partition.manifests.insert(0, manifest.clone());
        partition.manifests.truncate(rules::MANIFESTS_KEPT);
        for name in rules::prunable_parts(&partition.manifests, parts) {
            partition.parts.remove(&name);
        }
        Ok(true)
    }

    pub(super) fn publish(
        &mut self,
        publish: &Publish,
        now: Timestamp,
    ) -> StoreResult<PublishOutcome> {
        let known = self.catalogue.iter().map(|entry| &entry.head);
        let known = known.filter(|head| head.kind == publish.kind && head.id == publish.id);
        let heads: Vec<CatalogueHead> = known.cloned().collect();
        if let Judgement::Settled(outcome) = catalogue::judge(&heads, publish, now)? {
            return Ok(outcome);
        }
        let catalogue_version = self.catalogue_version() + 1;
        let head = publish.head(catalogue_version, now);
        self.catalogue.push(CatalogueEntry { head, body: publish.body.clone() });
        Ok(PublishOutcome::Published(catalogue_version))
    }

    /// The entries after catalogue version `after`. Version `n` has index `n - 1`.
    fn published_after(&self, after: u64) -> impl Iterator<Item = &CatalogueEntry> {
        self.catalogue.iter().skip(usize::try_from(after).unwrap_or(usize::MAX))
    }

    pub(super) fn catalogue_since(&self, after: u64, most: usize) -> Vec<CatalogueEntry> {
        let entries = self.published_after(after).take(most);
        within(CATALOGUE_BYTES_MAX, |entry| entry.body.len(), entries)
    }

    pub(super) fn catalogue_heads(
        &self,
        kind: CatalogueKind,
        id: Option<&str>,
        after: u64,
    ) -> Vec<CatalogueHead> {
        self.published_after(after)
            .map(|entry| &entry.head)
            .filter(|head| head.kind == kind && id.is_none_or(|id| head.id == id))
            .take(CATALOGUE_HEADS_MAX)
            .cloned()
            .collect()
    }

    pub(super) fn bind_identities(
        &mut self,
        asked: &[Binding],
        now: Timestamp,
    ) -> StoreResult<Vec<BindOutcome>> {
        rules::check_bindings(asked)?;
        let mut histories = self.histories(asked.iter().map(|one| one.identity.as_str()));
        let recorded =
            bindings::recording_instant(self.bindings_recorded, now, self.guided_through);
        let (outcomes, writes) = bindings::judge_bindings(&mut histories, asked, recorded);
        self.write_bindings(&writes, recorded);
        Ok(outcomes)
    }

    pub(super) fn rebind_identities(
        &mut self,
        asked: &[Rebinding],
        now: Timestamp,
    ) -> StoreResult<Vec<RebindOutcome>> {
        rules::check_bindings(asked.iter().map(Rebinding::binding))?;
        let identities = asked.iter().map(|one| one.binding().identity.as_str());
        let mut histories = self.histories(identities);
        let recorded =
            bindings::recording_instant(self.bindings_recorded, now, self.guided_through);
        let (outcomes, writes) = bindings::judge_rebindings(&mut histories, asked, recorded);
        self.write_bindings(&writes, recorded);
        Ok(outcomes)
    }

    fn histories<'a>(&self, identities: impl Iterator<Item = &'a str>) -> Histories {
        let keys = bindings::keys_of(identities);
        Histories::of(self.binding_rows(&keys))
    }

    /// The rows under `keys`, in force and withdrawn.
    fn binding_rows(&self, keys: &[String]) -> impl Iterator<Item = BindingRow> {
        keys.iter().flat_map(|key| {
            let tables = [self.bindings.get(key), self.withdrawn_bindings.get(key)];
            tables.into_iter().flatten().flatten().cloned()
        })
    }

    fn write_bindings(&mut self, writes: &[RowChange], recorded: Timestamp) {
        if writes.is_empty() {
            return;
        }
        self.bindings_recorded = recorded;
        let new: Vec<Binding> = bindings::inserted(writes).cloned().collect();
        let identities = new.iter().map(|binding| binding.identity.as_str());
        for (is_v4, length) in bindings::prefix_lengths(identities) {
            self.prefix_lengths.add_length(is_v4, length);
        }
        if bindings::moves_version(writes, self.prefix_lengths) {
            self.bindings_version += 1;
        }
        for write in writes {
            let identity = match write {
                RowChange::Insert(row) => &row.binding.identity,
                RowChange::Withdraw(row) => {
                    let key = bindings::key_of(&row.identity);
                    self.withdrawn_bindings.entry(key).or_default().push(row.clone());
                    continue;
                }
                RowChange::Delete { identity, .. } | RowChange::End { identity, .. } => identity,
            };
            let history = self.bindings.entry(bindings::key_of(identity)).or_default();
            bindings::carry_out(history, write);
        }
    }

    pub(super) fn guide(&self, identities: &[String]) -> Vec<IdentityHistory> {
        let of = |identity: &String| Asked::of(identity, self.prefix_lengths);
        let asked: Vec<Asked> = identities.iter().map(of).collect();
        let keys = bindings::keys_asked(&asked);
        bindings::guided(&asked, self.binding_rows(&keys))
    }

    pub(super) const fn bindings_mark(&self) -> BindingsMark {
        BindingsMark { version: self.bindings_version, guided_through: self.guided_through }
    }

    pub(super) fn advance_guided_through(&mut self, now: Timestamp) -> bool {
        let is_moved = self.guided_through < now;
        self.guided_through = self.guided_through.max(now);
        is_moved
    }

    pub(super) fn bindings_of(&self, account: AccountNumber, most: usize) -> Vec<Binding> {
        let rows = self.bindings.values().flatten();
        let own = rows.filter(|row| row.account == account).take(most);
        own.map(|row| row.binding.clone()).collect()
    }

    pub(super) fn register_consumer(&mut self, name: &str) -> StoreResult<()> {
        rules::check_consumer_name(name)?;
        for &partition in self.partitions.keys() {
            self.cursors.entry((name.to_owned(), partition)).or_insert_with(|| Consumer {
                name: name.to_owned(),
                partition,
                segment: SegmentNumber(0),
                row: 0,
                hash: SegmentHash::default(),
            });
        }
        Ok(())
    }

    pub(super) fn consumer(&self, name: &str) -> Vec<Consumer> {
        self.cursors.values().filter(|cursor| cursor.name == name).cloned().collect()
    }

    pub(super) fn acknowledge(&mut self, from: &Consumer, to: &Consumer) -> StoreResult<CursorAck> {
        rules::check_cursors(from, to)?;
        let Some(cursor) = self.cursors.get_mut(&(from.name.clone(), from.partition)) else {
            return Ok(CursorAck::Unknown);
        };
        let is_same = cursor == from
            || (off(Check::CursorRow) && *cursor == Consumer { row: cursor.row, ..from.clone() });
        if !is_same && !off(Check::CursorCompared) {
            return Ok(CursorAck::Elsewhere(cursor.clone()));
        }
        cursor.clone_from(to);
        Ok(CursorAck::Moved)
    }
}
