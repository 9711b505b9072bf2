//! Changes of bindings: bind, move and unbind (P28).
//!
//! ```text
//!  AccountCommand --change_of--> Rebinding --was the account opened?--> one transaction
//!                                                                            |
//!                    answer <--- every front has read the new version <------'
//! ```
//!
//! Bindings before the acceptance horizon are final, because no record with an earlier start is
//! accepted any more. Records that are already rated stay with their account.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, stream};
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{AccountCommand, AccountResult, IdentityBinding};
use turnpike_proto::node::v1::NodeShowRequest;
use turnpike_store::{Binding, Rebinding};
use turnpike_types::{AccountNumber, Identity, PartitionId, Timestamp};

use crate::FrontError;
use crate::core::Core;
use crate::routing::table::RouteTable;
use crate::services::accounts::results::{changed, refused, retry, set};

/// How many accounts are looked up concurrently.
const ACCOUNTS_AT_ONCE: usize = 16;

/// A change of bindings that a command requests.
pub(crate) struct IdentityChange {
    /// The index of the command in the request.
    pub(crate) index: usize,
    /// The partition of the command's account.
    pub(crate) partition: PartitionId,
    pub(crate) change: Rebinding,
}

/// The change of bindings that a command requests; `None` if the command changes no bindings.
///
/// # Errors
/// The fault of the command, and how to correct it.
pub(crate) fn change_of(
    command: &AccountCommand,
    final_before: Timestamp,
) -> Result<Option<Rebinding>, String> {
    let account = AccountNumber(command.account_number);
    let binding = |identity: Identity, from: Timestamp, until: Option<i64>| {
        let until = until.map_or(Timestamp::MAX, Timestamp);
        if from >= until {
            return Err(format!("{identity}: until_us is not after from_us"));
        }
        Ok(Binding { identity: identity.into(), account, from, until })
    };
    match &command.command {
        Some(Command::Bind(asked)) => {
            let from = asked.from_us.map_or(Timestamp::MIN, Timestamp);
            let identity = Identity::parse_bound(&asked.identity).map_err(|why| why.to_string())?;
            let binding = binding(identity, from, asked.until_us)?;
            Ok(Some(if asked.r#move {
                Rebinding::Move { binding, final_before }
            } else {
                Rebinding::Bind(binding)
            }))
        }
        Some(Command::Unbind(asked)) => {
            // An earlier release may have bound a prefix that is too short now.
            let identity = Identity::parse(&asked.identity).map_err(|why| why.to_string())?;
            let binding = binding(identity, Timestamp(asked.from_us), asked.until_us)?;
            Ok(Some(Rebinding::Release { binding, final_before }))
        }
        _ => Ok(None),
    }
}

/// The earliest start that any partition still accepts. Bindings before it are final.
pub(crate) fn final_before(table: &RouteTable) -> Timestamp {
    let now = table.observation.now;
    let floors = table.observation.partitions.iter().map(|row| {
        let horizon = now.saturating_add(row.spec.horizon_us.saturating_neg());
        row.spec.accept_since.map_or(horizon, |since| since.min(horizon))
    });
    floors.min().unwrap_or(now)
}

/// Applies changes of bindings in order. Changes for accounts that are not open are refused.
pub(crate) async fn rebind(
    core: &Core,
    changes: Vec<IdentityChange>,
    results: &mut [AccountResult],
) {
    if changes.is_empty() {
        return;
    }
    let unopened = unopened(core, &changes).await;
    let (mut indexes, mut asked) = (Vec::new(), Vec::new());
    for IdentityChange { index, change, .. } in changes {
        match unopened.get(&change.binding().account) {
            Some(why) => set(results, index, why.clone()),
            None => {
                indexes.push(index);
                asked.push(change);
            }
        }
    }
    match core.db.rebind_identities(&asked).await {
        Ok(outcomes) => {
            for ((index, asked), outcome) in indexes.into_iter().zip(&asked).zip(outcomes) {
                set(results, index, changed(asked, &outcome));
            }
        }
        Err(error) => {
            tracing::warn!(%error, "bindings could not be changed");
            for index in indexes {
                set(results, index, retry(format!("the binding is not changed: {error}")));
            }
        }
    }
}

/// The accounts of `changes` that can't hold an identity, each with the result for its
/// commands.
async fn unopened(
    core: &Core,
    changes: &[IdentityChange],
) -> BTreeMap<AccountNumber, AccountResult> {
    let accounts: BTreeSet<(PartitionId, AccountNumber)> =
        changes.iter().map(|one| (one.partition, one.change.binding().account)).collect();
    let asking = stream::iter(accounts).map(|(partition, account)| async move {
        Some((account, why_unopened(core, partition, account).await?))
    });
    asking.buffer_unordered(ACCOUNTS_AT_ONCE).filter_map(std::future::ready).collect().await
}

async fn why_unopened(
    core: &Core,
    partition: PartitionId,
    account: AccountNumber,
) -> Option<AccountResult> {
    let request = NodeShowRequest { partition: partition.0, account_number: account.0 };
    let answer = core
        .owners
        .ask(partition, request, |mut node, request| async move { node.show(request).await })
        .await;
    match answer {
        Ok(answer) if answer.account.is_some() => None,
        Ok(_) => Some(refused(format!(
            "account {account} is not open: open it first (turnpike account open)"
        ))),
        Err(error @ FrontError::Refused { .. }) => Some(refused(error.to_string())),
        Err(error) => Some(retry(error.to_string())),
    }
}

/// Waits until every front knows of a change. After the answer, no front resolves an identity
/// by a history that it cached before the change. Also waits when this call changed nothing:
/// another front may have made the same change shortly before, and may have stopped before it
/// answered.
pub(crate) async fn let_fronts_see(core: &Core, before: Option<u64>, is_change: bool) {
    let now = core.db.bindings_mark().await.ok().map(|mark| mark.version);
    if is_change || before.is_none() || before != now {
        tokio::time::sleep(core.config.suspicion()).await;
    }
}
/// Converts a binding for an answer.
pub(crate) fn shown(binding: Binding) -> IdentityBinding {
    IdentityBinding {
        identity: binding.identity,
        from_us: binding.from.0,
        until_us: (binding.until != Timestamp::MAX).then_some(binding.until.0),
    }
}
