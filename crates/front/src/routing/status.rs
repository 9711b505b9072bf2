//! The state of the cluster as of the last read of the shared database.

use std::time::Duration;

use turnpike_proto::cluster::v1::{Member, Node, Partition, StatusResponse};
use turnpike_store::{NodeRow, PartitionRow, Serving};
use turnpike_types::{NodeName, Timestamp, capped};

use crate::routing::table::RouteTable;

/// The cluster as the routing table shows it. A node that is silent for `suspicion` is not live.
pub(crate) fn status(suspicion: Duration, table: &RouteTable) -> StatusResponse {
    let seen = &table.observation;
    let nodes: Vec<(&NodeRow, Node)> = seen
        .nodes
        .iter()
        .zip(&table.silent)
        .map(|(row, silent)| {
            let beat = &row.beat;
            let node = Node {
                name: beat.node.to_string(),
                address: beat.address.clone(),
                incarnation: beat.incarnation.to_string(),
                silent_ms: capped(silent.as_millis()),
                live: *silent < suspicion,
                draining: beat.draining,
                serving: beat.serving.iter().map(|serving| serving.partition.0).collect(),
                drain_asked: row.drain_asked,
            };
            (row, node)
        })
        .collect();
    StatusResponse {
        partitions: seen.partitions.iter().map(|row| partition(row, &nodes, seen.now)).collect(),
        nodes: nodes.into_iter().map(|(_, node)| node).collect(),
        catalogue_version: seen.catalogue_version,
    }
}

fn partition(row: &PartitionRow, nodes: &[(&NodeRow, Node)], now: Timestamp) -> Partition {
    let spec = &row.spec;
    let serving = Serving { partition: spec.id, epoch: row.epoch, claim: row.claim };
    let served = row.owner.as_ref().is_some_and(|(owner, incarnation)| {
        nodes.iter().any(|(node, shown)| {
            let beat = &node.beat;
            shown.live
                && (&beat.node, beat.incarnation) == (owner, *incarnation)
                && beat.serves(spec.id) == Some(&serving)
        })
    });
    Partition {
        id: spec.id.0,
        first_account: spec.range.first().0,
        last_account: spec.range.last().0,
        epoch: row.epoch.number(),
        owner: row.owner.as_ref().map(|(owner, _)| owner.to_string()).unwrap_or_default(),
        served,
        last_segment: row.next.next.0.saturating_sub(1),
        members: spec
            .members
            .iter()
            .map(|member| Member {
                node: member.node.to_string(),
                priority: member.priority.0,
                lag_segments: lag(row, &member.node, nodes),
            })
            .collect(),
        flaps: row.flaps,
        pinned_to: row.pin.as_ref().map(|pin| pin.member.to_string()).unwrap_or_default(),
        pinned_ms: row
            .pin
            .as_ref()
            .map_or(0, |pin| pin.until.0.saturating_sub(now.0).max(0).unsigned_abs() / 1_000),
        accepts_from_us: Some(accepts_from(spec.accept_since, spec.horizon_us, now).0),
    }
}

/// The oldest start that an owner accepts at `now` (P26).
fn accepts_from(since: Option<Timestamp>, horizon_us: i64, now: Timestamp) -> Timestamp {
    let horizon = Timestamp(now.0.saturating_sub(horizon_us));
    since.map_or(horizon, |since| since.min(horizon))
}

/// How many segments the warm replica of a live member lacks; `None` if it has no replica.
fn lag(row: &PartitionRow, member: &NodeName, nodes: &[(&NodeRow, Node)]) -> Option<u64> {
    let (node, _) = nodes.iter().find(|(node, shown)| shown.live && node.beat.node == *member)?;
    let copy = node.beat.replica_of(row.spec.id)?;
    Some(row.next.next.0.saturating_sub(copy.segment.0.saturating_add(1)))
}
