//! Consumers and their cursors.

use async_trait::async_trait;

use super::database::{APPEND_LIMIT, PostgresDatabase};
use crate::cursors::{check_consumer_name, check_cursors};
use crate::sql::cursors;
use crate::{Consumer, CursorAck, CursorStore, StoreResult};

#[async_trait]
impl CursorStore for PostgresDatabase {
    async fn register_consumer(&self, name: &str) -> StoreResult<()> {
        check_consumer_name(name)?;
        cursors::register(&mut self.bulk.autocommit(APPEND_LIMIT), name).await
    }

    async fn consumer(&self, name: &str) -> StoreResult<Vec<Consumer>> {
        cursors::cursors(&mut self.bulk.autocommit(APPEND_LIMIT), name).await
    }

    async fn consumers(&self) -> StoreResult<Vec<String>> {
        cursors::consumers(&mut self.bulk.autocommit(APPEND_LIMIT)).await
    }

    async fn remove_consumer(&self, name: &str) -> StoreResult<bool> {
        cursors::remove(&mut self.bulk.autocommit(APPEND_LIMIT), name).await
    }

    async fn acknowledge(&self, from: &Consumer, to: &Consumer) -> StoreResult<CursorAck> {
        check_cursors(from, to)?;
        cursors::acknowledge(&mut self.bulk.autocommit(APPEND_LIMIT), from, to).await
    }
}
