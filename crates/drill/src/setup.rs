//! Prepares a load: partitions, a plan, accounts.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;
use tonic::transport::Channel;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::account_service_client::AccountServiceClient;
use turnpike_proto::account::v1::{
    AccountCommand, AccountOutcome, ApplyRequest, OpenAccount, Settings, Subscribe,
};
use turnpike_proto::plan::v1::PublishRequest;
use turnpike_proto::plan::v1::plan_service_client::PlanServiceClient;
use turnpike_store::{Member, PartitionSpec, SharedDatabase};
use turnpike_types::limits::{HORIZON_DEFAULT_US, MESSAGE_BYTES_MAX};
use turnpike_types::{AccountRange, NodeName, PartitionId, Priority, capped};

/// The plan of the drill: 1,000 octets per month are free; each further one costs 0.00005 USD.
/// The audit computes with the same prices (`octets_price_nanos` of crates/harness).
const PLAN: &str = include_str!("../plans/octets.xml");
const PLAN_ID: &str = "turnpike-drill";
const COMMANDS: usize = 5_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// Partitions, and the accounts in each that the drill uses.
#[derive(Clone, Debug)]
pub(crate) struct DrillAccounts(pub(crate) Vec<(u32, Range<u64>)>);

impl DrillAccounts {
    /// Chooses numbers for new partitions and accounts, above all existing ones.
    pub(crate) async fn beyond(
        db: &dyn SharedDatabase,
        partitions: u32,
        accounts: u64,
    ) -> Result<Self> {
        let there = db.observe().await?.partitions;
        let last_account = there.iter().map(|row| row.spec.range.last().0).max().unwrap_or(0);
        let last_partition = there.iter().map(|row| row.spec.id.0).max().unwrap_or(0);
        Ok(Self::split(last_partition + 1, partitions, last_account + 1, accounts))
    }

    fn split(first: u32, partitions: u32, first_account: u64, accounts: u64) -> Self {
        let count = u64::from(partitions.max(1));
        let edge = |place: u64| first_account + accounts.max(count) * place / count;
        let range = |place| edge(u64::from(place))..edge(u64::from(place) + 1);
        Self((0..partitions).map(|place| (first + place, range(place))).collect())
    }

    /// Splits `accounts`, which the caller gave, by the existing partitions.
    pub(crate) async fn within(db: &dyn SharedDatabase, accounts: &Range<u64>) -> Result<Self> {
        let there = db.observe().await?.partitions;
        let share = |row: &turnpike_store::PartitionRow| {
            let range = row.spec.range;
            let share = accounts.start.max(range.first().0)
                ..accounts.end.min(range.last().0.saturating_add(1));
            (!share.is_empty()).then_some((row.spec.id.0, share))
        };
        let accounts: Vec<_> = there.iter().filter_map(share).collect();
        ensure!(!accounts.is_empty(), "no partition has any of these accounts");
        Ok(Self(accounts))
    }

    /// The partitions.
    pub(crate) fn partitions(&self) -> Vec<u32> {
        self.0.iter().map(|(partition, _)| *partition).collect()
    }

    /// The accounts of all partitions, which form one range.
    pub(crate) fn accounts(&self) -> Range<u64> {
        let first = self.0.iter().map(|(_, accounts)| accounts.start).min().unwrap_or(0);
        first..self.0.iter().map(|(_, accounts)| accounts.end).max().unwrap_or(0)
    }

    /// Creates the partitions. With `first_owns_all` all prefer the first node, otherwise the
    /// preferred node rotates.
    pub(crate) async fn create(
        &self,
        db: &dyn SharedDatabase,
        nodes: &[&str],
        first_owns_all: bool,
    ) -> Result<()> {
        let mut specs = Vec::new();
        for (place, (id, accounts)) in self.0.iter().enumerate() {
            let shift = if first_owns_all { 0 } else { place % nodes.len().max(1) };
            let ranked = nodes.iter().cycle().skip(shift).take(nodes.len());
            let member = |(rank, node): (usize, &&str)| Member {
                node: NodeName((*node).to_owned()),
                priority: Priority(capped::<u32>(nodes.len() - rank).saturating_mul(100)),
            };
            specs.push(PartitionSpec {
                id: PartitionId(*id),
                range: AccountRange::new(accounts.start, accounts.end - 1)?,
                horizon_us: HORIZON_DEFAULT_US,
                accept_since: None,
                members: ranked.enumerate().map(member).collect(),
            });
        }
        Ok(db.create_partitions(&specs).await?)
    }
}

