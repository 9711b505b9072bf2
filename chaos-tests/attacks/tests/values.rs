//! Names, ids and dates that no database or calendar holds.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use attacks::raw::ATTACKER;
use attacks::site::{ACCOUNTS, Effect, Site};
use tonic::transport::{Channel, Endpoint};
use turnpike_client::batch_frame;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::account_service_client::AccountServiceClient;
use turnpike_proto::account::v1::{
    AccountCommand, AccountOutcome, ApplyRequest, ChangeSettings, Settings, Subscribe,
};
use turnpike_proto::ingest::v1::ingest_service_client::IngestServiceClient;
use turnpike_proto::ingest::v1::{BatchAck, BatchStatus, RecordStatus};
use turnpike_types::{AccountNumber, Timestamp, UsageRecord};

/// An account that no client uses.
const ACCOUNT: u64 = ACCOUNTS;
const START: i64 = 1_772_427_600_000_000;

async fn channel(site: &Site) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(site.cluster.front())?;
    Ok(endpoint.local_address(Some(ATTACKER)).connect().await?)
}

fn record(account: u64, record_id: &str) -> UsageRecord {
    UsageRecord {
        account: AccountNumber(account),
        record_id: record_id.to_owned(),
        usage_type: "octets".to_owned(),
        start: Timestamp(START),
        quantity: Some(1),
        ..UsageRecord::default()
    }
}

/// Records with characters that PostgreSQL does not store, and with dates outside of the calendar.
fn wrong_records() -> Vec<(&'static str, UsageRecord)> {
    let unbound = |identity: &str| UsageRecord { identity: identity.to_owned(), ..record(0, "w4") };
    let with = |change: fn(&mut UsageRecord)| {
        let mut record = record(ACCOUNT, "w4");
        change(&mut record);
        record
    };
    vec![
        ("NUL in the identity", unbound("user:a\0b")),
        ("a control character in the identity", unbound("user:a\u{1b}b")),
        ("an identity of 300 bytes", unbound(&format!("user:{}", "a".repeat(300)))),
        ("NUL in the record id", record(ACCOUNT, "a\0b")),
        ("a record id of 4 KiB", record(ACCOUNT, &"a".repeat(4_096))),
        ("NUL in the usage type", with(|record| record.usage_type = "oc\0tets".to_owned())),
        (
            "NUL in the name of an attribute",
            with(|record| record.attributes = BTreeMap::from([("a\0".to_owned(), "b".to_owned())])),
        ),
        ("the last instant", with(|record| record.start = Timestamp(i64::MAX))),
        ("the first instant", with(|record| record.start = Timestamp(i64::MIN))),
        ("the longest duration", with(|record| record.duration_us = i64::MAX)),
    ]
}

async fn ingest(channel: &Channel, records: Vec<UsageRecord>) -> Result<BatchAck> {
    let batch = batch_frame("w4", 7, &records);
    let ack = IngestServiceClient::new(channel.clone()).ingest_once(batch).await;
    Ok(ack.context("IngestOnce")?.into_inner())
}

