//! The tables of access control.

use async_trait::async_trait;

use super::database::{APPEND_LIMIT, BEAT_LIMIT, PostgresDatabase};
use crate::sql::access::{self, CHANGE};
use crate::{AccessRead, AccessStore, AccessVersion, AccessWrite, StoreResult};

#[async_trait]
impl AccessStore for PostgresDatabase {
    async fn access(&self, known: Option<AccessVersion>) -> StoreResult<AccessRead> {
        // A front allows nothing when this read fails for ten seconds, so it has no bulk reads before it.
        access::read(&mut self.observer.autocommit(BEAT_LIMIT), known).await
    }

    async fn change_access(&self, write: &AccessWrite) -> StoreResult<Option<u64>> {
        let write = write.clone();
        let lease = self.changes.lease(CHANGE, APPEND_LIMIT).await?;
        lease
            .transaction(move |connection| {
                Box::pin(async move { access::change(connection, &write).await })
            })
            .await
    }
}
