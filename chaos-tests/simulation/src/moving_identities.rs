//! Tests identities that move between accounts, also back, while records with these identities are
//! sent, sent again and recycled. Each record must be rated once, for one of the accounts (I2,
//! P28).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::{join, join_all, join4};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tonic::transport::Channel;
use turnpike_client::batch_frame;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::account_service_client::AccountServiceClient;
use turnpike_proto::account::v1::{
    AccountCommand, AccountOutcome, ApplyRequest, BindIdentity, UnbindIdentity,
};
use turnpike_proto::ingest::v1::ingest_service_client::IngestServiceClient;
use turnpike_proto::ingest::v1::{BatchAck, BatchStatus, RecordStatus};
use turnpike_proto::suspense::v1::RecycleRequest;
use turnpike_proto::suspense::v1::suspense_service_client::SuspenseServiceClient;
use turnpike_types::{Outcome, Timestamp, UsageRecord};

use crate::book::open;
use crate::client::Client;
use crate::plan::MAY_US;

/// The prefix of the ids of records whose identities move.
pub const ID_PREFIX: &str = "wandering-";

const DAY_US: i64 = 86_400_000_000;
const IDENTITIES: [&str; 4] = ["user:w1", "user:w2", "ip:192.0.2.9", "ip:192.0.2.0/24"];
const RECORDS: usize = 30;
/// The number of acknowledged sends of each record, by each of two senders, while identities move.
const SENDS_PER_RECORD: u32 = 5;
/// The time limit for the answer to a request.
const PATIENCE: Duration = Duration::from_millis(700);
/// The time limit for the answer to a change of bindings. It is longer than [`PATIENCE`], because a
/// change is answered only after the suspicion time.
const PATIENCE_TO_CHANGE: Duration = Duration::from_millis(2_500);

/// A client that sends records, and moves the identities of these records between accounts.
pub struct MovingIdentities {
    /// The connection settings for the fronts.
    pub client: Client,
    /// The accounts that may hold an identity.
    pub holders: Vec<u64>,
    /// The records, from [`records`].
    pub records: Vec<UsageRecord>,
}

/// The records that are sent in the run with this seed.
pub fn records(seed: u64) -> Vec<UsageRecord> {
    let mut chance = StdRng::seed_from_u64(seed ^ 0x77);
    let record = |n: usize| UsageRecord {
        record_id: format!("{ID_PREFIX}{n}"),
        // A record uses one of the first three identities. The fourth is an address prefix, which a
        // record can't name; it contains the address that is the third identity.
        identity: IDENTITIES[n % 3].to_owned(),
        usage_type: "octets".to_owned(),
        start: Timestamp(MAY_US + chance.random_range(0..DAY_US)),
        quantity: Some(chance.random_range(1..400)),
        ..UsageRecord::default()
    };
    (0..RECORDS).map(record).collect()
}

impl MovingIdentities {
    /// Sends each record several times while identities move and suspended records are recycled.
    /// Never returns.
    pub async fn run(&self) {
        let changing = IDENTITIES.iter().zip(1..).map(|(id, n)| self.change_hands(id, n));
        let sending = join(self.send(SENDS_PER_RECORD, 70), self.send(SENDS_PER_RECORD, 71));
        join4(join_all(changing), sending, self.recycle(), std::future::pending::<()>()).await;
    }

    /// Without faults: binds each identity for the starts of all records, recycles until no record
    /// is suspended, sends every record once more, and recycles again. Recycling alone must rate
    /// the suspended records.
    pub async fn settle(&self) {
        let mut chance = self.chance(90);
        self.recycle_all(&mut chance).await;
        self.send(1, 91).await;
        self.recycle_all(&mut chance).await;
    }

    async fn bind_all(&self, chance: &mut StdRng) {
        for identity in IDENTITIES {
            let bind = Command::Bind(BindIdentity {
                identity: identity.to_owned(),
                from_us: Some(MAY_US),
                until_us: None,
                r#move: true,
            });
            while !self.change(chance, bind.clone()).await.unwrap_or(false) {
                tokio::time::sleep(PATIENCE).await;
            }
        }
    }

