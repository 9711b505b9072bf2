//! The audit log: statements, rows and steps.

use bytes::Bytes;
use turnpike_types::Timestamp;

use super::statement::{SqlSession, SqlStatement};
use super::values::{fixed, loaded, stored, stored_limit};
use crate::audit::AUDIT_PAGE_BYTES_MAX;
use crate::{AUDIT_PAGE_MAX, AuditHash, AuditHead, AuditRow, AuditSelection, StoreResult};

const READ: &str = include_str!("read_audit.sql");

/// Parameters: sequence, hash. Deletes nothing unless an entry has both and is not the newest one.
const TRIM: &str = "DELETE FROM audit WHERE sequence <= $1 \
     AND EXISTS (SELECT 1 FROM audit a WHERE a.sequence = $1 AND a.hash = $2) \
     AND EXISTS (SELECT 1 FROM audit_head h WHERE h.next_sequence > $1 + 1)";

pub(crate) const APPENDING: &str = "append to the audit log";
pub(crate) const TRIMMING: &str = "trim the audit log";

/// Columns: next_sequence, the oldest entry's sequence or null, last_hash, last_at, the clock.
pub(crate) type HeadTuple = (i64, Option<i64>, Vec<u8>, i64, i64);

/// Columns: sequence, at_us, prev_hash, hash, body.
type RowTuple = (i64, i64, Vec<u8>, Vec<u8>, Vec<u8>);

/// The end of the chain, from its columns.
pub(crate) fn head(
    (next, oldest, last_hash, last_at, now): HeadTuple,
    doing: &'static str,
) -> StoreResult<AuditHead> {
    Ok(AuditHead {
        next: loaded(next),
        oldest: loaded(oldest.unwrap_or(next)),
        last_hash: fixed(&last_hash, doing)?,
        last_at: Timestamp(last_at),
        now: Timestamp(now),
    })
}

/// The selected entries.
pub(crate) async fn read(
    session: &mut impl SqlSession,
    selection: &AuditSelection,
) -> StoreResult<Vec<AuditRow>> {
    const DOING: &str = "read the audit log";
    let statement = SqlStatement::new(READ)
        .bind(stored(selection.after))
        .bind(selection.since.micros())
        .bind(selection.until.micros())
        .bind(stored_limit(AUDIT_PAGE_MAX))
        .bind(stored_limit(AUDIT_PAGE_BYTES_MAX));
    let rows = session.rows::<RowTuple>(DOING, statement).await?;
    let row = |(sequence, at, prev_hash, hash, body): RowTuple| {
        Ok(AuditRow {
            sequence: loaded(sequence),
            at: Timestamp(at),
            prev_hash: fixed(&prev_hash, DOING)?,
            hash: fixed(&hash, DOING)?,
            body: Bytes::from(body),
        })
    };
    rows.into_iter().map(row).collect()
}

/// Deletes the entries up to `through`. Returns how many.
pub(crate) async fn trim(
    session: &mut impl SqlSession,
    through: u64,
    hash: &AuditHash,
) -> StoreResult<u64> {
    let statement = SqlStatement::new(TRIM).bind(stored(through)).bind(&hash[..]);
    session.execute(TRIMMING, statement).await
}
