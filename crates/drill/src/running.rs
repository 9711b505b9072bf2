//! Checks before the first change that a drill may use a running cluster: that the front and the
//! database are of one cluster, and that the accounts have no other use.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::{Instant, sleep};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use turnpike_proto::account::v1::account_service_client::AccountServiceClient;
use turnpike_proto::account::v1::{ShowRequest, ShowResponse};
use turnpike_proto::cluster::v1::cluster_service_client::ClusterServiceClient;
use turnpike_proto::cluster::v1::{StatusRequest, StatusResponse};
use turnpike_store::postgres::PostgresDatabase;
use turnpike_store::{Observation, OpenOptions, open, redacted};
use turnpike_types::limits::MESSAGE_BYTES_MAX;

use crate::database::Database;
use crate::options::RunningCluster;
use crate::setup::{self, PLAN_ID};

/// How long the front and the database may differ: a front learns changes of ownership within
/// fractions of a second.
const AGREE_WITHIN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(200);
/// The number of accounts that are looked up concurrently.
const SHOWS_AT_ONCE: usize = 64;

/// Why the drill must not use this cluster or these accounts; `None` if it may.
///
/// # Errors
/// The front or the database does not answer.
pub async fn refusal(running: &RunningCluster, database: &Database) -> Result<Option<String>> {
    let Database::Given(url) = database else {
        return Ok(Some("a drill of a running cluster needs PostgreSQL".to_owned()));
    };
    let front = &running.front;
    let channel = Endpoint::from_shared(front.clone())
        .with_context(|| format!("{front:?} is not a front's address; write http://HOST:PORT"))?;
    let channel =
        channel.connect().await.with_context(|| format!("no front answers at {front}"))?;
    // Opening a database brings its schema up to date, so this must not be another's database.
    let tables = PostgresDatabase::tables(url).await?;
    if !tables.iter().any(|table| table.ends_with(".partitions")) {
        let url = redacted(url);
        return Ok(Some(format!("the database {url} is not of a cluster: it has no partitions")));
    }
    let db = open(url, &OpenOptions::default()).await.context("the database")?;
    let until = Instant::now() + AGREE_WITHIN;
    let status = loop {
        let status = status(&channel).await?;
        match difference(&status, &db.observe().await?) {
            None => break status,
            Some(difference) if Instant::now() >= until => {
                let url = redacted(url);
                return Ok(Some(format!(
                    "the front {front} and the database {url} are not of one cluster: {difference}"
                )));
            }
            Some(_) => sleep(LOOK).await,
        }
    };
    let ranges: Vec<(u64, u64)> =
        status.partitions.iter().map(|one| (one.first_account, one.last_account)).collect();
    if let Some(missing) = running.accounts.first_outside(&ranges) {
        return Ok(Some(format!(
            "of the accounts {}, account {missing} is in no partition",
            running.accounts
        )));
    }
    in_use(&channel, running).await
}

async fn status(front: &Channel) -> Result<StatusResponse> {
    let mut cluster =
        ClusterServiceClient::new(front.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let status = cluster.status(StatusRequest {}).await;
    Ok(status.context("the front does not show the state of the cluster")?.into_inner())
}

/// The first difference between what a front and a database say of their cluster. Clusters that
/// were created alike differ in the random numbers of their nodes' starts.
fn difference(status: &StatusResponse, seen: &Observation) -> Option<String> {
    type Row = (u32, u64, u64, u64, String);
    let of_front: BTreeSet<Row> = status
        .partitions
        .iter()
        .map(|one| (one.id, one.first_account, one.last_account, one.epoch, one.owner.clone()))
        .collect();
    let rows = seen.partitions.iter();
    let of_database: BTreeSet<Row> = rows
        .map(|row| {
            let (spec, owner) = (&row.spec, row.owner.as_ref());
            let owner = owner.map(|(owner, _)| owner.0.clone()).unwrap_or_default();
            let range = spec.range;
            (spec.id.0, range.first().0, range.last().0, row.epoch.number(), owner)
        })
        .collect();
    if let Some((id, ..)) = of_front.symmetric_difference(&of_database).next() {
        return Some(format!("partition {id} has other accounts, another epoch or another owner"));
    }
    let starts: BTreeSet<(String, String)> = seen
        .nodes
        .iter()
        .map(|node| (node.beat.node.0.clone(), node.beat.incarnation.to_string()))
        .collect();
    let mut nodes = status.nodes.iter();
    let unlike =
        nodes.find(|node| !starts.contains(&(node.name.clone(), node.incarnation.clone())));
    unlike.map(|node| format!("node {} is another process", node.name))
}

/// Why the accounts have another use: the first one that is open and not the drill's.
async fn in_use(front: &Channel, running: &RunningCluster) -> Result<Option<String>> {
    let accounts = running.accounts;
    let shown = stream::iter(accounts.first().0..=accounts.last().0)
        .map(|number| show(front.clone(), number))
        .buffered(SHOWS_AT_ONCE);
    let used = shown.try_filter_map(|shown| async move { Ok(shown.as_ref().and_then(other_use)) });
    let first = std::pin::pin!(used).try_next().await?;
    Ok(first.map(|why| format!("{why}. Choose accounts of no other use with --test-accounts")))
}

async fn show(front: Channel, account_number: u64) -> Result<Option<ShowResponse>> {
    let mut client = AccountServiceClient::new(front).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let until = Instant::now() + AGREE_WITHIN;
    loop {
        match client.show(ShowRequest { account_number }).await {
            Ok(shown) => return Ok(Some(shown.into_inner())),
            Err(status) if status.code() == Code::NotFound => return Ok(None),
            Err(status) if setup::is_transient(&status) && Instant::now() < until => {
                sleep(LOOK).await;
            }
            Err(status) => {
                bail!("account {account_number} can't be looked up: {}", status.message())
            }
        }
    }
}

/// Why an account that is open is not the drill's.
fn other_use(shown: &ShowResponse) -> Option<String> {
    let number = shown.account_number;
    let mut plans = shown.subscriptions.iter().map(|subscription| &subscription.plan_id);
    if let Some(plan) = plans.find(|plan| *plan != PLAN_ID) {
        return Some(format!(
            "account {number} is in use: it has the plan {plan}, and the drill would charge it"
        ));
    }
    let first = shown.settings.first().and_then(|dated| dated.settings.as_ref());
    (first != Some(&setup::settings())).then(|| {
        format!(
            "account {number} is in use: it has other settings than zone UTC, currency USD and \
                 cycle day 1"
        )
    })
}
