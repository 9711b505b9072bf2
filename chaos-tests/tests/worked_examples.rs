//! Worked examples and common failures, with real processes.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use chaos_tests::cluster::Cluster;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use turnpike_harness::oracle::{check_each_rated_once, pull_everything};
use turnpike_harness::postgres::PostgresServer;
use turnpike_proto::feed::v1::ChargeLine;
use turnpike_proto::frame::BatchFrame;
use turnpike_proto::ingest::v1::BatchStatus;
use turnpike_proto::ingest::v1::ingest_service_client::IngestServiceClient;

/// The worked examples that are delivered with the program.
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/turnpike");

/// One node and a front over `database`, without a limit on the age of records.
async fn start(database: String) -> Result<Cluster> {
    let mut cluster = Cluster::new(database)?;
    cluster.run(&[
        "partition",
        "init",
        "--count",
        "2",
        "--accounts",
        "1-1000",
        "--members",
        "a",
        "--accept-since",
        "1996-01-01",
    ])?;
    cluster.start_node("a")?;
    cluster.start_front()?;
    cluster.wait_until_served().await?;
    Ok(cluster)
}

fn example(name: &str) -> String {
    format!("{EXAMPLES}/{name}")
}

fn nanos(amount: &str) -> i128 {
    amount.replace('.', "").parse().expect("nine decimals")
}

/// (units, amount) of each (record, component), summed over the lines.
fn sums(lines: &[ChargeLine]) -> BTreeMap<(String, String), (i128, i128)> {
    let mut sums: BTreeMap<_, (i128, i128)> = BTreeMap::new();
    for line in lines {
        let sum = sums.entry((line.record_id.clone(), line.component.clone())).or_default();
        sum.0 += line.units.parse::<i128>().expect("a whole number");
        sum.1 += nanos(&line.amount);
    }
    sums
}

#[tokio::test]
async fn fig_6b_is_rated_exactly_through_a_cluster() -> Result<()> {
    let _beside = crate::beside().await;
    let postgres = PostgresServer::shared()?;
    let cluster = start(postgres.create_database()?).await?;
    cluster.run(&["plan", "publish", &example("plans/fig6b.xml")])?;
    let account = "account_number,zone,cycle_day,currency,plan,plan_from\n42,America/New_York,1,USD,fig6b,1970-01-01\n";
    cluster.run(&["account", "import", &cluster.file("accounts.csv", account)?])?;
    cluster.run(&["ingest", &example("plans/fig6b_usage.csv")])?;
    // The same file again changes nothing.
    cluster.run(&["ingest", &example("plans/fig6b_usage.csv")])?;
    let sums = sums(&pull_everything(&cluster.front()).await?);
    let expected = std::fs::read_to_string(example("plans/fig6b_bill.csv"))?;
    let mut rows = 0;
    for row in expected.lines().skip(1) {
        let fields: Vec<&str> = row.split(',').collect();
        let key = (fields[0].to_owned(), fields[1].to_owned());
        let (units, amount) = sums.get(&key).copied().with_context(|| format!("{key:?}"))?;
        let micros: i128 = fields[2].parse()?;
        ensure!((units, amount) == (micros, nanos(fields[3])), "{key:?}: {units} {amount}");
        rows += 1;
    }
    ensure!(rows == sums.len(), "{rows} rows expected, {} came out", sums.len());
    Ok(())
}

#[tokio::test]
async fn weighted_functions_are_priced_by_weight_through_a_cluster() -> Result<()> {
    let _beside = crate::beside().await;
    let dir = tempfile::tempdir()?;
    let cluster = start(format!("sqlite:{}", dir.path().join("t.db").display())).await?;
    cluster.run(&["plan", "publish", &example("tests/data/points.xml")])?;
    let mut accounts = "account_number,zone,cycle_day,currency,plan,plan_from\n".to_owned();
    (1..=3).for_each(|n| accounts.push_str(&format!("{n},UTC,1,USD,points,1970-01-01\n")));
    cluster.run(&["account", "import", &cluster.file("accounts.csv", &accounts)?])?;
    cluster.run(&["ingest", &example("tests/data/points.csv")])?;
    let mut bills: BTreeMap<u64, (i128, i128)> = BTreeMap::new();
    for line in pull_everything(&cluster.front()).await? {
        let bill = bills.entry(line.account_number).or_default();
        bill.0 += line.units.parse::<i128>()?;
        bill.1 += nanos(&line.amount);
    }
    let usd = |cents: i128| cents * 10_000_000;
    ensure!(bills[&1] == (22, usd(110)), "{bills:?}");
    ensure!(bills[&2] == (6, usd(30)), "{bills:?}");
    ensure!(bills[&3] == (24, usd(120)), "{bills:?}");
    Ok(())
}

