//! Decodes the rows of an observation (`observe.sql`). Decay of flaps and expiry of pins are
//! computed here, by the clock that was read with the rows.

use std::collections::BTreeMap;

use turnpike_types::{
    ClaimId, Epoch, Incarnation, NodeName, PartitionId, SegmentNumber, Timestamp,
};

use super::errors::corrupt;
use super::packed::{unpack_following, unpack_serving};
use super::values::{fixed, loaded, partition_id, position};
use crate::ownership::decayed_flaps;
use crate::topology::pin_in_force;
use crate::{NodeBeat, NodeRow, Observation, PartitionRow, PartitionSpec, Pin, StoreResult};

/// The columns of `observe.sql`: kind, name, place, pinned, n1 to n8, b1, b2.
pub(crate) type ObservedTuple = (
    i64,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
);

/// The row of the table `store`, and the clock.
struct StoreRow {
    now: Timestamp,
    catalogue_version: u64,
    topology: i64,
}

/// The rows of one observation, without the partitions' settings, which are read separately.
pub(crate) struct Observed {
    store: StoreRow,
    nodes: Vec<NodeRow>,
    partitions: Vec<ObservedTuple>,
    doing: &'static str,
}

impl Observed {
    /// Sorts the rows by their kind.
    pub(crate) fn new(rows: Vec<ObservedTuple>, doing: &'static str) -> StoreResult<Self> {
        let (mut store, mut nodes) = (None, Vec::new());
        let mut partitions = Vec::with_capacity(rows.len());
        for row in rows {
            match row.0 {
                0 => store = store_row(&row),
                1 => nodes.push(node_row(row, doing)?),
                2 => partitions.push(row),
                kind => return Err(corrupt(doing, format!("a row of unknown kind {kind}"))),
            }
        }
        let store = store.ok_or_else(|| corrupt(doing, "the store's row is missing"))?;
        Ok(Self { store, nodes, partitions, doing })
    }

    /// The topology number: it changes when partitions are created, and in another history.
    pub(crate) const fn topology(&self) -> i64 {
        self.store.topology
    }

    /// The observation, with the partitions' settings from `specs`.
    pub(crate) fn with(
        self,
        specs: &BTreeMap<PartitionId, PartitionSpec>,
    ) -> StoreResult<Observation> {
        let Self { store: StoreRow { now, catalogue_version, .. }, mut nodes, partitions, doing } =
            self;
        let partition = |row| partition_row(row, specs, now, doing);
        let mut partitions =
            partitions.into_iter().map(partition).collect::<StoreResult<Vec<PartitionRow>>>()?;
        nodes.sort_by(|a, b| a.beat.node.cmp(&b.beat.node));
        partitions.sort_by_key(|row| row.spec.id);
        Ok(Observation { nodes, partitions, catalogue_version, now })
    }
}

fn store_row(row: &ObservedTuple) -> Option<StoreRow> {
    let &(_, _, _, _, Some(now), Some(version), Some(topology), ..) = row else { return None };
    Some(StoreRow { now: Timestamp(now), catalogue_version: loaded(version), topology })
}

fn node_row(row: ObservedTuple, doing: &'static str) -> StoreResult<NodeRow> {
    let (_, name, address, _, incarnation, counter, beat_at, draining, drain_asked, ..) = row;
    let (Some(node), Some(address), Some(serving), Some(following)) =
        (name, address, row.12, row.13)
    else {
        return Err(corrupt(doing, "a node's row lacks its name, its address or a list"));
    };
    let (Some(incarnation), Some(counter), Some(beat_at)) = (incarnation, counter, beat_at) else {
        return Err(corrupt(doing, format!("the row of node {node} lacks a number")));
    };
    Ok(NodeRow {
        beat: NodeBeat {
            node: NodeName(node),
            incarnation: Incarnation(loaded(incarnation)),
            counter: loaded(counter),
            address,
            draining: draining == Some(1),
            serving: unpack_serving(&serving, doing)?,
            following: unpack_following(&following, doing)?,
        }
        .sorted(),
        beat_at: Timestamp(beat_at),
        drain_asked: drain_asked == Some(1),
    })
}

fn partition_row(
    row: ObservedTuple,
    specs: &BTreeMap<PartitionId, PartitionSpec>,
    now: Timestamp,
    doing: &'static str,
) -> StoreResult<PartitionRow> {
    let (_, owner, released_to, pinned, id, epoch, started, next, posting, flaps, flapped_at, ..) =
        row;
    let id =
        id.ok_or_else(|| corrupt(doing, "the row of a partition lacks the partition's number"))?;
    let id = partition_id(id, doing)?;
    let (Some(epoch), Some(next), Some(posting), Some(flaps), Some(flapped_at)) =
        (epoch, next, posting, flaps, flapped_at)
    else {
        return Err(corrupt(doing, format!("the row of partition {id} lacks a number")));
    };
    let (Some(claim), Some(last_hash)) = (row.12, row.13) else {
        return Err(corrupt(doing, format!("the row of partition {id} lacks its claim or a hash")));
    };
    let spec =
        specs.get(&id).ok_or_else(|| corrupt(doing, format!("partition {id} has no settings")))?;
    let flaps = u32::try_from(flaps)
        .map_err(|_| corrupt(doing, format!("partition {id} has {flaps} flaps")))?;
    let pin = pinned.zip(row.11);
    let pin = pin.map(|(node, until)| Pin { member: NodeName(node), until: Timestamp(until) });
    Ok(PartitionRow {
        spec: spec.clone(),
        epoch: Epoch::stored(loaded(epoch)),
        owner: owner
            .zip(started)
            .map(|(node, started)| (NodeName(node), Incarnation(loaded(started)))),
        claim: ClaimId(fixed(&claim, doing)?),
        next: position(next, &last_hash, doing)?,
        released_to: released_to.map(NodeName),
        last_posting: SegmentNumber(loaded(posting)),
        flaps: decayed_flaps(flaps, Timestamp(flapped_at), now),
        pin: pin_in_force(pin, now),
    })
}
