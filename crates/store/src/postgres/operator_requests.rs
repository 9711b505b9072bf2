//! Pins and drains of operators (P13), and forgetting nodes that were removed.

use std::time::Duration;

use sqlx::{query, query_as};
use turnpike_types::{NodeName, PartitionId};

use super::{BEAT_LIMIT, PostgresDatabase};
use crate::rules::{self, FORGET_AFTER_US};
use crate::sql::rows::stored_partition;
use crate::sql::statements;
use crate::{PinOutcome, StoreResult};

const FORGET: &str = include_str!("forget.sql");
/// Parameters: partition, node, duration in microseconds. Writes no row if the node is no member of
/// the partition.
const PIN: &str = "INSERT INTO pins (partition, member, until_us) \
     SELECT partition, node, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + $3 \
     FROM members WHERE partition = $1 AND node = $2 \
     ON CONFLICT (partition) DO UPDATE SET member = excluded.member, until_us = excluded.until_us";

impl PostgresDatabase {
    /// Two statements: the second finds why the first changed no row. Partitions and members are
    /// never deleted, so that the reason still holds.
    pub(super) async fn pin_one(
        &self,
        partition: PartitionId,
        pin: Option<(&NodeName, Duration)>,
    ) -> StoreResult<PinOutcome> {
        const DOING: &str = "pin";
        let id = stored_partition(partition);
        let statement = match pin {
            Some((member, time)) => {
                query(PIN).bind(id).bind(&member.0).bind(rules::duration_us(time))
            }
            None => query(statements::UNPIN).bind(id),
        };
        let changed = self.bulk.lease(DOING, BEAT_LIMIT).await?.execute(statement).await?;
        if changed == 1 {
            return Ok(PinOutcome::Pinned);
        }
        let lease = self.bulk.lease(DOING, BEAT_LIMIT).await?;
        let (specs,) = lease.fetch_one(query_as(statements::COUNT_SPEC).bind(id)).await?;
        Ok(rules::not_pinned(specs, pin.is_some()))
    }

    /// Two statements need no transaction: a node keeps its row once it has written a heartbeat.
    pub(super) async fn drain_one(&self, node: &NodeName, drained: bool) -> StoreResult<bool> {
        const DOING: &str = "drain";
        let statement = if drained { statements::DRAIN } else { statements::UNDRAIN };
        let statement = query(statement).bind(&node.0);
        self.bulk.lease(DOING, BEAT_LIMIT).await?.execute(statement).await?;
        let lease = self.bulk.lease(DOING, BEAT_LIMIT).await?;
        let (nodes,): (i64,) =
            lease.fetch_one(query_as(statements::COUNT_NODE).bind(&node.0)).await?;
        Ok(nodes == 1)
    }

    pub(super) async fn forget_one(&self, node: &NodeName) -> StoreResult<bool> {
        let lease = self.bulk.lease("forget a node", BEAT_LIMIT).await?;
        let statement = query_as(FORGET).bind(&node.0).bind(FORGET_AFTER_US);
        let (forgotten,): (bool,) = lease.fetch_one(statement).await?;
        Ok(forgotten)
    }
}
