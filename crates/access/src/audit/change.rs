//! A change with its two entries, in a task of its own: once it has begun, neither a client that
//! disconnects nor a time-out that a client chooses stops it half way, or keeps its outcome from the
//! log.

use turnpike_proto::audit::v1::AuditOutcome;
use turnpike_store::{StoreError, StoreResult};

use super::entry::{Action, Intent};
use super::log::AuditLog;
use crate::{Actor, request_id};

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
