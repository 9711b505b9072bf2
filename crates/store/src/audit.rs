//! The audit log: a chain of hashes, to which every process appends under a compare-and-set.

use async_trait::async_trait;
use bytes::Bytes;
use turnpike_types::Timestamp;

use crate::{StoreError, StoreResult};

/// The most bytes of an entry's body.
pub const AUDIT_ENTRY_BYTES_MAX: usize = 64 * 1024;
/// The most entries of one append.
pub const AUDIT_BATCH_MAX: usize = 128;
/// The most entries that a read returns. It returns fewer if their bodies have more than a mebibyte.
pub const AUDIT_PAGE_MAX: usize = 1_000;
/// The most bytes of bodies that a read returns; one entry is returned whatever its size.
pub(crate) const AUDIT_PAGE_BYTES_MAX: usize = 1024 * 1024;

/// A hash of the chain (BLAKE3). The first entry follows a hash of zeros.
pub type AuditHash = [u8; 32];

/// The entries of the audit log. The store keeps bodies and hashes as they are: the writer computes the
/// hashes, and the reader checks them.
#[async_trait]
pub trait AuditStore: Send + Sync + 'static {
    /// The end of the chain, and the clock of the database.
    async fn audit_head(&self) -> StoreResult<AuditHead>;

    /// Appends entries if the chain still ends at `append.after`; all of them or none.
    async fn append_audit(&self, append: &AuditAppend) -> StoreResult<AuditAppended>;

    /// Entries in order, as selected: at most [`AUDIT_PAGE_MAX`], and about a mebibyte of bodies, but
    /// at least one entry if there is one.
    async fn read_audit(&self, selection: &AuditSelection) -> StoreResult<Vec<AuditRow>>;

    /// Deletes the entries up to `through`, if the entry `through` exists, has this hash, and is not
    /// the newest one. Returns how many entries were deleted.
    async fn trim_audit(&self, through: u64, hash: AuditHash) -> StoreResult<u64>;
}

/// The end of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditHead {
    /// The sequence number of the next entry; the first entry has number 1.
    pub next: u64,
    /// The sequence number of the oldest entry that was not trimmed; `next` while there is none.
    pub oldest: u64,
    /// The hash of the newest entry; zeros while the log is empty.
    pub last_hash: AuditHash,
    /// The time of the newest entry.
    pub last_at: Timestamp,
    /// The clock of the database.
    pub now: Timestamp,
}

/// Entries to append, and the entry that must be the newest one until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditAppend {
    /// The hash of the entry that the chain must end with.
    pub after: AuditHash,
    /// The entries, from 1 to [`AUDIT_BATCH_MAX`]. Each follows the one before.
    pub rows: Vec<AuditRow>,
}

/// An entry of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Consecutive, from 1.
    pub sequence: u64,
    /// The time in the body.
    pub at: Timestamp,
    /// The hash of the entry before.
    pub prev_hash: AuditHash,
    /// The hash of this entry.
    pub hash: AuditHash,
    /// The content.
    pub body: Bytes,
}

/// The outcome of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditAppended {
    /// The entries are durable.
    Appended,
    /// The chain ends elsewhere: another process has appended. Nothing was written.
    Overtaken,
}

/// Which entries to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditSelection {
    /// Only entries after this sequence number.
    pub after: u64,
    /// Only entries of this time or later.
    pub since: Timestamp,
    /// Only entries before this time.
    pub until: Timestamp,
}

impl AuditSelection {
    /// All entries after `after`.
    pub const fn after(after: u64) -> Self {
        Self { after, since: Timestamp::MIN, until: Timestamp::MAX }
    }

    pub(crate) fn holds(&self, row: &AuditRow) -> bool {
        row.sequence > self.after && row.at >= self.since && row.at < self.until
    }
}

impl AuditAppend {
    /// The sequence number of the first entry, the hash of the last one and its time.
    ///
    /// # Errors
    /// `Refused` when the rows are no piece of a chain, or too many, or too large.
    pub(crate) fn checked(&self) -> StoreResult<(u64, AuditHash, Timestamp)> {
        let refused =
            |why: String| Err(StoreError::Refused(format!("append to the audit log: {why}")));
        let (Some(first), Some(last)) = (self.rows.first(), self.rows.last()) else {
            return refused("no entry".to_owned());
        };
        if self.rows.len() > AUDIT_BATCH_MAX {
            let count = self.rows.len();
            return refused(format!("{count} entries; at most {AUDIT_BATCH_MAX} are taken"));
        }
        let mut prev = self.after;
        for (row, sequence) in self.rows.iter().zip(first.sequence..) {
            if row.sequence != sequence || row.prev_hash != prev {
                return refused(format!("entry {} does not follow the one before", row.sequence));
            }
            if row.body.len() > AUDIT_ENTRY_BYTES_MAX {
                let bytes = row.body.len();
                return refused(format!(
                    "{bytes} bytes; at most {AUDIT_ENTRY_BYTES_MAX} are taken"
                ));
            }
            prev = row.hash;
        }
        Ok((first.sequence, last.hash, last.at))
    }
}
