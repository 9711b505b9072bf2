//! Partitions, observations, pins and drains in memory.

use std::time::Duration;

use async_trait::async_trait;
use turnpike_types::{NodeName, PartitionId, Timestamp};

use super::database::MemoryDatabase;
use super::state::{Partition, State};
use crate::ownership::decayed_flaps;
use crate::topology::{FORGET_AFTER_US, duration_us, new_partitions, pin_in_force};
use crate::{
    Observation, PartitionRow, PartitionSpec, Pin, PinOutcome, StoreIncarnation, StoreResult,
    TopologyStore,
};

#[async_trait]
impl TopologyStore for MemoryDatabase {
    async fn incarnation(&self) -> StoreResult<StoreIncarnation> {
        Ok(self.state().incarnation)
    }

    async fn create_partitions(&self, partitions: &[PartitionSpec]) -> StoreResult<()> {
        self.state().create_partitions(partitions)
    }

    async fn observe(&self) -> StoreResult<Observation> {
        let now = self.now();
        Ok(self.state().observe(now))
    }

    async fn pin(
        &self,
        partition: PartitionId,
        pin: Option<(&NodeName, Duration)>,
    ) -> StoreResult<PinOutcome> {
        let now = self.now();
        Ok(self.state().pin(partition, pin, now))
    }

    async fn set_drained(&self, node: &NodeName, drained: bool) -> StoreResult<bool> {
        Ok(self.state().set_drained(node, drained))
    }

    async fn forget_node(&self, node: &NodeName) -> StoreResult<bool> {
        let now = self.now();
        Ok(self.state().forget_node(node, now))
    }
}

impl Partition {
    /// The row as an observation at `now` returns it.
    fn shown(&self, now: Timestamp) -> PartitionRow {
        let mut row = self.row.clone();
        row.flaps = decayed_flaps(row.flaps, self.flapped_at, now);
        row.pin = pin_in_force(row.pin, now);
        row
    }
}

impl State {
    fn create_partitions(&mut self, asked: &[PartitionSpec]) -> StoreResult<()> {
        let existing: Vec<PartitionSpec> =
            self.partitions.values().map(|partition| partition.row.spec.clone()).collect();
        for spec in new_partitions(&existing, asked)? {
            self.partitions.insert(spec.id, Partition::new(spec));
        }
        Ok(())
    }

    fn observe(&self, now: Timestamp) -> Observation {
        let nodes = self.nodes.values().filter(|node| !node.forgotten);
        Observation {
            nodes: nodes.map(|node| node.row.clone()).collect(),
            partitions: self.partitions.values().map(|partition| partition.shown(now)).collect(),
            catalogue_version: self.catalogue_version(),
            now,
        }
    }

    fn pin(
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
            until: now.saturating_add(duration_us(time)),
        });
        PinOutcome::Pinned
    }

    fn set_drained(&mut self, node: &NodeName, drained: bool) -> bool {
        let node = self.nodes.get_mut(node);
        node.map(|node| node.row.drain_asked = drained).is_some()
    }

    fn forget_node(&mut self, node: &NodeName, now: Timestamp) -> bool {
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
