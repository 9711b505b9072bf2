//! Plans and tables are checked one after another: a check competes with ingestion for processor time,
//! and a table of a million rows takes a few hundred megabytes while it is read.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::FrontError;

/// Lets one check run at a time.
pub(crate) struct Checks {
    one_at_a_time: Arc<Semaphore>,
}

/// The permission to check. The next check begins when the last clone is dropped; a clone goes into
/// each blocking task, which can outlive its request.
#[derive(Clone)]
pub(crate) struct CheckPermit {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Default for Checks {
    fn default() -> Self {
        Self { one_at_a_time: Arc::new(Semaphore::new(1)) }
    }
}

impl Checks {
    /// Waits for the turn of a check.
    pub(crate) async fn next(&self) -> Result<CheckPermit, FrontError> {
        let permit = Arc::clone(&self.one_at_a_time).acquire_owned().await;
        let permit = permit.map_err(|_closed| FrontError::ShuttingDown)?;
        Ok(CheckPermit { _permit: Arc::new(permit) })
    }
}
