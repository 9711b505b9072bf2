//! Parts and manifests of checkpoints in memory.

use async_trait::async_trait;
use bytes::Bytes;
use turnpike_mutants::{Check, off};
use turnpike_types::{ClaimId, Epoch, PartitionId};

use super::database::MemoryDatabase;
use super::state::State;
use crate::checkpoints::{
    MANIFESTS_KEPT, OTHER_HASH, Parts, admits, bad_manifest, check_part_name, missing_part,
    part_differs, prunable_parts,
};
use crate::{CheckpointManifest, CheckpointPart, CheckpointStore, StoreResult};

#[async_trait]
impl CheckpointStore for MemoryDatabase {
    async fn put_checkpoint_part(
        &self,
        partition: PartitionId,
        part: &CheckpointPart,
    ) -> StoreResult<()> {
        self.state().put_checkpoint_part(partition, part)
    }

    async fn publish_checkpoint(
        &self,
        manifest: &CheckpointManifest,
        epoch: Epoch,
        claim: ClaimId,
    ) -> StoreResult<bool> {
        let _row = self.row_lock(manifest.partition).await?;
        self.state().publish_checkpoint(manifest, epoch, claim)
    }

    async fn checkpoints(&self, partition: PartitionId) -> StoreResult<Vec<CheckpointManifest>> {
        let state = self.state();
        // As in a table, a partition that does not exist has no checkpoints.
        Ok(state.partitions.get(&partition).map(|p| p.manifests.clone()).unwrap_or_default())
    }

    async fn checkpoint_part(
        &self,
        partition: PartitionId,
        name: &str,
    ) -> StoreResult<Option<Bytes>> {
        let state = self.state();
        let part = state.partitions.get(&partition).and_then(|p| p.parts.get(name));
        Ok(part.map(|part| part.body.clone()))
    }
}

impl State {
    fn put_checkpoint_part(
        &mut self,
        partition: PartitionId,
        part: &CheckpointPart,
    ) -> StoreResult<()> {
        check_part_name(&part.name)?;
        let parts = &mut self.partition_mut(partition)?.parts;
        match parts.get(&part.name) {
            Some(old) if old == part => Ok(()),
            Some(_) => Err(part_differs(&part.name)),
            None => {
                parts.insert(part.name.clone(), part.clone());
                Ok(())
            }
        }
    }

    fn publish_checkpoint(
        &mut self,
        manifest: &CheckpointManifest,
        epoch: Epoch,
        claim: ClaimId,
    ) -> StoreResult<bool> {
        let partition = self.partition_mut(manifest.partition)?;
        let newest = partition.manifests.first().map(|newest| newest.segment);
        if !admits(&partition.fence(), newest, manifest, epoch, claim)? {
            return Ok(false);
        }
        if partition.segment(manifest.segment).is_some_and(|row| row.hash != manifest.hash) {
            return Err(bad_manifest(manifest, OTHER_HASH));
        }
        let parts: Parts =
            partition.parts.values().map(|part| (part.name.clone(), part.segment)).collect();
        if let Some(missing) = missing_part(manifest, &parts)
            && !off(Check::CheckpointParts)
        {
            return Err(missing);
        }
        partition.manifests.insert(0, manifest.clone());
        partition.manifests.truncate(MANIFESTS_KEPT);
        for name in prunable_parts(&partition.manifests, parts) {
            partition.parts.remove(&name);
        }
        Ok(true)
    }
}
