//! The tables of access control.

use async_trait::async_trait;

use super::database::SqliteDatabase;
use super::writer::Urgency;
use crate::sql::access::{self, CHANGE};
use crate::{AccessRead, AccessStore, AccessVersion, AccessWrite, StoreResult};

#[async_trait]
impl AccessStore for SqliteDatabase {
    async fn access(&self, known: Option<AccessVersion>) -> StoreResult<AccessRead> {
        access::read(&mut self.reading(), known).await
    }

    async fn change_access(&self, write: &AccessWrite) -> StoreResult<Option<u64>> {
        let write = write.clone();
        self.writer
            .write(Urgency::Normal, CHANGE, move |c| {
                Box::pin(async move { access::change(c, &write).await })
            })
            .await
    }
}
