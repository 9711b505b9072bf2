//! Account commands on their way: the front refuses what it can refuse, and carries out the others
//! between their intent and their outcome in the audit log. So a request that changes nothing has no
//! entry, however often it is sent.

use std::collections::{BTreeMap, HashSet};

use futures::{StreamExt as _, stream};
use prost::Message as _;
use turnpike_access::Actor;
use turnpike_access::audit::{Action, ChangeEnd};
use turnpike_mutants::{Check, off};
use turnpike_proto::account::v1::{AccountCommand, AccountOutcome, AccountResult, ApplyResponse};
use turnpike_proto::node::v1::NodeApplyRequest;
use turnpike_store::Binding;
use turnpike_types::{AccountNumber, PartitionId};

use crate::FrontError;
use crate::routing::table::RouteTable;
use crate::services::accounts::audit::{self, AskedCommand};
use crate::services::accounts::bindings::{self, IdentityChange};
use crate::services::accounts::commands::{binding, check_count, must_be_new, place};
use crate::services::accounts::results::{already, bound, refused, retry, set};
use crate::services::accounts::service::AccountsApi;

/// How many partitions one request is sent to concurrently.
const PARTITIONS_AT_ONCE: usize = 16;

/// The commands of a request after the checks of the front.
#[derive(Default)]
struct Checked {
    /// One result for each command. Those of refused commands are final.
    results: Vec<AccountResult>,
    /// For the owners, by partition, each with its index in the request.
    groups: BTreeMap<PartitionId, Vec<(usize, AccountCommand)>>,
    bindings: Vec<(usize, Binding)>,
    changes: Vec<IdentityChange>,
    /// The indexes of the commands whose account must be new.
    only_new: HashSet<usize>,
    /// The commands to carry out, in the order of the request.
    asked: Vec<AskedCommand>,
    /// The size of the commands to carry out.
    bytes: usize,
}

impl Checked {
    /// Refuses a command, or notes what it needs.
    fn add(
        &mut self,
        table: &RouteTable,
        index: usize,
        mut command: AccountCommand,
    ) -> Result<(), String> {
        let partition = place(table, &command)?;
        let change = bindings::change_of(&command, bindings::final_before(table))?;
        self.asked.push(AskedCommand::of(index, &command));
        self.bytes += command.encoded_len();
        let account = AccountNumber(command.account_number);
        let identities = std::mem::take(&mut command.identities);
        if let Some(change) = change {
            set(&mut self.results, index, already());
            self.changes.push(IdentityChange { index, partition, change });
        } else if command.command.is_none() {
            // The command only binds identities: the owner has nothing to do.
            set(&mut self.results, index, already());
        } else {
            if must_be_new(&command) {
                self.only_new.insert(index);
            }
            self.groups.entry(partition).or_default().push((index, command));
        }
        let bound = identities.into_iter().map(|bound| (index, binding(account, bound)));
        self.bindings.extend(bound);
        Ok(())
    }
}

impl AccountsApi {
    /// Carries out commands between their intent and their outcome in the audit log.
    pub(super) async fn apply_audited(
        &self,
        actor: &Actor,
        commands: Vec<AccountCommand>,
    ) -> Result<ApplyResponse, FrontError> {
        self.core.enter()?;
        check_count(&commands)?;
        let table = self.table().await?;
        let checked = self.checked(&table, commands).await;
        if checked.asked.is_empty() {
            audit::count(&checked.results);
            return Ok(ApplyResponse { results: checked.results });
        }
        let mut intent = audit::intent(&checked.asked);
        intent.bytes = checked.bytes;
        let api = self.clone();
        let change = async move {
            let asked = checked.asked.clone();
            let done = api.carry_out(checked).await;
            audit::count(&done.results);
            let (outcome, detail, accounts) = audit::outcome(&asked, &done.results);
            (done, ChangeEnd { outcome, detail, accounts })
        };
        Ok(self.core.audit.change(actor, Action::AccountApply, intent, change).await?)
    }

