//! The catalogue of plans and tables.

use async_trait::async_trait;
use sqlx::query_as;
use turnpike_types::Timestamp;

use super::database::{APPEND_LIMIT, BULK_LIMIT, PostgresDatabase};
use crate::catalogue::{Judgement, judge};
use crate::sql::catalogue::{self, PUBLISHING};
use crate::sql::statement::SqlSession;
use crate::sql::values::loaded;
use crate::{
    CatalogueEntry, CatalogueHead, CatalogueKind, CatalogueStore, CatalogueTotals, Publish,
    PublishOutcome, StoreError, StoreResult,
};

const PUBLISH: &str = include_str!("publish.sql");
/// Returns the catalogue's version, and the clock.
const STANDS_AT: &str = "SELECT catalogue_version, \
     (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM store";

/// The most attempts of a publication; another publication in between makes an attempt fail.
const PUBLISH_TRIES_MAX: usize = 100;

#[async_trait]
impl CatalogueStore for PostgresDatabase {
    async fn publish(&self, publish: &Publish) -> StoreResult<PublishOutcome> {
        for _ in 0..PUBLISH_TRIES_MAX {
            // The version is read before the heads: a publication after this read makes the insert
            // fail.
            let lease = self.bulk.lease(PUBLISHING, APPEND_LIMIT).await?;
            let (stands_at, now): (i64, i64) = lease.fetch_one(query_as(STANDS_AT)).await?;
            let mut bulk = self.bulk.autocommit(APPEND_LIMIT);
            let heads = catalogue::versions(&mut bulk, publish.kind, &publish.id).await?;
            let totals = catalogue::totals(&mut bulk, publish.kind).await?;
            let before = match judge(&heads, publish, Timestamp(now), totals)? {
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

    async fn catalogue_since(&self, after: u64, most: usize) -> StoreResult<Vec<CatalogueEntry>> {
        catalogue::since(&mut self.bulk.autocommit(BULK_LIMIT), after, most).await
    }

    async fn catalogue_heads(
        &self,
        kind: CatalogueKind,
        id: Option<&str>,
        after: u64,
    ) -> StoreResult<Vec<CatalogueHead>> {
        catalogue::heads(&mut self.bulk.autocommit(BULK_LIMIT), kind, id, after).await
    }

    async fn catalogue_totals(&self, kind: CatalogueKind) -> StoreResult<CatalogueTotals> {
        catalogue::totals(&mut self.bulk.autocommit(APPEND_LIMIT), kind).await
    }
}

impl PostgresDatabase {
    /// Inserts the version. Returns `false` when the catalogue's version is no longer `stands_at`,
    /// or the clock has reached `before`.
    async fn insert_version(
        &self,
        stands_at: i64,
        publish: &Publish,
        before: Timestamp,
    ) -> StoreResult<bool> {
        let statement = catalogue::insertion(PUBLISH, stands_at, publish)
            .bind(before.micros())
            .bind(publish.tz_database.as_deref());
        let mut bulk = self.bulk.autocommit(BULK_LIMIT);
        Ok(bulk.execute(PUBLISHING, statement).await? == 1)
    }
}
