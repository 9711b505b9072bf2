//! `turnpike demo`: a cluster, usage, a killed node, a takeover, a handback, an audit, a bill.

mod audit;
mod traffic;

use std::io::BufReader;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use tokio::time::Instant;
use turnpike_collect::UsageCsv;
use turnpike_harness::process::ListeningServer;
use turnpike_proto::cluster::v1::StatusRequest;
use turnpike_proto::feed::v1::ChargeLine;
use turnpike_types::{AccountRange, Timestamp};

use crate::account_setup::{publish, settings, subscription, succeeded};
use crate::client::Front;
use crate::context::Context;
use crate::exit::Finish;
use crate::local_cluster::{ChildSettings, ClusterPlan, LocalCluster, START_MAX};
use crate::partitions::Acceptance;
use crate::settings::Setting;
use crate::stop_signals::StopSignals;
use crate::tally::FileReport;
use crate::usage_file::{self, Rows, Sending};
use crate::{apply, plans, ui, values};

use audit::Audit;
use traffic::Traffic;

const EXAMPLES: &str = "\
Runs in a temporary directory on free ports, and removes everything at the end. The exit code is 1
if any record was lost, rated twice or priced wrongly.

Examples:
  turnpike demo
  turnpike demo --records 1000000";

/// Options of `demo`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArgs {
    /// Octet records to send in addition to those of the bill
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1_000..=20_000_000))]
    records: u64,
    /// Show what the servers log
    #[arg(long)]
    logs: bool,
}

/// The account whose bill is printed.
const BILLED: u64 = 42;
/// The last account. The accounts from 1 to `LAST` are split evenly among four partitions.
const LAST: u64 = 4_000;
const FIG6B_USAGE: &str = include_str!("../../plans/fig6b_usage.csv");
const FIG6B_BILL: &str = include_str!("../../plans/fig6b_bill.csv");
/// How long a request may make no progress before it fails: long enough for loaded machines.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The resolved settings of `demo`.
#[derive(Debug)]
pub(crate) struct DemoSettings {
    records: u64,
    children: ChildSettings,
}

impl DemoArgs {
    pub(crate) fn resolve(self, context: &Context) -> DemoSettings {
        DemoSettings { records: self.records, children: ChildSettings::new(context, self.logs) }
    }
}

pub(crate) async fn run(settings: DemoSettings) -> anyhow::Result<Finish> {
    let mut signals = StopSignals::new()?;
    // An interrupt drops the demo's future, which ends its processes and removes its directory.
    tokio::select! {
        told = story(&settings) => told.map(|()| Finish::Done),
        signal = signals.next() => {
            bail!("{signal} ended the demo; all processes that it started are stopped")
        }
    }
}

async fn story(settings: &DemoSettings) -> anyhow::Result<()> {
    let began = Instant::now();
    let directory = tempfile::tempdir().context("no temporary directory can be made")?;
    chapter("1. A cluster: one front, two rating nodes, one SQLite file")?;
    let plan = ClusterPlan {
        nodes: 2,
        partitions: Setting::fixed(4),
        accounts: Setting::fixed(AccountRange::new(1, LAST)?),
        acceptance: Acceptance::since(Timestamp(0)),
        listen: Setting::fixed("127.0.0.1:0".to_owned()),
        insecure_plaintext: false,
        children: settings.children.clone(),
    };
    let mut cluster = LocalCluster::start(directory.path(), &plan).await?;
    let front = cluster.connect(TIMEOUT).await?;
    balanced(&front).await?;
    owners(&front).await?;

    chapter("2. Two price plans, and accounts")?;
    open_accounts(&front).await?;

    chapter(&format!("3. Usage: {} records over 4 streams", ui::count(settings.records + 13)))?;
    let started = values::now_us() - 60_000_000;
    let others = AccountRange::new(BILLED + 1, LAST)?;
    let traffic = Traffic::new(others, settings.records, started);
    let flow = tokio::spawn(Arc::clone(&traffic).flow(front.again().await?));
    bill_usage(&front, 0..5).await?;
    say("the first five of account 42's thirteen sessions are accepted and durable")?;
    while traffic.answered.load(Ordering::Relaxed) < settings.records / 5 && !flow.is_finished() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drill(&mut cluster, &front, &traffic).await?;
    let tally = flow.await??;
    say(&format!("all streams have ended: {tally}"))?;
    ensure!(tally.sent == settings.records && tally.is_balanced(), "answers are missing: {tally}");

    chapter("5. A retry: a client that does not know which records were accepted")?;
    let again = traffic.again(&front).await?;
    say(&format!("one stream's records once more: {again}"))?;
    ensure!(again.duplicates == again.sent, "a record was accepted twice: {again}");

    chapter("6. The audit: rated output is pulled and counted independently")?;
    let audit = Audit::pull(&front, "demo", BILLED).await?;
    audit.reconcile(&traffic.ledger(), 13, 1)?;
    let [sent, lines] = [settings.records + 13, audit.lines].map(ui::count);
    say(&format!("{sent} records sent = {} in the log = {sent} rated", ui::count(audit.logged)))?;
    say(&format!("{lines} charge lines, none twice; every segment matches its control totals"))?;
    let octets = ui::count(audit.octets());
    say(&format!("{octets} octets sent = octets rated, account by account; all amounts match"))?;

    chapter("7. A bill: account 42, with the reason for each price")?;
    bill(&audit.bill)?;
    cluster.stop().await;
    ui::print(format_args!("\nDone in {:.0} s. Try next:", began.elapsed().as_secs_f64()))?;
    ui::print(
        "  turnpike up                      a cluster that keeps its data, at http://127.0.0.1:7070",
    )?;
    ui::print("  turnpike load --setup --first-account 990001 --account-count 10000 --seconds 5")?;
    ui::print("  turnpike status                  while you kill its processes")?;
    ui::print("  turnpike pull --consumer me --output lines.csv")?;
    Ok(())
}

