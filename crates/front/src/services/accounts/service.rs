//! The account service: forwards commands to the owners of their accounts, and writes identity
//! bindings to the shared database once the commands are durable.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;
use tonic::{Request, Response, Status};
use turnpike_access::{Actor, Permit};
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::account_service_server::AccountService;
use turnpike_proto::account::v1::{
    AccountCommand, AccountResult, ApplyRequest, ApplyResponse, CheckResponse, IdentityAt,
    ResolveRequest, ResolveResponse, ResolvedIdentity, ShowRequest, ShowResponse,
};
use turnpike_proto::node::v1::NodeShowRequest;
use turnpike_store::Binding;
use turnpike_types::limits::ACCOUNT_COMMANDS_MAX;
use turnpike_types::{AccountNumber, Timestamp, text};

use crate::FrontError;
use crate::core::Core;
use crate::routing::guiding::bound_at;
use crate::routing::table::RouteTable;
use crate::services::accounts::bindings;
use crate::services::accounts::commands::{binding, check_count, check_identity, place};
use crate::services::accounts::results::{held, refused, retry};
use crate::services::accounts::subscribing::PublishedPlans;

/// How many bindings of an account `show` returns at most.
const BINDINGS_SHOWN_MAX: usize = 1_000;

/// The gRPC service `AccountService`.
#[derive(Clone)]
pub struct AccountsApi {
    pub(super) core: Arc<Core>,
    plans: Arc<PublishedPlans>,
}

impl AccountsApi {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, plans: Arc::default() }
    }

    pub(super) async fn table(&self) -> Result<Arc<RouteTable>, FrontError> {
        let wait = Instant::now() + self.core.config.suspicion();
        let table = self.core.routes.first(wait).await.ok_or(FrontError::NoRoutes)?;
        if table.len() == 0 { Err(FrontError::NoPartitions) } else { Ok(table) }
    }

    /// For each command, why its plans can't be subscribed to; `None` if nothing is wrong. When the
    /// catalogue can't be read, the front checks nothing and the owners check alone.
    pub(super) async fn plan_faults(&self, commands: &[AccountCommand]) -> Vec<Option<String>> {
        match self.plans.faults(self.core.db.as_ref(), commands).await {
            Ok(faults) => faults,
            Err(error) => {
                tracing::warn!(%error, "the catalogue can't be read: only the owners check plans");
                vec![None; commands.len()]
            }
        }
    }

    /// Adds the results of commands whose identities can't be bound, so that these commands change
    /// nothing. Another front may bind an identity after this check: then the change of the account
    /// is durable, and the result says so.
    pub(super) async fn add_identity_faults(
        &self,
        table: &RouteTable,
        commands: &[AccountCommand],
        faults: &mut [Option<AccountResult>],
    ) {
        let is_sound = commands.iter().zip(faults.iter());
        let is_sound = is_sound.map(|(one, fault)| fault.is_none() && place(table, one).is_ok());
        let is_sound: Vec<bool> = is_sound.collect();
        let found = match self.identity_faults(commands, &is_sound).await {
            Ok(found) => found.into_iter().map(|fault| fault.map(refused)).collect(),
            Err(error) => {
                let result = retry(format!("its identities can't be looked up ({error})"));
                let binds = |command: &AccountCommand| !command.identities.is_empty();
                commands.iter().map(|one| binds(one).then(|| result.clone())).collect::<Vec<_>>()
            }
        };
        for (fault, found) in faults.iter_mut().zip(found) {
            *fault = fault.take().or(found);
        }
    }

    /// For each command that changes an account, why its identities can't be bound: another
    /// account, or an earlier command of the request, holds one of them for a part of the requested
    /// interval.
    async fn identity_faults(
        &self,
        commands: &[AccountCommand],
        is_sound: &[bool],
    ) -> Result<Vec<Option<String>>, FrontError> {
        let bindings_of = |command: &AccountCommand| -> Vec<Binding> {
            let account = AccountNumber(command.account_number);
            let valid = command.identities.iter().filter(|bound| check_identity(bound).is_ok());
            valid.map(|bound| binding(account, bound.clone())).collect()
        };
        let asked =
            commands.iter().zip(is_sound).map(|(command, is_sound)| match command.command {
                Some(_) if *is_sound => bindings_of(command),
                // The identities of a command that only binds identities are not checked here,
                // since such a command can't be carried out in part.
                _ => Vec::new(),
            });
        let asked: Vec<Vec<Binding>> = asked.collect();
        let mut identities: Vec<String> =
            asked.iter().flatten().map(|binding| binding.identity.clone()).collect();
        if identities.is_empty() {
            return Ok(vec![None; commands.len()]);
        }
        identities.sort_unstable();
        identities.dedup();
        let histories = self.core.db.guide(&identities).await?;
        let known = identities.into_iter().zip(histories);
        let mut held_by: HashMap<String, Vec<Binding>> =
            known.map(|(identity, history)| (identity, history.bindings)).collect();
        let mut faults = Vec::with_capacity(commands.len());
        for bindings in asked {
            let taken = bindings
                .iter()
                .find_map(|binding| in_the_way(held_by.get(&binding.identity)?, binding));
            faults.push(taken.map(|by| {
                format!(
                    "{}: nothing is done. Bind it for another interval, or move it (turnpike \
                     account bind --move)",
                    held(by)
                )
            }));
            if faults.last().is_some_and(Option::is_none) {
                for binding in bindings {
                    let history = held_by.entry(binding.identity.clone()).or_default();
                    history.push(binding);
                    history.sort_by_key(|binding| binding.from);
                }
            }
        }
        Ok(faults)
    }

    /// The faults that the front can find without a request to the owners.
    async fn check(&self, commands: &[AccountCommand]) -> Result<CheckResponse, FrontError> {
        self.core.enter()?;
        check_count(commands)?;
        let table = self.table().await?;
        let faults = self.plans.faults(self.core.db.as_ref(), commands).await?;
        let placed = commands.iter().map(|command| place(&table, command).err());
        let faults = placed.zip(faults).map(|(misplaced, fault)| misplaced.or(fault));
        let faults: Vec<Option<String>> = faults.collect();
        let is_sound: Vec<bool> = faults.iter().map(Option::is_none).collect();
        let taken = self.identity_faults(commands, &is_sound).await?;
        let faults = faults.into_iter().zip(taken).map(|(fault, taken)| fault.or(taken));
        Ok(CheckResponse { faults: faults.map(Option::unwrap_or_default).collect() })
    }
}

