//! Nodes are killed at random moments while charges fall due, billing cycles of an option close,
//! and the usage of some accounts is posted to others. Each charge and each posting is booked once,
//! and the posted and the received amounts are equal.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chaos_tests::accounts::apply_all;
use chaos_tests::client::send_all;
use chaos_tests::cluster::Cluster;
use chaos_tests::dates::{Dues, MAY};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use turnpike_harness::oracle::{
    SentKey, check_chain, check_each_rated_once, check_replay, log, pull_everything,
};
use turnpike_harness::postgres::PostgresServer;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{AccountCommand, Offer, Subscribe};
use turnpike_proto::feed::v1::ChargeLine;
use turnpike_segment::Segment;
use turnpike_store::{OpenOptions, SegmentRow, SharedDatabase, open};
use turnpike_types::{AccountNumber, Outcome, PartitionId, Timestamp, UsageRecord};

const PARTITIONS: u32 = 4;
/// One account in ten has an option.
const ACCOUNTS: u64 = 200;
const RECORDS: u64 = 6_000;
const BATCH: usize = 100;
const KILLS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn each_charge_and_each_posting_is_booked_once_when_active_nodes_are_killed() -> Result<()> {
    let _alone = crate::alone().await;
    let seed = std::env::var("TURNPIKE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("seed {seed}");
    let postgres = PostgresServer::start()?;
    let database = postgres.create_database()?;
    let mut cluster = Cluster::new(database.clone())?;
    set_up(&mut cluster).await?;
    let db = open(&database, &OpenOptions::default()).await?;
    let dues = Dues::until(db.observe().await?.now.0);
    let records = records(seed);
    let clients: Vec<_> = records
        .chunks(RECORDS as usize / 2)
        .zip(1..)
        .map(|(half, client)| {
            let batches = half.chunks(BATCH).map(<[UsageRecord]>::to_vec).collect();
            let source = format!("client-{client}");
            tokio::spawn(send_all(cluster.front(), source, batches, seed + client))
        })
        .collect();
    kill_while_things_fall_due(&mut cluster, db.as_ref(), seed).await?;
    for client in clients {
        let told = client.await??;
        println!("answers to a client: {told:?}");
        ensure!(told.exceptions == 0, "every record could be rated");
    }
    cluster.wait_until_owned_by(db.as_ref(), &["a", "b", "a", "b"]).await?;
    let lines = settled(&cluster, &records, &dues).await?;
    check(&lines, &records, &dues)?;
    let (mut due, mut posted) = (0, 0);
    for partition in (1..=PARTITIONS).map(PartitionId) {
        let rows = log(db.as_ref(), partition).await?;
        check_chain(&rows)?;
        check_replay(db.as_ref(), partition, &rows).await?;
        due += epochs_of(&rows, Outcome::FellDue)?;
        posted += epochs_of(&rows, Outcome::Posted)?;
    }
    println!("owners that booked what fell due: {due}; postings: {posted}");
    let partitions = PARTITIONS as usize;
    // Postings are received as soon as they are available, so only by chance does a takeover fall
    // between two of them.
    ensure!(
        due > partitions && posted >= partitions,
        "all was booked by one owner: no takeover fell between the bookings"
    );
    Ok(())
}

/// The number of epochs in which outcomes of this kind were logged.
fn epochs_of(rows: &[SegmentRow], outcome: Outcome) -> Result<usize> {
    let mut epochs = BTreeSet::new();
    for row in rows {
        let segment = Segment::decode(&row.body)?;
        if segment.records().any(|(_, record)| record.outcome == outcome) {
            epochs.insert(row.epoch);
        }
    }
    Ok(epochs.len())
}

/// A plan that posts the charge for a record to the account that the record's attribute `payer`
/// names.
const SPONSORED: &str = r#"<plan xmlns="urn:turnpike:plan:1" id="sponsored" version="1" starts="2020-01-01" currency="USD">
  <graph>
    <UsageTypeSelector id="data" in="record.quantity" types="octets"/>
    <StepRater id="units" in="data.pass"><step id="all" price="1" per="1 kB"/></StepRater>
    <SecondAccountFinalizer id="post" in="units.charge" account="record.payer"/>
  </graph>
</plan>"#;

/// A plan with charges that depend on time only.
const DUES: &str = r#"<plan xmlns="urn:turnpike:plan:1" id="dues" version="1" starts="2020-01-01" currency="USD">
  <graph>
    <MonthlyRecurringCharge id="month" amount="10.00"/>
    <WeeklyRecurringCharge id="week" amount="1.00"/>
    <Adder id="sum" in="month.charge week.charge"/>
    <AccountFinalizer id="post" in="sum.charge"/>
  </graph>
</plan>"#;

fn alternative(id: &str, amount: &str) -> String {
    format!(
        r#"<plan xmlns="urn:turnpike:plan:1" id="{id}" version="1" starts="2020-01-01" currency="USD">
  <graph>
    <BillingCycleRecurringCharge id="cycle" amount="{amount}"/>
    <AccountFinalizer id="post" in="cycle.charge"/>
  </graph>
</plan>"#
    )
}

async fn set_up(cluster: &mut Cluster) -> Result<()> {
    let (accounts, count) = (format!("1-{ACCOUNTS}"), PARTITIONS.to_string());
    let init = ["partition", "init", "--count", &count, "--accounts", &accounts];
    cluster.run(&[&init[..], &["--members", "a,b", "--accept-since", "2024-01-01"]].concat())?;
    cluster.start_node("a")?;
    cluster.start_node("b")?;
    cluster.start_front()?;
    cluster.wait_until_served().await?;
    let plans = [
        ("sponsored.xml", SPONSORED.to_owned()),
        ("dues.xml", DUES.to_owned()),
        ("large.xml", alternative("large", "5.00")),
    ];
    for (name, xml) in plans {
        cluster.run(&["plan", "publish", &cluster.file(name, &xml)?])?;
    }
    let mut csv = "account_number,zone,cycle_day,currency,plan,plan_from\n".to_owned();
    (1..=ACCOUNTS).for_each(|n| csv.push_str(&format!("{n},UTC,1,USD,sponsored,1970-01-01\n")));
    cluster.run(&["account", "import", &cluster.file("accounts.csv", &csv)?])?;
    // This plan is published last, so that a node may not know it yet when the option is chosen.
    let small = alternative("small", "2.00");
    cluster.run(&["plan", "publish", &cluster.file("small.xml", &small)?])?;
    Ok(())
}

const fn has_option(account: u64) -> bool {
    account.is_multiple_of(10)
}

/// A command after which charges of an account fall due from May 2024 on. All of them are overdue
/// when the command is applied.
fn begin(account: u64) -> AccountCommand {
    let command = if has_option(account) {
        Command::Offer(Offer {
            option: "best".to_owned(),
            plan_ids: vec!["large".to_owned(), "small".to_owned()],
            fee: "0.5".to_owned(),
            from_us: MAY,
            priority: 2,
        })
    } else {
        let plan_id = "dues".to_owned();
        Command::Subscribe(Subscribe { plan_id, from_us: MAY, priority: 2, ..Subscribe::default() })
    };
    AccountCommand { account_number: account, command: Some(command), identities: Vec::new() }
}

/// Before each kill, some accounts of every partition get charges that fall due.
async fn kill_while_things_fall_due(
    cluster: &mut Cluster,
    db: &dyn SharedDatabase,
    seed: u64,
) -> Result<()> {
    let mut chance = StdRng::seed_from_u64(seed ^ 0xdead);
    let mut beginning = Vec::new();
    for round in 0..KILLS as u64 {
        let some = (1..=ACCOUNTS).filter(|account| (account / 10) % KILLS as u64 == round);
        beginning.push(tokio::spawn(apply_all(cluster.front(), some.map(begin).collect())));
        tokio::time::sleep(Duration::from_millis(chance.random_range(100..1_000))).await;
        cluster.kill_an_owner(db, &mut chance).await?;
    }
    for commands in beginning {
        commands.await??;
    }
    Ok(())
}

/// Draws the records. Each has a unique amount, which identifies its posting, and is paid by an
/// account of another partition.
fn records(seed: u64) -> Vec<UsageRecord> {
    let mut chance = StdRng::seed_from_u64(seed);
    let record = |n: u64| {
        let account = 1 + n % ACCOUNTS;
        let others = u64::from(chance.random_range(1..PARTITIONS));
        let payer = 1 + (account - 1 + others * ACCOUNTS / u64::from(PARTITIONS)) % ACCOUNTS;
        UsageRecord {
            record_id: format!("r{n}"),
            account: AccountNumber(account),
            usage_type: "octets".to_owned(),
            start: Timestamp(MAY + chance.random_range(0..86_400_000_000)),
            quantity: Some(1_000 * (1 + i64::try_from(n).unwrap_or_default())),
            attributes: [("payer".to_owned(), payer.to_string())].into(),
            ..UsageRecord::default()
        }
    };
    (0..RECORDS).map(record).collect()
}

/// Bookings as text, each with its number of occurrences.
type Booked = BTreeMap<String, usize>;

/// The expected bookings, calculated independently of the product.
fn expected(records: &[UsageRecord], dues: &Dues) -> Booked {
    let mut booked = Booked::new();
    for record in records {
        let (payer, dollars) = (&record.attributes["payer"], record.quantity.unwrap() / 1_000);
        let amount = format!("{dollars}.000000000");
        booked.insert(
            format!("{} usage of {} to {payer}: {amount}", record.account, record.record_id),
            1,
        );
        booked.insert(format!("{payer} posting all: {amount}"), 1);
    }
    for account in 1..=ACCOUNTS {
        let mut due = |what: &str, at: &[i64], amount: &str| {
            let lines = at.iter().map(|at| format!("{account} due {what} {at}: {amount}"));
            booked.extend(lines.map(|line| (line, 1)));
        };
        if has_option(account) {
            due("large cycle trial", &dues.months, "5.000000000");
            due("small cycle trial", &dues.months, "2.000000000");
            due("small sum account", &dues.closes, "2.000000000");
            due("small fee account", &dues.closes, "0.500000000");
        } else {
            due("dues month account", &dues.months, "10.000000000");
            due("dues week account", &dues.weeks, "1.000000000");
        }
    }
    booked
}

/// The bookings found, without those that fell due after the test began.
fn found(lines: &[ChargeLine], dues: &Dues) -> Booked {
    let mut booked = Booked::new();
    for line in lines {
        let ChargeLine { account_number, record_id, component, amount, posting, .. } = line;
        let word = match line.source.as_str() {
            "usage" => {
                format!("{account_number} usage of {record_id} to {}: {amount}", line.posted_to)
            }
            "posting" => format!("{account_number} posting {component}: {amount}"),
            _ if line.start_us > dues.until => continue,
            _ => {
                let (plan, at) = (&line.plan_id, line.start_us);
                format!("{account_number} due {plan} {component} {posting} {at}: {amount}")
            }
        };
        *booked.entry(word).or_default() += 1;
    }
    booked
}

/// Waits until there are as many bookings as expected, at most until the time limit, and returns
/// all lines.
async fn settled(
    cluster: &Cluster,
    records: &[UsageRecord],
    dues: &Dues,
) -> Result<Vec<ChargeLine>> {
    let all: usize = expected(records, dues).values().sum();
    for _ in 0..100 {
        let lines = pull_everything(&cluster.front()).await?;
        if found(&lines, dues).values().sum::<usize>() >= all {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    // A second booking of the same charge may appear a little later.
    tokio::time::sleep(Duration::from_secs(2)).await;
    pull_everything(&cluster.front()).await
}

fn check(lines: &[ChargeLine], records: &[UsageRecord], dues: &Dues) -> Result<()> {
    let (expected, found) = (expected(records, dues), found(lines, dues));
    let differ = |of: &Booked, other: &Booked| -> Vec<String> {
        let differ = of.iter().filter(|(line, count)| other.get(*line) != Some(count));
        differ.map(|(line, count)| format!("{count} x {line}")).take(10).collect()
    };
    let (missing, surplus) = (differ(&expected, &found), differ(&found, &expected));
    ensure!(
        missing.is_empty() && surplus.is_empty(),
        "expected but missing: {missing:#?}\nfound but not expected: {surplus:#?}"
    );
    let sent: BTreeMap<SentKey, i64> = records
        .iter()
        .map(|r| ((r.account.0, r.record_id.clone()), r.quantity.unwrap_or_default()))
        .collect();
    let used: Vec<ChargeLine> =
        lines.iter().filter(|line| line.source == "usage").cloned().collect();
    check_each_rated_once(&used, &sent)?;
    let sum = |posting: &str, source: &str| -> Result<i128> {
        let of = lines.iter().filter(|line| line.posting == posting && line.source == source);
        of.map(|line| line.amount.replace('.', "").parse::<i128>().context("an amount")).sum()
    };
    let (sent, received) = (sum("second-account", "usage")?, sum("account", "posting")?);
    ensure!(sent == received, "{sent} posted, {received} received");
    println!(
        "{} lines; {} of each account fall due",
        lines.len(),
        dues.months.len() + dues.weeks.len()
    );
    Ok(())
}
