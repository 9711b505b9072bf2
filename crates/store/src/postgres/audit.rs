//! The audit log.

use async_trait::async_trait;
use sqlx::query_as;

use super::database::{APPEND_LIMIT, BULK_LIMIT, PostgresDatabase};
use crate::sql::audit::{self, APPENDING, HeadTuple, TRIMMING};
use crate::sql::errors::corrupt;
use crate::sql::values::{loaded, stored};
use crate::{
    AuditAppend, AuditAppended, AuditHash, AuditHead, AuditRow, AuditSelection, AuditStore,
    StoreResult,
};

/// The functions of `migrations/postgres/0009_audit_functions.sql`: no process has rights of its own to
/// change the tables. Parameters: the hash before, and the columns of the entries.
const APPEND: &str = "SELECT turnpike_append_audit($1, $2, $3, $4, $5, $6)";
/// Parameters: sequence, hash.
const TRIM: &str = "SELECT turnpike_trim_audit($1, $2)";
/// Returns a [`HeadTuple`].
const HEAD: &str = "SELECT next_sequence, (SELECT min(sequence) FROM audit), last_hash, last_at, \
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
        append.checked()?;
        let rows = &append.rows;
        let sequences: Vec<i64> = rows.iter().map(|row| stored(row.sequence)).collect();
        let times: Vec<i64> = rows.iter().map(|row| row.at.micros()).collect();
        let prev: Vec<&[u8]> = rows.iter().map(|row| &row.prev_hash[..]).collect();
        let hashes: Vec<&[u8]> = rows.iter().map(|row| &row.hash[..]).collect();
        let bodies: Vec<&[u8]> = rows.iter().map(|row| &row.body[..]).collect();
        let statement = query_as(APPEND)
            .bind(&append.after[..])
            .bind(sequences)
            .bind(times)
            .bind(prev)
            .bind(hashes)
            .bind(bodies);
        let lease = self.changes.lease(APPENDING, APPEND_LIMIT).await?;
        let (inserted,): (i64,) = lease.fetch_one(statement).await?;
        match loaded(inserted) {
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
        let lease = self.bulk.lease(TRIMMING, BULK_LIMIT).await?;
        let statement = query_as(TRIM).bind(stored(through)).bind(&hash[..]);
        let (deleted,): (i64,) = lease.fetch_one(statement).await?;
        Ok(loaded(deleted))
    }
}
