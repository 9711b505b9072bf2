//! A change with its two entries, in a task of its own: once it has begun, neither a client that
//! disconnects nor a time-out that a client chooses stops it half way, or keeps its outcome from the
//! log.

use std::sync::Arc;
use std::time::Duration;

use turnpike_proto::audit::v1::AuditOutcome;
use turnpike_shares::{ClientKey, Share, Shares};
use turnpike_store::{StoreError, StoreResult};

use super::entry::{Action, Intent};
use super::log::AuditLog;
use crate::{Actor, request_id};

/// The room of all changes that a process makes at the same time, in bytes of their requests and
/// entries.
const CHANGES_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What a change takes at least: its entries, its task.
const CHANGE_BYTES_MIN: usize = 64 * 1024;
/// What an account takes in the entries of a change.
const ACCOUNT_BYTES: usize = 128;
/// Time limit for the wait until other changes have made room.
const ROOM_LIMIT: Duration = Duration::from_secs(8);

/// How a change ended, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeEnd {
    /// Whether it was made.
    pub outcome: AuditOutcome,
    /// Further text, such as the reason of a refusal.
    pub detail: String,
    /// The accounts, each with what was done.
    pub accounts: Vec<(u64, String)>,
}

impl ChangeEnd {
    /// The end of a change that names no accounts.
    pub fn of(outcome: AuditOutcome, detail: impl Into<String>) -> Self {
        Self { outcome, detail: detail.into(), accounts: Vec::new() }
    }
}

/// The room of changes, divided among principals by equal shares.
#[derive(Clone, Debug)]
pub(super) struct ChangeRoom(Arc<Shares>);

impl Default for ChangeRoom {
    fn default() -> Self {
        Self(Shares::new(CHANGES_BYTES_MAX))
    }
}

impl ChangeRoom {
    /// Waits until the change fits beside the others.
    async fn take(&self, actor: &Actor, intent: &Intent) -> StoreResult<Share> {
        let bytes =
            intent.bytes.saturating_add(intent.accounts.len().saturating_mul(ACCOUNT_BYTES));
        let client = ClientKey::of(actor.share_name());
        let taken = self.0.take(client, bytes.max(CHANGE_BYTES_MIN));
        tokio::time::timeout(ROOM_LIMIT, taken).await.map_err(|_| StoreError::Unavailable {
            doing: "append to the audit log",
            cause: "other changes of the same client wait for the log; nothing was changed"
                .to_owned(),
        })
    }
}

impl AuditLog {
    /// Makes a change once its intent is durable, and records its outcome. The change runs to its end
    /// even if this future is dropped. `change` returns its result, and how it ended.
    ///
    /// # Errors
    /// The intent may not be durable, and nothing was changed; or the process ends, and the outcome is
    /// not known.
    pub async fn change<T: Send + 'static>(
        &self,
        actor: &Actor,
        action: Action,
        intent: Intent,
        change: impl Future<Output = (T, ChangeEnd)> + Send + 'static,
    ) -> StoreResult<T> {
        let room = self.room.take(actor, &intent).await?;
        let (log, actor) = (self.clone(), actor.clone());
        let whole = async move {
            let operation = log.begin(&actor, action, &intent).await?;
            let (result, end) = change.await;
            operation.end(end.outcome, &end.detail, &end.accounts).await;
            drop(room);
            Ok(result)
        };
        self.tasks.spawn(request_id::carried(whole)).await.map_err(|_| StoreError::Unavailable {
            doing: "make a change",
            cause: "its task ended early; the audit log says whether its outcome is known"
                .to_owned(),
        })?
    }

    /// Waits until no change is under way.
    pub async fn settled(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
