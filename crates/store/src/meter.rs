//! Metrics of calls to the shared database: duration and errors.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{Call, Interpose, Interposed, SharedDatabase, StoreError, StoreResult};

/// Measures each call and passes it on unchanged.
#[derive(Debug)]
struct Meter;

/// Wraps `database` so that each call is measured.
pub fn metered(database: Arc<dyn SharedDatabase>) -> Arc<dyn SharedDatabase> {
    Arc::new(Interposed::new(database, Arc::new(Meter)))
}

#[async_trait]
impl Interpose for Meter {
    async fn before(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }

    async fn after(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }

    fn answered(&self, call: Call, took: Duration, error: Option<&StoreError>) {
        let call = call.word();
        metrics::histogram!("turnpike_database_call_seconds", "call" => call)
            .record(took.as_secs_f64());
        if let Some(error) = error {
            metrics::counter!(
                "turnpike_database_errors_total", "call" => call, "kind" => error.kind()
            )
            .increment(1);
        }
    }
}
