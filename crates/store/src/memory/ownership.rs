//! Heartbeats, claims, releases, pins and drains in memory.

use std::time::Duration;

use turnpike_mutants::{Check, off};
use turnpike_types::{ClaimId, Epoch, NodeName, PartitionId, Timestamp};

use super::state::{Node, Partition, State};
use crate::rules::{self, FORGET_AFTER_US};
use crate::{
    Claim, Claimed, HeartbeatReply, NodeBeat, NodeRow, Observation, PartitionRow, Pin, PinOutcome,
    StoreError, StoreResult,
};

impl Partition {
    /// The row as an observation at `now` returns it.
    fn shown(&self, now: Timestamp) -> PartitionRow {
        let mut row = self.row.clone();
        row.flaps = rules::decayed_flaps(row.flaps, self.flapped_at, now);
        row.pin = rules::pin_in_force(row.pin, now);
        row
    }
}

impl State {
    pub(super) fn heartbeat(
        &mut self,
        beat: &NodeBeat,
        now: Timestamp,
    ) -> StoreResult<HeartbeatReply> {
        let is_new = self.starts.insert((beat.node.clone(), beat.incarnation));
        let old = self.nodes.get(&beat.node).map(|node| &node.row);
        match old {
            // A heartbeat that arrives after a later one changes nothing.
            Some(old)
                if old.beat.incarnation == beat.incarnation && old.beat.counter >= beat.counter => {
            }
            Some(old)
                if old.beat.incarnation != beat.incarnation
                    && !is_new
                    && !off(Check::Superseded) =>
            {
                return Err(rules::superseded(&beat.node));
            }
            _ => {
                let drain_asked = old.is_some_and(|old| old.drain_asked);
                let row = NodeRow { beat: beat.clone().sorted(), beat_at: now, drain_asked };
                self.nodes.insert(beat.node.clone(), Node { row, forgotten: false });
            }
        }
        Ok(HeartbeatReply { now, catalogue_version: self.catalogue_version() })
    }

    pub(super) fn observe(&self, now: Timestamp) -> Observation {
        let nodes = self.nodes.values().filter(|node| !node.forgotten);
        Observation {
            nodes: nodes.map(|node| node.row.clone()).collect(),
            partitions: self.partitions.values().map(|partition| partition.shown(now)).collect(),
            catalogue_version: self.catalogue_version(),
            now,
        }
    }

    pub(super) fn claim(&mut self, claim: &Claim, now: Timestamp) -> StoreResult<Option<Claimed>> {
        let Partition { row, flapped_at, .. } = self.partition_mut(claim.partition)?;
        if row.epoch != claim.seen && !off(Check::ClaimSeen) {
            return Ok(None);
        }
        let Some(epoch) = row.epoch.next() else {
            return Err(StoreError::Refused(format!(
                "partition {}: the epoch can't grow any further",
                claim.partition
            )));
        };
        if claim.forced && row.owner.is_some() && !off(Check::Flaps) {
            row.flaps = rules::decayed_flaps(row.flaps, *flapped_at, now).saturating_add(1);
            *flapped_at = now;
        }
        row.epoch = epoch;
        row.owner = Some((claim.node.clone(), claim.incarnation));
        row.claim = claim.claim;
        row.released_to = None;
        Ok(Some(Claimed { epoch, position: row.next }))
    }

    pub(super) fn release(
        &mut self,
        partition: PartitionId,
        epoch: Epoch,
        claim: ClaimId,
        to: Option<&NodeName>,
    ) -> StoreResult<bool> {
        let partition = self.partition_mut(partition)?;
        if !partition.is_owned_by(epoch, claim) {
            return Ok(false);
        }
        partition.row.released_to = to.cloned();
        if to.is_none() {
            partition.row.owner = None;
        }
        Ok(true)
    }

    pub(super) fn pin(
        &mut self,
        partition: PartitionId,
        pin: Option<(&NodeName, Duration)>,
        now: Timestamp,
    ) -> PinOutcome {
        let Some(partition) = self.partitions.get_mut(&partition) else {
            return PinOutcome::NoSuchPartition;
        };
        let row = &mut partition.row;
        if let Some((node, _)) = pin
            && !row.spec.members.iter().any(|member| &member.node == node)
        {
            return PinOutcome::NotAMember;
        }
        row.pin = pin.map(|(node, time)| Pin {
            member: node.clone(),
            until: now.saturating_add(rules::duration_us(time)),
        });
        PinOutcome::Pinned
    }

    pub(super) fn set_drained(&mut self, node: &NodeName, drained: bool) -> bool {
        let node = self.nodes.get_mut(node);
        node.map(|node| node.row.drain_asked = drained).is_some()
    }

    pub(super) fn forget_node(&mut self, node: &NodeName, now: Timestamp) -> bool {
        let before = now.saturating_add(-FORGET_AFTER_US);
        let node = self.nodes.get_mut(node);
        let Some(node) = node.filter(|node| !node.forgotten && node.row.beat_at < before) else {
            return false;
        };
        node.forgotten = true;
        node.row.drain_asked = false;
        true
    }
}
