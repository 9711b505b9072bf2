//! Parts and manifests of checkpoints: statements, rows and steps.

use bytes::Bytes;
use turnpike_types::{PartitionId, SegmentNumber};

use super::statement::{SqlSession, SqlStatement};
use super::values::{hash, loaded, stored, stored_limit, stored_partition};
use crate::checkpoints::{MANIFESTS_KEPT, Parts, part_differs};
use crate::{CheckpointManifest, CheckpointPart, StoreError, StoreResult};

/// Parameters: partition, name, segment, body. Inserts no row if the part exists or the partition
/// does not.
const PUT_PART: &str = "INSERT INTO checkpoint_parts (partition, name, segment, body) \
     SELECT $1, $2, $3, $4 FROM partition_specs WHERE id = $1 ON CONFLICT DO NOTHING";

/// Parameters: partition, name, segment, body. Returns whether the stored part is equal.
const SAME_PART: &str = "SELECT segment = $3 AND body = $4 FROM checkpoint_parts \
     WHERE partition = $1 AND name = $2";

/// Parameters: partition, name. Returns body.
const PART: &str = "SELECT body FROM checkpoint_parts WHERE partition = $1 AND name = $2";

/// Parameter: partition. Returns name and segment.
const PART_NAMES: &str =
    "SELECT name, segment FROM checkpoint_parts WHERE partition = $1 ORDER BY segment, name";

/// Parameters: partition, name.
const DELETE_PART: &str = "DELETE FROM checkpoint_parts WHERE partition = $1 AND name = $2";

/// Parameter: partition. Returns a [`ManifestTuple`] for each manifest,
/// newest first.
const MANIFESTS: &str = "SELECT segment, hash, parts, summary \
     FROM checkpoint_manifests WHERE partition = $1 ORDER BY segment DESC";

/// Parameters: partition, the number of manifests to keep.
const PRUNE_MANIFESTS: &str = "DELETE FROM checkpoint_manifests WHERE partition = $1 AND segment NOT IN \
     (SELECT segment FROM checkpoint_manifests WHERE partition = $1 \
      ORDER BY segment DESC LIMIT $2)";

pub(crate) const PUTTING: &str = "write a checkpoint part";

/// Columns: segment, hash, parts, summary.
type ManifestTuple = (i64, Vec<u8>, String, Vec<u8>);

/// Inserts a part, unless it exists already.
pub(crate) async fn put_part(
    session: &mut impl SqlSession,
    partition: PartitionId,
    part: &CheckpointPart,
) -> StoreResult<()> {
    let with = |statement| {
        SqlStatement::new(statement)
            .bind(stored_partition(partition))
            .bind(part.name.as_str())
            .bind(stored(part.segment.0))
            .bind(&part.body[..])
    };
    if session.execute(PUTTING, with(PUT_PART)).await? == 1 {
        return Ok(());
    }
    match session.row(PUTTING, with(SAME_PART)).await? {
        Some((true,)) => Ok(()),
        Some((false,)) => Err(part_differs(&part.name)),
        None => Err(StoreError::no_partition(partition)),
    }
}

/// The bytes of a part.
pub(crate) async fn part(
    session: &mut impl SqlSession,
    partition: PartitionId,
    name: &str,
) -> StoreResult<Option<Bytes>> {
    let statement = SqlStatement::new(PART).bind(stored_partition(partition)).bind(name);
    let row: Option<(Vec<u8>,)> = session.row("read a checkpoint part", statement).await?;
    Ok(row.map(|(body,)| Bytes::from(body)))
}

/// The parts of a partition.
pub(crate) async fn parts(
    session: &mut impl SqlSession,
    doing: &'static str,
    partition: PartitionId,
) -> StoreResult<Parts> {
    let statement = SqlStatement::new(PART_NAMES).bind(stored_partition(partition));
    let rows: Vec<(String, i64)> = session.rows(doing, statement).await?;
    Ok(rows.into_iter().map(|(name, segment)| (name, SegmentNumber(loaded(segment)))).collect())
}

/// The retained manifests of a partition, newest first. There may be more rows: the last pruning may
/// have failed.
pub(crate) async fn manifests(
    session: &mut impl SqlSession,
    doing: &'static str,
    partition: PartitionId,
) -> StoreResult<Vec<CheckpointManifest>> {
    let statement = SqlStatement::new(MANIFESTS).bind(stored_partition(partition));
    let rows = session.rows(doing, statement).await?;
    rows.into_iter().take(MANIFESTS_KEPT).map(|row| manifest(partition, row, doing)).collect()
}

/// Deletes all manifests but the newest ones.
pub(crate) async fn prune_manifests(
    session: &mut impl SqlSession,
    doing: &'static str,
    partition: PartitionId,
) -> StoreResult<()> {
    let statement = SqlStatement::new(PRUNE_MANIFESTS)
        .bind(stored_partition(partition))
        .bind(stored_limit(MANIFESTS_KEPT));
    session.execute(doing, statement).await?;
    Ok(())
}

/// Deletes parts by their names.
pub(crate) async fn delete_parts(
    session: &mut impl SqlSession,
    doing: &'static str,
    partition: PartitionId,
    names: &[String],
) -> StoreResult<()> {
    for name in names {
        let statement =
            SqlStatement::new(DELETE_PART).bind(stored_partition(partition)).bind(name.as_str());
        session.execute(doing, statement).await?;
    }
    Ok(())
}

fn manifest(
    partition: PartitionId,
    row: ManifestTuple,
    doing: &'static str,
) -> StoreResult<CheckpointManifest> {
    let (segment, own_hash, parts, summary) = row;
    Ok(CheckpointManifest {
        partition,
        segment: SegmentNumber(loaded(segment)),
        hash: hash(&own_hash, doing)?,
        parts: parts.lines().map(str::to_owned).collect(),
        summary: Bytes::from(summary),
    })
}