/// A plan by which several parties share the cost of an access, and the usage file with four
/// accesses by one client.
const SHARING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/plan/tests/data/sharing.xml");
const ACCESSES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/sharing_usage.csv");

/// Sums in billionths, by the account that is posted to, the component and the source. Lines of
/// source `usage` are in the log of the account that caused the charge, lines of source `posting`
/// in the log of the account that is posted to.
fn posted(lines: &[ChargeLine]) -> BTreeMap<(u64, String, String), i128> {
    let mut sums = BTreeMap::new();
    for line in lines.iter().filter(|line| line.posted_to != 0) {
        let key = (line.posted_to, line.component.clone(), line.source.clone());
        *sums.entry(key).or_default() += nanos(&line.amount);
    }
    sums
}

#[tokio::test]
async fn accesses_that_others_pay_for_are_posted_to_them_through_a_cluster() -> Result<()> {
    let _beside = crate::beside().await;
    let postgres = PostgresServer::shared()?;
    // The accounts of the client are in the first partition, those of the parties in the second.
    let cluster = start(postgres.create_database()?).await?;
    cluster.run(&["plan", "publish", SHARING])?;
    let mut accounts = "account_number,zone,cycle_day,currency,plan,plan_from\n".to_owned();
    [9, 901, 902]
        .iter()
        .for_each(|n| accounts.push_str(&format!("{n},UTC,1,USD,sharing,1970-01-01\n")));
    cluster.run(&["account", "import", &cluster.file("accounts.csv", &accounts)?])?;
    cluster.run(&["ingest", ACCESSES])?;
    // The same file again changes nothing.
    cluster.run(&["ingest", ACCESSES])?;
    let expected = [
        (901, "provider", 2_544_000 + 5_856_000),
        (902, "advertiser", 2_918_000 + 4_866_000),
        (901, "credit", -(145_900 + 243_300)),
        (902, "debit", 145_900 + 243_300),
    ];
    // Each amount is in the log of the client and in the log of the account that it is posted to.
    let expected: BTreeMap<(u64, String, String), i128> = expected
        .iter()
        .flat_map(|(account, component, nanos)| {
            ["usage", "posting"]
                .map(|source| ((*account, (*component).to_owned(), source.to_owned()), *nanos))
        })
        .collect();
    let mut found = BTreeMap::new();
    for _ in 0..100 {
        found = posted(&pull_everything(&cluster.front()).await?);
        if found == expected {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    anyhow::bail!("expected {expected:#?}, found {found:#?}")
}

/// Two identical lines are two accesses; accesses with status 304 and 404 are recorded without a
/// charge.
const LOG: &str = r#"192.0.2.1 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 1000 "-" "x"
192.0.2.1 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 1000 "-" "x"
192.0.2.2 - bob [17/May/2015:10:05:01 +0000] "GET /b HTTP/1.1" 206 23
2001:db8::7 - - [17/May/2015:10:05:02 +0000] "GET /c HTTP/1.1" 200 - "-" "x"
192.0.2.2 - - [17/May/2015:10:05:04 +0000] "GET /gone HTTP/1.1" 404 512 "-" "x"
192.0.2.2 - - [17/May/2015:10:05:05 +0000] "GET /b HTTP/1.1" 304 77 "-" "x"
this line is broken
192.0.2.1 - - [17/May/2015:10:05:06 +0000] "GET /d HTTP/1.1" 200 5 "-" "x"
"#;

#[tokio::test]
async fn an_access_log_is_charged_once_however_often_it_is_collected() -> Result<()> {
    let _beside = crate::beside().await;
    let postgres = PostgresServer::shared()?;
    let cluster = start(postgres.create_database()?).await?;
    cluster.run(&["plan", "publish", &example("plans/octets.xml")])?;
    let log = cluster.file("access.log", LOG)?;
    let collect = ["collect", "access-log", &log, "--open-accounts", "1", "--plan", "octets"];
    let collect = [&collect[..], &["--plan-from", "1970-01-01"]].concat();
    for run in 1..=2 {
        let ran = cluster.attempt(&collect)?;
        ensure!(ran.code == Some(3), "run {run}: a bad row sets the exit code to 3: {ran:?}");
        ensure!(
            ran.err.contains("access.log:7"),
            "run {run}: the message names the row: {}",
            ran.err
        );
        let lines = pull_everything(&cluster.front()).await?;
        let octets: i128 = lines.iter().map(|line| line.units.parse::<i128>().unwrap()).sum();
        ensure!(octets == 2_028, "run {run}: {octets} octets charged");
        let ids: Vec<&str> = lines.iter().map(|line| line.record_id.as_str()).collect();
        ensure!(ids.len() == 4, "run {run}: {ids:?}");
    }
    Ok(())
}

#[tokio::test]
async fn every_listener_reports_its_health_and_its_services() -> Result<()> {
    let _beside = crate::beside().await;
    let dir = tempfile::tempdir()?;
    let cluster = start(format!("sqlite:{}", dir.path().join("t.db").display())).await?;
    let node = cluster.run(&["status", "--json"])?;
    let node = node.split("\"address\":").nth(1).and_then(|rest| rest.split('"').nth(1));
    let node = format!("http://{}", node.context("the node's address")?);
    for (address, service) in [
        (cluster.front(), "turnpike.ingest.v1.IngestService"),
        (cluster.front(), "turnpike.feed.v1.FeedService"),
        (node, "turnpike.node.v1.NodeService"),
    ] {
        let channel = Endpoint::from_shared(address.clone())?.connect().await?;
        let mut health = HealthClient::new(channel.clone());
        let asked = HealthCheckRequest { service: String::new() };
        let status = health.check(asked).await?.into_inner().status();
        ensure!(status == ServingStatus::Serving, "{address}: {status:?}");
        let mut reflection = ServerReflectionClient::new(channel);
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::FileContainingSymbol(service.to_owned())),
        };
        let mut answers =
            reflection.server_reflection_info(tokio_stream::iter([request])).await?.into_inner();
        let answer = answers.message().await?.and_then(|answer| answer.message_response);
        ensure!(
            matches!(answer, Some(MessageResponse::FileDescriptorResponse(_))),
            "{address} does not describe {service}: {answer:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_oversized_batch_is_refused_with_the_reason() -> Result<()> {
    let _beside = crate::beside().await;
    let dir = tempfile::tempdir()?;
    let cluster = start(format!("sqlite:{}", dir.path().join("t.db").display())).await?;
    let mut client = IngestServiceClient::connect(cluster.front()).await?;
    let record = vec![0; 16_000];
    let batch = BatchFrame::build("test", 7, (0..300).map(|_| record.as_slice()));
    let bytes = batch.body().len();
    let ack = client.ingest_once(batch).await?.into_inner();
    ensure!(ack.status() == BatchStatus::Rejected && ack.batch_number == 7, "{ack:?}");
    ensure!(ack.message.contains("4194304"), "the limit is named: {}", ack.message);
    ensure!(ack.message.contains(&bytes.to_string()), "the size is named: {}", ack.message);
    Ok(())
}

#[tokio::test]
async fn a_full_disk_is_reported_by_name_and_loses_nothing() -> Result<()> {
    let _beside = crate::beside().await;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("t.db");
    // A quota simulates the full disk: SQLite fails in the same way.
    let mut cluster = start(format!("sqlite:{}?pages-max=150", path.display())).await?;
    let plan = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/octets.xml");
    cluster.run(&["plan", "publish", plan])?;
    let mut accounts = "account_number,zone,cycle_day,currency,plan,plan_from\n".to_owned();
    (1..=10).for_each(|n| accounts.push_str(&format!("{n},UTC,1,USD,octets,1970-01-01\n")));
    cluster.run(&["account", "import", &cluster.file("accounts.csv", &accounts)?])?;
    let mut usage = "record_id,account_number,usage_type,start_time,quantity\n".to_owned();
    let mut sent = BTreeMap::new();
    for n in 0..20_000_i64 {
        let (account, quantity) = (1 + n.unsigned_abs() % 10, 1 + n % 97);
        // Ids that do not compress, so that the space is used up.
        let id = format!("{:016x}", n.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let row = format!("{id},{account},octets,2024-05-01T00:00:00Z,{quantity}\n");
        usage.push_str(&row);
        sent.insert((account, id), quantity);
    }
    let usage = cluster.file("usage.csv", &usage)?;
    let ran = cluster.attempt(&["ingest", &usage, "--timeout", "25s"])?;
    ensure!(ran.code == Some(1), "the command fails: {ran:?}");
    ensure!(ran.err.contains("out of space"), "the client's message names the cause: {}", ran.err);
    let log = cluster.log("a");
    ensure!(log.contains("out of space") && !log.contains("panicked"), "{log}");
    // Without the quota, there is space again.
    cluster.kill("a").await?;
    cluster.move_to(format!("sqlite:{}", path.display()));
    cluster.start_node("a")?;
    cluster.run(&["ingest", &usage])?;
    let lines = pull_everything(&cluster.front()).await?;
    check_each_rated_once(&lines, &sent)
}
