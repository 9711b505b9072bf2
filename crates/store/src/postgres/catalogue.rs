//! Partitions, the catalogue of plans and tables, and consumers.

use sqlx::postgres::PgConnection;
use sqlx::{query, query_as};
use turnpike_types::{ClaimId, SegmentHash, Timestamp};

use super::session::TOPOLOGY_LOCK;
use super::{APPEND_LIMIT, BULK_LIMIT, PostgresDatabase};
use crate::catalogue::{self, CATALOGUE_BYTES_MAX, CATALOGUE_HEADS_MAX, Judgement};
use crate::rules;
use crate::sql::errors::classify;
use crate::sql::rows::{
    CatalogueTuple, CursorTuple, HeadTuple, catalogue_entry, catalogue_head, consumer, loaded,
    stored, stored_partition,
};
use crate::sql::statements;
use crate::sql::topology::specs;
use crate::{
    CatalogueEntry, CatalogueHead, CatalogueKind, Consumer, CursorAck, PartitionSpec, Publish,
    PublishOutcome, StoreError, StoreResult,
};

const PUBLISH: &str = include_str!("publish.sql");
/// Returns the catalogue's version, and the clock.
const STANDS_AT: &str = "SELECT catalogue_version, \
     (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM store";

const PUBLISHING: &str = "publish a version";
/// The most attempts of a publication; another publication in between makes an attempt fail.
const PUBLISH_TRIES_MAX: usize = 100;

impl PostgresDatabase {
    pub(super) async fn create_all(&self, asked: &[PartitionSpec]) -> StoreResult<()> {
        let asked = asked.to_vec();
        let lease = self.bulk.lease(CREATE, BULK_LIMIT).await?;
        lease.transaction(move |connection| Box::pin(create(connection, asked))).await
    }

    pub(super) async fn publish_version(&self, publish: &Publish) -> StoreResult<PublishOutcome> {
        for _ in 0..PUBLISH_TRIES_MAX {
            // The version is read before the heads: a publication after this read makes the insert
            // fail.
            let lease = self.bulk.lease(PUBLISHING, APPEND_LIMIT).await?;
            let (stands_at, now): (i64, i64) = lease.fetch_one(query_as(STANDS_AT)).await?;
            let heads = self.versions_of(publish.kind, &publish.id).await?;
            let before = match catalogue::judge(&heads, publish, Timestamp(now))? {
                Judgement::Settled(outcome) => return Ok(outcome),
                Judgement::GoesIn { before } => before,
            };
            if self.insert_version(stands_at, publish, before).await? {
                return Ok(PublishOutcome::Published(loaded(stands_at) + 1));
            }
        }
        let cause = "each attempt was overtaken by another publication; try again".to_owned();
        Err(StoreError::Unavailable { doing: PUBLISHING, cause })
    }

    async fn versions_of(&self, kind: CatalogueKind, id: &str) -> StoreResult<Vec<CatalogueHead>> {
        let statement = query_as::<_, HeadTuple>(statements::VERSIONS).bind(kind.name()).bind(id);
        let rows = self.bulk.lease(PUBLISHING, APPEND_LIMIT).await?.fetch_all(statement).await?;
        rows.into_iter().map(|row| catalogue_head(row, PUBLISHING)).collect()
    }

    /// Inserts the version. Returns `false` when the catalogue's version is no longer `stands_at`,
    /// or the clock has reached `before`.
    async fn insert_version(
        &self,
        stands_at: i64,
        publish: &Publish,
        before: Timestamp,
    ) -> StoreResult<bool> {
        let statement = query(PUBLISH)
            .bind(stands_at)
            .bind(publish.kind.name())
            .bind(&publish.id)
            .bind(i64::from(publish.version))
            .bind(&publish.starts)
            .bind(&publish.content_hash[..])
            .bind(&publish.form)
            .bind(stored(publish.rows))
            .bind(stored(publish.body.len() as u64))
            .bind(&publish.body)
            .bind(before.micros())
            .bind(&publish.tz_database);
        let lease = self.bulk.lease(PUBLISHING, BULK_LIMIT).await?;
        Ok(lease.execute(statement).await? == 1)
    }

    pub(super) async fn catalogue_after(
        &self,
        after: u64,
        most: usize,
    ) -> StoreResult<Vec<CatalogueEntry>> {
        const DOING: &str = "read the catalogue";
        let statement = query_as::<_, CatalogueTuple>(statements::CATALOGUE_SINCE)
            .bind(stored(after))
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .bind(i64::try_from(CATALOGUE_BYTES_MAX).unwrap_or(i64::MAX));
        let rows = self.bulk.lease(DOING, BULK_LIMIT).await?.fetch_all(statement).await?;
        rows.into_iter().map(|row| catalogue_entry(row, DOING)).collect()
    }

