//! The contents of a run, determined by the seed: the size of the cluster, its settings, and the
//! records that clients send.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use turnpike_front::FrontConfig;
use turnpike_node::NodeConfig;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{AccountCommand, OpenAccount, Settings, Subscribe};
use turnpike_store::{Member, PartitionSpec};
use turnpike_types::{
    AccountNumber, AccountRange, NodeName, PartitionId, Priority, Timestamp, UsageRecord,
};

use crate::book::Kind;
use crate::chaos::{FaultDistribution, HostNames};
use crate::client::Batch;

/// 2024-05-01T00:00:00Z; all records fall into this month.
pub const MAY_US: i64 = 1_714_521_600_000_000;
/// The number of accounts of each partition that are opened in every run. Clients also send records
/// for two further accounts of each partition, which are never opened.
pub const ACCOUNTS: u64 = 6;
/// The first seed of the runs in which identities move between accounts.
pub const FIRST_MOVING_SEED: u64 = 1_000_000;
/// The accounts that may hold an identity: the 21st to the 23rd account of each partition.
pub const HOLDERS: std::ops::RangeInclusive<u64> = 21..=23;

/// The contents of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// The nodes, fronts and clients.
    pub host_names: HostNames,
    /// The settings of all nodes.
    pub node: NodeConfig,
    /// The settings of all fronts.
    pub front: FrontConfig,
    /// The maximum latency of the network, in each direction.
    pub latency_max: Duration,
    /// The faults that occur.
    pub fault_distribution: FaultDistribution,
    /// The duration of the time in which faults occur.
    pub chaos: Duration,
    /// The batches of each client.
    pub batches: Vec<Vec<Batch>>,
}

impl Plan {
    /// Draws the contents of the run with this seed.
    pub fn draw(seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let some = |names: &[&str], count: usize| -> Vec<String> {
            names.iter().take(count).map(|&name| name.to_owned()).collect()
        };
        let host_names = HostNames {
            nodes: some(&["a", "b", "c"], chance.random_range(2..=3)),
            fronts: some(&["f1", "f2"], chance.random_range(1..=2)),
            clients: some(&["c1", "c2"], chance.random_range(1..=2)),
            partitions: chance.random_range(1..=2),
        };
        let chaos = Duration::from_millis(chance.random_range(2_000..9_000));
        let batches = (0..host_names.clients.len())
            .map(|client| batches(&mut chance, client, host_names.partitions, chaos))
            .collect();
        Self {
            seed,
            node: node(&mut chance),
            front: front(&mut chance),
            latency_max: Duration::from_millis(*[0, 3, 10, 30].choose(&mut chance).unwrap_or(&0)),
            fault_distribution: FaultDistribution::draw(&mut chance),
            chaos,
            batches,
            host_names,
        }
    }

    /// The partitions. The node with the highest priority differs from partition to partition.
    pub fn partitions(&self) -> Vec<PartitionSpec> {
        let nodes = self.host_names.nodes.len();
        let spec = |id: u32| {
            let members = self.host_names.nodes.iter().enumerate().map(|(at, name)| Member {
                node: NodeName(name.clone()),
                priority: Priority(1 + ((nodes + id as usize - 1 - at) % nodes) as u32),
            });
            let mut members: Vec<Member> = members.collect();
            members.sort_by_key(|member| std::cmp::Reverse(member.priority.0));
            let first = u64::from(id - 1) * 100 + 1;
            Some(PartitionSpec {
                id: PartitionId(id),
                range: AccountRange::new(first, first + 99).ok()?,
                horizon_us: 1,
                accept_since: Some(Timestamp(0)),
                members,
            })
        };
        (1..=self.host_names.partitions).filter_map(spec).collect()
    }

    /// The accounts that are opened in every run, without [`Self::holders`].
    pub fn accounts(&self) -> Vec<u64> {
        let of = |id: u64| (1..=ACCOUNTS).map(move |account| id * 100 + account);
        (0..u64::from(self.host_names.partitions)).flat_map(of).collect()
    }

    /// The accounts between which identities move; none in a run without moves.
    pub fn holders(&self) -> Vec<u64> {
        if self.seed < FIRST_MOVING_SEED {
            return Vec::new();
        }
        let of = |id: u64| HOLDERS.map(move |account| id * 100 + account);
        (0..u64::from(self.host_names.partitions)).flat_map(of).collect()
    }

