//! Partitions, the catalogue of plans and tables, and consumers.

use std::sync::Arc;

use sqlx::sqlite::SqliteConnection;
use sqlx::{query, query_as};
use turnpike_types::{ClaimId, SegmentHash, Timestamp};

use super::SqliteDatabase;
use super::writer::Urgency;
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
    PublishOutcome, StoreResult,
};

const INSERT_VERSION: &str = "INSERT INTO catalogue \
     (catalogue_version, kind, id, version, starts, content_hash, form, row_count, bytes, body, \
      published_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
const INSERT_PUBLISHED_WITH: &str =
    "INSERT INTO published_with (catalogue_version, tz_database) VALUES ($1, $2)";

impl SqliteDatabase {
    pub(super) async fn create_all(&self, asked: &[PartitionSpec]) -> StoreResult<()> {
        let asked = asked.to_vec();
        self.writer.write(Urgency::Normal, CREATE, move |c| Box::pin(create(c, asked))).await
    }

    pub(super) async fn publish_version(&self, asked: &Publish) -> StoreResult<PublishOutcome> {
        let (asked, clock) = (asked.clone(), Arc::clone(&self.clock));
        self.writer
            // The clock is read under the write lock, so that the decision uses the time of the
            // write (P36).
            .write(Urgency::Normal, PUBLISH, move |c| {
                Box::pin(async move { publish(c, asked, clock()).await })
            })
            .await
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
        let rows = self.fetch_all(DOING, statement).await?;
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
        let rows = self.fetch_all(DOING, statement).await?;
        rows.into_iter().map(|row| catalogue_head(row, DOING)).collect()
    }

    pub(super) async fn register(&self, name: &str) -> StoreResult<()> {
        rules::check_consumer_name(name)?;
        let name = name.to_owned();
        self.writer.write(Urgency::Normal, REGISTER, move |c| Box::pin(register(c, name))).await
    }

    pub(super) async fn cursors(&self, name: &str) -> StoreResult<Vec<Consumer>> {
        const DOING: &str = "read cursors";
        let statement = query_as::<_, CursorTuple>(statements::CURSORS).bind(name);
        let rows = self.fetch_all(DOING, statement).await?;
        rows.iter().map(|row| consumer(name, row, DOING)).collect()
    }

    pub(super) async fn move_cursor(
        &self,
        from: &Consumer,
        to: &Consumer,
    ) -> StoreResult<CursorAck> {
        rules::check_cursors(from, to)?;
        let (from, to) = (from.clone(), to.clone());
        self.writer
            .write(Urgency::Normal, ACKNOWLEDGE, move |c| Box::pin(acknowledge(c, from, to)))
            .await
    }
}

const CREATE: &str = "create partitions";

async fn create(connection: &mut SqliteConnection, asked: Vec<PartitionSpec>) -> StoreResult<()> {
    let failed = |error: sqlx::Error| classify(CREATE, &error);
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

async fn insert(
    connection: &mut SqliteConnection,
    spec: &PartitionSpec,
) -> Result<(), sqlx::Error> {
    let id = stored_partition(spec.id);
    query(statements::INSERT_SPEC)
        .bind(id)
        .bind(stored(spec.range.first().0))
        .bind(stored(spec.range.last().0))
        .bind(spec.horizon_us)
        .bind(spec.accept_since.map(Timestamp::micros))
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

const PUBLISH: &str = "publish a version";

async fn publish(
    connection: &mut SqliteConnection,
    asked: Publish,
    now: Timestamp,
) -> StoreResult<PublishOutcome> {
    let failed = |error: sqlx::Error| classify(PUBLISH, &error);
    let rows: Vec<HeadTuple> = query_as(statements::VERSIONS)
        .bind(asked.kind.name())
        .bind(&asked.id)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    let heads: Vec<CatalogueHead> =
        rows.into_iter().map(|row| catalogue_head(row, PUBLISH)).collect::<Result<_, _>>()?;
    if let Judgement::Settled(outcome) = catalogue::judge(&heads, &asked, now)? {
        return Ok(outcome);
    }
    query("UPDATE store SET catalogue_version = catalogue_version + 1")
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let (version,): (i64,) = query_as(statements::CATALOGUE_VERSION)
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    query(INSERT_VERSION)
        .bind(version)
        .bind(asked.kind.name())
        .bind(&asked.id)
        .bind(i64::from(asked.version))
        .bind(&asked.starts)
        .bind(&asked.content_hash[..])
        .bind(&asked.form)
        .bind(stored(asked.rows))
        .bind(stored(asked.body.len() as u64))
        .bind(&asked.body)
        .bind(now.micros())
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    if let Some(tz_database) = &asked.tz_database {
        query(INSERT_PUBLISHED_WITH)
            .bind(version)
            .bind(tz_database)
            .execute(connection)
            .await
            .map_err(failed)?;
    }
    Ok(PublishOutcome::Published(loaded(version)))
}

const REGISTER: &str = "register a consumer";

async fn register(connection: &mut SqliteConnection, name: String) -> StoreResult<()> {
    let done = query(statements::REGISTER_CONSUMER)
        .bind(name)
        .bind(&SegmentHash::default().0[..])
        .execute(connection)
        .await;
    done.map(|_| ()).map_err(|error| classify(REGISTER, &error))
}

const ACKNOWLEDGE: &str = "acknowledge";

async fn acknowledge(
    connection: &mut SqliteConnection,
    from: Consumer,
    to: Consumer,
) -> StoreResult<CursorAck> {
    let failed = |error: sqlx::Error| classify(ACKNOWLEDGE, &error);
    let moved = query(statements::MOVE_CURSOR)
        .bind(&from.name)
        .bind(stored_partition(from.partition))
        .bind(stored(from.segment.0))
        .bind(stored(from.row))
        .bind(&from.hash.0[..])
        .bind(stored(to.segment.0))
        .bind(stored(to.row))
        .bind(&to.hash.0[..])
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    if moved.rows_affected() == 1 {
        return Ok(CursorAck::Moved);
    }
    let row: Option<CursorTuple> = query_as(statements::CURSOR)
        .bind(&from.name)
        .bind(stored_partition(from.partition))
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    match row {
        Some(row) => Ok(CursorAck::Elsewhere(consumer(&from.name, &row, ACKNOWLEDGE)?)),
        None => Ok(CursorAck::Unknown),
    }
}
