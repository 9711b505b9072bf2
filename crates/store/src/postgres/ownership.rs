//! Heartbeats, observations, releases and barriers.

use std::sync::Arc;

use sqlx::{query, query_as};
use turnpike_types::{ClaimId, Epoch, NodeName, PartitionId, Timestamp};

use super::connections::Lease;
use super::{BEAT_LIMIT, BULK_LIMIT, LOCK_LIMIT, PostgresDatabase};
use crate::rules::{self, Fence};
use crate::sql::observed::{Observed, ObservedTuple};
use crate::sql::packed::{pack_following, pack_serving};
use crate::sql::rows::{FenceTuple, fence, loaded, stored, stored_partition};
use crate::sql::statements;
use crate::sql::topology::{Specs, specs};
use crate::{HeartbeatReply, NodeBeat, Observation, OwnerToken, StoreResult};

const HEARTBEAT: &str = include_str!("heartbeat.sql");
const OBSERVE: &str = concat!(
    "WITH clock (now) AS (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)\n",
    include_str!("../sql/observe.sql")
);

impl PostgresDatabase {
    pub(super) async fn beat(&self, beat: &NodeBeat) -> StoreResult<HeartbeatReply> {
        let statement = query_as::<_, (bool, Option<i64>, i64, i64)>(HEARTBEAT)
            .bind(&beat.node.0)
            .bind(stored(beat.incarnation.0))
            .bind(stored(beat.counter))
            .bind(&beat.address)
            .bind(beat.draining)
            .bind(pack_serving(&beat.serving))
            .bind(pack_following(&beat.following));
        let lease = self.beats.lease("heartbeat", BEAT_LIMIT).await?;
        let (written, before, now, version) = lease.fetch_one(statement).await?;
        if !written && before != Some(stored(beat.incarnation.0)) {
            return Err(rules::superseded(&beat.node));
        }
        Ok(HeartbeatReply { now: Timestamp(now), catalogue_version: loaded(version) })
    }

    pub(super) async fn observe_all(&self) -> StoreResult<Observation> {
        const DOING: &str = "observe";
        let lease = self.observer.lease(DOING, BEAT_LIMIT).await?;
        let rows: Vec<ObservedTuple> = lease.fetch_all(query_as(OBSERVE)).await?;
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
        let lease = self.bulk.lease(DOING, BULK_LIMIT).await?;
        let rows = lease.fetch_all(query_as(statements::SPECS)).await?;
        let lease = self.bulk.lease(DOING, BULK_LIMIT).await?;
        let members = lease.fetch_all(query_as(statements::MEMBERS)).await?;
        let specs = Arc::new(specs(rows, members, DOING)?);
        self.specs.put(topology, &specs);
        Ok(specs)
    }

    /// The fence, and the segment of the newest published checkpoint.
    ///
    /// # Errors
    /// `Refused` when the partition does not exist.
    pub(super) async fn fence_of(
        &self,
        partition: PartitionId,
        doing: &'static str,
    ) -> StoreResult<(Fence, Option<turnpike_types::SegmentNumber>)> {
        let statement =
            query_as::<_, FenceTuple>(statements::FENCE).bind(stored_partition(partition));
        let lease: Lease = self.log.lease(doing, BEAT_LIMIT).await?;
        match lease.fetch_optional(statement).await? {
            Some(row) => fence(&row, doing),
            None => Err(rules::no_partition(partition)),
        }
    }

    pub(super) async fn release_one(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        claim: ClaimId,
        to: Option<&NodeName>,
    ) -> StoreResult<bool> {
        let statement = query(statements::RELEASE)
            .bind(stored_partition(partition))
            .bind(stored(epoch.number()))
            .bind(&claim.0[..])
            .bind(to.map(|node| node.0.as_str()));
        let lease = self.log.lease("release", LOCK_LIMIT).await?;
        Ok(lease.execute(statement).await? == 1)
    }

    pub(super) async fn write_barrier(&self, held: &OwnerToken) -> StoreResult<bool> {
        let statement = query(statements::BARRIER)
            .bind(stored_partition(held.partition))
            .bind(stored(held.epoch.number()))
            .bind(&held.claim.0[..])
            .bind(stored(held.position.next.0))
            .bind(&held.position.last_hash.0[..]);
        let lease = self.log.lease("barrier", LOCK_LIMIT).await?;
        Ok(lease.execute(statement).await? == 1)
    }
}
