//! A change between its intent and its outcome in the audit log.

use turnpike_access::Actor;
use turnpike_access::audit::{Action, ChangeEnd, Intent};
use turnpike_proto::audit::v1::AuditOutcome;

use crate::FrontError;
use crate::core::Core;

/// Makes a change once its intent is durable, and records its outcome. It runs to its end even if the
/// request is cancelled.
///
/// # Errors
/// The error of the change, or of the intent: then nothing was changed.
pub(crate) async fn audited<T: Send + 'static>(
    core: &Core,
    actor: &Actor,
    action: Action,
    intent: Intent,
    change: impl Future<Output = Result<T, FrontError>> + Send + 'static,
) -> Result<T, FrontError> {
    let judged = async move {
        let done = change.await;
        let (outcome, detail) = match &done {
            Ok(_) => (AuditOutcome::Applied, String::new()),
            Err(error) if is_unknown(error) => (AuditOutcome::Unknown, error.to_string()),
            Err(error) => (AuditOutcome::Refused, error.to_string()),
        };
        (done, ChangeEnd::of(outcome, detail))
    };
    core.audit.change(actor, action, intent, judged).await?
}

/// Whether the change may have been made although there is an error.
const fn is_unknown(error: &FrontError) -> bool {
    match error {
        FrontError::Store(error) => error.is_unknown(),
        FrontError::NoAnswer { .. } | FrontError::ShuttingDown => true,
        FrontError::Config { .. }
        | FrontError::Invalid(_)
        | FrontError::NotFound(_)
        | FrontError::Conflict(_)
        | FrontError::Occupied(_)
        | FrontError::NoPartitions
        | FrontError::NoRoutes
        | FrontError::Refused { .. } => false,
    }
}
