//! Gauges of what only fills: an operator acts before it is full.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use turnpike_store::{CatalogueKind, SharedDatabase, StoreResult};
use turnpike_types::limits::{
    CATALOGUE_IDS_MAX, CATALOGUE_PLAN_BYTES_MAX, CATALOGUE_TABLE_BYTES_MAX, CONSUMERS_MAX,
};

/// The time between two reads.
const EVERY: Duration = Duration::from_secs(60);

/// Reads the quotas and the size of the audit log each minute, until `stop`.
pub(crate) async fn watch(db: Arc<dyn SharedDatabase>, stop: CancellationToken) {
    loop {
        if let Err(error) = read(&*db).await {
            tracing::warn!(%error, "the use of quotas can't be read; its gauges stay as they are");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn read(db: &dyn SharedDatabase) -> StoreResult<()> {
    let plans = db.catalogue_totals(CatalogueKind::Plan).await?;
    let tables = db.catalogue_totals(CatalogueKind::Table).await?;
    let consumers = db.consumers().await?.len() as u64;
    for (quota, used, max) in [
        ("plans", plans.ids, CATALOGUE_IDS_MAX as u64),
        ("plan-bytes", plans.bytes, CATALOGUE_PLAN_BYTES_MAX),
        ("tables", tables.ids, CATALOGUE_IDS_MAX as u64),
        ("table-bytes", tables.bytes, CATALOGUE_TABLE_BYTES_MAX),
        ("consumers", consumers, CONSUMERS_MAX as u64),
    ] {
        metrics::gauge!("turnpike_front_quota_used", "quota" => quota).set(used as f64);
        metrics::gauge!("turnpike_front_quota_max", "quota" => quota).set(max as f64);
    }
    let head = db.audit_head().await?;
    metrics::gauge!("turnpike_front_audit_entries")
        .set(head.next.saturating_sub(head.oldest) as f64);
    Ok(())
}
