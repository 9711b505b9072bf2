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
use turnpike_proto::account::v1::{AccountCommand, AccountOutcome, AccountResult, IdentityBinding};
use turnpike_proto::node::v1::NodeShowRequest;
use turnpike_store::{Binding, RebindOutcome, Rebinding};
use turnpike_types::limits::{IDENTITY_BINDINGS_MAX, IDENTITY_RELEASES_MAX};
use turnpike_types::{AccountNumber, Identity, PartitionId, Timestamp};

use crate::FrontError;
use crate::routing::ask::ask;
use crate::routing::routes::RouteTable;
use crate::services::accounts::{AccountsApi, already, refused, set};

/// How many accounts are looked up concurrently.
const ACCOUNTS_AT_ONCE: usize = 16;
/// How many former holders an answer names at most.
const NAMED_MAX: usize = 10;

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

impl AccountsApi {
    /// Applies changes of bindings in order. Changes for accounts that are not open are refused.
    pub(crate) async fn rebind(&self, changes: Vec<IdentityChange>, results: &mut [AccountResult]) {
        if changes.is_empty() {
            return;
        }
        let unopened = self.unopened(&changes).await;
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
        match self.core.db.rebind_identities(&asked).await {
            Ok(outcomes) => {
                for ((index, asked), outcome) in indexes.into_iter().zip(&asked).zip(outcomes) {
                    set(results, index, result(asked, &outcome));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "bindings could not be changed");
                let outcome = AccountOutcome::Retry.into();
                let message = format!("the binding is not changed: {error}");
                for index in indexes {
                    set(results, index, AccountResult { outcome, message: message.clone() });
                }
            }
        }
    }

    /// The accounts of `changes` that can't hold an identity, each with the result for its
    /// commands.
    async fn unopened(&self, changes: &[IdentityChange]) -> BTreeMap<AccountNumber, AccountResult> {
        let accounts: BTreeSet<(PartitionId, AccountNumber)> =
            changes.iter().map(|one| (one.partition, one.change.binding().account)).collect();
        let asking = stream::iter(accounts).map(|(partition, account)| async move {
            Some((account, self.why_unopened(partition, account).await?))
        });
        asking.buffer_unordered(ACCOUNTS_AT_ONCE).filter_map(std::future::ready).collect().await
    }

    async fn why_unopened(
        &self,
        partition: PartitionId,
        account: AccountNumber,
    ) -> Option<AccountResult> {
        let request = NodeShowRequest { partition: partition.0, account_number: account.0 };
        let answer = ask(&self.core, partition, request, |mut node, request| async move {
            node.show(request).await
        })
        .await;
        match answer {
            Ok(answer) if answer.account.is_some() => None,
            Ok(_) => Some(refused(format!(
                "account {account} is not open: open it first (turnpike account open)"
            ))),
            Err(error @ FrontError::Refused { .. }) => Some(refused(error.to_string())),
            Err(error) => Some(AccountResult {
                outcome: AccountOutcome::Retry.into(),
                message: error.to_string(),
            }),
        }
    }

    /// Waits until every front knows of a change. After the answer, no front resolves an identity
    /// by a history that it cached before the change. Also waits when this call changed nothing:
    /// another front may have made the same change shortly before, and may have stopped before it
    /// answered.
    pub(crate) async fn let_fronts_see(&self, before: Option<u64>, is_change: bool) {
        let now = self.core.db.bindings_mark().await.ok().map(|mark| mark.version);
        if is_change || before.is_none() || before != now {
            tokio::time::sleep(self.core.config.suspicion()).await;
        }
    }
}

/// The result for the command that requested the change.
fn result(asked: &Rebinding, outcome: &RebindOutcome) -> AccountResult {
    let Binding { identity, account, .. } = asked.binding();
    match outcome {
        RebindOutcome::Already => already(),
        RebindOutcome::Changed(taken) => AccountResult {
            outcome: AccountOutcome::Applied.into(),
            message: message(identity, taken),
        },
        RebindOutcome::Taken(by) => refused(format!(
            "{identity} is not bound: {}. Choose another interval, or move it (--move)",
            held(by)
        )),
        RebindOutcome::Full => refused(match asked {
            Rebinding::Release { .. } => format!(
                "{identity} is not released: it has {} bindings, those that were taken away included, \
                 and no identity may have more. Release it for one long interval instead of many \
                 short ones",
                IDENTITY_BINDINGS_MAX + IDENTITY_RELEASES_MAX
            ),
            Rebinding::Bind(_) | Rebinding::Move { .. } => full(identity),
        }),
        RebindOutcome::NotHeld(None) => refused(format!(
            "account {account} does not hold {identity} in that interval, and no other account \
             does: turnpike account show lists its bindings"
        )),
        RebindOutcome::NotHeld(Some(by)) => refused(format!(
            "account {account} does not hold {identity} in that interval: {}",
            held(by)
        )),
        RebindOutcome::Final(by) => {
            let final_before = match asked {
                Rebinding::Move { final_before, .. } | Rebinding::Release { final_before, .. } => {
                    instant(*final_before)
                }
                // A binding takes nothing from another account, so it is never refused as final.
                Rebinding::Bind(_) => "that time".to_owned(),
            };
            refused(format!(
                "{}: bindings before {final_before}, the acceptance horizon, are final. Choose a \
                 later instant",
                held(by)
            ))
        }
    }
}

/// A sentence that names the accounts that lost the identity, and the intervals.
fn message(identity: &str, taken: &[Binding]) -> String {
    let mut words: Vec<String> = taken
        .iter()
        .take(NAMED_MAX)
        .map(|part| {
            format!("account {} no longer holds {identity} {}", part.account, interval(part))
        })
        .collect();
    if taken.len() > NAMED_MAX {
        words.push(format!("and {} more intervals", taken.len() - NAMED_MAX));
    }
    if !words.is_empty() {
        words.push("records that are already rated stay with their account".to_owned());
    }
    words.join("; ")
}

/// Describes a binding: `account 5 holds ip:192.0.2.1 from 2026-11-01T00:00:00Z on`.
pub(crate) fn held(by: &Binding) -> String {
    format!("account {} holds {} {}", by.account, by.identity, interval(by))
}

/// Why an identity is not bound, and what to do.
pub(crate) fn full(identity: &str) -> String {
    format!(
        "{identity} is not bound: it has {IDENTITY_BINDINGS_MAX} bindings, those that were taken away \
         included, and no identity may have more. Bind another identity, such as a prefix that \
         contains the address; this one can only be released"
    )
}

fn interval(binding: &Binding) -> String {
    match (binding.from, binding.until) {
        (Timestamp::MIN, Timestamp::MAX) => "at all times".to_owned(),
        (Timestamp::MIN, until) => format!("until {}", instant(until)),
        (from, Timestamp::MAX) => format!("from {} on", instant(from)),
        (from, until) => format!("from {} until {}", instant(from), instant(until)),
    }
}

fn instant(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.0)
        .map_or_else(|_| format!("{} us", at.0), |instant| instant.to_string())
}

/// Converts a binding for an answer.
pub(crate) fn shown(binding: Binding) -> IdentityBinding {
    IdentityBinding {
        identity: binding.identity,
        from_us: binding.from.0,
        until_us: (binding.until != Timestamp::MAX).then_some(binding.until.0),
    }
}
