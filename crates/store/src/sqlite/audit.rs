//! The audit log.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::database::SqliteDatabase;
use super::writer::Urgency;
use crate::sql::audit::{self, APPENDING, HeadTuple, TRIMMING};
use crate::sql::errors::corrupt;
use crate::sql::statement::{SqlSession, SqlStatement};
use crate::sql::values::stored;
use crate::{
    AuditAppend, AuditAppended, AuditHash, AuditHead, AuditRow, AuditSelection, AuditStore,
    StoreResult,
};

/// Parameter: the clock. Returns a [`HeadTuple`].
const HEAD: &str = "SELECT next_sequence, (SELECT min(sequence) FROM audit), last_hash, last_at, $1 \
     FROM audit_head";
/// Parameters: the first sequence number, the one after the last, the hash before, the last hash, the
/// last time.
const MOVE_HEAD: &str = "UPDATE audit_head SET next_sequence = $2, last_hash = $4, last_at = $5 \
     WHERE next_sequence = $1 AND last_hash = $3";
/// Parameters: sequence, at_us, prev_hash, hash, body.
const INSERT: &str = "INSERT INTO audit (sequence, at_us, prev_hash, hash, body) \
     VALUES ($1, $2, $3, $4, $5)";

#[async_trait]
impl AuditStore for SqliteDatabase {
    async fn audit_head(&self) -> StoreResult<AuditHead> {
        const DOING: &str = "read the end of the audit log";
        let statement = SqlStatement::new(HEAD).bind((self.clock)().micros());
        let row = self.reading().row::<HeadTuple>(DOING, statement).await?;
        audit::head(row.ok_or_else(|| corrupt(DOING, "the row is missing"))?, DOING)
    }

    async fn append_audit(&self, append: &AuditAppend) -> StoreResult<AuditAppended> {
        append.checked()?;
        let append = append.clone();
        self.writer
            .write(Urgency::Normal, APPENDING, move |c| {
                Box::pin(async move { append_rows(c, &append).await })
            })
            .await
    }

    async fn read_audit(&self, selection: &AuditSelection) -> StoreResult<Vec<AuditRow>> {
        audit::read(&mut self.reading(), selection).await
    }

    async fn trim_audit(&self, through: u64, hash: AuditHash) -> StoreResult<u64> {
        self.writer
            .write(Urgency::Normal, TRIMMING, move |c| {
                Box::pin(async move { audit::trim(c, through, &hash).await })
            })
            .await
    }
}

async fn append_rows(
    connection: &mut SqliteConnection,
    append: &AuditAppend,
) -> StoreResult<AuditAppended> {
    let (first, last_hash, last_at) = append.checked()?;
    let statement = SqlStatement::new(MOVE_HEAD)
        .bind(stored(first))
        .bind(stored(first + append.rows.len() as u64))
        .bind(&append.after[..])
        .bind(&last_hash[..])
        .bind(last_at.micros());
    if connection.execute(APPENDING, statement).await? != 1 {
        return Ok(AuditAppended::Overtaken);
    }
    for row in &append.rows {
        let statement = SqlStatement::new(INSERT)
            .bind(stored(row.sequence))
            .bind(row.at.micros())
            .bind(&row.prev_hash[..])
            .bind(&row.hash[..])
            .bind(&row.body[..]);
        connection.execute(APPENDING, statement).await?;
    }
    Ok(AuditAppended::Appended)
}
