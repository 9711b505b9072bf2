//! The audit log in memory.

use async_trait::async_trait;

use super::audit_table::AuditTable;
use super::database::MemoryDatabase;
use crate::audit::AUDIT_PAGE_BYTES_MAX;
use crate::memory::state::within;
use crate::{
    AUDIT_PAGE_MAX, AuditAppend, AuditAppended, AuditHash, AuditHead, AuditRow, AuditSelection,
    AuditStore, StoreResult,
};

#[async_trait]
impl AuditStore for MemoryDatabase {
    async fn audit_head(&self) -> StoreResult<AuditHead> {
        let now = self.now();
        let state = self.state();
        let AuditTable { next, last_hash, last_at, .. } = state.audit;
        let oldest = state.audit.rows.first().map_or(next, |row| row.sequence);
        Ok(AuditHead { next, oldest, last_hash, last_at, now })
    }

    async fn append_audit(&self, append: &AuditAppend) -> StoreResult<AuditAppended> {
        let (first, last_hash, last_at) = append.checked()?;
        let mut state = self.state();
        let audit = &mut state.audit;
        if audit.next != first || audit.last_hash != append.after {
            return Ok(AuditAppended::Overtaken);
        }
        audit.rows.extend(append.rows.iter().cloned());
        audit.next += append.rows.len() as u64;
        (audit.last_hash, audit.last_at) = (last_hash, last_at);
        Ok(AuditAppended::Appended)
    }

    async fn read_audit(&self, selection: &AuditSelection) -> StoreResult<Vec<AuditRow>> {
        let state = self.state();
        let selected = state.audit.rows.iter().filter(|row| selection.holds(row));
        let page = selected.take(AUDIT_PAGE_MAX);
        Ok(within(AUDIT_PAGE_BYTES_MAX, |row| row.body.len(), page))
    }

    async fn trim_audit(&self, through: u64, hash: AuditHash) -> StoreResult<u64> {
        let mut state = self.state();
        let audit = &mut state.audit;
        let is_there = audit.rows.iter().any(|row| row.sequence == through && row.hash == hash);
        if !is_there || audit.next <= through + 1 {
            return Ok(0);
        }
        let before = audit.rows.len();
        audit.rows.retain(|row| row.sequence > through);
        Ok((before - audit.rows.len()) as u64)
    }
}
