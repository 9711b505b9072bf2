//! Tests a cluster under steady load: its use of resources does not grow, and every record is rated
//! once. The environment variable `SOAK_SECONDS` is the duration; scripts/nightly sets it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chaos_tests::client::send_all;
use chaos_tests::cluster::Cluster;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, MissedTickBehavior, interval};
use turnpike_harness::oracle::{
    SentKey, check_amounts, check_chain, check_each_rated_once, check_replay, log, pull_everything,
};
use turnpike_harness::postgres::PostgresServer;
use turnpike_store::{OpenOptions, SharedDatabase, open};
use turnpike_types::{AccountNumber, PartitionId, Timestamp, UsageRecord};

const ACCOUNTS: u64 = 100;
const PROCESSES: [&str; 3] = ["a", "b", "front"];
const USUAL_SECONDS: u64 = 20;
/// With a round every third of a second, about 300 records a second. The records of an hour fit
/// into the memory of the test.
const RECORDS_A_ROUND: u64 = 100;
const ROUND_EVERY: Duration = Duration::from_millis(333);
/// The acceptance horizon. An owner may forget the keys of older records, so it forgets keys
/// continuously during this test.
const HORIZON: &str = "60s";

/// The resources of a process.
#[derive(Clone, Copy, Debug, Default)]
struct ProcessResources {
    memory_kb: u64,
    files: u64,
    threads: u64,
}

impl ProcessResources {
    fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let value = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.split_whitespace().next());
            Ok(number.with_context(|| format!("no {name} in /proc/{pid}/status"))?.parse()?)
        };
        let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        let (memory_kb, threads) = (value("VmRSS:")?, value("Threads:")?);
        Ok(Self { memory_kb, files: files as u64, threads })
    }

    fn max(self, other: Self) -> Self {
        Self {
            memory_kb: self.memory_kb.max(other.memory_kb),
            files: self.files.max(other.files),
            threads: self.threads.max(other.threads),
        }
    }

    /// Whether the process uses so much more than `before` that a steady load does not explain it.
    /// Memory has a large margin, because allocators and caches reach their full size late.
    fn has_outgrown(self, before: Self) -> bool {
        self.memory_kb > before.memory_kb * 3 / 2 + 64 * 1024
            || self.files > before.files + 16
            || self.threads > before.threads + 32
    }
}