    /// The commands that open all accounts and subscribe them to the plan.
    pub fn commands(&self) -> Vec<AccountCommand> {
        let command = |account_number, command| AccountCommand {
            account_number,
            command: Some(command),
            identities: Vec::new(),
        };
        let settings = Settings {
            zone: "UTC".to_owned(),
            cycle_day: 1,
            currency: "USD".to_owned(),
            ..Settings::default()
        };
        let open =
            Command::Open(OpenAccount { settings: Some(settings), ..OpenAccount::default() });
        let plan = Subscribe { plan_id: "octets".to_owned(), priority: 1, ..Subscribe::default() };
        let each = |account| {
            [command(account, open.clone()), command(account, Command::Subscribe(plan.clone()))]
        };
        self.accounts().into_iter().chain(self.holders()).flat_map(each).collect()
    }
}

fn node(chance: &mut StdRng) -> NodeConfig {
    NodeConfig {
        segment_bytes_max: *[1_000, 8 << 20].choose(chance).unwrap_or(&1_000),
        checkpoint_log_bytes: *[1, 1_000, 10_000, 128 << 20].choose(chance).unwrap_or(&1),
        run_keys: *[4, 50, 2 << 20].choose(chance).unwrap_or(&4),
        // Large enough that the cache evicts no entry: eviction depends on the real clock.
        segment_cache_bytes: *[4 << 20, 8 << 20].choose(chance).unwrap_or(&(4 << 20)),
        warm_standbys: chance.random_range(0..=2),
        seed: 0,
        ..NodeConfig::default()
    }
}

fn front(chance: &mut StdRng) -> FrontConfig {
    FrontConfig {
        answer_deadline_beats: *[8, 20, 80].choose(chance).unwrap_or(&8),
        sender_window_batches: *[1, 3, 16].choose(chance).unwrap_or(&1),
        stream_batches_max: *[2, 64].choose(chance).unwrap_or(&2),
        seed: 0,
        guarded: turnpike_access::Guarded::No,
        ..FrontConfig::default()
    }
}

/// Draws an account of a random partition, sometimes one that is never opened.
fn account(chance: &mut StdRng, partitions: u32) -> (u64, Kind) {
    let base = u64::from(chance.random_range(0..partitions)) * 100;
    if chance.random_ratio(1, 25) {
        return (base + ACCOUNTS + chance.random_range(1..=2), Kind::Unknown);
    }
    (base + chance.random_range(1..=ACCOUNTS), Kind::Plain)
}

fn batches(chance: &mut StdRng, client: usize, partitions: u32, chaos: Duration) -> Vec<Batch> {
    let count = chance.random_range(10..60);
    let mut sent: Vec<(UsageRecord, Kind)> = Vec::new();
    let mut batches = Vec::new();
    for number in 0..count {
        let mut records = Vec::new();
        for _ in 0..chance.random_range(1..=6) {
            let (account, kind) = account(chance, partitions);
            let record = UsageRecord {
                record_id: format!("{client}-{}", sent.len()),
                account: AccountNumber(account),
                usage_type: "octets".to_owned(),
                start: Timestamp(MAY_US + chance.random_range(0..86_400_000_000)),
                quantity: Some(chance.random_range(1..400)),
                ..UsageRecord::default()
            };
            sent.push((record.clone(), kind));
            records.push((record, kind));
        }
        let again = sent.choose(chance).cloned();
        let mut alone = false;
        match again {
            // An earlier record is sent again, in another batch.
            Some((record, kind))
                if chance.random_ratio(1, 5)
                    && records.iter().all(|(new, _)| new.record_id != record.record_id) =>
            {
                records.push((record, kind));
            }
            // The key of an earlier record is sent again, with other content.
            Some((mut record, Kind::Plain))
                if chance.random_ratio(1, 8)
                    && records.iter().all(|(new, _)| new.record_id != record.record_id) =>
            {
                record.quantity = record.quantity.map(|quantity| quantity + 1_000);
                records.push((record, Kind::Conflict));
                alone = true;
            }
            _ => {}
        }
        let due = chaos.mul_f64(1.05 * f64::from(number) / f64::from(count));
        batches.push(Batch { records, due, alone, twice: chance.random_ratio(1, 10) });
    }
    batches
}
