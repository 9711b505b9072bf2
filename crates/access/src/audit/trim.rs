//! Deletes old entries. The log stays verifiable: an anchor entry records the last entry that is
//! deleted and its hash, before anything is deleted.

use std::sync::Arc;

use turnpike_proto::audit::v1::{Entry, EntryKind};
use turnpike_store::{AuditHash, AuditSelection, SharedDatabase, StoreError, StoreResult};

use super::entry::{Action, Intent, intent};
use super::log::AuditLog;
use crate::Actor;

/// Deletes the entries from `first`, the oldest one in the log, up to `through`, which has the hash
/// `hash`. Returns how many.
///
/// # Errors
/// `Refused` when the log begins before `first`, has no entry `through` with that hash, or it is the
/// newest one.
pub async fn trim(
    db: &Arc<dyn SharedDatabase>,
    log: &AuditLog,
    actor: &Actor,
    first: u64,
    (through, hash): (u64, AuditHash),
) -> StoreResult<u64> {
    let oldest = db.audit_head().await?.oldest;
    if oldest < first {
        return Err(StoreError::Refused(format!(
            "the audit log begins with entry {oldest}, and the export with entry {first}: export the \
             log from its beginning; nothing was trimmed"
        )));
    }
    if oldest > through {
        return Err(StoreError::Refused(format!(
            "the entries up to {through} are not in the log any more, which begins with entry {oldest}: \
             an earlier trimming has deleted them; nothing was trimmed now"
        )));
    }
    let before = AuditSelection::after(through.saturating_sub(1));
    let found = db.read_audit(&before).await?;
    if !found.first().is_some_and(|row| row.sequence == through && row.hash == hash) {
        return Err(StoreError::Refused(format!(
            "the audit log has no entry {through} with the hash of the export: nothing was trimmed"
        )));
    }
    let change = Intent::of(format!("entries up to {through}"));
    let anchor = Entry {
        kind: EntryKind::Anchor.into(),
        trimmed_through: through,
        trimmed_hash: hash.to_vec().into(),
        ..intent(actor, Action::AuditTrim, [0; 16], &change)
    };
    log.append(anchor).await?;
    match db.trim_audit(through, hash).await? {
        0 => Err(StoreError::Refused(format!("entry {through} was trimmed meanwhile"))),
        deleted => Ok(deleted),
    }
}
