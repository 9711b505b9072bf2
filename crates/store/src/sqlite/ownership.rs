//! Heartbeats, observations, releases and barriers.

use std::sync::Arc;

use sqlx::sqlite::SqliteConnection;
use sqlx::{query, query_as};
use turnpike_types::{ClaimId, Epoch, NodeName, PartitionId, SegmentNumber, Timestamp};

use super::SqliteDatabase;
use super::writer::Urgency;
use crate::rules::{self, Fence};
use crate::sql::errors::classify;
use crate::sql::observed::{Observed, ObservedTuple};
use crate::sql::packed::{pack_following, pack_serving};
use crate::sql::rows::{FenceTuple, fence, loaded, stored, stored_partition};
use crate::sql::statements;
use crate::sql::topology::{Specs, specs};
use crate::{HeartbeatReply, NodeBeat, Observation, OwnerToken, StoreResult};

const HEARTBEAT: &str = include_str!("heartbeat.sql");
const OBSERVE: &str =
    concat!("WITH clock (now) AS (SELECT $1)\n", include_str!("../sql/observe.sql"));

/// The fence, and the segment of the newest published checkpoint, as this transaction sees them.
///
/// # Errors
/// `Refused` when the partition does not exist.
pub(super) async fn fence_of(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    doing: &'static str,
) -> StoreResult<(Fence, Option<SegmentNumber>)> {
    let row: Option<FenceTuple> = query_as(statements::FENCE)
        .bind(stored_partition(partition))
        .fetch_optional(connection)
        .await
        .map_err(|error| classify(doing, &error))?;
    match row {
        Some(row) => fence(&row, doing),
        None => Err(rules::no_partition(partition)),
    }
}

impl SqliteDatabase {
    pub(super) async fn beat(&self, beat: &NodeBeat) -> StoreResult<HeartbeatReply> {
        const DOING: &str = "heartbeat";
        let now = (self.clock)();
        let beat = beat.clone();
        let catalogue_version = self
            .writer
            .write(Urgency::Heartbeat, DOING, move |c| Box::pin(write_beat(c, beat, now)))
            .await?;
        Ok(HeartbeatReply { now, catalogue_version })
    }

    pub(super) async fn observe_all(&self) -> StoreResult<Observation> {
        const DOING: &str = "observe";
        let statement = query_as(OBSERVE).bind((self.clock)().micros());
        let rows: Vec<ObservedTuple> = self.fetch_all(DOING, statement).await?;
        let observed = Observed::new(rows, DOING)?;
        let specs = self.specs_of(observed.topology()).await?;
        observed.with(&specs)
    }

    async fn specs_of(&self, topology: i64) -> StoreResult<Specs> {
        const DOING: &str = "read the topology";
        if let Some(kept) = self.specs.get(topology) {
            return Ok(kept);
        }
        // Specs are read before members. A partition created in between has members and no spec,
        // and is left out. Its creation changes the topology number, so the next observation reads
        // again.
        let rows = self.fetch_all(DOING, query_as(statements::SPECS)).await?;
        let members = self.fetch_all(DOING, query_as(statements::MEMBERS)).await?;
        let specs = Arc::new(specs(rows, members, DOING)?);
        self.specs.put(topology, &specs);
        Ok(specs)
    }

    pub(super) async fn release_one(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        claim: ClaimId,
        to: Option<&NodeName>,
    ) -> StoreResult<bool> {
        let to = to.map(|node| node.0.clone());
        self.writer
            .write(Urgency::Normal, "release", move |c| {
                Box::pin(write_release(c, partition, epoch, claim, to))
            })
            .await
    }

    pub(super) async fn write_barrier(&self, held: &OwnerToken) -> StoreResult<bool> {
        let held = *held;
        self.writer.write(Urgency::Normal, "barrier", move |c| Box::pin(barrier(c, held))).await
    }
}

async fn write_release(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    epoch: Epoch,
    claim: ClaimId,
    to: Option<String>,
) -> StoreResult<bool> {
    let done = query(statements::RELEASE)
        .bind(stored_partition(partition))
        .bind(stored(epoch.number()))
        .bind(&claim.0[..])
        .bind(to)
        .execute(connection)
        .await
        .map_err(|error| classify("release", &error))?;
    Ok(done.rows_affected() == 1)
}

async fn barrier(connection: &mut SqliteConnection, held: OwnerToken) -> StoreResult<bool> {
    let done = query(statements::BARRIER)
        .bind(stored_partition(held.partition))
        .bind(stored(held.epoch.number()))
        .bind(&held.claim.0[..])
        .bind(stored(held.position.next.0))
        .bind(&held.position.last_hash.0[..])
        .execute(connection)
        .await
        .map_err(|error| classify("barrier", &error))?;
    Ok(done.rows_affected() == 1)
}

/// Writes the heartbeat. Returns the catalogue's version.
async fn write_beat(
    connection: &mut SqliteConnection,
    beat: NodeBeat,
    now: Timestamp,
) -> StoreResult<u64> {
    const DOING: &str = "heartbeat";
    let failed = |error: sqlx::Error| classify(DOING, &error);
    let incarnation = stored(beat.incarnation.0);
    let seen =
        "INSERT INTO incarnations (node, incarnation) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    let is_new = query(seen)
        .bind(&beat.node.0)
        .bind(incarnation)
        .execute(&mut *connection)
        .await
        .map_err(failed)?
        .rows_affected()
        == 1;
    query(HEARTBEAT)
        .bind(&beat.node.0)
        .bind(incarnation)
        .bind(stored(beat.counter))
        .bind(&beat.address)
        .bind(beat.draining)
        .bind(pack_serving(&beat.serving))
        .bind(pack_following(&beat.following))
        .bind(now.micros())
        .bind(is_new)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let reply = "SELECT n.incarnation, s.catalogue_version FROM nodes n, store s WHERE n.node = $1";
    let (newest, version): (i64, i64) =
        query_as(reply).bind(&beat.node.0).fetch_one(connection).await.map_err(failed)?;
    if newest != incarnation {
        return Err(rules::superseded(&beat.node));
    }
    Ok(loaded(version))
}
