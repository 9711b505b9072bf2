//! Is the front ready: does it know where partitions are?

use std::fmt;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::routes::Routes;

/// Tells whether a front is ready; clones ask the same front, also after its end.
#[derive(Clone)]
pub struct Health {
    pub(crate) routes: Routes,
    /// Cancelled when the front takes nothing more.
    pub(crate) gate: CancellationToken,
    /// Routes that are older say that the database does not answer.
    pub(crate) stale_after: Duration,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Health").field(&self.ready()).finish()
    }
}

impl Health {
    /// What the front knows, in words.
    ///
    /// # Errors
    /// Why it is not ready, in words: it is stopping, the routes have not been read, or not lately,
    /// or there are no partitions.
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
                "the shared database does not answer: the routes are {} ms old",
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