/// Publishes the plan, opens the accounts and subscribes them; repetition changes nothing.
pub(crate) async fn accounts(front: &Channel, accounts: Range<u64>) -> Result<()> {
    publish(front).await?;
    let settings = Settings {
        zone: "UTC".to_owned(),
        cycle_day: 1,
        currency: "USD".to_owned(),
        ..Settings::default()
    };
    let open = Command::Open(OpenAccount { settings: Some(settings), ..OpenAccount::default() });
    let subscribe = Command::Subscribe(Subscribe {
        plan_id: PLAN_ID.to_owned(),
        priority: 1,
        ..Subscribe::default()
    });
    for command in [open, subscribe] {
        let starts = accounts.clone().step_by(COMMANDS);
        let requests = starts.map(|first| {
            let numbers = first..(first + COMMANDS as u64).min(accounts.end);
            let command = |account_number| AccountCommand {
                account_number,
                command: Some(command.clone()),
                identities: Vec::new(),
            };
            apply(front.clone(), numbers.map(command).collect())
        });
        stream::iter(requests).buffer_unordered(4).try_collect::<Vec<()>>().await?;
    }
    Ok(())
}

async fn publish(front: &Channel) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let request = PublishRequest { xml: PLAN.to_owned(), ..PublishRequest::default() };
        match PlanServiceClient::new(front.clone()).publish(request).await {
            Ok(_) => return Ok(()),
            Err(status) if is_transient(&status) && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(status) => bail!("the drill's plan can't be published: {}", status.message()),
        }
    }
}

/// Sends account commands, and retries each until it is applied.
async fn apply(front: Channel, mut commands: Vec<AccountCommand>) -> Result<()> {
    let mut client = AccountServiceClient::new(front).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let mut until = Instant::now() + PATIENCE;
    loop {
        let before = commands.len();
        let answer = client.apply(ApplyRequest { commands: commands.clone() }).await;
        match answer {
            Ok(answer) => commands = unanswered(commands, answer.into_inner().results)?,
            Err(status) if is_transient(&status) => {}
            Err(status) => bail!("accounts can't be opened: {}", status.message()),
        }
        if commands.is_empty() {
            return Ok(());
        }
        if commands.len() < before {
            until = Instant::now() + PATIENCE;
        }
        ensure!(Instant::now() < until, "accounts can't be opened: no progress for {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn unanswered(
    commands: Vec<AccountCommand>,
    results: Vec<turnpike_proto::account::v1::AccountResult>,
) -> Result<Vec<AccountCommand>> {
    let mut again = Vec::new();
    ensure!(results.len() == commands.len(), "answers are missing");
    for (command, result) in commands.into_iter().zip(results) {
        match result.outcome() {
            AccountOutcome::Applied | AccountOutcome::Already => {}
            AccountOutcome::Retry | AccountOutcome::Unspecified => again.push(command),
            _ => bail!("account {}: {}", command.account_number, result.message),
        }
    }
    Ok(again)
}

fn is_transient(status: &tonic::Status) -> bool {
    use tonic::Code::{Cancelled, Internal, ResourceExhausted, Unavailable, Unknown};
    matches!(status.code(), Unavailable | ResourceExhausted | Cancelled | Unknown | Internal)
}

/// Waits until every one of these partitions has an owner that reports it as served.
pub(crate) async fn served(db: &dyn SharedDatabase, accounts: &DrillAccounts) -> Result<()> {
    let until = Instant::now() + PATIENCE * 2;
    let mine = accounts.partitions();
    loop {
        let seen = db.observe().await.context("the database does not answer")?;
        let serving = seen.nodes.iter().flat_map(|node| &node.beat.serving);
        let count = serving.filter(|one| mine.contains(&one.partition.0)).count();
        if count >= mine.len() {
            return Ok(());
        }
        ensure!(Instant::now() < until, "{count} of {} partitions are served", mine.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drill_account_is_in_one_partition() {
        let accounts = DrillAccounts::split(5, 3, 101, 10);
        assert_eq!(accounts.0, [(5, 101..104), (6, 104..107), (7, 107..111)]);
        assert_eq!((accounts.partitions(), accounts.accounts()), (vec![5, 6, 7], 101..111));
    }
}