/// Each wrong record is rejected for good, and the one beside it is rated.
async fn reject_records(channel: Channel) -> Result<Effect> {
    let wrong = wrong_records();
    for (n, (what, record_)) in wrong.iter().enumerate() {
        let beside = record(ACCOUNT, &format!("beside-{n}"));
        let ack = ingest(&channel, vec![record_.clone(), beside]).await?;
        ensure!(ack.status() == BatchStatus::Done, "{what}: {ack:?}");
        ensure!(ack.exceptions.len() == 1 && ack.accepted == 1, "{what}: {ack:?}");
        let reason = &ack.exceptions[0].reason;
        let status = ack.exceptions[0].status();
        ensure!(status == RecordStatus::Rejected, "{what} is not rejected: {ack:?}");
        println!("    {what}: {reason}");
    }
    Ok(Effect::of(format!("{} records rejected, as many beside them rated", wrong.len())))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_stored_is_rejected_and_those_beside_it_are_rated() -> Result<()> {
    let _alone = crate::alone().await;
    let mut site = Site::start().await?;
    let attack = reject_records(channel(&site).await?);
    site.withstands("W4 records that can't be stored", attack).await?;
    for n in 0..wrong_records().len() {
        site.sent.insert((ACCOUNT, format!("beside-{n}")), 1);
    }
    // A file with one such row: the others are sent, and the command says that one was not.
    let mut csv = "account_number,identity,record_id,usage_type,start_time,quantity\n".to_owned();
    csv += ",user:a\0b,row-0,octets,2026-03-02T05:00:00Z,1\n";
    for n in 1..=3 {
        csv += &format!("{ACCOUNT},,row-{n},octets,2026-03-02T05:00:00Z,1\n");
        site.sent.insert((ACCOUNT, format!("row-{n}")), 1);
    }
    let file = site.cluster.file("usage.csv", &csv)?;
    let ran = site.cluster.attempt(&["ingest", &file, "--timeout", "10s"])?;
    ensure!(ran.code == Some(3), "{ran:?}");
    for process in attacks::site::PROCESSES {
        let log = site.cluster.log(process);
        ensure!(!log.contains("corrupt"), "{process} takes the database for corrupt:\n{log}");
    }
    site.finish().await
}

async fn apply(channel: &Channel, command: Command) -> Result<(AccountOutcome, String)> {
    let command =
        AccountCommand { account_number: ACCOUNT, command: Some(command), identities: Vec::new() };
    let request = ApplyRequest { commands: vec![command] };
    let mut client = AccountServiceClient::new(channel.clone());
    let answer = client.apply(request).await?.into_inner();
    let result = answer.results.first().context("no result")?;
    Ok((result.outcome(), result.message.clone()))
}

/// Settings from an instant on.
fn settings_from(from_us: i64) -> Command {
    let settings = Settings {
        zone: "UTC".to_owned(),
        cycle_day: 2,
        currency: "USD".to_owned(),
        attributes: BTreeMap::new(),
    };
    Command::ChangeSettings(ChangeSettings { settings: Some(settings), from_us })
}

/// Changes of an account at instants that leave no room for a later change.
async fn far_dates(channel: Channel) -> Result<Effect> {
    let mut told = Vec::new();
    for from_us in [i64::MAX, i64::MAX - 1, i64::MIN, 253_402_300_800_000_000] {
        let (outcome, message) = apply(&channel, settings_from(from_us)).await?;
        ensure!(outcome == AccountOutcome::Refused, "{from_us}: {outcome:?} {message}");
        told.push(message);
    }
    let (outcome, message) = apply(&channel, settings_from(START)).await?;
    ensure!(outcome == AccountOutcome::Applied, "a change afterwards: {outcome:?} {message}");
    Ok(Effect::of(format!("{} changes refused, a later one applied", told.len())))
}

/// Plan ids of many megabytes: larger than a request may be, and within it.
async fn long_names(channel: Channel) -> Result<Effect> {
    let mut told = Vec::new();
    for bytes in [50 << 20, 15 << 20, 15 << 20, 4 << 20, 2_000] {
        let subscribe = Subscribe { plan_id: "p".repeat(bytes), ..Subscribe::default() };
        match apply(&channel, Command::Subscribe(subscribe)).await {
            Err(error) => told.push(format!("{bytes} bytes: {error:.60}")),
            Ok((AccountOutcome::Refused, message)) => {
                ensure!(message.len() < 1_000, "the answer repeats {} bytes", message.len());
                told.push(format!("{bytes} bytes: {message:.60}"));
            }
            Ok((outcome, _)) => anyhow::bail!("a plan id of {bytes} bytes: {outcome:?}"),
        }
    }
    Ok(Effect::of(told.join("; ")))
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_with_far_dates_or_long_names_are_refused() -> Result<()> {
    let _alone = crate::alone().await;
    let mut site = Site::start().await?;
    let attack = far_dates(channel(&site).await?);
    site.withstands("W9 far dates", attack).await?;
    let attack = long_names(channel(&site).await?);
    site.withstands("W2 long plan ids", attack).await?;
    site.finish().await
}
