//! Pins and drains of operators (P13), and forgetting nodes that were removed.

use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use sqlx::{query, query_as};
use turnpike_types::{NodeName, PartitionId, Timestamp};

use super::SqliteDatabase;
use super::writer::Urgency;
use crate::rules::{self, FORGET_AFTER_US};
use crate::sql::errors::classify;
use crate::sql::rows::stored_partition;
use crate::sql::statements;
use crate::{PinOutcome, StoreResult};

/// Parameters: partition, node, until. Writes no row if the node is no member of the partition.
const PIN: &str = "INSERT INTO pins (partition, member, until_us) \
     SELECT partition, node, $3 FROM members WHERE partition = $1 AND node = $2 \
     ON CONFLICT (partition) DO UPDATE SET member = excluded.member, until_us = excluded.until_us";
/// Parameters: node, the instant that its last heartbeat must precede.
const FORGET: &str = "UPDATE nodes SET forgotten = 1, serving = x'', following = x'' \
     WHERE node = $1 AND NOT forgotten AND beat_at < $2";

const PINNING: &str = "pin";
const DRAINING: &str = "drain";
const FORGETTING: &str = "forget a node";

impl SqliteDatabase {
    pub(super) async fn pin_one(
        &self,
        partition: PartitionId,
        pin: Option<(&NodeName, Duration)>,
    ) -> StoreResult<PinOutcome> {
        let pin = pin.map(|(member, time)| (member.0.clone(), rules::duration_us(time)));
        let clock = self.clock.clone();
        self.writer
            .write(Urgency::Normal, PINNING, move |c| {
                Box::pin(async move { write_pin(c, partition, pin, clock()).await })
            })
            .await
    }

    pub(super) async fn drain_one(&self, node: &NodeName, drained: bool) -> StoreResult<bool> {
        let node = node.0.clone();
        self.writer
            .write(Urgency::Normal, DRAINING, move |c| Box::pin(write_drained(c, node, drained)))
            .await
    }

    pub(super) async fn forget_one(&self, node: &NodeName) -> StoreResult<bool> {
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
    let failed = |error: sqlx::Error| classify(PINNING, &error);
    let (id, names_a_member) = (stored_partition(partition), pin.is_some());
    let statement = match pin {
        Some((member, time)) => {
            query(PIN).bind(id).bind(member).bind(now.saturating_add(time).micros())
        }
        None => query(statements::UNPIN).bind(id),
    };
    let done = statement.execute(&mut *connection).await.map_err(failed)?;
    if done.rows_affected() == 1 {
        return Ok(PinOutcome::Pinned);
    }
    let specs = query_as(statements::COUNT_SPEC).bind(id);
    let (specs,) = specs.fetch_one(connection).await.map_err(failed)?;
    Ok(rules::not_pinned(specs, names_a_member))
}

async fn write_drained(
    connection: &mut SqliteConnection,
    node: String,
    drained: bool,
) -> StoreResult<bool> {
    let failed = |error: sqlx::Error| classify(DRAINING, &error);
    let statement = if drained { statements::DRAIN } else { statements::UNDRAIN };
    query(statement).bind(&node).execute(&mut *connection).await.map_err(failed)?;
    let nodes = query_as(statements::COUNT_NODE).bind(&node);
    let (nodes,): (i64,) = nodes.fetch_one(connection).await.map_err(failed)?;
    Ok(nodes == 1)
}

async fn forget(
    connection: &mut SqliteConnection,
    node: String,
    now: Timestamp,
) -> StoreResult<bool> {
    let failed = |error: sqlx::Error| classify(FORGETTING, &error);
    let before = now.saturating_add(-FORGET_AFTER_US).micros();
    let done =
        query(FORGET).bind(&node).bind(before).execute(&mut *connection).await.map_err(failed)?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    query(statements::UNDRAIN).bind(&node).execute(connection).await.map_err(failed)?;
    Ok(true)
}
