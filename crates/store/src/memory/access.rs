//! The tables of access control in memory.

use async_trait::async_trait;

use super::database::MemoryDatabase;
use crate::{AccessRead, AccessStore, AccessVersion, AccessWrite, StoreResult};

#[async_trait]
impl AccessStore for MemoryDatabase {
    async fn access(&self, known: Option<AccessVersion>) -> StoreResult<AccessRead> {
        Ok(self.state().access.read(known))
    }

    async fn change_access(&self, write: &AccessWrite) -> StoreResult<Option<u64>> {
        Ok(self.state().access.change(write))
    }
}
