//! Sends account commands to a front in batches, and retries each command until it is decided.

use std::collections::VecDeque;

use anyhow::bail;
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde::Serialize;
use tonic::{Code, Response};
use turnpike_client::Patience;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{
    AccountCommand, AccountOutcome, ApplyRequest, CheckResponse, IdentityBinding, OpenAccount,
    Settings, Subscribe,
};
use turnpike_types::limits;

use crate::client::Front;
use crate::ui;

/// The maximum number of commands in a request.
const COMMANDS: usize = 5_000;

/// The outcomes of a set of commands.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Applied {
    pub(crate) applied: u64,
    /// Commands that changed nothing because the account already had the requested state.
    pub(crate) already: u64,
    pub(crate) refused: u64,
    /// The first refusals, at most 10,000 from each request.
    pub(crate) refusals: Vec<RefusedCommand>,
    /// What applied and repeated commands leave or change beside what they ask for, as the cluster
    /// reports it: at most 100 from each request.
    #[serde(skip)]
    pub(crate) notes: Vec<String>,
}

/// A command that the cluster refused.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RefusedCommand {
    pub(crate) account_number: u64,
    pub(crate) message: String,
}

impl std::fmt::Display for RefusedCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "account {}: {}", self.account_number, self.message)
    }
}

impl std::fmt::Display for Applied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [applied, already, refused] = [self.applied, self.already, self.refused].map(ui::count);
        write!(f, "{applied} applied, {already} already in effect, {refused} refused")
    }
}

impl Applied {
    fn count(&mut self, command: &AccountCommand, outcome: AccountOutcome, message: &str) {
        match outcome {
            AccountOutcome::Applied => self.applied += 1,
            AccountOutcome::Already => self.already += 1,
            _ => return self.refuse(command.account_number, message.to_owned()),
        }
        if !message.is_empty() && self.notes.len() < 100 {
            self.notes.push(message.to_owned());
        }
    }

    /// Counts a refused command.
    pub(crate) fn refuse(&mut self, account_number: u64, message: String) {
        self.refused += 1;
        if self.refusals.len() < 10_000 {
            self.refusals.push(RefusedCommand { account_number, message });
        }
    }

    /// Adds the outcomes of further commands.
    pub(crate) fn add(&mut self, other: Self) {
        self.applied += other.applied;
        self.already += other.already;
        self.refused += other.refused;
        self.refusals.extend(other.refusals);
        self.notes.extend(other.notes);
    }
}

/// Sends `commands` with several requests in flight, and calls `each` with the account and the
/// outcome of each command. Commands on one account that depend on each other need separate calls:
/// a command that has to be retried is sent after the rest of its request.
pub(crate) async fn apply(
    front: &Front,
    commands: impl IntoIterator<Item = AccountCommand>,
    mut each: impl FnMut(u64, AccountOutcome),
) -> anyhow::Result<Applied> {
    const REQUESTS_AT_A_TIME: usize = 4;
    let mut commands = commands.into_iter();
    let mut applied = Applied::default();
    let mut asking = FuturesUnordered::new();
    loop {
        while asking.len() < REQUESTS_AT_A_TIME {
            let some: Vec<_> =
                commands.by_ref().take(COMMANDS.min(limits::ACCOUNT_COMMANDS_MAX)).collect();
            if some.is_empty() {
                break;
            }
            asking.push(apply_some(front, some));
        }
        match asking.next().await {
            None => return Ok(applied),
            Some(some) => {
                let (some, outcomes) = some?;
                outcomes.into_iter().for_each(|(account, outcome)| each(account, outcome));
                applied.add(some);
            }
        }
    }
}

