//! Checkpoints (P22): parts, manifests, pruning.

use bytes::Bytes;
use sqlx::{query, query_as};
use turnpike_types::{ClaimId, Epoch, PartitionId};

use super::{APPEND_LIMIT, BULK_LIMIT, PostgresDatabase};
use crate::rules::{self, MANIFESTS_KEPT};
use crate::sql::rows::{ManifestTuple, loaded, manifest, stored, stored_partition};
use crate::sql::statements;
use crate::{CheckpointManifest, CheckpointPart, StoreError, StoreResult};

const PUBLISH: &str = include_str!("publish_checkpoint.sql");

impl PostgresDatabase {
    pub(super) async fn put_part(
        &self,
        partition: PartitionId,
        part: &CheckpointPart,
    ) -> StoreResult<()> {
        const DOING: &str = "write a checkpoint part";
        rules::check_part_name(&part.name)?;
        let insert = query(statements::PUT_PART)
            .bind(stored_partition(partition))
            .bind(&part.name)
            .bind(stored(part.segment.0))
            .bind(&part.body[..]);
        if self.bulk.lease(DOING, BULK_LIMIT).await?.execute(insert).await? == 1 {
            return Ok(());
        }
        let compare = query_as::<_, (bool,)>(statements::SAME_PART)
            .bind(stored_partition(partition))
            .bind(&part.name)
            .bind(stored(part.segment.0))
            .bind(&part.body[..]);
        match self.bulk.lease(DOING, BULK_LIMIT).await?.fetch_optional(compare).await? {
            Some((true,)) => Ok(()),
            Some((false,)) => Err(rules::part_differs(&part.name)),
            None => Err(rules::no_partition(partition)),
        }
    }

    pub(super) async fn publish_manifest(
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

    /// Finds why the statement published nothing. Returns `false` when the fence refused the
    /// manifest or a checkpoint that is not older is published, and an error when the manifest
    /// itself is wrong.
    async fn why_not_published(
        &self,
        manifest: &CheckpointManifest,
        epoch: Epoch,
        claim: ClaimId,
    ) -> StoreResult<bool> {
        const DOING: &str = "publish a checkpoint";
        let (fence, newest) = self.fence_of(manifest.partition, DOING).await?;
        if fence.epoch != epoch || fence.claim != claim || newest >= Some(manifest.segment) {
            return Ok(false);
        }
        if fence.position.next <= manifest.segment {
            return Err(rules::bad_manifest(manifest, rules::NOT_APPENDED));
        }
        let parts = self.part_names(manifest.partition).await?;
        match rules::missing_part(manifest, &parts) {
            Some(missing) => Err(missing),
            None => Err(rules::bad_manifest(manifest, rules::OTHER_HASH)),
        }
    }

    async fn part_names(&self, partition: PartitionId) -> StoreResult<rules::Parts> {
        const DOING: &str = "list checkpoint parts";
        let statement =
            query_as::<_, (String, i64)>(statements::PART_NAMES).bind(stored_partition(partition));
        let rows = self.bulk.lease(DOING, BULK_LIMIT).await?.fetch_all(statement).await?;
        let part = |(name, segment)| (name, turnpike_types::SegmentNumber(loaded(segment)));
        Ok(rows.into_iter().map(part).collect())
    }

    async fn prune(&self, partition: PartitionId) -> StoreResult<()> {
        const DOING: &str = "prune checkpoints";
        let kept = i64::try_from(MANIFESTS_KEPT).unwrap_or(i64::MAX);
        let old = query(statements::PRUNE_MANIFESTS).bind(stored_partition(partition)).bind(kept);
        self.bulk.lease(DOING, BULK_LIMIT).await?.execute(old).await?;
        let retained = self.manifests(partition).await?;
        let parts = self.part_names(partition).await?;
        for name in rules::prunable_parts(&retained, parts) {
            let part = query(statements::DELETE_PART).bind(stored_partition(partition)).bind(&name);
            self.bulk.lease(DOING, BULK_LIMIT).await?.execute(part).await?;
        }
        Ok(())
    }

    pub(super) async fn manifests(
        &self,
        partition: PartitionId,
    ) -> StoreResult<Vec<CheckpointManifest>> {
        const DOING: &str = "read checkpoints";
        let statement =
            query_as::<_, ManifestTuple>(statements::MANIFESTS).bind(stored_partition(partition));
        let rows = self.bulk.lease(DOING, BULK_LIMIT).await?.fetch_all(statement).await?;
        rows.into_iter().take(MANIFESTS_KEPT).map(|row| manifest(partition, row, DOING)).collect()
    }

    pub(super) async fn part(
        &self,
        partition: PartitionId,
        name: &str,
    ) -> Result<Option<Bytes>, StoreError> {
        let statement = query_as::<_, (Vec<u8>,)>(statements::PART)
            .bind(stored_partition(partition))
            .bind(name);
        let lease = self.bulk.lease("read a checkpoint part", BULK_LIMIT).await?;
        Ok(lease.fetch_optional(statement).await?.map(|(body,)| Bytes::from(body)))
    }
}
