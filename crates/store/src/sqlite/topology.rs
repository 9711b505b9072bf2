//! Partitions, observations, and the requests of operators (P13).

use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;
use turnpike_types::{NodeName, PartitionId, Timestamp};

use super::database::SqliteDatabase;
use super::writer::Urgency;
use crate::sql::statement::{SqlSession, SqlStatement};
use crate::sql::topology::{self, CREATE, DRAINING, PINNING, UNDRAIN};
use crate::sql::values::stored_partition;
use crate::topology::{FORGET_AFTER_US, duration_us};
use crate::{Observation, PartitionSpec, PinOutcome, StoreIncarnation, StoreResult, TopologyStore};

const OBSERVE: &str =
    concat!("WITH clock (now) AS (SELECT $1)\n", include_str!("../sql/observe.sql"));
/// Parameters: partition, node, until. Writes no row if the node is no member of the partition.
const PIN: &str = "INSERT INTO pins (partition, member, until_us) \
     SELECT partition, node, $3 FROM members WHERE partition = $1 AND node = $2 \
     ON CONFLICT (partition) DO UPDATE SET member = excluded.member, until_us = excluded.until_us";
/// Parameters: node, the instant that its last heartbeat must precede.
const FORGET: &str = "UPDATE nodes SET forgotten = 1, serving = x'', following = x'' \
     WHERE node = $1 AND NOT forgotten AND beat_at < $2";

const FORGETTING: &str = "forget a node";

#[async_trait]
impl TopologyStore for SqliteDatabase {
    async fn incarnation(&self) -> StoreResult<StoreIncarnation> {
        topology::incarnation(&mut self.reading()).await
    }

    async fn create_partitions(&self, partitions: &[PartitionSpec]) -> StoreResult<()> {
        let asked = partitions.to_vec();
        self.writer
            .write(Urgency::Normal, CREATE, move |c| {
                Box::pin(async move { topology::create_partitions(c, &asked).await })
            })
            .await
    }

    async fn observe(&self) -> StoreResult<Observation> {
        let statement = SqlStatement::new(OBSERVE).bind((self.clock)().micros());
        topology::observe(&mut self.reading(), statement, &self.specs, &mut self.reading()).await
    }

    async fn pin(
        &self,
        partition: PartitionId,
        pin: Option<(&NodeName, Duration)>,
    ) -> StoreResult<PinOutcome> {
        let pin = pin.map(|(member, time)| (member.0.clone(), duration_us(time)));
        let clock = self.clock.clone();
        self.writer
            .write(Urgency::Normal, PINNING, move |c| {
                Box::pin(async move { write_pin(c, partition, pin, clock()).await })
            })
            .await
    }

    async fn set_drained(&self, node: &NodeName, drained: bool) -> StoreResult<bool> {
        let node = node.0.clone();
        self.writer
            .write(Urgency::Normal, DRAINING, move |c| {
                Box::pin(async move { topology::set_drained(c, &node, drained).await })
            })
            .await
    }

    async fn forget_node(&self, node: &NodeName) -> StoreResult<bool> {
        let (node, clock) = (node.0.clone(), self.clock.clone());
        self.writer
            .write(Urgency::Normal, FORGETTING, move |c| {
                Box::pin(async move { forget(c, node, clock()).await })
            })
            .await
    }
}

async fn write_pin(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    pin: Option<(String, i64)>,
    now: Timestamp,
) -> StoreResult<PinOutcome> {
    let set = pin.map(|(member, time)| {
        SqlStatement::new(PIN)
            .bind(stored_partition(partition))
            .bind(member)
            .bind(now.saturating_add(time).micros())
    });
    topology::pin(connection, partition, set).await
}

async fn forget(
    connection: &mut SqliteConnection,
    node: String,
    now: Timestamp,
) -> StoreResult<bool> {
    let before = now.saturating_add(-FORGET_AFTER_US).micros();
    let forget = SqlStatement::new(FORGET).bind(node.as_str()).bind(before);
    if connection.execute(FORGETTING, forget).await? == 0 {
        return Ok(false);
    }
    connection.execute(FORGETTING, SqlStatement::new(UNDRAIN).bind(node)).await?;
    Ok(true)
}
