//! Accounts: commands to their owners, identities to the shared database once they are durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use turnpike_mutants::{Line, off};
use turnpike_proto::account::v1::account_service_server::AccountService;
use turnpike_proto::account::v1::{
    AccountCommand, AccountOutcome, AccountResult, ApplyRequest, ApplyResponse, IdentityBinding,
    ShowRequest, ShowResponse,
};
use turnpike_proto::node::v1::{NodeApplyRequest, NodeShowRequest};
use turnpike_proto::record::is_identity;
use turnpike_store::{BindOutcome, Binding};
use turnpike_types::limits::{ACCOUNT_COMMANDS_MAX, IDENTITY_BYTES_MAX};
use turnpike_types::{AccountNumber, PartitionId, Timestamp};

use crate::FrontError;
use crate::core::Core;
use crate::owner::ask;
use crate::routes::RouteTable;

/// Partitions that one request is carried to side by side.
const PARTITIONS_AT_ONCE: usize = 16;

/// The gRPC service.
pub struct Accounts {
    core: Arc<Core>,
}

impl Accounts {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    async fn table(&self) -> Result<Arc<RouteTable>, FrontError> {
        let wait = Instant::now() + self.core.config.suspicion();
        let table = self.core.routes.first(wait).await.ok_or(FrontError::NoRoutes)?;
        if table.len() == 0 { Err(FrontError::NoPartitions) } else { Ok(table) }
    }

    async fn carry_out(&self, commands: Vec<AccountCommand>) -> Result<ApplyResponse, FrontError> {
        self.core.enter()?;
        if commands.len() > ACCOUNT_COMMANDS_MAX {
            let count = commands.len();
            return Err(FrontError::Invalid(format!(
                "{count} commands; at most {ACCOUNT_COMMANDS_MAX} are taken in one request"
            )));
        }
        let table = self.table().await?;
        let mut results = vec![AccountResult::default(); commands.len()];
        let mut groups: BTreeMap<PartitionId, Vec<(usize, AccountCommand)>> = BTreeMap::new();
        let mut bindings = Vec::new();
        for (index, mut command) in commands.into_iter().enumerate() {
            let partition = match place(&table, &command) {
                Ok(partition) => partition,
                Err(why) => {
                    set(&mut results, index, refused(why));
                    continue;
                }
            };
            let account = AccountNumber(command.account_number);
            let identities = std::mem::take(&mut command.identities);
            if command.command.is_none() {
                // Nothing for the owner: the identities are all there is to it.
                set(&mut results, index, already());
            } else {
                groups.entry(partition).or_default().push((index, command));
            }
            bindings.extend(identities.into_iter().map(|bound| (index, binding(account, bound))));
        }
        let mut answers = stream::iter(groups)
            .map(|(partition, group)| self.apply_group(partition, group))
            .buffer_unordered(PARTITIONS_AT_ONCE);
        while let Some(group) = answers.next().await {
            for (index, result) in group {
                set(&mut results, index, result);
            }
        }
        self.bind(bindings, &mut results).await;
        Ok(ApplyResponse { results })
    }

    /// Commands of one partition, in order; a result for each, whatever happens.
    async fn apply_group(
        &self,
        partition: PartitionId,
        group: Vec<(usize, AccountCommand)>,
    ) -> Vec<(usize, AccountResult)> {
        let (indexes, commands): (Vec<usize>, Vec<AccountCommand>) = group.into_iter().unzip();
        let request = NodeApplyRequest { partition: partition.0, commands };
        let answer = ask(&self.core, partition, request, |mut node, request| async move {
            node.apply(request).await
        })
        .await;
        let failure = match answer {
            Ok(answer) if answer.results.len() == indexes.len() => {
                return indexes.into_iter().zip(answer.results).collect();
            }
            Ok(answer) => AccountResult {
                outcome: AccountOutcome::Retry.into(),
                message: format!(
                    "partition {partition}: {} results for {} commands",
                    answer.results.len(),
                    indexes.len()
                ),
            },
            Err(error @ FrontError::Refused { .. }) => refused(error.to_string()),
            Err(error) => {
                AccountResult { outcome: AccountOutcome::Retry.into(), message: error.to_string() }
            }
        };
        indexes.into_iter().map(|index| (index, failure.clone())).collect()
    }

