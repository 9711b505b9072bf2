//! Nodes are killed at random moments under two clients that retry.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use chaos_tests::client::{AnswerCounts, send_all};
use chaos_tests::cluster::Cluster;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use turnpike_harness::oracle::{
    SentKey, check_amounts, check_chain, check_each_rated_once, check_replay, log, pull_everything,
};
use turnpike_harness::postgres::PostgresServer;
use turnpike_store::{OpenOptions, SharedDatabase, open};
use turnpike_types::{AccountNumber, PartitionId, Timestamp, UsageRecord};

const PARTITIONS: u32 = 4;
const ACCOUNTS: u64 = 400;
const RECORDS: u64 = 100_000;
const BATCH: usize = 250;
const KILLS: usize = 5;
/// 2024-05-01T00:00:00Z; all records fall into this month.
const MAY: i64 = 1_714_521_600_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn i1_to_i4_hold_when_active_nodes_are_killed_at_random_moments() -> Result<()> {
    let _alone = crate::alone().await;
    // The seed determines the records and the faults: TURNPIKE_SEED=7 cargo test -p chaos-tests
    let seed = std::env::var("TURNPIKE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("seed {seed}");
    let postgres = PostgresServer::start()?;
    let database = postgres.create_database()?;
    let mut cluster = Cluster::new(database.clone())?;
    let db = set_up(&mut cluster, &database).await?;
    let records = records(seed);
    let sent: BTreeMap<SentKey, i64> = records
        .iter()
        .map(|r| ((r.account.0, r.record_id.clone()), r.quantity.unwrap_or_default()))
        .collect();
    let clients: Vec<_> = records
        .chunks(RECORDS as usize / 2)
        .zip(1..)
        .map(|(half, client)| {
            let batches = half.chunks(BATCH).map(<[UsageRecord]>::to_vec).collect();
            let source = format!("client-{client}");
            tokio::spawn(send_all(cluster.front(), source, batches, seed + client))
        })
        .collect();
    kill_and_restart(&mut cluster, db.as_ref(), seed).await?;
    let mut told = AnswerCounts::default();
    for client in clients {
        let one = client.await??;
        told.accepted += one.accepted;
        told.duplicates += one.duplicates;
        told.exceptions += one.exceptions;
        told.resent += one.resent;
    }
    println!("answers to clients: {told:?}");
    ensure!(told.exceptions == 0, "every record could be rated");
    ensure!(told.accepted <= RECORDS, "more accepted than sent");
    cluster.wait_until_owned_by(db.as_ref(), &["a", "b", "a", "b"]).await?;
    let lines = pull_everything(&cluster.front()).await?;
    check_each_rated_once(&lines, &sent)?;
    check_amounts(&lines, &sent)?;
    let mut checkpoints = 0;
    for partition in (1..=PARTITIONS).map(PartitionId) {
        let rows = log(db.as_ref(), partition).await?;
        check_chain(&rows)?;
        checkpoints += check_replay(db.as_ref(), partition, &rows).await?;
    }
    ensure!(checkpoints > 0, "there is no checkpoint to compare");
    Ok(())
}

async fn set_up(
    cluster: &mut Cluster,
    database: &str,
) -> Result<std::sync::Arc<dyn SharedDatabase>> {
    let accounts = format!("1-{ACCOUNTS}");
    let count = PARTITIONS.to_string();
    cluster.run(&[
        "partition",
        "init",
        "--count",
        &count,
        "--accounts",
        &accounts,
        "--members",
        "a,b",
        "--accept-since",
        "2024-01-01",
    ])?;
    cluster.start_node("a")?;
    cluster.start_node("b")?;
    cluster.start_front()?;
    cluster.wait_until_served().await?;
    let plan = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/octets.xml");
    cluster.run(&["plan", "publish", plan])?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("accounts.csv");
    let mut csv = "account_number,zone,cycle_day,currency,plan,plan_from\n".to_owned();
    (1..=ACCOUNTS).for_each(|n| csv.push_str(&format!("{n},UTC,1,USD,octets,1970-01-01\n")));
    std::fs::write(&file, csv)?;
    cluster.run(&["account", "import", &file.to_string_lossy()])?;
    Ok(open(database, &OpenOptions::default()).await?)
}

fn records(seed: u64) -> Vec<UsageRecord> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut records: Vec<UsageRecord> = (0..RECORDS)
        .map(|n| UsageRecord {
            record_id: format!("r{n}"),
            account: AccountNumber(1 + n % ACCOUNTS),
            usage_type: "octets".to_owned(),
            start: Timestamp(MAY + chance.random_range(0..86_400_000_000)),
            quantity: Some(chance.random_range(1..500)),
            ..UsageRecord::default()
        })
        .collect();
    records.shuffle(&mut chance);
    records
}

async fn kill_and_restart(cluster: &mut Cluster, db: &dyn SharedDatabase, seed: u64) -> Result<()> {
    let mut chance = StdRng::seed_from_u64(seed ^ 0xdead);
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(chance.random_range(100..1_500))).await;
        cluster.kill_an_owner(db, &mut chance).await?;
    }
    Ok(())
}
