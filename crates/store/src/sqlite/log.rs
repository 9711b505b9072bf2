//! Segments of the log, and checkpoints.

use bytes::Bytes;
use sqlx::sqlite::SqliteConnection;
use sqlx::{query, query_as};
use turnpike_types::{ClaimId, Epoch, PartitionId, SegmentNumber};

use super::SqliteDatabase;
use super::ownership::fence_of;
use super::writer::Urgency;
use crate::rules::{self, MANIFESTS_KEPT, POSTING_BYTES_MAX};
use crate::sql::errors::classify;
use crate::sql::rows::{
    ManifestTuple, SegmentTuple, loaded, manifest, segment_row, stored, stored_partition,
};
use crate::sql::statements;
use crate::{
    AppendOutcome, AppendSegment, CheckpointManifest, CheckpointPart, SegmentRow, StoreError,
    StoreResult,
};

const FENCE: &str = include_str!("fence.sql");
const READ_SEGMENTS: &str = include_str!("read_segments.sql");
const POSTING_SEGMENTS: &str = include_str!("posting_segments.sql");
const INSERT_SEGMENT: &str = "INSERT INTO segments (partition, segment, epoch, prev_hash, hash, body, postings) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)";
const INSERT_MANIFEST: &str = "INSERT INTO checkpoint_manifests (partition, segment, hash, parts, summary) \
     VALUES ($1, $2, $3, $4, $5)";

impl SqliteDatabase {
    pub(super) async fn append_one(&self, append: &AppendSegment) -> StoreResult<AppendOutcome> {
        // Cloning shares the body and does not copy it.
        let append = append.clone();
        self.writer
            .write(Urgency::Normal, APPEND, move |c| Box::pin(write_segment(c, append)))
            .await
    }

    pub(super) async fn read_tail(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        bytes_max: usize,
    ) -> StoreResult<Vec<SegmentRow>> {
        const DOING: &str = "read segments";
        let statement = query_as::<_, SegmentTuple>(READ_SEGMENTS)
            .bind(stored_partition(partition))
            .bind(stored(after.0))
            .bind(i64::try_from(bytes_max).unwrap_or(i64::MAX));
        let rows = self.fetch_all(DOING, statement).await?;
        rows.into_iter().map(|row| segment_row(row, DOING)).collect()
    }

    pub(super) async fn read_postings(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        most: usize,
    ) -> StoreResult<Vec<SegmentRow>> {
        const DOING: &str = "read segments with postings";
        let statement = query_as::<_, SegmentTuple>(POSTING_SEGMENTS)
            .bind(stored_partition(partition))
            .bind(stored(after.0))
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .bind(i64::try_from(POSTING_BYTES_MAX).unwrap_or(i64::MAX));
        let rows = self.fetch_all(DOING, statement).await?;
        rows.into_iter().map(|row| segment_row(row, DOING)).collect()
    }

    pub(super) async fn put_part(
        &self,
        partition: PartitionId,
        part: &CheckpointPart,
    ) -> StoreResult<()> {
        rules::check_part_name(&part.name)?;
        let part = part.clone();
        self.writer
            .write(Urgency::Normal, PUT_PART, move |c| Box::pin(write_part(c, partition, part)))
            .await
    }

