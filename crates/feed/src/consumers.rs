//! Consumers as an operator sees them: a list, and the removal of one.

use std::sync::Arc;

use turnpike_access::Actor;
use turnpike_access::audit::{Action, AuditLog, ChangeEnd, Intent};
use turnpike_proto::audit::v1::AuditOutcome;
use turnpike_proto::feed::v1::ListConsumersResponse;
use turnpike_store::{SharedDatabase, StoreResult};
use turnpike_types::capped;
use turnpike_types::limits::CONSUMERS_MAX;

use crate::FeedError;
use crate::request::check_name;

/// The names of all consumers.
pub(crate) async fn listed(db: &dyn SharedDatabase) -> Result<ListConsumersResponse, FeedError> {
    let consumers = db.consumers().await?;
    Ok(ListConsumersResponse { consumers, consumers_max: capped(CONSUMERS_MAX) })
}

/// Removes a consumer with its cursors.
pub(crate) async fn remove(
    db: &Arc<dyn SharedDatabase>,
    audit: &AuditLog,
    actor: &Actor,
    name: &str,
) -> Result<(), FeedError> {
    check_name(name)?;
    if db.consumer(name).await?.is_empty() {
        return Err(FeedError::NoConsumer(name.to_owned()));
    }
    let intent = Intent::of(format!("consumer {name}"));
    let (db, name) = (Arc::clone(db), name.to_owned());
    let change = async move {
        let done = db.remove_consumer(&name).await;
        let end = ended(&done);
        (done, end)
    };
    // Another request may have removed it first: then it is removed too.
    audit.change(actor, Action::ConsumerRemove, intent, change).await??;
    Ok(())
}

/// How a change of consumers ended, for the audit log.
pub(crate) fn ended<T>(done: &StoreResult<T>) -> ChangeEnd {
    match done {
        Ok(_) => ChangeEnd::of(AuditOutcome::Applied, ""),
        Err(error) if error.is_unknown() => ChangeEnd::of(AuditOutcome::Unknown, error.to_string()),
        Err(error) => ChangeEnd::of(AuditOutcome::Refused, error.to_string()),
    }
}