    /// Checks what the front can check.
    async fn checked(&self, table: &RouteTable, commands: Vec<AccountCommand>) -> Checked {
        let faults = self.plan_faults(&commands).await;
        let mut faults: Vec<Option<AccountResult>> =
            faults.into_iter().map(|fault| fault.map(refused)).collect();
        self.add_identity_faults(table, &commands, &mut faults).await;
        let results = vec![AccountResult::default(); commands.len()];
        let mut checked = Checked { results, ..Checked::default() };
        for ((index, command), fault) in commands.into_iter().enumerate().zip(faults) {
            let fault = match fault {
                Some(fault) => Err(fault),
                None => checked.add(table, index, command).map_err(refused),
            };
            if let Err(fault) = fault {
                set(&mut checked.results, index, fault);
            }
        }
        checked
    }

    async fn carry_out(&self, checked: Checked) -> ApplyResponse {
        let Checked { mut results, groups, bindings, changes, only_new, .. } = checked;
        let mut answers = stream::iter(groups)
            .map(|(partition, group)| self.apply_group(partition, group))
            .buffer_unordered(PARTITIONS_AT_ONCE);
        while let Some(group) = answers.next().await {
            for (index, result) in group {
                // A node of an earlier release does not know that the account must be new.
                let is_old =
                    result.outcome() == AccountOutcome::Already && only_new.contains(&index);
                let result =
                    if is_old { refused("the account is open already".to_owned()) } else { result };
                set(&mut results, index, result);
            }
        }
        if bindings.is_empty() && changes.is_empty() {
            return ApplyResponse { results };
        }
        let before = self.core.db.bindings_mark().await.ok().map(|mark| mark.version);
        let is_change = !changes.is_empty();
        self.bind(bindings, &mut results).await;
        bindings::rebind(&self.core, changes, &mut results).await;
        bindings::let_fronts_see(&self.core, before, is_change).await;
        ApplyResponse { results }
    }

    /// Sends commands of one partition to its owner, in order. Returns one result for each command,
    /// also after a failure.
    async fn apply_group(
        &self,
        partition: PartitionId,
        group: Vec<(usize, AccountCommand)>,
    ) -> Vec<(usize, AccountResult)> {
        let (indexes, commands): (Vec<usize>, Vec<AccountCommand>) = group.into_iter().unzip();
        let request = NodeApplyRequest { partition: partition.0, commands };
        let answer = self
            .core
            .owners
            .ask(partition, request, |mut node, request| async move { node.apply(request).await })
            .await;
        let failure = match answer {
            Ok(answer) if answer.results.len() == indexes.len() => {
                return indexes.into_iter().zip(answer.results).collect();
            }
            Ok(answer) => retry(format!(
                "partition {partition}: {} results for {} commands",
                answer.results.len(),
                indexes.len()
            )),
            Err(error @ FrontError::Refused { .. }) => refused(error.to_string()),
            Err(error) => retry(error.to_string()),
        };
        indexes.into_iter().map(|index| (index, failure.clone())).collect()
    }

    /// Binds the identities of those commands whose own result is durable.
    async fn bind(&self, bindings: Vec<(usize, Binding)>, results: &mut [AccountResult]) {
        let stands = |index: usize| {
            results.get(index).is_some_and(|result| {
                matches!(result.outcome(), AccountOutcome::Applied | AccountOutcome::Already)
                    || off(Check::BoundWhenDurable)
            })
        };
        let (indexes, bindings): (Vec<usize>, Vec<Binding>) =
            bindings.into_iter().filter(|&(index, _)| stands(index)).unzip();
        if bindings.is_empty() {
            return;
        }
        match self.core.db.bind_identities(&bindings).await {
            Ok(outcomes) => {
                for ((index, binding), outcome) in indexes.iter().zip(&bindings).zip(outcomes) {
                    if let Some(result) = results.get_mut(*index) {
                        bound(result, binding, &outcome);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "identities could not be bound");
                for index in indexes {
                    let message = format!(
                        "the command is durable, but its identities are not bound yet ({error}): \
                         send the command again"
                    );
                    set(results, index, retry(message));
                }
            }
        }
    }
}
