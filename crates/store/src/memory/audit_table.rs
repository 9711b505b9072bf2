//! The rows of the audit log in memory.

use turnpike_types::Timestamp;

use crate::{AuditHash, AuditRow};

/// The table of the audit log, and the end of its chain.
pub(super) struct AuditTable {
    pub(super) rows: Vec<AuditRow>,
    pub(super) next: u64,
    pub(super) last_hash: AuditHash,
    pub(super) last_at: Timestamp,
}

impl Default for AuditTable {
    fn default() -> Self {
        Self { rows: Vec::new(), next: 1, last_hash: [0; 32], last_at: Timestamp(0) }
    }
}
