//! Checkpoints (P22): parts, manifests, pruning.

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::query;
use turnpike_types::{ClaimId, Epoch, PartitionId};

use super::database::{APPEND_LIMIT, BULK_LIMIT, PostgresDatabase};
use crate::checkpoints::{
    OTHER_HASH, admits, bad_manifest, check_part_name, missing_part, prunable_parts,
};
use crate::sql::checkpoints;
use crate::sql::values::{stored, stored_partition};
use crate::{CheckpointManifest, CheckpointPart, CheckpointStore, StoreResult};

const PUBLISH: &str = include_str!("publish_checkpoint.sql");

const LIST: &str = "list checkpoint parts";

#[async_trait]
impl CheckpointStore for PostgresDatabase {
    async fn put_checkpoint_part(
        &self,
        partition: PartitionId,
        part: &CheckpointPart,
    ) -> StoreResult<()> {
        check_part_name(&part.name)?;
        checkpoints::put_part(&mut self.bulk.autocommit(BULK_LIMIT), partition, part).await
    }

    async fn publish_checkpoint(
        &self,
        manifest: &CheckpointManifest,
        epoch: Epoch,
        claim: ClaimId,
    ) -> StoreResult<bool> {
        const DOING: &str = "publish a checkpoint";
        let publish = query(PUBLISH)
            .bind(stored_partition(manifest.partition))
            .bind(stored(epoch.number()))
            .bind(&claim.0[..])
            .bind(stored(manifest.segment.0))
            .bind(&manifest.hash.0[..])
            .bind(manifest.parts.join("\n"))
            .bind(&manifest.summary[..]);
        if self.log.lease(DOING, APPEND_LIMIT).await?.execute(publish).await? == 0 {
            return self.why_not_published(manifest, epoch, claim).await;
        }
        // The checkpoint is published even if pruning fails; the next publication prunes again.
        if let Err(error) = self.prune(manifest.partition).await {
            tracing::warn!(
                partition = %manifest.partition,
                %error,
                "old checkpoints could not be pruned; the next checkpoint tries again"
            );
        }
        Ok(true)
    }

    async fn checkpoints(&self, partition: PartitionId) -> StoreResult<Vec<CheckpointManifest>> {
        let mut bulk = self.bulk.autocommit(BULK_LIMIT);
        checkpoints::manifests(&mut bulk, "read checkpoints", partition).await
    }

    async fn checkpoint_part(
        &self,
        partition: PartitionId,
        name: &str,
    ) -> StoreResult<Option<Bytes>> {
        checkpoints::part(&mut self.bulk.autocommit(BULK_LIMIT), partition, name).await
    }
}

impl PostgresDatabase {
    /// Finds why the statement published nothing. Returns `false` when the fence refused the
    /// manifest or a checkpoint that is not older is published, and an error when the manifest
    /// itself is wrong.
    async fn why_not_published(
        &self,
        manifest: &CheckpointManifest,
        epoch: Epoch,
        claim: ClaimId,
    ) -> StoreResult<bool> {
        let (fence, newest) = self.fence_of(manifest.partition, "publish a checkpoint").await?;
        if !admits(&fence, newest, manifest, epoch, claim)? {
            return Ok(false);
        }
        let mut bulk = self.bulk.autocommit(BULK_LIMIT);
        let parts = checkpoints::parts(&mut bulk, LIST, manifest.partition).await?;
        let missing = missing_part(manifest, &parts);
        Err(missing.unwrap_or_else(|| bad_manifest(manifest, OTHER_HASH)))
    }

    async fn prune(&self, partition: PartitionId) -> StoreResult<()> {
        const DOING: &str = "prune checkpoints";
        let mut bulk = self.bulk.autocommit(BULK_LIMIT);
        checkpoints::prune_manifests(&mut bulk, DOING, partition).await?;
        let retained = self.checkpoints(partition).await?;
        let parts = checkpoints::parts(&mut bulk, LIST, partition).await?;
        let prunable = prunable_parts(&retained, parts);
        checkpoints::delete_parts(&mut bulk, DOING, partition, &prunable).await
    }
}