    pub(super) async fn heads_after(
        &self,
        kind: CatalogueKind,
        id: Option<&str>,
        after: u64,
    ) -> StoreResult<Vec<CatalogueHead>> {
        const DOING: &str = "list the catalogue";
        let statement = query_as::<_, HeadTuple>(statements::CATALOGUE_HEADS)
            .bind(kind.name())
            .bind(id)
            .bind(stored(after))
            .bind(i64::try_from(CATALOGUE_HEADS_MAX).unwrap_or(i64::MAX));
        let rows = self.bulk.lease(DOING, BULK_LIMIT).await?.fetch_all(statement).await?;
        rows.into_iter().map(|row| catalogue_head(row, DOING)).collect()
    }

    pub(super) async fn register(&self, name: &str) -> StoreResult<()> {
        rules::check_consumer_name(name)?;
        let statement =
            query(statements::REGISTER_CONSUMER).bind(name).bind(&SegmentHash::default().0[..]);
        let lease = self.bulk.lease("register a consumer", APPEND_LIMIT).await?;
        lease.execute(statement).await.map(|_| ())
    }

    pub(super) async fn cursors(&self, name: &str) -> StoreResult<Vec<Consumer>> {
        const DOING: &str = "read cursors";
        let statement = query_as::<_, CursorTuple>(statements::CURSORS).bind(name);
        let rows = self.bulk.lease(DOING, APPEND_LIMIT).await?.fetch_all(statement).await?;
        rows.iter().map(|row| consumer(name, row, DOING)).collect()
    }

    pub(super) async fn move_cursor(
        &self,
        from: &Consumer,
        to: &Consumer,
    ) -> StoreResult<CursorAck> {
        const DOING: &str = "acknowledge";
        rules::check_cursors(from, to)?;
        let statement = query(statements::MOVE_CURSOR)
            .bind(&from.name)
            .bind(stored_partition(from.partition))
            .bind(stored(from.segment.0))
            .bind(stored(from.row))
            .bind(&from.hash.0[..])
            .bind(stored(to.segment.0))
            .bind(stored(to.row))
            .bind(&to.hash.0[..]);
        if self.bulk.lease(DOING, APPEND_LIMIT).await?.execute(statement).await? == 1 {
            return Ok(CursorAck::Moved);
        }
        let statement = query_as::<_, CursorTuple>(statements::CURSOR)
            .bind(&from.name)
            .bind(stored_partition(from.partition));
        let lease = self.bulk.lease(DOING, APPEND_LIMIT).await?;
        match lease.fetch_optional(statement).await? {
            Some(row) => Ok(CursorAck::Elsewhere(consumer(&from.name, &row, DOING)?)),
            None => Ok(CursorAck::Unknown),
        }
    }
}

const CREATE: &str = "create partitions";

/// Creates partitions under an advisory lock, which only creation and migrations take.
async fn create(connection: &mut PgConnection, asked: Vec<PartitionSpec>) -> StoreResult<()> {
    let failed = |error: sqlx::Error| classify(CREATE, &error);
    lock(connection, TOPOLOGY_LOCK).await.map_err(failed)?;
    let rows = query_as(statements::SPECS).fetch_all(&mut *connection).await.map_err(failed)?;
    let members =
        query_as(statements::MEMBERS).fetch_all(&mut *connection).await.map_err(failed)?;
    let existing: Vec<PartitionSpec> = specs(rows, members, CREATE)?.into_values().collect();
    let new = rules::new_partitions(&existing, &asked)?;
    if new.is_empty() {
        return Ok(());
    }
    for spec in new {
        insert(connection, &spec).await.map_err(failed)?;
    }
    query(statements::TOPOLOGY_CHANGED).execute(connection).await.map_err(failed)?;
    Ok(())
}

async fn insert(connection: &mut PgConnection, spec: &PartitionSpec) -> Result<(), sqlx::Error> {
    let id = stored_partition(spec.id);
    query(statements::INSERT_SPEC)
        .bind(id)
        .bind(stored(spec.range.first().0))
        .bind(stored(spec.range.last().0))
        .bind(spec.horizon_us)
        .bind(spec.accept_since.map(|since| since.micros()))
        .execute(&mut *connection)
        .await?;
    for member in &spec.members {
        query(statements::INSERT_MEMBER)
            .bind(id)
            .bind(&member.node.0)
            .bind(i64::from(member.priority.0))
            .execute(&mut *connection)
            .await?;
    }
    query(statements::INSERT_PARTITION)
        .bind(id)
        .bind(&ClaimId::default().0[..])
        .bind(&SegmentHash::default().0[..])
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn lock(connection: &mut PgConnection, lock: i64) -> Result<(), sqlx::Error> {
    query("SELECT pg_advisory_xact_lock($1)").bind(lock).execute(connection).await.map(|_| ())
}