async fn apply_some(
    front: &Front,
    commands: Vec<AccountCommand>,
) -> anyhow::Result<(Applied, Vec<(u64, AccountOutcome)>)> {
    let mut applied = Applied::default();
    let mut outcomes = Vec::with_capacity(commands.len());
    let mut waiting: VecDeque<AccountCommand> = commands.into();
    let mut patience = Patience::new(front.timeout);
    loop {
        let request = ApplyRequest { commands: waiting.iter().cloned().collect() };
        let answer = front
            .call("accounts could not be changed", || {
                let (mut accounts, request) = (front.accounts(), request.clone());
                async move { accounts.apply(request).await }
            })
            .await?;
        if answer.results.len() != waiting.len() {
            bail!("the front answered {} of {} commands", answer.results.len(), waiting.len());
        }
        let (before, mut why) = (waiting.len(), String::new());
        for result in answer.results {
            let Some(command) = waiting.pop_front() else { break };
            match result.outcome() {
                AccountOutcome::Retry | AccountOutcome::Unspecified => {
                    why = result.message;
                    waiting.push_back(command);
                }
                outcome => {
                    outcomes.push((command.account_number, outcome));
                    applied.count(&command, outcome, &result.message);
                }
            }
        }
        if waiting.is_empty() {
            return Ok((applied, outcomes));
        }
        if waiting.len() < before {
            patience.progress();
        } else if patience.is_over() {
            bail!(
                "the owners of {} accounts did not answer within {:?}: {why}; look at `turnpike status`, \
                 then run this again",
                waiting.len(),
                front.timeout
            );
        }
        tokio::time::sleep(patience.backoff()).await;
    }
}

/// Checks groups of commands without changing anything. For each group, the result holds the first
/// reason for which the front would refuse one of its commands, or `None`. A front of an older
/// release does not support the check: then the result is `None` for every group.
pub(crate) async fn check(
    front: &Front,
    groups: impl Iterator<Item = Vec<AccountCommand>>,
) -> anyhow::Result<Vec<Option<String>>> {
    let mut groups = groups.peekable();
    let mut faults = Vec::new();
    while groups.peek().is_some() {
        let (mut sizes, mut commands) = (Vec::new(), Vec::new());
        while commands.len() < COMMANDS
            && let Some(group) = groups.next()
        {
            sizes.push(group.len());
            commands.extend(group);
        }
        let request = ApplyRequest { commands };
        let answer = front
            .call("accounts could not be checked", || {
                let (mut accounts, request) = (front.accounts(), request.clone());
                async move {
                    match accounts.check(request).await {
                        Err(status) if status.code() == Code::Unimplemented => {
                            Ok(Response::new(CheckResponse::default()))
                        }
                        answer => answer,
                    }
                }
            })
            .await?;
        let mut told = answer.faults.into_iter();
        for size in sizes {
            let of_group: Vec<String> = told.by_ref().take(size).collect();
            faults.push(of_group.into_iter().find(|fault| !fault.is_empty()));
        }
    }
    Ok(faults)
}

/// The command that opens an account and binds identities to it without an end.
pub(crate) fn open(
    account_number: u64,
    settings: Settings,
    identities: impl IntoIterator<Item = String>,
) -> AccountCommand {
    let bind = |identity| IdentityBinding { identity, from_us: i64::MIN, until_us: None };
    AccountCommand {
        account_number,
        command: Some(Command::Open(OpenAccount {
            settings: Some(settings),
            ..OpenAccount::default()
        })),
        identities: identities.into_iter().map(bind).collect(),
    }
}

/// As [`open`], but the cluster refuses the command if another request has opened the account.
pub(crate) fn open_new(
    account_number: u64,
    settings: Settings,
    identities: impl IntoIterator<Item = String>,
) -> AccountCommand {
    let open = OpenAccount {
        settings: Some(settings.clone()),
        must_be_new: true,
        request_id: rand::random(),
    };
    let command = Some(Command::Open(open));
    AccountCommand { command, ..self::open(account_number, settings, identities) }
}

/// The command that subscribes an account to a plan.
pub(crate) fn subscribe(account_number: u64, subscribe: Subscribe) -> AccountCommand {
    let command = Some(Command::Subscribe(subscribe));
    AccountCommand { account_number, command, identities: Vec::new() }
}
