//! Consumers and their cursors.

use async_trait::async_trait;

use super::database::SqliteDatabase;
use super::writer::Urgency;
use crate::cursors::{check_consumer_name, check_cursors};
use crate::sql::cursors::{self, ACKNOWLEDGE, REGISTER, REMOVING};
use crate::{Consumer, CursorAck, CursorStore, StoreResult};

#[async_trait]
impl CursorStore for SqliteDatabase {
    async fn register_consumer(&self, name: &str) -> StoreResult<()> {
        check_consumer_name(name)?;
        let name = name.to_owned();
        self.writer
            .write(Urgency::Normal, REGISTER, move |c| {
                Box::pin(async move { cursors::register(c, &name).await })
            })
            .await
    }

    async fn consumer(&self, name: &str) -> StoreResult<Vec<Consumer>> {
        cursors::cursors(&mut self.reading(), name).await
    }

    async fn consumers(&self) -> StoreResult<Vec<String>> {
        cursors::consumers(&mut self.reading()).await
    }

    async fn remove_consumer(&self, name: &str) -> StoreResult<bool> {
        let name = name.to_owned();
        self.writer
            .write(Urgency::Normal, REMOVING, move |c| {
                Box::pin(async move { cursors::remove(c, &name).await })
            })
            .await
    }

    async fn acknowledge(&self, from: &Consumer, to: &Consumer) -> StoreResult<CursorAck> {
        check_cursors(from, to)?;
        let (from, to) = (from.clone(), to.clone());
        self.writer
            .write(Urgency::Normal, ACKNOWLEDGE, move |c| {
                Box::pin(async move { cursors::acknowledge(c, &from, &to).await })
            })
            .await
    }
}