    /// Binds the identities and recycles, until nothing is suspended. A change that has begun is carried
    /// out although its client has gone: one from before may take an identity away again meanwhile.
    async fn recycle_all(&self, chance: &mut StdRng) {
        loop {
            self.bind_all(chance).await;
            if self.recycle_once(chance).await.is_ok_and(|waiting| waiting == 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn chance(&self, stream: u64) -> StdRng {
        StdRng::seed_from_u64(self.client.seed ^ (stream << 40))
    }

    fn channel(&self, chance: &mut StdRng) -> Result<Channel> {
        let front = self.client.fronts.choose(chance).context("there is a front")?;
        Ok(self.client.dial.channel(front)?)
    }

    /// Sends every record repeatedly, until `times` sends of it are acknowledged.
    async fn send(&self, times: u32, stream: u64) {
        let mut chance = self.chance(stream);
        let mut open_sends: Vec<(usize, u32)> =
            (0..self.records.len()).map(|n| (n, times)).collect();
        while !open_sends.is_empty() {
            tokio::time::sleep(Duration::from_millis(chance.random_range(1..60))).await;
            let count = chance.random_range(1..=3.min(open_sends.len()));
            let mut drawn = Vec::new();
            for _ in 0..count {
                drawn.push(open_sends.swap_remove(chance.random_range(0..open_sends.len())));
            }
            let answered = self.send_some(&mut chance, &drawn).await;
            if let Err(error) = &answered {
                tracing::info!("wandering records are sent again: {error}");
            }
            let is_done = answered.is_ok();
            // An answer may be lost: a send without an answer is not counted.
            let left = drawn.into_iter().map(|(n, left)| (n, left - u32::from(is_done)));
            open_sends.extend(left.filter(|(_, left)| *left > 0));
        }
    }

    async fn send_some(&self, chance: &mut StdRng, drawn: &[(usize, u32)]) -> Result<()> {
        let records = drawn.iter().map(|(n, _)| &self.records[*n]);
        let frame = batch_frame("wandering", 1, records);
        let mut front = IngestServiceClient::new(self.channel(chance)?);
        let ack: BatchAck =
            tokio::time::timeout(PATIENCE, front.ingest_once(frame)).await??.into_inner();
        ensure!(ack.status() == BatchStatus::Done, "{}", ack.message);
        for result in &ack.exceptions {
            let is_suspended = result.status() == RecordStatus::Suspended;
            if !is_suspended || result.reason != "unbound-identity" {
                let told = format!("I5: a wandering record was answered {result:?}");
                open(&self.client.book).violations.push(told);
            }
        }
        Ok(())
    }

    /// Binds the identity to accounts, moves it and unbinds it, at random times. Never returns.
    async fn change_hands(&self, identity: &str, stream: u64) {
        let mut chance = self.chance(stream);
        loop {
            let (from, span) = (chance.random_range(0..DAY_US), chance.random_range(1..DAY_US));
            let from_us = MAY_US + from;
            let until_us = chance.random_ratio(1, 2).then_some(from_us + span);
            let identity = identity.to_owned();
            let change = if chance.random_ratio(1, 3) {
                Command::Unbind(UnbindIdentity { identity, from_us, until_us })
            } else {
                let from_us = if chance.random_ratio(1, 3) { MAY_US } else { from_us };
                let r#move = chance.random_ratio(4, 5);
                let from_us = Some(from_us);
                Command::Bind(BindIdentity { identity, from_us, until_us, r#move })
            };
            let changed = self.change(&mut chance, change).await;
            if matches!(changed, Ok(true)) {
                open(&self.client.book).changes += 1;
            }
            tokio::time::sleep(Duration::from_millis(chance.random_range(1..300))).await;
        }
    }

    /// Sends a change of bindings. Returns whether the change is in force.
    async fn change(&self, chance: &mut StdRng, change: Command) -> Result<bool> {
        let account = *self.holders.choose(chance).context("there are holders")?;
        let command = AccountCommand {
            account_number: account,
            command: Some(change),
            ..AccountCommand::default()
        };
        let request = ApplyRequest { commands: vec![command] };
        let mut front = AccountServiceClient::new(self.channel(chance)?);
        let answer = tokio::time::timeout(PATIENCE_TO_CHANGE, front.apply(request)).await??;
        let outcome = answer.into_inner().results.first().map(|result| result.outcome());
        Ok(matches!(outcome, Some(AccountOutcome::Applied | AccountOutcome::Already)))
    }

    async fn recycle(&self) {
        let mut chance = self.chance(80);
        loop {
            tokio::time::sleep(Duration::from_millis(chance.random_range(20..400))).await;
            let _ = self.recycle_once(&mut chance).await;
        }
    }

    /// Recycles once. Returns the number of records that are still suspended or must be recycled
    /// again.
    async fn recycle_once(&self, chance: &mut StdRng) -> Result<u64> {
        let mut front = SuspenseServiceClient::new(self.channel(chance)?);
        let reason = "unbound-identity".to_owned();
        let request = RecycleRequest { reason, ..RecycleRequest::default() };
        let tally = tokio::time::timeout(PATIENCE, front.recycle(request)).await??.into_inner();
        Ok(tally.still_suspended + tally.retry)
    }
}

/// The rows of the logs for records whose identities move: account, outcome and rated units, by
/// record id.
pub type Rows = BTreeMap<String, Vec<(u64, Outcome, i128)>>;

/// Checks I1 and I2: each record is rated once, with its full quantity, for one of the accounts
/// `holders`.
///
/// # Errors
/// The first violation.
pub fn check(rows: &Rows, records: &[UsageRecord], holders: &[u64]) -> Result<()> {
    for record in records {
        let id = &record.record_id;
        let rows = rows.get(id).with_context(|| format!("I1: {id} was lost"))?;
        let is_rated =
            |row: &&(u64, Outcome, i128)| matches!(row.1, Outcome::Rated | Outcome::RatedLate);
        let rated: Vec<_> = rows.iter().filter(is_rated).collect();
        ensure!(rated.len() == 1, "I2: {id} is rated {} times: {rows:?}", rated.len());
        let units: i128 = rows.iter().map(|row| row.2).sum();
        let expected = i128::from(record.quantity.unwrap_or(0));
        ensure!(units == expected, "I2: {id}: {units} of {expected} units: {rows:?}");
        let is_holder = rated.iter().all(|row| holders.contains(&row.0));
        ensure!(is_holder, "P28: {id} is rated for an account that never held it: {rows:?}");
    }
    Ok(())
}
