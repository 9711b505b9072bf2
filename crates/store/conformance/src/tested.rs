//! The database under test.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use turnpike_store::SharedDatabase;

use crate::owner::spec;

/// Opens a view of the database under test, as another process would open it.
pub type Opener = Arc<dyn Fn() -> BoxFuture<'static, Arc<dyn SharedDatabase>> + Send + Sync>;
/// Resumes the appends that an [`AppendPauser`] has stopped.
pub type ResumeAppends = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;
/// Makes appends stop before their commit until the returned function is called.
pub type AppendPauser = Arc<dyn Fn() -> BoxFuture<'static, ResumeAppends> + Send + Sync>;

/// Advances the database's clock by a duration.
pub type AdvanceClock = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// One empty database under test.
pub struct TestedStore {
    /// Opens a view of the database.
    pub open: Opener,
    /// Stops appends before their commit.
    pub hold_appends: AppendPauser,
    /// Advances the database's clock.
    pub advance_clock: AdvanceClock,
}

impl TestedStore {
    /// A new view of the database, as of another process.
    pub async fn view(&self) -> Arc<dyn SharedDatabase> {
        (self.open)().await
    }

    /// A new view, after creating partition 1 (accounts 1 to 1,000).
    pub async fn with_partition(&self) -> Arc<dyn SharedDatabase> {
        let db = self.view().await;
        db.create_partitions(&[spec(1, 1, 1000)]).await.unwrap();
        db
    }
}

/// SQL that shifts all stored times into the past, as if `time` had passed.
pub fn age_statements(time: Duration) -> String {
    let us = time.as_micros();
    format!(
        "UPDATE partitions SET flapped_at = flapped_at - {us}; \
         UPDATE pins SET until_us = until_us - {us}; \
         UPDATE nodes SET beat_at = beat_at - {us};"
    )
}