fn chapter(title: &str) -> anyhow::Result<()> {
    Ok(ui::print(format_args!("\n{title}"))?)
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(ui::print(format_args!("   {line}"))?)
}

/// Prints the owner of each partition, once the heartbeats report it.
async fn owners(front: &Front) -> anyhow::Result<()> {
    let mut owners = served_by(front).await?;
    for _ in 0..100 {
        if owners.iter().all(|(_, owner)| !owner.is_empty()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        owners = served_by(front).await?;
    }
    let told = owners.iter().map(|(id, owner)| format!("partition {id}: {owner}"));
    say(&told.collect::<Vec<_>>().join(", "))
}

async fn served_by(front: &Front) -> anyhow::Result<Vec<(u32, String)>> {
    let status = front.call("the status could not be read", || {
        let mut cluster = front.cluster();
        async move { cluster.status(StatusRequest {}).await }
    });
    let partitions = status.await?.partitions.into_iter();
    Ok(partitions.map(|p| (p.id, if p.served { p.owner } else { String::new() })).collect())
}

async fn open_accounts(front: &Front) -> anyhow::Result<()> {
    let fig6b = publish(front, plans::FIG6B).await?;
    let octets = publish(front, plans::OCTETS).await?;
    let others = BILLED + 1..=LAST;
    let (new_york, utc) = (settings("America/New_York", "USD"), settings("UTC", "USD"));
    let opens = others.clone().map(|number| apply::open(number, utc.clone(), []));
    let opens = opens.chain([apply::open(BILLED, new_york, [])]);
    succeeded(&apply::apply(front, opens, |_, _| {}).await?)?;
    let subscribes = others.map(|number| apply::subscribe(number, subscription(&octets)));
    let subscribes = subscribes.chain([apply::subscribe(BILLED, subscription(&fig6b))]);
    succeeded(&apply::apply(front, subscribes, |_, _| {}).await?)?;
    let count = ui::count(LAST - BILLED);
    say(&format!("plans {fig6b} and {octets} are published"))?;
    say(&format!("account {BILLED} has plan {fig6b}; {count} others have plan {octets}"))
}

/// Sends the records of account 42 that have these indices in the file `FIG6B_USAGE`.
async fn bill_usage(front: &Front, which: std::ops::Range<usize>) -> anyhow::Result<()> {
    let rows = UsageCsv::new("fig6b_usage.csv", BufReader::new(FIG6B_USAGE.as_bytes()))?;
    let rows: Rows = Box::new(rows.skip(which.start).take(which.len()));
    let sending = Sending { source: "fig6b", batch_records: 1_000, window: 1 };
    let bar = ui::progress(None, "", true);
    let report = FileReport::default();
    let report = usage_file::send(front, &sending, rows, report, &bar).await?;
    let accepted = report.tally.accepted + report.tally.duplicates;
    let why = report.exceptions.first().map(|exception| exception.reason.as_str());
    ensure!(
        accepted == which.len() as u64,
        "account {BILLED}'s usage was not accepted ({}): {}",
        why.unwrap_or_default(),
        report.tally
    );
    Ok(())
}

/// Kills the node that serves account 42 and starts it again, while usage flows.
async fn drill(cluster: &mut LocalCluster, front: &Front, traffic: &Traffic) -> anyhow::Result<()> {
    chapter("4. A node is killed in the middle of it")?;
    let victim = served_by(front).await?.into_iter().find(|(id, _)| *id == 1);
    let (_, victim) = victim.context("the front does not know account 42's partition")?;
    let node = cluster.nodes.iter_mut().find(|node| node.command.name == victim);
    let node: &mut ListeningServer = node.context("no node serves account 42's partition")?;
    let (pid, killed) = (node.process.pid(), Instant::now());
    let taken = ui::count(traffic.answered.load(Ordering::Relaxed));
    node.process.kill().with_context(|| format!("{victim} can't be killed"))?;
    node.process.ended().await?;
    say(&format!(
        "kill -9 {pid}: {victim}, which serves account 42, is dead ({taken} accepted so far)"
    ))?;
    // The partition's owner is dead: these records wait until the next owner serves the partition.
    bill_usage(front, 5..13).await?;
    let waited = killed.elapsed();
    say(&format!(
        "account 42's other eight sessions, sent into the gap, durable after {waited:.1?}"
    ))?;
    owners(front).await?;
    let after = |instant: Instant| move |answer: &&traffic::AnsweredBatch| answer.sent >= instant;
    let first = || traffic.answers().iter().filter(after(killed)).map(|a| a.answered).min();
    while first().is_none() && traffic.answered.load(Ordering::Relaxed) < traffic.records {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if let Some(first) = first() {
        let gap = first.saturating_duration_since(killed);
        say(&format!(
            "batches over all partitions are answered again {gap:.1?} after it; no client saw an error"
        ))?;
    }
    let restarted = Instant::now();
    *node = node.command.clone().start(START_MAX).await?;
    say(&format!("{victim} is started again (pid {})", node.process.pid()))?;
    regained(front, &victim).await?;
    say(&format!("it has control of its partitions back after {:.1?}", restarted.elapsed()))?;
    let answers = traffic.answers();
    let waits = answers.iter().filter(after(restarted)).map(|a| a.answered - a.sent);
    if let Some(longest) = waits.max() {
        say(&format!(
            "the handback was planned: no batch waited longer than {longest:.1?} for it"
        ))?;
    }
    owners(front).await?;
    Ok(())
}

/// Waits until each node serves the partitions for which it has the highest priority.
async fn balanced(front: &Front) -> anyhow::Result<()> {
    for _ in 0..200 {
        let owners = served_by(front).await?;
        let wanted = |(at, (_, owner)): (usize, &(u32, String))| {
            *owner == if at.is_multiple_of(2) { "node-1" } else { "node-2" }
        };
        if owners.iter().enumerate().all(wanted) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // This state is not required: it only makes the demo's output clearer, and a loaded machine may
    // take longer to reach it.
    Ok(())
}

/// Waits until `node` serves the first partition again.
async fn regained(front: &Front, node: &str) -> anyhow::Result<()> {
    for _ in 0..600 {
        if served_by(front).await?.iter().any(|(id, owner)| *id == 1 && owner == node) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("{node} did not get its partitions back within 30 s")
}

/// Prints the bill, and compares it with the expected charges of Fig. 6B.
fn bill(lines: &[ChargeLine]) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> = lines.iter().map(bill_row).collect();
    ui::print_table(
        &["RECORD", "FOR", "TIME", "PRICE", "MONTH", "HOURS BEFORE -> AFTER", "AMOUNT"],
        &rows,
    )?;
    let (added, expected) = (audit::added_up(lines)?, audit::expected_bill(FIG6B_BILL)?);
    ensure!(
        added.keys().eq(expected.keys()),
        "the bill has the lines {added:?}, expected {expected:?}"
    );
    let mut total = turnpike_types::Money::ZERO;
    for (key, (units, amount)) in &added {
        let (units_expected, amount_expected) = &expected[key];
        // A portion that is split over several lines is rounded in each of them, so the sum may
        // differ by some billionths.
        let off = (amount.nanos() - amount_expected.nanos()).abs();
        ensure!(
            units == units_expected && off <= 2,
            "{key:?}: {amount}, expected {amount_expected}"
        );
        total = total.checked_add(*amount).context("over 38 digits")?;
    }
    ui::print(format_args!("total USD {total}; every line is as Fig. 6B requires"))?;
    Ok(())
}

fn bill_row(line: &ChargeLine) -> Vec<String> {
    let hours = |micros: &str| match micros.parse::<f64>() {
        Ok(micros) => format!("{:.4}", micros / 3.6e9),
        Err(_) => String::new(),
    };
    let time = if line.units == "0" { String::new() } else { format!("{} h", hours(&line.units)) };
    let level = match (line.level_before.as_str(), line.level_after.as_str()) {
        ("", _) | (_, "") => String::new(),
        (before, after) => format!("{} -> {}", hours(before), hours(after)),
    };
    let month = line.period.get(..7).unwrap_or_default().to_owned();
    let (record, component) = (line.record_id.clone(), line.component.clone());
    vec![record, component, time, line.price.clone(), month, level, line.amount.clone()]
}
