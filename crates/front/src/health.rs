//! The readiness of a front: whether the front knows the routes of the partitions.

use std::fmt;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::routing::routes::Routes;

/// Reports whether a front is ready. Clones report on the same front, also after it has stopped.
#[derive(Clone)]
pub struct FrontHealth {
    pub(crate) routes: Routes,
    /// Cancelled when the front accepts no more requests.
    pub(crate) gate: CancellationToken,
    /// Routes older than this mean that the database does not respond.
    pub(crate) stale_after: Duration,
}

impl fmt::Debug for FrontHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FrontHealth").field(&self.ready()).finish()
    }
}

impl FrontHealth {
    /// A description of what the front knows.
    ///
    /// # Errors
    /// Why the front is not ready: it is shutting down, the routes were not read yet or not
    /// recently, or there are no partitions.
    pub fn ready(&self) -> Result<String, String> {
        if self.gate.is_cancelled() {
            return Err("the front is stopping".to_owned());
        }
        let table = self.routes.table();
        if table.generation == 0 {
            return Err("the front has not read the routes from the shared database yet".to_owned());
        }
        let age = table.read_at.elapsed();
        if age > self.stale_after {
            return Err(format!(
                "the shared database does not respond: the routes are {} ms old",
                age.as_millis()
            ));
        }
        match table.len() {
            0 => {
                Err("there are no partitions; create them with `turnpike partition init`"
                    .to_owned())
            }
            partitions => Ok(format!("the front knows the routes of {partitions} partitions")),
        }
    }
}
