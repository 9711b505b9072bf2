//! Partitions, observations, and the requests of operators (P13).

use std::time::Duration;

use async_trait::async_trait;
use sqlx::query_as;
use turnpike_types::{NodeName, PartitionId};

use super::database::{BEAT_LIMIT, BULK_LIMIT, PostgresDatabase};
use super::locks::{TOPOLOGY_LOCK, lock};
use crate::sql::statement::SqlStatement;
use crate::sql::topology::{self, CREATE};
use crate::sql::values::stored_partition;
use crate::topology::{FORGET_AFTER_US, duration_us};
use crate::{Observation, PartitionSpec, PinOutcome, StoreIncarnation, StoreResult, TopologyStore};

const OBSERVE: &str = concat!(
    "WITH clock (now) AS (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)\n",
    include_str!("../sql/observe.sql")
);

const FORGET: &str = include_str!("forget.sql");
/// Parameters: partition, node, duration in microseconds. Writes no row if the node is no member of
/// the partition.
const PIN: &str = "INSERT INTO pins (partition, member, until_us) \
     SELECT partition, node, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + $3 \
     FROM members WHERE partition = $1 AND node = $2 \
     ON CONFLICT (partition) DO UPDATE SET member = excluded.member, until_us = excluded.until_us";

#[async_trait]
impl TopologyStore for PostgresDatabase {
    async fn incarnation(&self) -> StoreResult<StoreIncarnation> {
        topology::incarnation(&mut self.observer.autocommit(BEAT_LIMIT)).await
    }

    /// Creates partitions under an advisory lock, which only creation and migrations take.
    async fn create_partitions(&self, partitions: &[PartitionSpec]) -> StoreResult<()> {
        let asked = partitions.to_vec();
        let lease = self.bulk.lease(CREATE, BULK_LIMIT).await?;
        lease
            .transaction(move |connection| {
                Box::pin(async move {
                    lock(connection, TOPOLOGY_LOCK, CREATE).await?;
                    topology::create_partitions(connection, &asked).await
                })
            })
            .await
    }

    async fn observe(&self) -> StoreResult<Observation> {
        let mut observer = self.observer.autocommit(BEAT_LIMIT);
        let mut bulk = self.bulk.autocommit(BULK_LIMIT);
        let statement = SqlStatement::new(OBSERVE);
        topology::observe(&mut observer, statement, &self.specs, &mut bulk).await
    }

    async fn pin(
        &self,
        partition: PartitionId,
        pin: Option<(&NodeName, Duration)>,
    ) -> StoreResult<PinOutcome> {
        let set = pin.map(|(member, time)| {
            SqlStatement::new(PIN)
                .bind(stored_partition(partition))
                .bind(member.0.as_str())
                .bind(duration_us(time))
        });
        topology::pin(&mut self.bulk.autocommit(BEAT_LIMIT), partition, set).await
    }

    async fn set_drained(&self, node: &NodeName, drained: bool) -> StoreResult<bool> {
        topology::set_drained(&mut self.bulk.autocommit(BEAT_LIMIT), &node.0, drained).await
    }

    async fn forget_node(&self, node: &NodeName) -> StoreResult<bool> {
        let lease = self.bulk.lease("forget a node", BEAT_LIMIT).await?;
        let statement = query_as(FORGET).bind(&node.0).bind(FORGET_AFTER_US);
        let (forgotten,): (bool,) = lease.fetch_one(statement).await?;
        Ok(forgotten)
    }
}