    /// Binds the identities of commands that are durable.
    async fn bind(&self, bindings: Vec<(usize, Binding)>, results: &mut [AccountResult]) {
        let stands = |index: usize| {
            results.get(index).is_some_and(|result| {
                matches!(result.outcome(), AccountOutcome::Applied | AccountOutcome::Already)
                    || off(Line::BoundWhenDurable)
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
                        "the command is durable, its identities are not bound yet ({error}): send \
                         the command again"
                    );
                    let outcome = AccountOutcome::Retry.into();
                    set(results, index, AccountResult { outcome, message });
                }
            }
        }
    }
}

fn set(results: &mut [AccountResult], index: usize, result: AccountResult) {
    if let Some(place) = results.get_mut(index) {
        *place = result;
    }
}

/// What a binding adds to the result of its command.
fn bound(result: &mut AccountResult, binding: &Binding, outcome: &BindOutcome) {
    match outcome {
        BindOutcome::Already => {}
        BindOutcome::Bound => {
            if result.outcome() == AccountOutcome::Already {
                result.outcome = AccountOutcome::Applied.into();
            }
        }
        BindOutcome::Taken(other) => {
            *result = refused(format!(
                "the command is done, but {} belongs to account {other} for part of that interval: \
                 choose another interval",
                binding.identity
            ));
        }
    }
}

fn refused(message: String) -> AccountResult {
    AccountResult { outcome: AccountOutcome::Refused.into(), message }
}

/// The partition of a command, or why it can't be carried out.
fn place(table: &RouteTable, command: &AccountCommand) -> Result<PartitionId, String> {
    let account = command.account_number;
    if account == 0 {
        return Err("account_number is missing".to_owned());
    }
    if command.command.is_none() && command.identities.is_empty() {
        return Err(
            "no command: give open, subscribe, cancel, change_settings or identities".to_owned()
        );
    }
    for bound in &command.identities {
        check_identity(bound)?;
    }
    let slot = table.slot_of(AccountNumber(account));
    slot.and_then(|slot| table.at(slot)).map(|route| route.partition).ok_or_else(|| {
        format!("no partition covers account {account}: turnpike status shows the ranges")
    })
}

fn check_identity(bound: &IdentityBinding) -> Result<(), String> {
    let identity = &bound.identity;
    if !is_identity(identity) {
        return Err(format!("identity {identity:?} is none: write ip:…, user:… or tel:…"));
    }
    if identity.len() > IDENTITY_BYTES_MAX {
        return Err(format!(
            "an identity of {} bytes; at most {IDENTITY_BYTES_MAX} are taken",
            identity.len()
        ));
    }
    if bound.until_us.is_some_and(|until| until <= bound.from_us) {
        return Err(format!("identity {identity}: until_us is not after from_us"));
    }
    if bound.from_us == i64::MAX {
        return Err(format!("identity {identity}: from_us is the end of time"));
    }
    Ok(())
}

fn binding(account: AccountNumber, bound: IdentityBinding) -> Binding {
    Binding {
        identity: bound.identity,
        account,
        from: Timestamp(bound.from_us),
        until: bound.until_us.map_or(Timestamp::MAX, Timestamp),
    }
}

#[tonic::async_trait]
impl AccountService for Accounts {
    async fn apply(
        &self,
        request: Request<ApplyRequest>,
    ) -> Result<Response<ApplyResponse>, Status> {
        Ok(Response::new(self.carry_out(request.into_inner().commands).await?))
    }

    async fn show(&self, request: Request<ShowRequest>) -> Result<Response<ShowResponse>, Status> {
        self.core.enter()?;
        let account_number = request.into_inner().account_number;
        let table = self.table().await?;
        let slot = table.slot_of(AccountNumber(account_number));
        let Some(partition) = slot.and_then(|slot| table.at(slot)).map(|route| route.partition)
        else {
            let why = format!("no partition covers account {account_number}");
            return Err(FrontError::NotFound(why).into());
        };
        let request = NodeShowRequest { partition: partition.0, account_number };
        let answer = ask(&self.core, partition, request, |mut node, request| async move {
            node.show(request).await
        })
        .await?;
        let account = answer.account.ok_or_else(|| {
            FrontError::NotFound(format!("account {account_number} was never opened"))
        })?;
        Ok(Response::new(account))
    }
}

fn already() -> AccountResult {
    AccountResult { outcome: AccountOutcome::Already.into(), message: String::new() }
}
