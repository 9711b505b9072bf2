//! Checkpoints (P22): parts, manifests, pruning.

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::sqlite::SqliteConnection;
use turnpike_types::{ClaimId, Epoch, PartitionId};

use super::database::SqliteDatabase;
use super::writer::Urgency;
use crate::checkpoints::{
    OTHER_HASH, admits, bad_manifest, check_part_name, missing_part, prunable_parts,
};
use crate::sql::checkpoints::{self, PUTTING};
use crate::sql::ownership::fence_of;
use crate::sql::statement::{SqlSession, SqlStatement};
use crate::sql::values::{stored, stored_partition};
use crate::{CheckpointManifest, CheckpointPart, CheckpointStore, StoreResult};

/// Parameters: partition, segment. Returns hash.
const SEGMENT_HASH: &str = "SELECT hash FROM segments WHERE partition = $1 AND segment = $2";
/// Parameters: partition, segment, hash, parts, summary.
const INSERT_MANIFEST: &str = "INSERT INTO checkpoint_manifests (partition, segment, hash, parts, summary) \
     VALUES ($1, $2, $3, $4, $5)";
/// Parameters: partition, segment.
const MOVE_CHECKPOINT: &str = "UPDATE partitions SET checkpoint_segment = $2 WHERE id = $1";

const PUBLISH: &str = "publish a checkpoint";

#[async_trait]
impl CheckpointStore for SqliteDatabase {
    async fn put_checkpoint_part(
        &self,
        partition: PartitionId,
        part: &CheckpointPart,
    ) -> StoreResult<()> {
        check_part_name(&part.name)?;
        let part = part.clone();
        self.writer
            .write(Urgency::Normal, PUTTING, move |c| {
                Box::pin(async move { checkpoints::put_part(c, partition, &part).await })
            })
            .await
    }

    async fn publish_checkpoint(
        &self,
        manifest: &CheckpointManifest,
        epoch: Epoch,
        claim: ClaimId,
    ) -> StoreResult<bool> {
        let manifest = manifest.clone();
        self.writer
            .write(Urgency::Normal, PUBLISH, move |c| {
                Box::pin(write_manifest(c, manifest, epoch, claim))
            })
            .await
    }

    async fn checkpoints(&self, partition: PartitionId) -> StoreResult<Vec<CheckpointManifest>> {
        checkpoints::manifests(&mut self.reading(), "read checkpoints", partition).await
    }

    async fn checkpoint_part(
        &self,
        partition: PartitionId,
        name: &str,
    ) -> StoreResult<Option<Bytes>> {
        checkpoints::part(&mut self.reading(), partition, name).await
    }
}

/// Publishes a checkpoint: checks the fence, the order of checkpoints and the manifest, writes the
/// manifest, and deletes old manifests and parts, all under the write lock.
async fn write_manifest(
    connection: &mut SqliteConnection,
    published: CheckpointManifest,
    epoch: Epoch,
    claim: ClaimId,
) -> StoreResult<bool> {
    let partition = published.partition;
    let (id, segment) = (stored_partition(partition), stored(published.segment.0));
    let (fence, newest) = fence_of(connection, partition, PUBLISH).await?;
    if !admits(&fence, newest, &published, epoch, claim)? {
        return Ok(false);
    }
    let hash = SqlStatement::new(SEGMENT_HASH).bind(id).bind(segment);
    let logged: Option<(Vec<u8>,)> = connection.row(PUBLISH, hash).await?;
    if logged.is_some_and(|(hash,)| hash != published.hash.0) {
        return Err(bad_manifest(&published, OTHER_HASH));
    }
    let parts = checkpoints::parts(connection, PUBLISH, partition).await?;
    if let Some(missing) = missing_part(&published, &parts) {
        return Err(missing);
    }
    let insert = SqlStatement::new(INSERT_MANIFEST)
        .bind(id)
        .bind(segment)
        .bind(&published.hash.0[..])
        .bind(published.parts.join("\n"))
        .bind(&published.summary[..]);
    connection.execute(PUBLISH, insert).await?;
    let newest = SqlStatement::new(MOVE_CHECKPOINT).bind(id).bind(segment);
    connection.execute(PUBLISH, newest).await?;
    checkpoints::prune_manifests(connection, PUBLISH, partition).await?;
    let retained = checkpoints::manifests(connection, PUBLISH, partition).await?;
    let prunable = prunable_parts(&retained, parts);
    checkpoints::delete_parts(connection, PUBLISH, partition, &prunable).await?;
    Ok(true)
}