#[test]
fn growth_of_each_kind_is_seen() {
    let before = ProcessResources { memory_kb: 100_000, files: 30, threads: 10 };
    assert!(!before.has_outgrown(before));
    assert!(ProcessResources { memory_kb: 300_000, ..before }.has_outgrown(before));
    assert!(ProcessResources { files: 50, ..before }.has_outgrown(before));
    assert!(ProcessResources { threads: 50, ..before }.has_outgrown(before));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_grows_under_steady_load_and_i1_to_i4_hold() -> Result<()> {
    let _alone = crate::alone().await;
    let seed = std::env::var("TURNPIKE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let seconds = std::env::var("SOAK_SECONDS").map(|text| text.parse());
    let seconds = seconds.unwrap_or(Ok(USUAL_SECONDS)).context("SOAK_SECONDS")?;
    println!("seed {seed}, {seconds} s");
    let postgres = PostgresServer::start()?;
    let database = postgres.create_database()?;
    let mut cluster = Cluster::new(database.clone())?;
    set_up(&mut cluster).await?;
    let db = open(&database, &OpenOptions::default()).await?;
    let length = Duration::from_secs(seconds);
    let sending = tokio::spawn(load(cluster.front(), seed, Instant::now() + length));
    let first = watch(&cluster, db.as_ref(), length / 2).await?;
    let second = watch(&cluster, db.as_ref(), length / 2).await?;
    let sent = sending.await??;
    for name in PROCESSES {
        let (before, after) = (first[name], second[name]);
        println!("{name}: {before:?}, then {after:?}");
        ensure!(!after.has_outgrown(before), "{name} grew from {before:?} to {after:?}");
    }
    ensure!(sent.len() as u64 >= RECORDS_A_ROUND * seconds / 2, "{} were sent", sent.len());
    check(&cluster, db.as_ref(), &sent).await
}

async fn set_up(cluster: &mut Cluster) -> Result<()> {
    let accounts = format!("1-{ACCOUNTS}");
    cluster.run(&[
        "partition",
        "init",
        "--count",
        "2",
        "--accounts",
        &accounts,
        "--members",
        "a,b",
        "--horizon",
        HORIZON,
    ])?;
    cluster.start_node("a")?;
    cluster.start_node("b")?;
    cluster.start_front()?;
    cluster.wait_until_served().await?;
    cluster.run(&["plan", "publish", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/octets.xml")])?;
    let mut csv = "account_number,zone,cycle_day,currency,plan,plan_from\n".to_owned();
    (1..=ACCOUNTS).for_each(|n| csv.push_str(&format!("{n},UTC,1,USD,octets,1970-01-01\n")));
    let file = cluster.file("accounts.csv", &csv)?;
    cluster.run(&["account", "import", &file])?;
    Ok(())
}

/// Sends one round of records after another until `end`, each on a new connection; returns all
/// records.
async fn load(front: String, seed: u64, end: Instant) -> Result<BTreeMap<SentKey, i64>> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut sent = BTreeMap::new();
    let mut pace = interval(ROUND_EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 0u64.. {
        pace.tick().await;
        if Instant::now() >= end {
            break;
        }
        let now = now();
        let records: Vec<UsageRecord> = (0..RECORDS_A_ROUND)
            .map(|n| UsageRecord {
                record_id: format!("{round}-{n}"),
                account: AccountNumber(chance.random_range(1..=ACCOUNTS)),
                usage_type: "octets".to_owned(),
                start: now,
                quantity: Some(chance.random_range(1..500)),
                ..UsageRecord::default()
            })
            .collect();
        for record in &records {
            let key = (record.account.0, record.record_id.clone());
            sent.insert(key, record.quantity.context("a record without a quantity")?);
        }
        let batches = records.chunks(25).map(<[UsageRecord]>::to_vec).collect();
        let told = send_all(front.clone(), format!("soak-{round}"), batches, seed + round).await?;
        ensure!(told.exceptions == 0, "every record could be rated: {told:?}");
    }
    Ok(sent)
}

/// The clock that nodes use to calculate the age of records.
#[allow(clippy::disallowed_methods, reason = "real processes go by the machine's clock")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(since.as_micros()).unwrap())
}

/// Returns the peak use of each process. Checks meanwhile that the database lists two nodes and
/// keeps at most two checkpoints of each partition.
async fn watch(
    cluster: &Cluster,
    db: &dyn SharedDatabase,
    length: Duration,
) -> Result<BTreeMap<&'static str, ProcessResources>> {
    let (until, mut most) = (Instant::now() + length, BTreeMap::new());
    loop {
        for name in PROCESSES {
            let held: &mut ProcessResources = most.entry(name).or_default();
            *held = held.max(ProcessResources::of(cluster.pid(name)?)?);
        }
        let seen = db.observe().await?;
        ensure!(seen.nodes.len() == 2, "{} nodes are listed", seen.nodes.len());
        for partition in &seen.partitions {
            let kept = db.checkpoints(partition.spec.id).await?.len();
            ensure!(kept <= 2, "{kept} checkpoints of one partition are kept");
        }
        if Instant::now() >= until {
            return Ok(most);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Checks I1 to I4 and every amount.
async fn check(
    cluster: &Cluster,
    db: &dyn SharedDatabase,
    sent: &BTreeMap<SentKey, i64>,
) -> Result<()> {
    let lines = pull_everything(&cluster.front()).await?;
    check_each_rated_once(&lines, sent)?;
    check_amounts(&lines, sent)?;
    let mut checkpoints = 0;
    for partition in [1, 2].map(PartitionId) {
        let rows = log(db, partition).await?;
        check_chain(&rows)?;
        checkpoints += check_replay(db, partition, &rows).await?;
    }
    ensure!(checkpoints > 0, "there is no checkpoint to compare");
    Ok(())
}
