//! The catalogue of plans and tables.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;
use turnpike_types::Timestamp;

use super::database::SqliteDatabase;
use super::writer::Urgency;
use crate::catalogue::{Judgement, judge};
use crate::sql::catalogue::{self, PUBLISHING};
use crate::sql::errors::corrupt;
use crate::sql::statement::{SqlSession, SqlStatement};
use crate::sql::values::loaded;
use crate::{
    CatalogueEntry, CatalogueHead, CatalogueKind, CatalogueStore, CatalogueTotals, Publish,
    PublishOutcome, StoreResult,
};

/// No parameters.
const NEXT_VERSION: &str = "UPDATE store SET catalogue_version = catalogue_version + 1";
/// Returns catalogue_version.
const CATALOGUE_VERSION: &str = "SELECT catalogue_version FROM store";
/// Parameters: catalogue_version, kind, id, version, starts, content_hash, form, row_count, bytes,
/// body, published_at.
const INSERT_VERSION: &str = "INSERT INTO catalogue \
     (catalogue_version, kind, id, version, starts, content_hash, form, row_count, bytes, body, \
      published_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
/// Parameters: catalogue_version, tz_database.
const INSERT_PUBLISHED_WITH: &str =
    "INSERT INTO published_with (catalogue_version, tz_database) VALUES ($1, $2)";

#[async_trait]
impl CatalogueStore for SqliteDatabase {
    async fn publish(&self, publish: &Publish) -> StoreResult<PublishOutcome> {
        let (asked, clock) = (publish.clone(), Arc::clone(&self.clock));
        self.writer
            // The clock is read under the write lock, so that the decision uses the time of the
            // write (P36).
            .write(Urgency::Normal, PUBLISHING, move |c| {
                Box::pin(async move { write_version(c, asked, clock()).await })
            })
            .await
    }

    async fn catalogue_since(&self, after: u64, most: usize) -> StoreResult<Vec<CatalogueEntry>> {
        catalogue::since(&mut self.reading(), after, most).await
    }

    async fn catalogue_heads(
        &self,
        kind: CatalogueKind,
        id: Option<&str>,
        after: u64,
    ) -> StoreResult<Vec<CatalogueHead>> {
        catalogue::heads(&mut self.reading(), kind, id, after).await
    }

    async fn catalogue_totals(&self, kind: CatalogueKind) -> StoreResult<CatalogueTotals> {
        catalogue::totals(&mut self.reading(), kind).await
    }
}

async fn write_version(
    connection: &mut SqliteConnection,
    asked: Publish,
    now: Timestamp,
) -> StoreResult<PublishOutcome> {
    let heads = catalogue::versions(connection, asked.kind, &asked.id).await?;
    let totals = catalogue::totals(connection, asked.kind).await?;
    if let Judgement::Settled(outcome) = judge(&heads, &asked, now, totals)? {
        return Ok(outcome);
    }
    connection.execute(PUBLISHING, SqlStatement::new(NEXT_VERSION)).await?;
    let row = connection.row(PUBLISHING, SqlStatement::new(CATALOGUE_VERSION)).await?;
    let (version,) = row.ok_or_else(|| corrupt(PUBLISHING, "the store's row is missing"))?;
    let insert = catalogue::insertion(INSERT_VERSION, version, &asked).bind(now.micros());
    connection.execute(PUBLISHING, insert).await?;
    if let Some(tz_database) = asked.tz_database.as_deref() {
        let with = SqlStatement::new(INSERT_PUBLISHED_WITH).bind(version).bind(tz_database);
        connection.execute(PUBLISHING, with).await?;
    }
    Ok(PublishOutcome::Published(loaded(version)))
}
