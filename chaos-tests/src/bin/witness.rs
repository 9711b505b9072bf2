//! Clients and checks for a cluster that another program runs and disturbs (`patroni/failover`).
//!
//! ```text
//!  end of standard input ---> no further rounds; records sent are retried until acknowledged
//!  standard output    <------ "acknowledged CLIENT ROUND RECORDS", one line for each round
//!                     <------ "checked ...", when all checks have passed
//!  exit code          <------ not zero: a check failed; the violation is on standard error
//! ```
//!
//! `TURNPIKE_DATABASE` and `TURNPIKE_FRONT` are the addresses, `TURNPIKE_SEED` determines the
//! records. Accounts 1 to 400 must be open and subscribed to the plan of `tests/octets.xml`, and
//! their log must be empty.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chaos_tests::client::send_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use turnpike_harness::oracle::{
    SentKey, check_amounts, check_chain, check_each_rated_once, check_replay, log, pull_everything,
};
use turnpike_store::{OpenOptions, open};
use turnpike_types::{AccountNumber, Timestamp, UsageRecord};

const ACCOUNTS: u64 = 400;
const CLIENTS: u64 = 4;
const BATCHES_A_ROUND: usize = 4;
const RECORDS_A_BATCH: usize = 25;
/// The minimum time between the starts of two rounds of a client, which limits the load.
const ROUND_EVERY: Duration = Duration::from_millis(100);
/// 2024-05-01T00:00:00Z; all records fall into this month.
const MAY: i64 = 1_714_521_600_000_000;

type Sent = BTreeMap<SentKey, i64>;

#[tokio::main]
async fn main() -> Result<()> {
    let front = variable("TURNPIKE_FRONT")?;
    let seed = variable("TURNPIKE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let stop = stop_at_end_of_input();
    let clients: Vec<_> = (1..=CLIENTS)
        .map(|client| tokio::spawn(rounds(front.clone(), client, seed, Arc::clone(&stop))))
        .collect();
    let mut sent = Sent::new();
    for client in clients {
        sent.extend(client.await??);
    }
    check(&variable("TURNPIKE_DATABASE")?, &front, &sent).await
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set"))
}

fn stop_at_end_of_input() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    // A thread, not a task: the process does not wait for it at its end.
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Relaxed);
    });
    stop
}

/// Sends one round after another until `stop`, and returns all records sent, each acknowledged.
async fn rounds(front: String, client: u64, seed: u64, stop: Arc<AtomicBool>) -> Result<Sent> {
    let mut chance = StdRng::seed_from_u64(seed ^ (client << 32));
    let mut sent = Sent::new();
    let mut pace = tokio::time::interval(ROUND_EVERY);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for round in 1u64.. {
        pace.tick().await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let records = records(client, round, &mut chance);
        for record in &records {
            let key = (record.account.0, record.record_id.clone());
            sent.insert(key, record.quantity.unwrap_or_default());
        }
        let batches = records.chunks(RECORDS_A_BATCH).map(<[UsageRecord]>::to_vec).collect();
        let source = format!("client-{client}-{round}");
        let told = send_all(front.clone(), source, batches, chance.random()).await?;
        ensure!(told.exceptions == 0, "every record could be rated: {told:?}");
        println!("acknowledged {client} {round} {}", records.len());
    }
    Ok(sent)
}

fn records(client: u64, round: u64, chance: &mut StdRng) -> Vec<UsageRecord> {
    (0..BATCHES_A_ROUND * RECORDS_A_BATCH)
        .map(|n| UsageRecord {
            record_id: format!("{client}-{round}-{n}"),
            account: AccountNumber(chance.random_range(1..=ACCOUNTS)),
            usage_type: "octets".to_owned(),
            start: Timestamp(MAY + chance.random_range(0..86_400_000_000)),
            quantity: Some(chance.random_range(1..500)),
            ..UsageRecord::default()
        })
        .collect()
}

/// Checks I1 to I4 and the total of every account.
async fn check(database: &str, front: &str, sent: &Sent) -> Result<()> {
    let lines = pull_everything(front).await?;
    check_each_rated_once(&lines, sent)?;
    check_amounts(&lines, sent)?;
    let db = open(database, &OpenOptions::default()).await?;
    let (mut segments, mut checkpoints) = (0, 0);
    for partition in db.observe().await?.partitions {
        let rows = log(db.as_ref(), partition.spec.id).await?;
        let in_log = || format!("partition {}", partition.spec.id);
        check_chain(&rows).with_context(in_log)?;
        checkpoints +=
            check_replay(db.as_ref(), partition.spec.id, &rows).await.with_context(in_log)?;
        segments += rows.len();
    }
    println!(
        "checked {} records acknowledged, {} lines, {segments} segments, {checkpoints} checkpoints",
        sent.len(),
        lines.len()
    );
    Ok(())
}