/// The binding in `history` that conflicts with `wanted`, so that the store would refuse `wanted`.
/// `history` holds the bindings of the identity, sorted by start.
fn in_the_way<'h>(history: &'h [Binding], wanted: &Binding) -> Option<&'h Binding> {
    let own = history.iter().filter(|by| by.account == wanted.account);
    let held_until = own.fold(wanted.from, |held, by| match by.from <= held {
        true => held.max(by.until),
        false => held,
    });
    if held_until >= wanted.until {
        // The account holds the identity already.
        return None;
    }
    let mut others = history.iter().filter(|by| by.account != wanted.account);
    others.find(|by| by.from < wanted.until && wanted.from < by.until)
}

/// Refuses commands if one of them concerns an account that the sender may not change. Nothing is
/// done then.
fn check_reach(permit: &Permit, commands: &[AccountCommand]) -> Result<(), Status> {
    for command in commands {
        permit.check_account(AccountNumber(command.account_number))?;
        // A move takes the identity from another account.
        if matches!(&command.command, Some(Command::Bind(bind)) if bind.r#move) {
            permit.check_all_accounts()?;
        }
    }
    Ok(())
}

#[tonic::async_trait]
impl AccountService for AccountsApi {
    async fn apply(
        &self,
        request: Request<ApplyRequest>,
    ) -> Result<Response<ApplyResponse>, Status> {
        let permit = self.core.permit(&request)?;
        let actor = Actor::of(&request);
        let commands = request.into_inner().commands;
        check_reach(&permit, &commands)?;
        Ok(Response::new(self.apply_audited(&actor, commands).await?))
    }

    async fn check(
        &self,
        request: Request<ApplyRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let permit = self.core.permit(&request)?;
        let commands = request.into_inner().commands;
        check_reach(&permit, &commands)?;
        Ok(Response::new(Self::check(self, &commands).await?))
    }

    async fn show(&self, request: Request<ShowRequest>) -> Result<Response<ShowResponse>, Status> {
        self.core.enter()?;
        let permit = self.core.permit(&request)?;
        let account_number = request.into_inner().account_number;
        permit.check_account(AccountNumber(account_number))?;
        let table = self.table().await?;
        let slot = table.slot_of(AccountNumber(account_number));
        let Some(partition) = slot.and_then(|slot| table.at(slot)).map(|route| route.partition)
        else {
            let why = format!("no partition covers account {account_number}");
            return Err(FrontError::NotFound(why).into());
        };
        let request = NodeShowRequest { partition: partition.0, account_number };
        let answer = self
            .core
            .owners
            .ask(partition, request, |mut node, request| async move { node.show(request).await })
            .await?;
        let mut account = answer.account.ok_or_else(|| {
            FrontError::NotFound(format!("account {account_number} was never opened"))
        })?;
        let number = AccountNumber(account_number);
        let found = self.core.db.bindings_of(number, BINDINGS_SHOWN_MAX + 1).await;
        let found = found.map_err(FrontError::from)?;
        account.more_bindings = found.len() > BINDINGS_SHOWN_MAX;
        let shown = found.into_iter().take(BINDINGS_SHOWN_MAX);
        account.bindings = shown.map(bindings::shown).collect();
        Ok(Response::new(account))
    }

    async fn resolve(
        &self,
        request: Request<ResolveRequest>,
    ) -> Result<Response<ResolveResponse>, Status> {
        self.core.enter()?;
        // The answer may name any account.
        self.core.permit(&request)?.check_all_accounts()?;
        let asked = request.into_inner().identities;
        if asked.len() > ACCOUNT_COMMANDS_MAX {
            let count = asked.len();
            return Err(FrontError::Invalid(format!(
                "{count} identities; at most {ACCOUNT_COMMANDS_MAX} are looked up in one request"
            ))
            .into());
        }
        for one in &asked {
            let checked = text::IDENTITY.check(&one.identity);
            checked.map_err(|why| FrontError::Invalid(why.to_string()))?;
        }
        let mut identities: Vec<String> = asked.iter().map(|one| one.identity.clone()).collect();
        identities.sort_unstable();
        identities.dedup();
        // Reads the database, not the cache, so that a binding made a moment ago is visible.
        let histories = self.core.db.guide(&identities).await.map_err(FrontError::from)?;
        let resolve = |asked: &IdentityAt| {
            let place = identities.binary_search(&asked.identity).ok();
            let history = place.and_then(|place| histories.get(place));
            let account = history.and_then(|history| bound_at(history, Timestamp(asked.at_us)));
            let is_bound = history.is_some_and(|history| !history.bindings.is_empty());
            ResolvedIdentity {
                account_number: account.map_or(0, |account| account.0),
                bound_at_other_times: account.is_none() && is_bound,
            }
        };
        let identities = asked.iter().map(resolve).collect();
        Ok(Response::new(ResolveResponse { identities }))
    }
}
