//! The room that changes take while they are made, so that those of one principal do not fill the queue
//! of all.

use std::sync::Arc;
use std::time::Duration;

use turnpike_shares::{Share, Shares};
use turnpike_store::{StoreError, StoreResult};

use super::entry::Intent;
use crate::Actor;

/// The room of all changes that a process makes at the same time, in bytes of their requests and
/// entries.
const CHANGES_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What a change takes at least: its entries, its task.
const CHANGE_BYTES_MIN: usize = 64 * 1024;
/// What an account takes in the entries of a change.
const ACCOUNT_BYTES: usize = 128;
/// Time limit for the wait until other changes have made room.
const ROOM_LIMIT: Duration = Duration::from_secs(8);

/// The room of changes, divided among principals by equal shares.
#[derive(Clone, Debug)]
pub(super) struct ChangeRoom(Arc<Shares>);

impl Default for ChangeRoom {
    fn default() -> Self {
        Self(Shares::new(CHANGES_BYTES_MAX))
    }
}

impl ChangeRoom {
    /// Waits until the change fits beside the others.
    pub(super) async fn take(&self, actor: &Actor, intent: &Intent) -> StoreResult<Share> {
        let bytes =
            intent.bytes.saturating_add(intent.accounts.len().saturating_mul(ACCOUNT_BYTES));
        let client = actor.client_key();
        let taken = self.0.take(client, bytes.max(CHANGE_BYTES_MIN));
        tokio::time::timeout(ROOM_LIMIT, taken).await.map_err(|_| StoreError::Unavailable {
            doing: "append to the audit log",
            cause: "other changes of the same client wait for the log; nothing was changed"
                .to_owned(),
        })
    }
}