    pub(super) async fn publish_manifest(
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

    pub(super) async fn manifests(
        &self,
        partition: PartitionId,
    ) -> StoreResult<Vec<CheckpointManifest>> {
        const DOING: &str = "read checkpoints";
        let statement =
            query_as::<_, ManifestTuple>(statements::MANIFESTS).bind(stored_partition(partition));
        let rows = self.fetch_all(DOING, statement).await?;
        rows.into_iter().map(|row| manifest(partition, row, DOING)).collect()
    }

    pub(super) async fn part(
        &self,
        partition: PartitionId,
        name: &str,
    ) -> StoreResult<Option<Bytes>> {
        let statement = query_as::<_, (Vec<u8>,)>(statements::PART)
            .bind(stored_partition(partition))
            .bind(name);
        let row = self.fetch_optional("read a checkpoint part", statement).await?;
        Ok(row.map(|(body,)| Bytes::from(body)))
    }
}

const APPEND: &str = "append";

async fn write_segment(
    connection: &mut SqliteConnection,
    append: AppendSegment,
) -> StoreResult<AppendOutcome> {
    let failed = |error: sqlx::Error| classify(APPEND, &error);
    let (partition, epoch) = (stored_partition(append.partition), stored(append.epoch.number()));
    let passed = query(FENCE)
        .bind(partition)
        .bind(epoch)
        .bind(stored(append.segment.0))
        .bind(&append.claim.0[..])
        .bind(&append.prev_hash.0[..])
        .bind(&append.hash.0[..])
        .bind(append.has_postings)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    if passed.rows_affected() != 1 {
        let (fence, _) = fence_of(connection, append.partition, APPEND).await?;
        return fence.judge(&append).ok_or_else(|| StoreError::Corrupt {
            doing: APPEND,
            cause: "the fence refused the append, but the partition's row shows no reason"
                .to_owned(),
        });
    }
    query(INSERT_SEGMENT)
        .bind(partition)
        .bind(stored(append.segment.0))
        .bind(epoch)
        .bind(&append.prev_hash.0[..])
        .bind(&append.hash.0[..])
        .bind(&append.body[..])
        .bind(append.has_postings)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(AppendOutcome::Committed)
}

const PUT_PART: &str = "write a checkpoint part";

async fn write_part(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    part: CheckpointPart,
) -> StoreResult<()> {
    let failed = |error: sqlx::Error| classify(PUT_PART, &error);
    let done = query(statements::PUT_PART)
        .bind(stored_partition(partition))
        .bind(&part.name)
        .bind(stored(part.segment.0))
        .bind(&part.body[..])
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    if done.rows_affected() == 1 {
        return Ok(());
    }
    let same: Option<(bool,)> = query_as(statements::SAME_PART)
        .bind(stored_partition(partition))
        .bind(&part.name)
        .bind(stored(part.segment.0))
        .bind(&part.body[..])
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    match same {
        Some((true,)) => Ok(()),
        Some((false,)) => Err(rules::part_differs(&part.name)),
        None => Err(rules::no_partition(partition)),
    }
}

const PUBLISH: &str = "publish a checkpoint";

/// Publishes a checkpoint: checks the fence, the order of checkpoints and the manifest, writes the
/// manifest, and deletes old manifests and parts, all under the write lock.
async fn write_manifest(
    connection: &mut SqliteConnection,
    published: CheckpointManifest,
    epoch: Epoch,
    claim: ClaimId,
) -> StoreResult<bool> {
    let failed = |error: sqlx::Error| classify(PUBLISH, &error);
    let partition = stored_partition(published.partition);
    let segment = stored(published.segment.0);
    let (fence, newest) = fence_of(connection, published.partition, PUBLISH).await?;
    if fence.epoch != epoch || fence.claim != claim || newest >= Some(published.segment) {
        return Ok(false);
    }
    if fence.position.next <= published.segment {
        return Err(rules::bad_manifest(&published, rules::NOT_APPENDED));
    }
    let logged: Option<(Vec<u8>,)> = query_as(statements::SEGMENT_HASH)
        .bind(partition)
        .bind(segment)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?;
    if logged.is_some_and(|(hash,)| hash != published.hash.0) {
        return Err(rules::bad_manifest(&published, rules::OTHER_HASH));
    }
    let parts = part_names(connection, partition).await.map_err(failed)?;
    if let Some(missing) = rules::missing_part(&published, &parts) {
        return Err(missing);
    }
    query(INSERT_MANIFEST)
        .bind(partition)
        .bind(segment)
        .bind(&published.hash.0[..])
        .bind(published.parts.join("\n"))
        .bind(&published.summary[..])
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    query("UPDATE partitions SET checkpoint_segment = $2 WHERE id = $1")
        .bind(partition)
        .bind(segment)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    prune(connection, published.partition, parts).await?;
    Ok(true)
}

async fn part_names(
    connection: &mut SqliteConnection,
    partition: i64,
) -> Result<rules::Parts, sqlx::Error> {
    let rows: Vec<(String, i64)> =
        query_as(statements::PART_NAMES).bind(partition).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(name, segment)| (name, SegmentNumber(loaded(segment)))).collect())
}

async fn prune(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    parts: rules::Parts,
) -> StoreResult<()> {
    let failed = |error: sqlx::Error| classify(PUBLISH, &error);
    let id = stored_partition(partition);
    query(statements::PRUNE_MANIFESTS)
        .bind(id)
        .bind(i64::try_from(MANIFESTS_KEPT).unwrap_or(i64::MAX))
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let rows: Vec<ManifestTuple> = query_as(statements::MANIFESTS)
        .bind(id)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    let retained: Vec<CheckpointManifest> =
        rows.into_iter().map(|row| manifest(partition, row, PUBLISH)).collect::<Result<_, _>>()?;
    for name in rules::prunable_parts(&retained, parts) {
        query(statements::DELETE_PART)
            .bind(id)
            .bind(&name)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    Ok(())
}
