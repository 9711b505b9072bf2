//! Prepares a load: partitions, a plan, accounts.

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
pub(crate) const PLAN_ID: &str = "turnpike-drill";
const COMMANDS: usize = 5_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// Partitions, and the accounts in each that the drill uses.
#[derive(Clone, Debug)]
pub(crate) struct DrillAccounts(pub(crate) Vec<(u32, AccountRange)>);

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
        Self::split(last_partition + 1, partitions, last_account, accounts)
    }

    /// Splits as many accounts above the number `below`, at least one for each partition.
    fn split(first: u32, partitions: u32, below: u64, accounts: u64) -> Result<Self> {
        let count = u64::from(partitions.max(1));
        let accounts = accounts.max(count);
        below.checked_add(accounts).context("the database has no room for the drill's accounts")?;
        let before = |place: u32| below + accounts * u64::from(place) / count;
        let range = |place| AccountRange::new(before(place) + 1, before(place + 1));
        let share = |place| Ok((first + place, range(place)?));
        (0..partitions).map(share).collect::<Result<_>>().map(Self)
    }

    /// Splits `accounts`, which the caller gave, by the existing partitions.
    pub(crate) async fn within(db: &dyn SharedDatabase, accounts: AccountRange) -> Result<Self> {
        let there = db.observe().await?.partitions;
        let share = |row: &turnpike_store::PartitionRow| {
            let range = row.spec.range;
            let (first, last) =
                (accounts.first().max(range.first()), accounts.last().min(range.last()));
            // Without a common account, the first number is above the last one.
            AccountRange::new(first.0, last.0).ok().map(|share| (row.spec.id.0, share))
        };
        let accounts: Vec<_> = there.iter().filter_map(share).collect();
        ensure!(!accounts.is_empty(), "no partition has any of these accounts");
        Ok(Self(accounts))
    }

    /// The partitions.
    pub(crate) fn partitions(&self) -> Vec<u32> {
        self.0.iter().map(|(partition, _)| *partition).collect()
    }

    /// The accounts as text: `1-400`. Adjoining ranges are shown as one.
    pub(crate) fn shown(&self) -> String {
        let mut ranges: Vec<_> = self.0.iter().map(|(_, range)| *range).collect();
        ranges.sort_by_key(|range| range.first());
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for range in ranges {
            let (first, last) = (range.first().0, range.last().0);
            match joined.last_mut() {
                Some(before) if before.1.checked_add(1) == Some(first) => before.1 = last,
                _ => joined.push((first, last)),
            }
        }
        let shown = joined.iter().map(|(first, last)| format!("{first}-{last}"));
        shown.collect::<Vec<_>>().join(", ")
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
                range: *accounts,
                horizon_us: HORIZON_DEFAULT_US,
                accept_since: None,
                members: ranked.enumerate().map(member).collect(),
            });
        }
        Ok(db.create_partitions(&specs).await?)
    }
}

/// The settings of the drill's accounts.
pub(crate) fn settings() -> Settings {
    Settings {
        zone: "UTC".to_owned(),
        cycle_day: 1,
        currency: "USD".to_owned(),
        ..Settings::default()
    }
}

/// Publishes the plan, opens the accounts and subscribes them; repetition changes nothing.
pub(crate) async fn open_accounts(front: &Channel, accounts: &DrillAccounts) -> Result<()> {
    publish(front).await?;
    let open = Command::Open(OpenAccount { settings: Some(settings()), ..OpenAccount::default() });
    let subscribe = Command::Subscribe(Subscribe {
        plan_id: PLAN_ID.to_owned(),
        priority: 1,
        ..Subscribe::default()
    });
    for command in [open, subscribe] {
        let parts = accounts.0.iter().flat_map(|(_, range)| {
            let last = range.last().0;
            let firsts = (range.first().0..=last).step_by(COMMANDS);
            firsts.map(move |first| first..=first.saturating_add(COMMANDS as u64 - 1).min(last))
        });
        let requests = parts.map(|numbers| {
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

pub(crate) fn is_transient(status: &tonic::Status) -> bool {
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
        let accounts = DrillAccounts::split(5, 3, 100, 10).unwrap();
        let range = |first, last| AccountRange::new(first, last).unwrap();
        assert_eq!(accounts.0, [(5, range(101, 103)), (6, range(104, 106)), (7, range(107, 110))]);
        assert_eq!(
            (accounts.partitions(), accounts.shown()),
            (vec![5, 6, 7], "101-110".to_owned())
        );
        assert!(DrillAccounts::split(5, 3, u64::MAX - 9, 10).is_err(), "no number wraps");
        let apart = DrillAccounts(vec![(2, range(30, 40)), (1, range(5, 9))]);
        assert_eq!(apart.shown(), "5-9, 30-40");
    }
}
