//! The clock of the databases that run in this process.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use turnpike_types::{Timestamp, capped};

/// A source of the present time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The clock of this machine.
#[expect(clippy::disallowed_methods, reason = "the only place that reads the system's clock")]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        Timestamp(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => capped(since.as_micros()),
            Err(before) => -capped::<i64>(before.duration().as_micros()),
        })
    })
}
