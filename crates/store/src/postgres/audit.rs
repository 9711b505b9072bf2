//! The audit log.

use async_trait::async_trait;
use sqlx::{query, query_as};

use super::database::{APPEND_LIMIT, BULK_LIMIT, PostgresDatabase};
use crate::sql::audit::{self, APPENDING, HeadTuple};
use crate::sql::errors::corrupt;
use crate::sql::values::stored;
use crate::{
    AuditAppend, AuditAppended, AuditHash, AuditHead, AuditRow, AuditSelection, AuditStore,
    StoreResult,
};

const APPEND: &str = include_str!("append_audit.sql");
/// Returns a [`HeadTuple`].
const HEAD: &str = "SELECT next_sequence, last_hash, last_at, \
     (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM audit_head";

#[async_trait]
impl AuditStore for PostgresDatabase {
    async fn audit_head(&self) -> StoreResult<AuditHead> {
        const DOING: &str = "read the end of the audit log";
        let lease = self.changes.lease(DOING, APPEND_LIMIT).await?;
        let row: HeadTuple = lease.fetch_one(query_as(HEAD)).await?;
        audit::head(row, DOING)
    }

    async fn append_audit(&self, append: &AuditAppend) -> StoreResult<AuditAppended> {
        let (first, last_hash, last_at) = append.checked()?;
        let rows = &append.rows;
        let sequences: Vec<i64> = rows.iter().map(|row| stored(row.sequence)).collect();
        let times: Vec<i64> = rows.iter().map(|row| row.at.micros()).collect();
        let prev: Vec<&[u8]> = rows.iter().map(|row| &row.prev_hash[..]).collect();
        let hashes: Vec<&[u8]> = rows.iter().map(|row| &row.hash[..]).collect();
        let bodies: Vec<&[u8]> = rows.iter().map(|row| &row.body[..]).collect();
        let statement = query(APPEND)
            .bind(stored(first))
            .bind(stored(first + rows.len() as u64))
            .bind(&append.after[..])
            .bind(&last_hash[..])
            .bind(last_at.micros())
            .bind(sequences)
            .bind(times)
            .bind(prev)
            .bind(hashes)
            .bind(bodies);
        let lease = self.changes.lease(APPENDING, APPEND_LIMIT).await?;
        match lease.execute(statement).await? {
            0 => Ok(AuditAppended::Overtaken),
            inserted if inserted == rows.len() as u64 => Ok(AuditAppended::Appended),
            inserted => {
                Err(corrupt(APPENDING, format!("{inserted} of {} rows were inserted", rows.len())))
            }
        }
    }

    async fn read_audit(&self, selection: &AuditSelection) -> StoreResult<Vec<AuditRow>> {
        audit::read(&mut self.bulk.autocommit(BULK_LIMIT), selection).await
    }

    async fn trim_audit(&self, through: u64, hash: AuditHash) -> StoreResult<u64> {
        audit::trim(&mut self.bulk.autocommit(BULK_LIMIT), through, &hash).await
    }
}
